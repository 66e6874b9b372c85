"""What runs: each instruction set of this machine on one product, beside NumPy. For figures to keep: fastattn bench."""

import time

import numpy as np

import fastattn as fa

SIZE, ROUNDS = 512, 5
rng = np.random.default_rng(0)
a, b = rng.standard_normal((2, SIZE, SIZE), dtype=np.float32)
exact = a.astype(np.float64) @ b.astype(np.float64)


def seconds(function):
    start = time.perf_counter()
    function(a, b)
    return time.perf_counter() - start


def under(isa):
    def run(x, y):
        fa.force_isa(isa)
        return fa.matmul(x, y)

    return run


contestants = {isa: under(isa) for isa in fa.build_info()["isas"]} | {"numpy": np.matmul}
kernels = {}
for name, function in contestants.items():  # warm, and right
    assert np.abs(function(a, b) - exact).max() < 1e-3
    kernels[name] = fa.last_kernel() if name != "numpy" else "its BLAS"

# In turns, so that a busy moment hits all; the best of the rounds is the least disturbed.
times = [{name: seconds(function) for name, function in contestants.items()} for _ in range(ROUNDS)]
fa.force_isa(None)
call = fa.explain(fa.matmul, a, b)[0]
print(f"{SIZE} x {SIZE} x {SIZE}, {fa.get_num_threads()} threads; the best would be {call.kernel}")
for name, kernel in kernels.items():
    best = min(turn[name] for turn in times)
    print(f"{name:12} {best * 1e3:8.2f} ms  {call.flops / best / 1e9:7.1f} GFLOP/s  {kernel}")
