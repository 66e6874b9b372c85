"""Instruction sets: listed, forced by name and by environment, and said by every kernel."""

import inspect
import os
import subprocess
import sys

import numpy as np
import pytest

import fastattn as fa
from fastattn.testing import forced_isa, isas, variants


def run(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_list_ends_with_scalar():
    names = isas()
    assert names[-1] == "scalar"
    assert set(names) <= {"avx512", "avx2", "scalar"}
    assert names == sorted(names, key=["avx512", "avx2", "scalar"].index)
    assert set(variants()) <= {"avx512_bf16"}
    assert fa.build_info()["isas"] == [*variants(), *names]


@pytest.mark.parametrize("name", variants())
def test_a_variant_has_the_other_kernels_of_its_instruction_set(name):
    with forced_isa(name):
        fa.gelu(np.ones(3))
        assert fa.last_kernel() == f"gelu_fwd_f64_{name.split('_')[0]}"
        x = np.ones((2, 2), fa.bfloat16)
        fa.matmul(x, x)
        assert fa.last_kernel() == f"matmul_bf16_{name}"
        fa.matmul(x.astype(np.float32), x.astype(np.float32))
        assert fa.last_kernel() == f"matmul_f32_{name.split('_')[0]}"


def test_force_isa(isa):
    assert fa.build_info()["isa"] == isa
    fa.gelu(np.ones(3))
    assert fa.last_kernel() == f"gelu_fwd_f64_{isa}"


@pytest.mark.parametrize("name", ["avx1024", "", "SCALAR", "scalar,avx2"])
def test_a_wrong_name_changes_nothing(isa, name):
    with pytest.raises(ValueError, match=f"force_isa: {name} is not one of what this machine runs: .*scalar"):
        fa.force_isa(name)
    assert fa.build_info()["isa"] == isa


def test_none_is_the_best():
    with forced_isa("scalar"):
        fa.force_isa(None)
        assert fa.build_info()["isa"] == fa.build_info()["isas"][0]


@pytest.mark.smoke
@pytest.mark.parametrize("name", isas())
def test_environment(name):
    result = run(
        "import numpy, fastattn as fa; fa.exp(numpy.ones(3)); print(fa.build_info()['isa'], fa.last_kernel())",
        FASTATTN_ISA=name,
    )
    active, kernel = result.stdout.split()
    assert active == name
    assert kernel.endswith(f"_f64_{name}")


def test_a_wrong_environment_says_what_there_is():
    result = run("import fastattn as fa; fa.build_info()", FASTATTN_ISA="avx1024")
    assert result.returncode != 0
    text = result.stderr.strip().splitlines()[-1]
    assert text.startswith("ImportError: fastattn: FASTATTN_ISA=avx1024 is not one of what this machine runs: ")
    assert "scalar" in text


def test_an_empty_environment_is_none():
    result = run("import fastattn as fa; print(fa.build_info()['isa'])", FASTATTN_ISA="")
    assert result.stdout.strip() == fa.build_info()["isas"][0]


def every_op():
    """A call of every op."""
    x, square = np.ones((2, 3)), np.ones((1, 1, 4, 4))
    lists = [[np.ones(3)] for _ in range(4)]
    return {
        "attention_with_kv_cache": lambda: fa.attention_with_kv_cache(square, fa.KVCache(), square, square),
        "adam_step": lambda: fa.adam_step(*lists, step=1, lr=0.1),
        "cast": lambda: fa.cast(x, np.float32),
        "cross_entropy": lambda: fa.cross_entropy(x, np.zeros(2, int)),
        "dropout": lambda: fa.dropout(x, seed=0),
        "embedding": lambda: fa.embedding(np.zeros(2, int), x),
        "erf": lambda: fa.erf(x),
        "exp": lambda: fa.exp(x),
        "gelu": lambda: fa.gelu(x),
        "grad_norm": lambda: fa.grad_norm([x]),
        "grad_scale": lambda: fa.grad_scale([x], 1.0),
        "layer_norm": lambda: fa.layer_norm(x, 3),
        "log": lambda: fa.log(x),
        "log_softmax": lambda: fa.log_softmax(x),
        "matmul": lambda: fa.matmul(x, x.T),
        "normal_": lambda: fa.normal_(x, seed=0),
        "relu": lambda: fa.relu(x),
        "rms_norm": lambda: fa.rms_norm(x, 3),
        "rope": lambda: fa.rope(x, x[:, :1], x[:, :1]),
        "scaled_dot_product_attention": lambda: fa.scaled_dot_product_attention(square, square, square + 1),
        "sgd_step": lambda: fa.sgd_step(*lists[:2], lr=0.1),
        "sigmoid": lambda: fa.sigmoid(x),
        "silu": lambda: fa.silu(x),
        "softmax": lambda: fa.softmax(x),
        "swiglu": lambda: fa.swiglu(x, x),
        "tanh": lambda: fa.tanh(x),
        "uniform_": lambda: fa.uniform_(x, seed=0),
    }


def test_every_op_has_a_call():
    from fastattn import ops

    functions = {name for name in ops.__all__ if inspect.isfunction(getattr(ops, name))}
    assert functions == set(every_op()) | {"rope_cos_sin"}


@pytest.mark.smoke
@pytest.mark.parametrize("name", every_op())
def test_explain_answers_what_then_runs(isa, name):
    call = every_op()[name]
    (what,) = fa.explain(call)
    assert what.unsupported == ""
    assert what.kernel.endswith(f"_f64_{isa}")
    assert what.bytes > 0
    assert what.workspace >= 0
    call()
    assert fa.last_kernel() == what.kernel


def test_explain_runs_nothing():
    x = np.full((3, 3), 7.0)
    before = fa.last_kernel()
    fa.explain(fa.softmax, x, out=x)
    assert (x == 7).all()
    assert fa.last_kernel() == before
    with pytest.raises(ValueError, match="softmax: axis 2"):
        fa.explain(fa.softmax, x, 2)
    fa.softmax(x, out=x)  # an error within explain leaves nothing behind
    assert (x != 7).all()


def test_explain_of_a_gradient():
    def step():
        t = fa.Tensor(np.ones((4, 5)), requires_grad=True)
        fa.softmax(t).backward(fa.Tensor(np.ones((4, 5))))

    assert [e.kernel.rsplit("_", 2)[0] for e in fa.explain(step)] == ["softmax_fwd", "softmax_bwd"]


def test_threads_have_their_own_last_kernel():
    import threading

    fa.gelu(np.ones(3))
    before, seen = fa.last_kernel(), []
    thread = threading.Thread(target=lambda: seen.extend([fa.last_kernel(), fa.exp(np.ones(3)), fa.last_kernel()]))
    thread.start()
    thread.join()
    assert seen[0] == ""
    assert seen[2] != before
    assert fa.last_kernel() == before
