"""The command line: `fastattn train`, `finetune`, `eval`, `predict`, `summary`, `embed`, `generate`, `bench`, `doctor` and
`info`; `fastattn --version`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C. An error is one line on standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastattn._device import device

__all__ = ["main"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130
TEMPERATURE = 0.8  # of what is drawn where no flag says otherwise


class UsageError(ValueError):
    """Flags that do not go together, or a value out of its range."""


def device_of(flag: str) -> device:
    """The device that --device asks for, before anything else is done.

    Raises:
        ValueError: there is no such GPU; the message says why.
        ImportError: CuPy is missing.
    """
    from fastattn._device import resolve

    where = resolve("--device", flag)
    if where.type == "cuda":
        from fastattn.interop import cupy  # noqa: F401
    return where


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        args: the arguments; default those of the process.

    Returns:
        The exit code.

    Example:
        >>> import fastattn.cli
        >>> fastattn.cli.main(["trian"])
        2

    Source: none.
    """
    args = sys.argv[1:] if args is None else list(args)
    try:
        from .app import app

        return int(app(args, prog_name="fastattn", standalone_mode=False) or 0)
    except KeyboardInterrupt:
        return _fail("stopped", INTERRUPTED)
    except Exception as error:
        return _report(error)


def _report(error: Any) -> int:
    """One line for an error, and its exit code."""
    if hasattr(error, "format_message"):  # what typer raises for wrong usage, whichever click it stands on
        context = getattr(error, "ctx", None)
        where = f"; see {context.command_path} --help" if context else ""
        return _fail(_one_line(error.format_message()).rstrip(".") + where, error.exit_code)
    if type(error).__name__ == "Abort":
        return _fail("stopped", INTERRUPTED)
    if isinstance(error, UsageError):
        return _fail(_one_line(str(error)), USAGE)
    if isinstance(error, MemoryError):
        return _fail(f"out of memory: {_one_line(str(error)) or 'smaller batches, context or width need less'}", FAILED)
    if isinstance(error, (OSError, ValueError, TypeError, RuntimeError, ImportError)):
        return _fail(_one_line(str(error)) or type(error).__name__, FAILED)
    # A fault of fastattn itself: the type is what a report of it needs.
    return _fail(f"internal error, {type(error).__name__}: {_one_line(str(error))}", FAILED)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _fail(message: str, code: int) -> int:
    print(f"fastattn: {message}", file=sys.stderr)
    return code
