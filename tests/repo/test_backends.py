"""Which entries of the table only one backend has, and why."""

import re

# Entry: what its caller is told. An entry that both backends have is not here.
ONLY_CPU: dict[str, str] = {}


def test_entries_of_one_backend(root):
    """The CPU has every entry, or it does not link; CUDA has a kernel or a reason."""
    header = (root / "csrc/ops/fastattn.h").read_text()
    table = set(re.findall(r"X\((\w+)\)", header.partition("#define FA_OPS(X)")[2].partition("\n\n")[0]))
    cuda = (root / "csrc/cuda/entries.h").read_text()
    kernels = set(re.findall(r"^fa_status (\w+)\(const", cuda, re.M))
    missing = dict(re.findall(r'X\((\w+), "([^"]+)"\)', cuda.partition("#define FA_CUDA_MISSING(X)")[2]))
    assert len(table) > 15
    assert kernels | set(missing) == table
    assert not kernels & set(missing)
    assert missing == ONLY_CPU
