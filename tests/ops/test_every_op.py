"""What holds for all ops, over the table of `fastattn.testing.op_cases`: values, explain(), threads."""

import numpy as np
import pytest

import fastattn as fa
from fastattn._runtime import ISAS
from fastattn.testing import (
    assert_same_bits,
    assert_same_for_any_threads,
    forced_isa,
    isas,
    unchanged,
    variants,
)
from fastattn.testing.op_case import copies
from fastattn.testing.op_cases import OP_CASES
from fastattn.testing.op_checks import check_case

IN_PLACE = {"adam_step", "sgd_step", "grad_scale", "uniform_", "normal_"}
CASES = [pytest.param(case, id=case.name) for case in OP_CASES]


def test_every_op_has_a_case():
    from fastattn import ops

    public = {name for name in ops.__all__ if not isinstance(getattr(ops, name), type)}
    # rope_cos_sin makes tables; the result of cast has another dtype than x: test_rope and test_cast have them.
    assert public - {"rope_cos_sin", "cast"} == {case.op for case in OP_CASES}
    assert len({case.name for case in OP_CASES}) == len(OP_CASES)


@pytest.mark.smoke
@pytest.mark.parametrize("case", CASES)
def test_reference_and_finite_differences(case):
    found = list(check_case(case, [*isas(), *variants()]))
    assert [f for f in found if f.problem] == []
    assert {(f.isa, f.dtype) for f in found if "_" not in f.isa} == {(i, d) for i in isas() for d in case.dtypes}
    for f in found:  # a variant only where it has a kernel of its own
        assert f.check == "backward" or not f.kernels or any(k.endswith(f"_{f.isa}") for k in f.kernels)


@pytest.mark.parametrize("case", CASES)
def test_same_bits_for_any_threads(case):
    arguments = case.arguments("float32", case.sizes[-1])
    assert_same_for_any_threads(lambda: case.call(*copies(arguments), **case.options))


@pytest.mark.smoke
@pytest.mark.parametrize("case", CASES)
def test_explain_answers_what_then_runs(isa, case):
    arguments = case.arguments("float64", case.sizes[0])
    (what,) = fa.explain(case.call, *arguments, **case.options)
    assert what.unsupported == ""
    assert what.kernel.endswith(f"_f64_{isa}")
    assert what.bytes > 0
    assert what.workspace >= 0
    assert what.roofline > 0
    assert set(what.others) == {*ISAS, "cuda"} - {isa}
    case.call(*arguments, **case.options)
    assert fa.last_kernel() == what.kernel


def as_tensor(a):
    return fa.Tensor(a) if isinstance(a, np.ndarray) and a.dtype.kind == "f" else a


def as_torch(a):
    torch = pytest.importorskip("torch")
    return torch.from_numpy(a) if isinstance(a, np.ndarray) else a


def versions(arguments):
    """How often each tensor was changed."""
    found = [getattr(a, "_version", None) for a in arguments if not isinstance(a, np.ndarray)]
    return [v[0] if isinstance(v, list) else v for v in found]


@pytest.mark.parametrize("kind", [np.asarray, as_tensor, pytest.param(as_torch, marks=pytest.mark.parity)])
@pytest.mark.parametrize("case", CASES)
def test_explain_changes_nothing(case, kind):
    arguments = case.arguments("float64", case.sizes[0])
    given = [kind(a) if isinstance(a, np.ndarray) else a for a in arguments]
    before = versions(given)
    state, kernel = fa.get_rng_state(), fa.last_kernel()
    with unchanged(*(a for a in arguments if isinstance(a, np.ndarray))):
        fa.explain(case.call, *given, **case.options)
    assert versions(given) == before
    assert (fa.get_rng_state(), fa.last_kernel()) == (state, kernel)


@pytest.mark.parametrize("case", [c for c in OP_CASES if c.op in IN_PLACE], ids=lambda c: c.name)
def test_the_same_call_changes_what_explain_did_not(case):
    arguments = case.arguments("float64", case.sizes[0])
    given = [as_tensor(a) for a in arguments]
    case.call(*given, **case.options)
    assert any(a._version[0] > 0 for a in given if isinstance(a, fa.Tensor))


