"""The thread pool: set, inherited from the environment, nested, shared between Python threads, forked."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

import fastattn as fa
from fastattn.testing import assert_same_bits, threads


@pytest.fixture
def work(rng):
    """A function of several parallel regions, and its result on one thread."""
    a, b = rng.standard_normal((150, 200)), rng.standard_normal((200, 180))
    q = rng.standard_normal((2, 2, 90, 16))

    def run():
        return fa.softmax(fa.matmul(a, b)), fa.scaled_dot_product_attention(q, q, q), fa.exp(a)

    with threads(1):
        expected = run()
    return run, expected


def test_set_num_threads():
    before = fa.get_num_threads()
    for n in (1, 2, 7):
        fa.set_num_threads(n)
        assert fa.get_num_threads() == fa.build_info()["threads"] == n
    with pytest.raises(ValueError, match="set_num_threads: n is -1; expected 1 or more, or 0 for the default"):
        fa.set_num_threads(-1)
    assert fa.get_num_threads() == 7
    fa.set_num_threads(0)
    assert fa.get_num_threads() >= 1
    fa.set_num_threads(before)


def test_number_of_environment(tmp_path):
    code = "import fastattn as fa; print(fa.get_num_threads())"

    def run(**environment):
        clean = {k: v for k, v in os.environ.items() if k not in ("FASTATTN_NUM_THREADS", "OMP_NUM_THREADS")}
        result = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            env={**clean, **environment},
        )
        return int(result.stdout)

    default = run()
    assert 1 <= default <= len(os.sched_getaffinity(0))
    assert run(OMP_NUM_THREADS="3") == 3
    assert run(OMP_NUM_THREADS="3", FASTATTN_NUM_THREADS="5") == 5
    assert run(FASTATTN_NUM_THREADS="100000") <= 256
    for nonsense in ("", "0", "-2", "many"):
        assert run(FASTATTN_NUM_THREADS=nonsense) == default


@pytest.mark.smoke
@pytest.mark.parametrize("n", [2, 3, 16])
def test_more_threads_than_cpus(work, n):
    run, expected = work
    with threads(n):
        for _ in range(20):
            assert_same_bits(run(), expected)


def in_parallel(functions):
    """Runs functions in Python threads that start together; returns what they return."""
    barrier, results = threading.Barrier(len(functions)), [None] * len(functions)

    def body(i):
        barrier.wait()
        results[i] = functions[i]()

    started = [threading.Thread(target=body, args=(i,)) for i in range(len(functions))]
    for t in started:
        t.start()
    for t in started:
        t.join()
    return results


@pytest.mark.smoke
def test_concurrent_python_threads(work):
    """One region at a time: a second caller runs inline, with the same bits."""
    run, expected = work
    with threads(2):
        results = in_parallel([lambda: [run() for _ in range(10)]] * 4)
    for each in results:
        for found in each:
            assert_same_bits(found, expected)


def test_changing_the_number_while_kernels_run(work):
    run, expected = work
    before = fa.get_num_threads()

    def change():
        for i in range(200):
            fa.set_num_threads(1 + i % 4)

    results = in_parallel([change, lambda: [run() for _ in range(15)], lambda: [run() for _ in range(15)]])
    fa.set_num_threads(before)
    for found in results[1] + results[2]:
        assert_same_bits(found, expected)


def test_changing_the_isa_while_kernels_run(work):
    """Each call runs in one variant; which one is the caller's business."""
    run, _ = work
    names, before = fa.build_info()["isas"], fa.build_info()["isa"]

    def change():
        for i in range(200):
            fa.force_isa(names[i % len(names)])

    results = in_parallel([change, lambda: [run() for _ in range(10)]])
    fa.force_isa(before)
    assert all(np.isfinite(x).all() for found in results[1] for x in found)


def test_allocations_of_python_threads_do_not_mix(rng):
    x = rng.standard_normal((300, 400))
    expected = [fa.exp(x + i) for i in range(4)]
    results = in_parallel([lambda i=i: [fa.exp(x + i) for _ in range(20)] for i in range(4)])
    for i in range(4):
        for found in results[i]:
            assert_same_bits(found, expected[i])


def test_the_gil_is_released():
    """Another Python thread runs while a kernel does: it counts up during one long call."""
    x, counts, done = np.ones(4_000_000), [0], threading.Event()

    def count():
        while not done.is_set():
            counts[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    try:
        with threads(1):
            moved = 0
            for _ in range(50):
                before = counts[0]
                fa.exp(x, out=x)
                moved += counts[0] != before
    finally:
        done.set()
        thread.join()
    assert moved > 0


# fork ----------------------------------------------------------------------------------------------------------------


def forked(function):
    """What `function` returns in a forked child: True for success."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking a process with threads: what is tested
        pid = os.fork()
    if pid == 0:
        code = 1
        signal.alarm(60)  # a child that hangs dies, and the test fails
        try:
            function()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.smoke
def test_a_forked_child_works(work):
    run, expected = work
    with threads(3):
        run()  # the parent's workers exist

        def child():
            for _ in range(5):
                assert_same_bits(run(), expected)
            assert forked(lambda: assert_same_bits(run(), expected))

        assert forked(child)
        assert_same_bits(run(), expected)


def test_fork_while_another_thread_computes(work):
    run, expected = work
    with threads(2):
        stop = threading.Event()

        def busy():
            while not stop.is_set():
                run()

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for _ in range(10):
                assert forked(lambda: assert_same_bits(run(), expected))
        finally:
            stop.set()
            thread.join()


def child_of_pool(seed):
    x = np.random.default_rng(seed).standard_normal((80, 80))
    return fa.matmul(x, x)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method):
    fa.matmul(np.ones((80, 80)), np.ones((80, 80)))
    if method == "spawn" and not getattr(sys.modules[__name__], "__spec__", None):
        pytest.skip("the test module cannot be imported by name")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        function = child_of_pool if method == "fork" else fa.exp
        with multiprocessing.get_context(method).Pool(2) as pool:
            arguments = range(4) if method == "fork" else [np.full(9, float(i)) for i in range(4)]
            results = pool.map(function, arguments)
    for argument, found in zip(arguments, results, strict=True):
        assert_same_bits(found, function(argument))


def test_flush_to_zero_of_the_caller_reaches_the_workers(isa):
    """Results do not depend on who ran an item: workers take on the caller's rounding and denormal modes."""
    torch = pytest.importorskip("torch", reason="sets the processor's flush-to-zero mode")
    x = np.full((64, 40000), 1e-310)
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor has no flush-to-zero")
    try:
        with threads(3):
            flushed = fa.dropout(x, 0.0, seed=0)
        with threads(1):
            alone = fa.dropout(x, 0.0, seed=0)
    finally:
        torch.set_flush_denormal(False)
    assert_same_bits(flushed, alone)
    with threads(3):
        assert (fa.dropout(x, 0.0, seed=0) == 1e-310).all()
