"""The stop at the first number that is not finite."""

import math

import numpy as np
import pytest

import fastattn as fa
from fastattn.train import NonFiniteError, Progress, first_nonfinite


class Poison(Progress):
    """Puts a NaN into a parameter after a step."""

    def __init__(self, model, name, at=3, value=math.nan):
        super().__init__()
        self.parameter, self.at, self.value = dict(model.named_parameters())[name], at, value

    def step(self, done):
        if done == self.at:
            self.parameter.detach().numpy().flat[0] = self.value


@pytest.mark.parametrize(
    ("parameter", "layer", "text"),
    [
        ("transformer.h.1.mlp.c_fc.weight", "transformer.h.1.mlp.c_fc", "whose weight is not finite"),
        ("transformer.h.0.attn.c_attn.bias", "transformer.h.0.attn.c_attn", "whose bias is not finite"),
        ("transformer.ln_f.weight", "transformer.ln_f", "whose weight is not finite"),
    ],
)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_names_the_layer(make_trainer, weights, tmp_path, parameter, layer, text, value):
    trainer = make_trainer(tmp_path)
    trainer.progress = Poison(trainer.model, parameter, value=value)
    with pytest.raises(NonFiniteError, match=r"^training stopped at step 4: the output of ") as caught:
        trainer.fit()
    assert caught.value.layer == layer
    assert caught.value.step == trainer.step == 3
    assert f"the output of {layer} (" in str(caught.value)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(p.grad is None for p in trainer.model.parameters())


def test_the_bad_step_changes_nothing(make_trainer, weights):
    trainer = make_trainer()
    trainer.progress = Poison(trainer.model, "transformer.ln_f.bias")
    with pytest.raises(NonFiniteError):
        trainer.fit()
    stopped = weights(trainer.model)
    state = trainer.optimizer.state_dict()["state"]
    moments = {i: {k: np.asarray(v).copy() for k, v in s.items()} for i, s in state.items()}
    with pytest.raises(NonFiniteError):
        trainer.fit()
    assert weights(trainer.model) == stopped
    after = trainer.optimizer.state_dict()["state"]
    assert all(np.array_equal(after[i][k], v) for i, s in moments.items() for k, v in s.items())


def test_divergence_by_itself(make_trainer, tmp_path):
    """A learning rate far too high: no fault is planted, and the checkpoint stays finite."""
    trainer = make_trainer(tmp_path, lr=1e30, steps=40, warmup=0, grad_clip=0.0, weight_decay=0.0, checkpoint_every=1)
    with pytest.raises(NonFiniteError, match="not finite; the weights are those before that step"):
        trainer.fit()
    assert (tmp_path / "history.csv").exists()


def test_gradients_are_checked_too(make_trainer, weights):
    trainer = make_trainer()
    name, parameter = list(trainer.model.named_parameters())[3]
    before = weights(trainer.model)
    parameter.register_hook(lambda grad: grad * math.nan)
    with pytest.raises(NonFiniteError, match=f"step 1: the gradient of {name} is not finite") as caught:
        trainer.fit()
    assert caught.value.layer == name
    assert weights(trainer.model) == before


def test_finite_models_have_nothing_to_name(make_trainer):
    trainer = make_trainer()
    assert first_nonfinite(trainer.model, trainer.batch(0)[0]) is None
    assert not any("forward" in vars(module) for module in trainer.model.modules())


def test_a_weight_that_a_parent_reads_names_its_owner():
    class Parent(fa.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = fa.nn.Linear(2, 2)

        def forward(self, x):
            return x @ self.inner.weight

    model = Parent()
    model.inner.weight.detach().numpy()[0] = math.nan
    assert first_nonfinite(model, fa.tensor([[1.0, 1.0]])) == "inner (Linear), whose weight is not finite"


def test_a_layer_without_weights_is_named_too():
    class Log(fa.nn.Module):
        def forward(self, x):
            return fa.log(x)

    model = fa.nn.Sequential(fa.nn.Linear(2, 2), Log(), fa.nn.Linear(2, 2))
    x = fa.zeros(1, 2)
    model[0].bias.detach().numpy()[:] = -1.0
    model[0].weight.detach().numpy()[:] = 0.0
    assert first_nonfinite(model, x) == "1 (Log)"
