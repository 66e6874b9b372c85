"""Files that are there whole or not at all."""

import os
import subprocess
import sys

import pytest

from fastattn.io import atomic_write


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "a.bin"
    atomic_write(path, b"one")
    atomic_write(path, "zwei \N{LATIN SMALL LETTER U WITH DIAERESIS}")
    assert path.read_bytes() == b"zwei \xc3\xbc"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_failure_before_the_rename_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.bin"
    atomic_write(path, b"old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"], "the temporary file is still there"


def test_death_before_the_rename_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    atomic_write(path, b"old")
    code = "import os, sys; os.replace = lambda *_: os._exit(9)\n"
    code += "from fastattn.io import atomic_write; atomic_write(sys.argv[1], b'new')"
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 9
    assert path.read_bytes() == b"old"
    temporary = [p.name for p in tmp_path.iterdir() if p != path]
    assert all(name.startswith(".") and name.endswith(".tmp") for name in temporary)


def test_content_reaches_the_disk_before_the_name_does(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(handle):
        calls.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def record_replace(*args):
        calls.append("rename")
        replace(*args)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    atomic_write(tmp_path / "a.bin", b"x")
    assert calls == ["file", "rename", "folder"]


def test_mode_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "a.bin", b"x")
    finally:
        os.umask(before)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o640


def test_missing_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "nowhere" / "a.bin", b"x")
