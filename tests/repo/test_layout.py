"""One op, one name, one file per layer; files that a reader can take in."""

import re

import pytest

# Headers that are no op.
NOT_OPS = {"fastattn", "types"}
# What an op does without, with the reason. An entry that is no longer true fails.
WITHOUT: dict[tuple[str, str], str] = {}
WRITTEN = {"cuda_registers.txt"}  # by a script, a line per kernel
CODE = {".py", ".cpp", ".h", ".cu", ".cuh", ".md", ".txt", ".toml", ".json", ".sh"}


def ops(root):
    return sorted(path.stem for path in (root / "csrc/ops").glob("*.h") if path.stem not in NOT_OPS)


def layers(root, package, op):
    """Where an op's files are: layer, and what is there."""
    return {
        "kernel": list((root / "csrc/cpu/kernels").glob(f"{op}*.simd.cpp")),
        "binding": list((root / "csrc/bindings").glob(f"bind_{op}.cpp")),
        "python": list((package / "ops").glob(f"{op}.py")),
        "test": list((root / "tests/ops").glob(f"test_{op}*.py")),
        "bench": list((root / "bench").glob(f"bench_{op}*.py")),
    }


@pytest.mark.smoke
def test_every_op_has_every_layer(root, package):
    found = {op: layers(root, package, op) for op in ops(root)}
    missing = [f"{op}: {layer}" for op in found for layer, files in found[op].items() if not files]
    allowed = [f"{op}: {layer}" for op, layer in WITHOUT]
    assert len(found) > 10
    assert sorted(missing) == sorted(allowed), "missing, and not in WITHOUT (or there, and in WITHOUT)"


def test_every_op_is_in_every_list(root, package):
    header = (root / "csrc/ops/fastattn.h").read_text()
    module = (root / "csrc/bindings/module.cpp").read_text()
    lists = {
        "include in fastattn.h": lambda op: f'#include "{op}.h"' in header,
        "call in module.cpp": lambda op: f"bind_{op}(m)" in module,
        "import in ops/__init__.py": lambda op: f"from .{op} import" in (package / "ops/__init__.py").read_text(),
    }
    assert [f"{op}: {what}" for op in ops(root) for what, test in lists.items() if not test(op)] == []


def test_every_entry_of_the_table_has_its_params(root):
    text = (root / "csrc/ops/fastattn.h").read_text()
    entries = re.findall(r"X\((\w+)\)", text.partition("#define FA_OPS(X)")[2].partition("\n\n")[0])
    headers = "".join(path.read_text() for path in (root / "csrc/ops").glob("*.h"))
    assert len(entries) > 15
    assert [name for name in entries if f"}} fa_{name}_params;" not in headers
            and f" fa_{name}_params;" not in headers] == []  # fmt: skip


def test_files_are_short(sources, root):
    long = {}
    for path in sources:
        if path.suffix in CODE and "results" not in path.parts and path.name not in WRITTEN:
            lines = len(path.read_text().splitlines())
            if lines > 500:
                long[str(path.relative_to(root))] = lines
    assert long == {}


def test_no_machine_is_named(sources, root):
    """A path or a name of somebody's machine works there alone."""
    pattern = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/\w|(?<![\w/.])/tmp/\w")
    found = [
        f"{path.relative_to(root)}:{number}"
        for path in sources
        if path.suffix in CODE or path.parent.name == ".ci"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == []


def test_the_version_is_said_once(root):
    import tomllib

    import fastattn

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project.get("version", fastattn.__version__) == fastattn.__version__
