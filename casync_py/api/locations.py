"""What a locator means to a verb: a standard stream, a path of this machine, the default store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from casync_py.errors import UsageError
from casync_py.files import STANDARD_STREAM, STDIN
from casync_py.remote.locator import LocatorKind, parse_locator
from casync_py.sync.kinds import Kind, kind_of_file

if TYPE_CHECKING:
    from casync_py.options import Settings


def is_standard(text: str | None) -> bool:
    """Whether a standard stream is meant: no argument, or `-`."""
    return text is None or text == STANDARD_STREAM


def main_store(settings: Settings, index: str | None) -> str:
    """Locator of the main store: as chosen, `$CASYNC_STORE`, or `default.castr` beside the index."""
    chosen = settings.store or os.environ.get("CASYNC_STORE")
    if chosen:
        return chosen
    return "default.castr" if index is None or is_standard(index) else parse_locator(index).default_store()


def directory(text: str) -> str | int:
    """A local directory's path, or the descriptor of the one that standard input is, for `-`."""
    return STDIN if text == STANDARD_STREAM else parse_locator(text).path


def input_type(text: str | None) -> Kind | None:
    """Type of a local input (or of standard input); None for what is not a path of this machine."""
    if is_standard(text):
        return kind_of_file(os.fstat(STDIN).st_mode, "standard input")
    assert text is not None
    locator = parse_locator(text)
    if locator.scheme != "path":
        return None
    return kind_of_file(os.stat(locator.path).st_mode, locator.path)


def local_path(text: str, purpose: str) -> str:
    """The path that a locator is, for what can only be done on this machine.

    Raises:
        UsageError: it is no path; the message has `purpose` in it.
    """
    locator = parse_locator(text)
    if locator.kind is not LocatorKind.PATH:
        raise UsageError(f"{locator.shown}: Can only {purpose} on this machine")
    return locator.path
