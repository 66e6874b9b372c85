"""Activation checkpointing: the same bits as without, and less that is kept."""

import numpy as np
import pytest

import fastattn as fa
from fastattn.cli import main
from fastattn.nn.blocks import Stack
from fastattn.testing import assert_same_bits
from fastattn.utils.checkpoint import checkpoint, checkpoint_sequential


def layers(n=4, p=0.3):
    fa.manual_seed(0)
    return fa.nn.Sequential(*(fa.nn.Sequential(fa.nn.Linear(6, 6), fa.nn.Tanh(), fa.nn.Dropout(p)) for _ in range(n)))


def gradients(run, model, x):
    fa.manual_seed(7)
    model.zero_grad()
    x = fa.Tensor(x, requires_grad=True)
    run(x).sum().backward()
    return [x.grad._data, *(p.grad._data for p in model.parameters())]


def test_gradients_have_the_same_bits(randn):
    model, x = layers(), randn(5, 6, dtype=np.float32)
    expected = gradients(model, model, x)
    assert_same_bits(gradients(lambda x: checkpoint(model, x), model, x), expected)
    for segments in (1, 2, 3, 4):
        assert_same_bits(gradients(lambda x, n=segments: checkpoint_sequential(model, n, x), model, x), expected)
    assert_same_bits(gradients(lambda x: checkpoint(lambda y: checkpoint(model, y), x), model, x), expected)


def test_what_is_reached_without_being_an_argument(leaf):
    """Leaves and intermediate tensors of a closure get their gradients, as do keyword arguments."""
    x, w, bias = leaf(3, 4), leaf(4, 4), leaf(4)

    def grads(through):
        between = w * 2
        out = through(lambda x, bias: (x @ between + bias).tanh(), x, bias=bias)
        return [g._data for g in fa.grad(out.sum(), [x, w, bias])]

    assert_same_bits(grads(checkpoint), grads(lambda run, x, bias: run(x, bias)))
    assert x.grad is None


def test_several_outputs_and_those_without_gradient(leaf):
    x = leaf(6)

    def run(x, scale):
        return x * scale, (x.sum(), [x > 0, "text"])

    first, (second, (third, text)) = checkpoint(run, x, 3.0)
    assert text == "text"
    assert not third.requires_grad
    (first * first).sum().backward()
    np.testing.assert_allclose(x.grad._data, 18 * x._data)
    x.grad = None
    first, (second, _) = checkpoint(run, x, 3.0)
    (first.sum() + second).backward()
    np.testing.assert_array_equal(x.grad._data, np.full(6, 4.0))


def test_the_graph_can_be_kept(leaf):
    x = leaf(3)
    y = checkpoint(lambda x: x.exp(), x).sum()
    y.backward(retain_graph=True)
    once = x.grad._data.copy()
    y.backward()
    np.testing.assert_array_equal(x.grad._data, 2 * once)
    with pytest.raises(RuntimeError, match=r"the graph was already walked"):
        y.backward()


def test_nothing_is_recorded_where_nothing_is_wanted(leaf):
    assert checkpoint(lambda x: x * 2, fa.ones(2)).grad_fn is None
    with fa.no_grad():
        assert checkpoint(lambda x: x * 2, leaf(2)).grad_fn is None


def test_autocast_is_that_of_the_first_run(leaf):
    x, w = fa.ones(2, 3), fa.ones(3, 4, requires_grad=True)
    with fa.autocast(dtype=fa.bfloat16):
        y = checkpoint(lambda x: x @ w, x)
    y.sum().backward()
    assert y.dtype == fa.bfloat16
    assert w.grad.dtype == np.float32


def test_random_numbers(randn):
    x = fa.ones(1000, requires_grad=True)
    fa.manual_seed(3)
    y = checkpoint(lambda x: fa.nn.functional.dropout(x, 0.5), x)
    after = fa.get_rng_state()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad._data, y._data)
    assert fa.get_rng_state() == after  # the second run took no numbers of its own
    y = checkpoint(lambda x: fa.nn.functional.dropout(x, 0.5), x, preserve_rng_state=False)
    x.grad = None
    y.sum().backward()
    assert (x.grad._data != y._data).any()


def test_errors(leaf):
    x = leaf(3)
    y = checkpoint(lambda x: x * x, x)
    with fa.no_grad():
        x.add_(1.0)
    with pytest.raises(RuntimeError, match=r"^checkpoint: a tensor that its gradient needs was changed in place"):
        y.sum().backward()
    others = iter([leaf(3), leaf(3)])
    y = checkpoint(lambda x: x * next(others), x)
    with pytest.raises(RuntimeError, match=r"^checkpoint: the function read another tensor for the gradient"):
        y.sum().backward()
    with pytest.raises(ValueError, match=r"^checkpoint_sequential: segments is 3; expected 1 to 2"):
        checkpoint_sequential(layers(2), 3, x)


MODELS = {
    "gpt": lambda: fa.models.GPT(fa.models.GPTConfig(vocab_size=11, n_positions=32, n_embd=8, n_layer=3, n_head=2)),
    "bert": lambda: fa.models.BERTForMaskedLM(
        fa.models.BERTConfig(vocab_size=11, hidden_size=8, num_hidden_layers=3, num_attention_heads=2,
                             intermediate_size=16, max_position_embeddings=32)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_models(name, rng):
    model, ids = MODELS[name](), rng.integers(0, 11, (2, 32))

    def run():
        fa.manual_seed(1)
        model.zero_grad()
        loss = model(ids, labels=ids)[1]
        loss.backward()
        return [loss._data, *(p.grad._data for p in model.parameters() if p.grad is not None)]

    expected = run()
    model.gradient_checkpointing_enable()
    assert_same_bits(run(), expected)
    assert any(m.gradient_checkpointing for m in model.modules() if isinstance(m, Stack))
    model.gradient_checkpointing_disable()
    assert not any(m.gradient_checkpointing for m in model.modules() if isinstance(m, Stack))


def live_bytes(tensor):
    """Of the arrays that the tape behind a tensor keeps."""

    def arrays(value):
        if isinstance(value, tuple):
            for part in value:
                yield from arrays(part)
        elif isinstance(value, np.ndarray):
            yield value

    seen, found, stack = set(), {}, [tensor.grad_fn]
    while stack:
        edge = stack.pop()
        node = getattr(edge, "node", edge)
        if hasattr(node, "saved") and id(node) not in seen:
            seen.add(id(node))
            found |= {id(a): a.nbytes for a in arrays(node.saved)}
            stack += node.edges
    return sum(found.values())


def test_less_is_kept(rng):
    model, ids = MODELS["gpt"](), rng.integers(0, 11, (4, 32))
    plain = live_bytes(model(ids, ids)[1])
    model.gradient_checkpointing_enable()
    assert live_bytes(model(ids, ids)[1]) < 0.6 * plain


def test_a_run_is_the_same(tmp_path, tiny):
    def weights(*flags):
        folder = tmp_path / str(len(flags))
        main(["train", *tiny, "--quiet", "--out", str(folder), *flags])
        return (folder / "model.safetensors").read_bytes()

    assert weights() == weights("--gradient-checkpointing")


def test_a_model_without_layers_is_refused():
    with pytest.raises(ValueError, match="a Linear has no stack of layers"):
        fa.nn.blocks.set_gradient_checkpointing(fa.nn.Linear(2, 2))
