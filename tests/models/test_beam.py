"""Beam search: against transformers, and against all sequences there are."""

import itertools

import numpy as np
import pytest

import fastattn as fa
from fastattn.models import GPT, GPTConfig

V = 23
SIZES = {"vocab_size": V, "n_positions": 40, "n_embd": 24, "n_layer": 2, "n_head": 4, "tie_word_embeddings": False}


def model_of(vocab_size=V, **changes):
    fa.manual_seed(0)
    return GPT(GPTConfig(**{**SIZES, "vocab_size": vocab_size, **changes}, initializer_range=0.3)).double().eval()


OPTIONS = [
    {"num_beams": 2},
    {"num_beams": 4},
    {"num_beams": 4, "length_penalty": 0.0},
    {"num_beams": 4, "length_penalty": 2.0},
    {"num_beams": 4, "length_penalty": -1.0},
    {"num_beams": 4, "early_stopping": True},
    {"num_beams": 4, "early_stopping": True, "length_penalty": 2.0, "eos_token_id": [5, 7, 11]},
    {"num_beams": 3, "eos_token_id": [5, 7, 11]},
    {"num_beams": 4, "eos_token_id": None},
]


@pytest.mark.parity
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_is_transformers(options, rng):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    ours = model_of()
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES, bos_token_id=None, eos_token_id=None))
    theirs = theirs.double().eval()
    theirs.load_state_dict({name: torch.from_numpy(x.numpy()) for name, x in ours.state_dict().items()})
    ids = rng.integers(0, V, (8, 5))
    options = {"eos_token_id": 7, "max_new_tokens": 20, "pad_token_id": 1, **options}
    mask = torch.ones(8, 5, dtype=torch.long)
    expected = theirs.generate(torch.from_numpy(ids), attention_mask=mask, do_sample=False, **options)
    found = ours.generate(ids, **options)
    np.testing.assert_array_equal(found, expected.numpy())
    if options.get("length_penalty", 1.0) <= 0:  # others favour length
        assert (found[:, -1] == 1).any(), "a row that ends early, beside those that do not or do later"


def scores_of(model, prompt, tokens):
    """The sum of logarithms of the tokens after a prompt."""
    ids = np.array([[*prompt, *tokens]])
    with fa.no_grad():
        logs = model(ids[:, :-1]).log_softmax(-1).numpy()[0]
    return sum(logs[len(prompt) - 1 + i, token] for i, token in enumerate(tokens))


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_beams_enough_for_all_find_the_best(penalty):
    model = model_of(4)
    for prompt in ([1], [2, 0]):
        every = [
            tokens
            for n in (1, 2, 3)
            for tokens in itertools.product(range(4), repeat=n)
            if 3 not in tokens[:-1] and (n == 3 or tokens[-1] == 3)
        ]
        best = max(every, key=lambda tokens: scores_of(model, prompt, tokens) / len(tokens) ** penalty)
        (found,) = model.generate([prompt], num_beams=40, max_new_tokens=3, eos_token_id=3, length_penalty=penalty)
        assert found.tolist() == [*prompt, *best]


def test_more_beams_find_what_is_likelier(rng):
    """Than greedy, mostly; and a row's result does not depend on the other rows."""
    model = model_of()
    prompts = [rng.integers(0, V, n) for n in (3, 5, 1, 3, 8)]
    greedy = model.generate(prompts, max_new_tokens=8)
    found = model.generate(prompts, max_new_tokens=8, num_beams=6)
    gains = [
        scores_of(model, p, b[len(p) :].tolist()) - scores_of(model, p, g[len(p) :].tolist())
        for p, b, g in zip(prompts, found, greedy, strict=True)
    ]
    assert min(gains) >= -1e-9
    assert max(gains) > 0.01
    for prompt, row in zip(prompts, found, strict=True):
        (alone,) = model.generate([prompt], max_new_tokens=8, num_beams=6)
        assert alone.tolist() == row.tolist()


def test_rows_that_are_done_leave_the_batch():
    shapes = []

    class Recorder(GPT):
        def next_logits(self, input_ids, cache=None):
            assert not fa.is_grad_enabled()
            assert not self.training
            shapes.append(input_ids.shape)
            return super().next_logits(input_ids, cache)

    fa.manual_seed(0)
    model = Recorder(GPTConfig(**SIZES, initializer_range=0.3))
    ids = np.arange(12).reshape(4, 3)
    model.generate(ids, num_beams=3, max_new_tokens=20, eos_token_id=list(range(8)), length_penalty=0.0)
    assert shapes[0] == (4, 3)
    assert all(length == 1 and not rows % 3 for rows, length in shapes[1:])
    sizes = [rows for rows, _ in shapes[1:]]
    assert sizes[0] == 12
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 1
    assert model.training


def test_errors():
    model = model_of()
    with pytest.raises(ValueError, match=r"^generate: num_beams 2 with up to 41 tokens a row; expected at most 40$"):
        model.generate([[1]], num_beams=2, max_new_tokens=40)
    with pytest.raises(ValueError, match=r"^stream: num_beams is 2; the tokens of beams are known at the end: use gen"):
        model.stream([[1]], num_beams=2)
    (row,) = model.generate([[1]], num_beams=2, max_new_tokens=0)
    assert row.tolist() == [1]
    model.lm_head.weight.data[0] = np.nan
    with pytest.raises(RuntimeError, match=r"^generate: the logits of a beam are not finite after 0 new tokens$"):
        model.generate([[1]], num_beams=2)
