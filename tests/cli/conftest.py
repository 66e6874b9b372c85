import os
import subprocess
import sys

import pytest


@pytest.fixture
def text(tmp_path):
    """A small text file."""
    path = tmp_path / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog.\n" * 40)
    return path


@pytest.fixture
def fastattn(tmp_path):
    """Runs the command line in a process of its own, in an empty folder."""

    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FASTATTN_")}

    def run(*args, code=0, **environment):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", "fastattn", *map(str, args)],
            cwd=tmp_path, env=inherited | {"COLUMNS": "120"} | environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        if code:
            assert len(done.stderr.splitlines()) == 1, done.stderr
        return done

    return run
