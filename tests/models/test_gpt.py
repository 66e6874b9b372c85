"""GPT against transformers' GPT-2, its state, and what it refuses."""

import dataclasses

import numpy as np
import pytest

import fastattn as fa
from fastattn.models import GPT, GPTConfig

SIZES = {"vocab_size": 50, "n_positions": 16, "n_embd": 24, "n_layer": 3, "n_head": 4}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


@pytest.fixture(autouse=True)
def seed():
    fa.manual_seed(0)


@pytest.fixture
def ids():
    return np.random.default_rng(0).integers(0, 50, (2, 13))


def config(**changes):
    return GPTConfig(**{**SIZES, **NO_DROPOUT, **changes})


def pair(**changes):
    """Ours and transformers' of the same random weights, in float64."""
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs_config = transformers.GPT2Config(**config(**changes).to_dict(), bos_token_id=None, eos_token_id=None)
    theirs = transformers.GPT2LMHeadModel(theirs_config).double()
    ours = GPT(config(**changes)).double()
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    return ours, theirs


VARIANTS = [{}, {"n_inner": 40}, {"activation_function": "gelu"}, {"tie_word_embeddings": False}, {"n_head": 1}]


@pytest.mark.parity
@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_logits_and_gradients_are_transformers(changes, ids):
    torch = pytest.importorskip("torch")
    ours, theirs = pair(**changes)
    assert set(ours.state_dict()) == set(theirs.state_dict())
    logits, loss = ours(fa.Tensor(ids), labels=fa.Tensor(ids))
    expected = theirs(torch.from_numpy(ids)).logits
    np.testing.assert_allclose(logits.detach().numpy(), expected.detach().numpy(), rtol=1e-11, atol=1e-12)
    # transformers computes its loss in float32; the same in float64:
    targets = torch.from_numpy(ids)[:, 1:].reshape(-1)
    expected_loss = torch.nn.functional.cross_entropy(expected[:, :-1].reshape(-1, 50), targets)
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-12)
    assert loss.item() == pytest.approx(
        theirs(torch.from_numpy(ids), labels=torch.from_numpy(ids)).loss.item(), rel=1e-6
    )
    loss.backward()
    expected_loss.backward()
    theirs_parameters = dict(theirs.named_parameters())
    assert [name for name, _ in ours.named_parameters()] == list(theirs_parameters)
    for name, p in ours.named_parameters():
        expected_grad = theirs_parameters[name].grad.numpy()
        np.testing.assert_allclose(p.grad.numpy(), expected_grad, rtol=1e-8, atol=1e-12, err_msg=name)


