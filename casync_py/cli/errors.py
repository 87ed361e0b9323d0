"""What is said about an error: one line that names the object and the cause."""

from __future__ import annotations

import os

from casync_py.errors import CasyncError


class AlreadyTold(CasyncError):
    """The run failed, and whoever needs to know has been told: nothing is to be said."""


def describe(error: BaseException) -> str:
    """One line for people, without the program's name in front."""
    if isinstance(error, CasyncError):
        return str(error)
    if isinstance(error, OSError):
        return _os_error(error)
    if isinstance(error, MemoryError):
        return "Out of memory; smaller values of --memory and --jobs need less"
    name = type(error).__name__
    cause = f"{name}: {error}" if str(error) else name
    return f"Internal error ({cause}); please report it with what the same command says with -v"


def _os_error(error: OSError) -> str:
    cause = error.strerror or str(error) or type(error).__name__
    names = [_name(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes, os.PathLike))]
    return f"{' -> '.join(names)}: {cause}" if names else cause


def _name(name: str | bytes | os.PathLike[str]) -> str:
    return os.fsdecode(name) or "''"
