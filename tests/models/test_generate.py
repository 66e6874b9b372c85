"""GPT.generate and GPT.stream: against recomputation without a cache, and against transformers."""

import numpy as np
import pytest

import fastattn as fa
from fastattn.models import GPT, GPTConfig

V, N = 61, 48  # vocabulary, context
SIZES = {"vocab_size": V, "n_positions": N, "n_embd": 24, "n_layer": 2, "n_head": 4, "tie_word_embeddings": False}
LENGTHS = [3, 17, 1, 9, 17]
SAMPLING = {"do_sample": True, "temperature": 0.9, "top_k": 30, "top_p": 0.95, "repetition_penalty": 1.2, "seed": 7}


class Recorder(GPT):
    """A GPT that notes what it is asked."""

    def next_logits(self, input_ids, cache=None):
        assert not fa.is_grad_enabled()
        assert not any(m.training for m in self.modules())
        at = None if cache is None or not cache[0].batch_size else cache[0].keys.__array_interface__["data"][0]
        self.calls.append((*input_ids.shape, at))
        return super().next_logits(input_ids, cache)


@pytest.fixture
def model():
    """Of weights so large that its sentences do not run in circles at once."""
    fa.manual_seed(0)
    model = Recorder(GPTConfig(**SIZES, initializer_range=0.4))
    model.calls = []
    return model


@pytest.fixture
def prompts(rng):
    return [rng.integers(0, V, n) for n in LENGTHS]


def logits_without_cache(model, ids):
    """Of the token after `ids`, (V,)."""
    with fa.no_grad():
        return GPT.forward(model.eval(), np.asarray(ids)[None, -N:]).numpy()[0, -1]


def continue_without_cache(model, prompt, count, choose=np.argmax):
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(choose(logits_without_cache(model, ids))))
    return ids


# The cache ------------------------------------------------------------------------------------------------------------