@pytest.mark.parity
def test_first_weights_are_distributed_as_transformers():
    ours, theirs = GPT(config(n_embd=64)), pair(n_embd=64)[1]
    for (name, p), (_, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        a, b = p.detach().numpy(), q.detach().numpy()
        if a.size < 1000 or not b.std():
            assert a.std() == b.std(), name
            assert a.flat[0] == b.flat[0], name
        else:
            assert a.std() == pytest.approx(b.std(), rel=0.15), name


def test_positions_before_do_not_see_those_after(ids):
    model = GPT(config()).eval()
    with fa.no_grad():
        whole = model(ids)
        changed = ids.copy()
        changed[:, 7:] = 0
        part = model(changed)
    np.testing.assert_array_equal(whole.numpy()[:, :7], part.numpy()[:, :7])
    assert not (whole[:, 7:] == part[:, 7:]).all()


def test_labels(ids):
    model = GPT(config())
    logits, loss = model(ids, labels=ids)
    expected = fa.cross_entropy(logits[:, :-1].reshape(-1, 50), fa.Tensor(ids[:, 1:].reshape(-1)))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    ignoring = ids.copy()
    ignoring[:, 5:] = -100
    _, some = model(ids, ignoring)
    expected = fa.cross_entropy(logits[:, :4].reshape(-1, 50), fa.Tensor(ids[:, 1:5].reshape(-1)))
    assert some.item() == pytest.approx(expected.item(), rel=1e-6)


def test_dropout_trains_and_eval_does_not(ids):
    model = GPT(config(resid_pdrop=0.2, embd_pdrop=0.2, attn_pdrop=0.2))
    a, b = model(ids, ids)[1], model(ids, ids)[1]
    assert a.item() != b.item()
    a.backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    assert model(ids, ids)[1].item() == model(ids, ids)[1].item()
    plain = GPT(config())
    plain.load_state_dict(model.state_dict())
    assert plain(ids, ids)[1].item() == model(ids, ids)[1].item()


@pytest.mark.parametrize("attn_pdrop", [0.0, 1e-12])
def test_attention_with_dropout_is_attention(ids, attn_pdrop):
    # A dropout that drops nothing changes nothing.
    model = GPT(config(attn_pdrop=attn_pdrop)).double()
    loss = model(ids, ids)[1]
    loss.backward()
    reference = GPT(config()).double()
    reference.load_state_dict(model.state_dict())
    expected = reference(ids, ids)[1]
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-9)
    for p, q in zip(model.parameters(), reference.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("tied", [False, True])
def test_the_loss_alone(ids, tied):
    model = GPT(config(tie_word_embeddings=tied)).double()
    targets = np.roll(ids, -1)
    targets[:, -1] = -100
    loss = model.loss(ids, targets)
    loss.backward()
    found = [p.grad.numpy() for p in model.parameters()]
    model.zero_grad()
    expected = model(ids, ids)[1]
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for f, p in zip(found, model.parameters(), strict=True):
        np.testing.assert_allclose(f, p.grad.numpy(), rtol=1e-9, atol=1e-14)
    with pytest.raises(ValueError, match="linear_cross_entropy: target needs the shape"):
        model.loss(ids, targets[:, :-1])


def test_the_loss_of_another_head(ids):
    model = GPT(config())
    model.lm_head = fa.nn.Sequential(model.lm_head)
    targets = np.roll(ids, -1)
    expected = fa.cross_entropy(model(ids).reshape(-1, 50), targets.reshape(-1))
    assert model.loss(ids, targets).item() == pytest.approx(expected.item(), rel=1e-6)


def test_it_learns(ids):
    model = GPT(config())
    optimizer = fa.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(ids, ids)[1]
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(50), abs=0.2)
    assert losses[-1] < 0.5 * losses[0]


# State ---------------------------------------------------------------------------------------------------------------


def test_old_files_load():
    model = GPT(config())
    state = {
        name.removeprefix("transformer."): t + 1 for name, t in model.state_dict().items() if name != "lm_head.weight"
    }
    state["h.0.attn.bias"] = np.tril(np.ones((1, 1, 16, 16)))
    state["h.0.attn.masked_bias"] = np.array(-1e4)
    assert model.load_state_dict(state) == ([], [])
    assert (model.transformer.h[0].attn.c_attn.bias == 1).all()


def test_the_head_is_the_table():
    model = GPT(config())
    assert model.lm_head.weight is model.transformer.wte.weight
    table = 50 * 24
    assert model.num_parameters() == sum(t.numel() for t in model.state_dict().values()) - table
    untied = GPT(config(tie_word_embeddings=False))
    assert untied.num_parameters() == model.num_parameters() + table
    state = untied.state_dict()
    with pytest.raises(RuntimeError, match=r"transformer.wte.weight and lm_head.weight differ"):
        model.load_state_dict(state)


def test_config():
    values = {**config().to_dict(), "model_type": "gpt2", "n_ctx": 16}
    assert GPTConfig.from_dict(values) == config()
    assert dataclasses.asdict(GPTConfig())["vocab_size"] == 50257
    assert GPT(config(n_inner=10)).transformer.h[0].mlp.c_fc.weight.shape == (24, 10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: config(n_layer=0), ValueError, "^GPTConfig: n_layer is 0; expected a positive number"),
        (lambda: config(n_head=5), ValueError, "^GPTConfig: n_embd 24 is not a multiple of n_head 5"),
        (lambda: config(activation_function="relu"), ValueError, "^GPTConfig: activation_function is 'relu'"),
        (
            lambda: GPT(config())(np.zeros((1, 17), int)),
            ValueError,
            r"^GPT: input_ids has shape \(1, 17\); expected \(B, T\)",
        ),
        (lambda: GPT(config())(np.zeros(3, int)), ValueError, r"^GPT: input_ids has shape \(3,\)"),
        (lambda: GPT(config())([[1]]), TypeError, "^GPT: input_ids is a list; expected a Tensor or an array"),
        (lambda: GPT(config())(np.zeros((1, 3), int), np.zeros((1, 2), int)), ValueError, "^GPT: labels has shape"),
        (lambda: GPT(config())(np.full((1, 3), 50)), IndexError, "50"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
