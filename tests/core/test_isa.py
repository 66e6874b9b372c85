"""Instruction sets: listed, forced by name and by environment, and said by every kernel."""

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
        x = np.ones((1, 1, 5, 8), fa.bfloat16)
        fa.scaled_dot_product_attention(x, x, x)
        assert fa.last_kernel() == f"attention_fwd_bf16_{name}"


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