def test_explain_leaves_out_and_the_random_stream():
    x, out = fa.ones(3, 4), fa.zeros(3, 4)
    state = fa.get_rng_state()
    fa.explain(fa.softmax, x, out=out)
    fa.explain(fa.dropout, x)
    fa.explain(fa.normal_, out)
    fa.explain(fa.uniform_, out)
    fa.explain(fa.scaled_dot_product_attention, *[fa.ones(1, 1, 4, 4)] * 3, is_causal=True)
    assert fa.get_rng_state() == state
    assert out._version == x._version == [0, 0]
    assert out.tolist() == fa.zeros(3, 4).tolist()
    fa.softmax(x, out=out)
    assert out._version[0] == 1
    fa.dropout(x)
    assert fa.get_rng_state() == (state[0], state[1] + 1)
    fa.set_rng_state(state)


def test_explain_of_a_backward_leaves_gradients_and_graph():
    x = fa.ones(4, 5, requires_grad=True)
    loss = fa.softmax(x).sum()
    names = [e.kernel.rsplit("_", 2)[0] for e in fa.explain(loss.backward)]
    assert names == ["softmax_bwd"]
    assert x.grad is None
    loss.backward()  # the graph is still there
    kept = x.grad.tolist()
    fa.explain(lambda: fa.softmax(x).backward(fa.ones(4, 5)))
    assert x.grad.tolist() == kept
    assert x.grad._version[0] == 0


def test_explain_in_one_thread_leaves_others_alone():
    import threading

    state, done = fa.get_rng_state(), []

    def other():
        x = np.ones(8)
        fa.uniform_(x)
        done.append((x != 1).any())

    def explained():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    fa.explain(explained)
    assert done == [True]
    assert fa.get_rng_state() == (state[0], state[1] + 1)
    fa.set_rng_state(state)


def test_explain_says_why_not_the_others(isa):
    others = fa.explain(fa.exp, np.ones(3))[0].others
    here = fa.build_info()["isas"]
    for name in {*ISAS} - {isa}:
        best = f"{isa} is the best that this machine runs" if isa == here[0] else f"{isa} is forced"
        assert others[name] == (best if name in here else "this machine does not run it")
    assert others["cuda"] == (fa.cuda.unavailable() or "the arrays are on the CPU")


@pytest.mark.parametrize("name", variants())
def test_explain_of_a_variant(name):
    x, base = np.ones((4, 4), fa.bfloat16), name.partition("_")[0]
    with forced_isa(name):
        (own,), (shared,) = fa.explain(fa.matmul, x, x), fa.explain(fa.gelu, x)
    assert own.kernel == f"matmul_bf16_{name}"
    assert own.others[base].startswith(f"{name} is ")
    assert shared.kernel == f"gelu_fwd_bf16_{base}"
    assert shared.others[name] == f"it has no kernel of its own for this, and runs gelu_fwd_bf16_{base}"
    assert own.roofline > 0 < shared.roofline


def test_explain_leaves_a_cache_alone():
    x, cache = np.ones((1, 2, 3, 4)), fa.KVCache()
    cache.append(x, x)
    (what,) = fa.explain(fa.attention_with_kv_cache, x, cache, x, x)
    assert what.kernel.startswith("attention_fwd_f64_")
    fa.explain(cache.append, x, x)
    assert cache.length == 3
    fa.attention_with_kv_cache(x, cache, x, x)
    assert cache.length == 6


def test_roofline_is_the_longer_of_both_limits(monkeypatch):
    from fastattn import _ceilings

    monkeypatch.setattr(_ceilings, "_peak", lambda isa, dtype, threads: 50.0)
    monkeypatch.setattr(_ceilings, "_bandwidth", lambda size, threads: 10.0)
    assert _ceilings.roofline(100.0, 10.0, "float32", "scalar", 1) == 2.0
    assert _ceilings.roofline(10.0, 100.0, "float32", "scalar", 1) == 10.0
    assert _ceilings.roofline(0.0, 0.0, "float32", "scalar", 1) == 0.0


def test_an_op_in_place_gives_what_it_wrote():
    for case in OP_CASES:
        if case.op in IN_PLACE:
            arguments = case.arguments("float64", case.sizes[0])
            result = case.call(*arguments, **case.options)
            first = result[0] if isinstance(result, tuple) else result
            assert first is arguments[0], case.name
            assert_same_bits(first, arguments[0])
