"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def atomic_write(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Writes a file so that a crash at any moment leaves the old content or the new, never a part.

    The data go to a temporary file in the same folder, which is flushed to the disk and renamed over `path`; then the
    folder is flushed too, or a power cut could undo the rename.

    Args:
        path: the file to write; its folder must exist.
        data: the content; a str is written as UTF-8.

    Raises:
        OSError: the folder is missing, read-only or full; `path` is then as it was.

    Example:
        >>> import pathlib, tempfile, fastattn as fa
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fa.io.atomic_write(folder + "/a.txt", "whole")
        ...     pathlib.Path(folder, "a.txt").read_text()
        'whole'
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    # O_EXCL: the name is ours alone. 0o666: the umask takes from it, as for any new file.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
