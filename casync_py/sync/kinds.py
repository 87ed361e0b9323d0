"""What is made or read when the user does not say: by `--what`, else by suffix, else by the input's type."""

from __future__ import annotations

import os
import stat
from enum import Enum
from typing import TYPE_CHECKING

from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection


class Kind(Enum):
    """The values are those of `--what=`."""

    ARCHIVE = "archive"
    ARCHIVE_INDEX = "archive-index"
    BLOB = "blob"
    BLOB_INDEX = "blob-index"
    DIRECTORY = "directory"

    @property
    def is_index(self) -> bool:
        return self in {Kind.ARCHIVE_INDEX, Kind.BLOB_INDEX}

    @property
    def is_tree(self) -> bool:
        return self in {Kind.ARCHIVE, Kind.ARCHIVE_INDEX, Kind.DIRECTORY}


def asked_kind(what: str | None, allowed: Collection[Kind], verb: str) -> Kind | None:
    """`--what` as a kind that the verb can work on.

    Raises:
        UsageError: it cannot.
    """
    if what is None:
        return None
    try:
        kind = Kind(what)
    except ValueError:
        kind = None
    if kind is None or kind not in allowed:
        names = ", ".join(f"--what={each.value}" for each in Kind if each in allowed)
        raise UsageError(f"{verb} may only be combined with {names}, not --what={what}")
    return kind


def suffix_kind(content: str | None) -> Kind | None:
    """A locator's `content` (its suffix) as a kind."""
    return Kind(content) if content else None


def kind_of_file(mode: int, name: str) -> Kind:
    """DIRECTORY, or BLOB for a regular file or block device.

    Raises:
        UsageError: anything else.
    """
    if stat.S_ISDIR(mode):
        return Kind.DIRECTORY
    if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
        return Kind.BLOB
    raise UsageError(f"{name}: Neither a directory, a regular file nor a block device")


def kind_of_path(path: str) -> Kind:
    """`kind_of_file` of what is at a path now. Raises OSError where nothing is."""
    return kind_of_file(os.stat(path).st_mode, path)