def test_logits_with_a_cache_are_those_without(model, rng):
    model.double().eval()
    ids = rng.integers(0, V, (3, N))
    cache = model.new_cache()
    with fa.no_grad():
        parts = [model(ids[:, a:b], cache=cache) for a, b in ((0, 5), (5, 6), (6, 7), (7, 30), (30, N))]
        np.testing.assert_allclose(fa.cat(parts, 1).numpy(), model(ids).numpy(), rtol=1e-11, atol=1e-11)
        for layer in cache:
            layer.truncate([20, 9, 30])
        step = model.next_logits(ids[[0, 1, 2], [20, 9, 30]][:, None], cache)
        for b, n in enumerate([20, 9, 30]):
            expected = model(ids[b : b + 1, : n + 1]).numpy()[:, -1]
            np.testing.assert_allclose(step.numpy()[b : b + 1], expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("count", [30, 70])  # within the context, and beyond it
def test_greedy_is_recomputation(model, prompts, count):
    out = model.generate(prompts, max_new_tokens=count)
    for prompt, row in zip(prompts, out, strict=True):
        assert row.tolist() == continue_without_cache(model, prompt, count)
    assert len({*out[0].tolist()}) > 10, "a model that says one word shows nothing"


@pytest.mark.parametrize("options", [{}, SAMPLING], ids=["greedy", "sampling"])
def test_a_row_does_not_depend_on_the_others(model, prompts, options):
    together = model.generate(prompts, max_new_tokens=60, **options)
    for r, prompt in enumerate(prompts):
        seed = {"seed": options["seed"] + r} if options else {}
        (alone,) = model.generate([prompt], max_new_tokens=60, **(options | seed))
        assert alone.tolist() == together[r].tolist()
    order = [4, 1, 0, 3, 2]
    shuffled = model.generate([prompts[r] for r in order], max_new_tokens=60)
    for r, row in zip(order, shuffled, strict=True):
        assert row.tolist() == model.generate([prompts[r]], max_new_tokens=60)[0].tolist()


def test_the_bits_of_the_logits_do_not_depend_on_the_other_rows(model, prompts):
    """A batch of rows that differ, and the same row alone: the logits of ten steps."""

    def steps(rows):
        found = []

        def note(input_ids, cache=None):
            found.append(Recorder.next_logits(model, input_ids, cache))
            return found[-1]

        model.next_logits = note
        try:
            model.generate(rows, max_new_tokens=10)
        finally:
            del model.next_logits
        return [x.numpy() for x in found if len(x) == len(rows)][-9:]

    order = np.argsort(LENGTHS, kind="stable")
    for place, row in enumerate(order):
        for many, one in zip(steps(prompts), steps([prompts[row]]), strict=True):
            assert many[place].tobytes() == one[0].tobytes()


def test_threads_do_not_change_a_token(model, prompts):
    before = fa.get_num_threads()
    try:
        outs = []
        for threads in (1, 2, 3):
            fa.set_num_threads(threads)
            outs.append([row.tolist() for row in model.generate(prompts, max_new_tokens=20, **SAMPLING)])
    finally:
        fa.set_num_threads(before)
    assert outs[0] == outs[1] == outs[2]


def test_prompts_are_read_at_once_and_steps_read_one_token(model, prompts):
    model.generate(prompts[1:2], max_new_tokens=12)
    assert [call[:2] for call in model.calls] == [(1, 17), *[(1, 1)] * 11]
    assert len({at for _, _, at in model.calls[1:]}) == 1, "the cache was allocated again"
    model.calls.clear()
    model.generate(prompts, max_new_tokens=4)
    assert [call[:2] for call in model.calls] == [(1, 1), (1, 3), (1, 9), (2, 17), *[(5, 1)] * 3]


def test_rows_that_have_ended_leave_the_batch(model, prompts):
    free = [row[len(p) :].tolist() for row, p in zip(model.generate(prompts, max_new_tokens=20), prompts, strict=True)]
    eos = free[3][4]
    model.calls.clear()
    out = model.generate(prompts, max_new_tokens=20, eos_token_id=eos)
    for prompt, row, tokens in zip(prompts, out, free, strict=True):
        end = tokens.index(eos) + 1 if eos in tokens else 20
        assert row.tolist() == [*prompt, *tokens[:end]]
    sizes = [batch for batch, length, _ in model.calls if length == 1][1:]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[-1]


def test_beyond_the_context_rows_leave_the_cache(model):
    model.generate([np.arange(N - 2), np.arange(3)], max_new_tokens=6)
    # Two steps within the context, then a window of it for the longer row beside the cache of the shorter.
    shapes = [call[:2] for call in model.calls]
    assert shapes == [(1, 3), (1, N - 2), (2, 1), (2, 1), *[(1, N), (1, 1)] * 3]
    (long,) = model.generate([np.arange(N + 10) % V], max_new_tokens=3)
    assert long.tolist() == continue_without_cache(model, np.arange(N + 10) % V, 3)


# transformers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair():
    """Ours and transformers' of the same random weights."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.GPT2Config(**SIZES, initializer_range=0.4, bos_token_id=None, eos_token_id=None)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    ours = GPT(GPTConfig.from_dict(config.to_dict()))
    ours.load_state_dict(theirs.state_dict())

    def both(ids, mask=None, **options):
        mask = np.ones_like(ids) if mask is None else mask
        given = {"attention_mask": torch.from_numpy(mask), "do_sample": False, "pad_token_id": 0} | options
        expected = theirs.generate(torch.from_numpy(ids), **given).numpy()
        return ours.generate(ids, attention_mask=mask, **options), expected

    return both


@pytest.mark.parity
@pytest.mark.parametrize(
    "options",
    [{"max_new_tokens": 40}, {"max_new_tokens": 1}, {"max_new_tokens": 40, "repetition_penalty": 1.3}],
    ids=str,
)
def test_greedy_is_transformers(pair, rng, options):
    ours, theirs = pair(rng.integers(0, V, (3, 7)), **options)
    np.testing.assert_array_equal(ours, theirs)
    assert len(np.unique(ours)) > 15


@pytest.mark.parity
def test_padding_on_the_left_is_transformers(pair, rng):
    ids = rng.integers(0, V, (4, 9))
    mask = (np.arange(9) >= np.array([0, 4, 8, 1])[:, None]).astype(np.int64)
    ours, theirs = pair(ids * mask, mask, max_new_tokens=30)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parity
def test_ends_are_transformers(pair, rng):
    ids = rng.integers(0, V, (4, 5))
    free, _ = pair(ids, max_new_tokens=20)
    eos = [int(free[1, 8]), int(free[2, 16])]
    ours, theirs = pair(ids, max_new_tokens=20, eos_token_id=eos, pad_token_id=3)
    np.testing.assert_array_equal(ours, theirs)
    assert (ours[1, 9:] == 3).all()


# Sampling -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.5}, {"top_k": 6}, {"top_p": 0.5}, {"top_k": 9, "top_p": 0.8}], ids=str
)
def test_draws_follow_the_distribution(model, prompts, options):
    rows = 3000
    out = model.generate(np.repeat(prompts[1][None], rows, 0), max_new_tokens=1, do_sample=True, seed=0, **options)
    counts = np.bincount(out[:, -1], minlength=V)
    logits = logits_without_cache(model, prompts[1]).astype(np.float64) / options.get("temperature", 1.0)
    p = np.exp(logits - logits.max())
    order = np.argsort(-p)
    if "top_k" in options:
        p[order[options["top_k"] :]] = 0
    if "top_p" in options:
        reached = np.cumsum(p[order]) / p.sum() >= options["top_p"]
        p[order[np.argmax(reached) + 1 :]] = 0
    p /= p.sum()
    assert not counts[p == 0].any()
    likely = p * rows >= 5
    expected = np.append(p[likely], p[~likely].sum()) * rows
    found = np.append(counts[likely], counts[~likely].sum())
    degrees = (expected > 0).sum() - 1
    chi_squared = ((found - expected)[expected > 0] ** 2 / expected[expected > 0]).sum()
    # Wilson and Hilferty's approximation of the 99.9th percentile.
    assert chi_squared < degrees * (1 - 2 / (9 * degrees) + 3.09 * (2 / (9 * degrees)) ** 0.5) ** 3


def test_seeds(model, prompts):
    def text(**options):
        return model.generate(prompts[:1], max_new_tokens=20, do_sample=True, **options)[0].tolist()

    assert text(seed=1) == text(seed=1) != text(seed=2)
    # Row r draws from seed + r, also around the end of the range.
    last = 2**64 - 1
    rows = model.generate([prompts[0]] * 2, max_new_tokens=20, do_sample=True, seed=last)
    assert [row.tolist() for row in rows] == [text(seed=last), text(seed=0)]
    fa.manual_seed(5)
    first, second = text(), text()
    assert first != second
    fa.manual_seed(5)
    assert text() == first
    state = fa.get_rng_state()
    text(seed=3)
    assert fa.get_rng_state() == state, "a seed of its own leaves the global stream alone"


def test_more_tokens_begin_with_the_same(model, prompts):
    """Also past a block of random numbers."""
    few, many = (model.generate(prompts[:1], max_new_tokens=n, do_sample=True, seed=1)[0].tolist() for n in (20, 300))
    assert many[: len(few)] == few


def test_temperatures_near_and_at_zero_take_the_likeliest(model, prompts):
    greedy = model.generate(prompts[:1], max_new_tokens=20)[0].tolist()
    for temperature in (0.0, 1e-310, 1e-5):
        out = model.generate(prompts[:1], max_new_tokens=20, do_sample=True, temperature=temperature, seed=0)
        assert out[0].tolist() == greedy
    assert model.generate(prompts[:1], max_new_tokens=20, do_sample=True, top_k=1)[0].tolist() == greedy


class Uniform(fa.generation.GenerationMixin, fa.nn.Module):
    """A model of one's own: without attention, so without caches, and of any length."""

    def new_cache(self, capacity=0):
        return []

    def next_logits(self, input_ids, cache=None):
        return fa.zeros(len(input_ids), 1000)


def test_a_model_of_ones_own_and_its_random_numbers():
    out = Uniform().generate([[1], [2, 3]], max_new_tokens=1200, do_sample=True, seed=0)
    draws = np.concatenate([out[0][1:], out[1][2:]])
    runs = np.lib.stride_tricks.sliding_window_view(draws, 8)
    assert len(np.unique(runs, axis=0)) == len(runs), "the same numbers again"
    assert draws.mean() == pytest.approx(499.5, abs=3.3 * 289 / 2400**0.5)
    assert (np.bincount(draws // 100) > 180).all()


@pytest.mark.parametrize("options", [{}, SAMPLING], ids=["greedy", "sampling"])
def test_logits_of_16_bits(options):
    class Short(Uniform):
        def next_logits(self, input_ids, cache=None):
            logits = np.sin(np.arange(100.0) * (1 + input_ids[:, -1:])).astype(fa.bfloat16)
            return fa.Tensor(logits.astype(np.float32) if self.wide else logits)

    model = Short()
    model.wide = False
    out = model.generate([[1], [2, 3]], max_new_tokens=20, **options)
    model.wide = True
    for row, expected in zip(out, model.generate([[1], [2, 3]], max_new_tokens=20, **options), strict=True):
        assert row.tolist() == expected.tolist()


# Streaming ------------------------------------------------------------------------------------------------------------


def test_stream_is_generate(model, prompts):
    expected = model.generate(prompts, max_new_tokens=15, **SAMPLING)
    rows = [list(p) for p in prompts]
    steps = []
    for token in model.stream(prompts, max_new_tokens=15, **SAMPLING):
        assert fa.is_grad_enabled()
        rows[token.row].append(token.id)
        steps.append(token.row)
        assert token.finish_reason == ("length" if len(rows[token.row]) == LENGTHS[token.row] + 15 else None)
    assert steps == [*range(5)] * 15
    assert [row.tolist() for row in expected] == rows


def test_the_mode_is_put_back(model, prompts):
    model.transformer.drop.eval()
    model.generate(prompts, max_new_tokens=2)
    assert model.training
    assert not model.transformer.drop.training
    stream = model.stream(prompts, max_new_tokens=2)
    next(stream)
    assert not model.training
    stream.close()
    assert model.training


def test_tokens_come_when_they_are_made(model, prompts):
    stream = model.stream(prompts[:1], max_new_tokens=10**6)
    for i in range(3):
        next(stream)
        assert len(model.calls) == i + 1


CHARACTERS = fa.data.CharVocabulary("".join(map(chr, range(48, 48 + V))))


def test_stop_strings(model, prompts):
    (free,) = model.generate(prompts[:1], max_new_tokens=40)
    text = CHARACTERS.decode(free[3:])
    stop = text[20:23]
    end = text.index(stop) + 3
    options = {"max_new_tokens": 40, "stop_strings": ["not there", stop], "tokenizer": CHARACTERS}
    (out,) = model.generate(prompts[:1], **options)
    assert out.tolist() == free[: 3 + end].tolist(), "the tokens of the stop string stay"
    tokens = list(model.stream(prompts[:1], **options))
    assert "".join(token.text for token in tokens) == text[: end - 3]
    assert [token.finish_reason for token in tokens] == [None] * (end - 1) + ["stop"]


def test_text_of_a_stream(model, prompts):
    tokens = list(model.stream(prompts, max_new_tokens=10, tokenizer=CHARACTERS))
    for r, row in enumerate(model.generate(prompts, max_new_tokens=10)):
        text = "".join(token.text for token in tokens if token.row == r)
        assert text == CHARACTERS.decode(row[LENGTHS[r] :])
    eos = int(model.generate(prompts[:1], max_new_tokens=5)[0][5])
    *_, last = model.stream(prompts[:1], max_new_tokens=9, tokenizer=CHARACTERS, eos_token_id=eos)
    assert (last.id, last.text, last.finish_reason) == (eos, "", "stop")


# What comes in and goes out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_kinds_of_prompts(model, prompts, dtype):
    ids = np.array([prompts[1], prompts[4]], dtype)
    out = model.generate(ids, max_new_tokens=3)
    assert out.dtype == dtype
    tensor = model.generate(fa.Tensor(ids), max_new_tokens=3)
    assert isinstance(tensor, fa.Tensor)
    np.testing.assert_array_equal(tensor.numpy(), out)
    for rows in (list(ids), ids.tolist(), tuple(map(tuple, ids.tolist())), [fa.Tensor(row) for row in ids]):
        assert [row.tolist() for row in model.generate(rows, max_new_tokens=3)] == out.tolist()


def test_nothing_to_do(model, prompts):
    assert [row.tolist() for row in model.generate(prompts, max_new_tokens=0)] == [p.tolist() for p in prompts]
    assert model.generate(np.zeros((0, 4), np.int64)).shape == (0, 4)
    assert model.generate([]) == []
    assert not model.calls


def test_a_config_and_options_over_it(model, prompts):
    config = fa.generation.GenerationConfig(max_new_tokens=5)
    assert len(model.generate(prompts[:1], config)[0]) == 8
    assert len(model.generate(prompts[:1], config, max_new_tokens=2)[0]) == 5


IDS = np.ones((2, 3), np.int64)
ERRORS = [
    (
        (IDS,),
        {"max_new_token": 3},
        TypeError,
        "generate: there is no option 'max_new_token'; expected max_new_tokens, do",
    ),
    ((IDS[0],), {}, ValueError, "generate: input_ids has shape (3,); expected (B, T), or a list of sequences"),
    ((IDS * 1.0,), {}, TypeError, "generate: input_ids has dtype float64; expected integers"),
    (([[1], []],), {}, ValueError, "generate: row 1 of input_ids is empty; expected at least one token"),
    (([IDS],), {}, ValueError, "generate: a row of input_ids has shape (2, 3); expected (T,)"),
    (([["a"]],), {}, TypeError, "generate: input_ids has dtype <U1; expected integers"),
    (([1, 2],), {}, ValueError, "generate: a row of input_ids has shape (); expected (T,)"),
    ((IDS,), {"attention_mask": IDS[:1]}, ValueError, "generate: attention_mask has shape (1, 3); expected (2, 3)"),
    ((IDS,), {"attention_mask": IDS * 0}, ValueError, "generate: row 0 of input_ids is empty"),
    (([[1]],), {"attention_mask": IDS}, TypeError, "generate: attention_mask goes with input_ids (B, T)"),
    ((IDS,), {"stop_strings": "x"}, ValueError, "generate: stop_strings are looked for in text; pass tokenizer="),
    ((IDS * V,), {}, IndexError, str(V)),
]


@pytest.mark.parametrize(("args", "options", "error", "message"), ERRORS, ids=[e[3] for e in ERRORS])
@pytest.mark.parametrize("method", ["generate", "stream"])
def test_errors(model, method, args, options, error, message):
    with pytest.raises(error) as raised:
        list(getattr(model, method)(*args, **options))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert model.training


@pytest.mark.parametrize("options", [{}, {"do_sample": True}, {"repetition_penalty": 2.0}], ids=str)
def test_logits_that_are_not_finite(model, options):
    with fa.no_grad():
        model.transformer.wpe.weight[4] = np.nan
    with pytest.raises(RuntimeError, match=r"generate: the logits of row 1 are not finite after 2 new tokens"):
        model.generate([[1], [1, 2, 3]], max_new_tokens=4, **options)


def test_errors_of_the_cache(model, prompts):
    model.eval()
    with pytest.raises(ValueError, match=r"^GPT: cache has 1 layers; expected 2, from new_cache\(\)"):
        model(IDS, cache=model.new_cache()[:1])
    cache = model.new_cache()
    with fa.no_grad():
        model(np.zeros((1, N), int), cache=cache)
        with pytest.raises(
            ValueError, match=f"^GPT: input_ids adds 1 tokens to the {N} of the cache; expected at most {N}"
        ):
            model(np.zeros((1, 1), int), cache=cache)
    with pytest.raises(RuntimeError, match="requires a gradient, and a cache keeps none"):
        model(IDS, cache=model.new_cache())
