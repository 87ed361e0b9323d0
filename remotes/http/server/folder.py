"""What a page says about a folder: what is served there, with the sizes that are cheap to tell."""

from __future__ import annotations

import os
import random
import re
from typing import TYPE_CHECKING, NamedTuple

from casync_py.errors import FormatError
from casync_py.format.index import Index
from casync_py.remotes.http.server.answers import Refusal
from casync_py.remotes.http.server.places import is_store
from casync_py.store.castr import list_prefixes

if TYPE_CHECKING:
    from casync_py.remotes.http.server.places import Entry, Names, Places

_CHUNK = re.compile(r"[0-9a-f]{64}(\.\w+)?")
_COUNTED = 256  # directories of a store that are looked into; ids are random, so that the others are like them
_INDEXES_MAX = 1000  # that are looked into for one page
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Item(NamedTuple):
    """One thing in a folder.

    Attributes:
        kind: "folder", "store", "archive", "archive-index" or "blob-index".
        size: bytes of the file; None of a directory.
        mtime: seconds since the epoch; None of a directory.
        chunks, content: of an index, how many chunks it lists and how many bytes they are.
    """

    name: str
    kind: str
    size: int | None
    mtime: float | None
    chunks: int | None
    content: int | None


class Folder(NamedTuple):
    """A directory as a page shows it.

    Attributes:
        names: its path.
        items: sorted; folders and stores first.
        is_store: chunks are in it.
        chunks: of a store, how many there are.
        exact: `chunks` was counted, not estimated.
        made_up: it only has the directories that are served together, and takes nothing.
    """

    names: Names
    items: list[Item]
    is_store: bool
    chunks: int
    exact: bool
    made_up: bool = False


def look(places: Places, names: Names) -> Folder | None:
    """What is in a folder; None where there is no folder. Reads files: to be called in a thread.

    Raises:
        Refusal: 404, it is not below the directories that are served.
        OSError: it is absent or cannot be read.
    """
    entries = places.list_folder(names)
    if entries is None:
        return None
    items = [_item(places, names, entry, looked_into=number < _INDEXES_MAX) for number, entry in enumerate(entries)]
    items.sort(key=lambda item: (item.size is not None, item.name))
    if places.tops and not names:
        return Folder(names, items, False, 0, True, made_up=True)
    directory, name = places.enter(names)
    try:
        fd = os.open(name, _OPEN, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        if not is_store(names[-1] if names else "", fd):
            return Folder(names, items, False, 0, True)
        return Folder(names, items, True, *_count(fd))
    finally:
        os.close(fd)


def _item(places: Places, names: Names, entry: Entry, *, looked_into: bool) -> Item:
    if entry.kind in ("folder", "store"):
        return Item(entry.name, entry.kind, None, None, None, None)
    chunks = content = None
    if looked_into and entry.kind != "archive":
        try:
            with Index.open(places.open_file((*names, entry.name)), entry.name) as index:
                chunks, content = len(index), index.size
        except (OSError, FormatError, Refusal):
            pass  # it is no index whatever its name says, or it went: shown as the file that it is
    return Item(entry.name, entry.kind, entry.size, entry.mtime, chunks, content)


def _count(fd: int) -> tuple[int, bool]:
    prefixes = list_prefixes(fd)
    some = prefixes if len(prefixes) <= _COUNTED else random.sample(prefixes, _COUNTED)
    found = sum(_chunks(fd, prefix) for prefix in some)
    if some is prefixes:
        return found, True
    return found * len(prefixes) // len(some), False


def _chunks(fd: int, prefix: str) -> int:
    try:
        directory = os.open(prefix, _OPEN, dir_fd=fd)
    except OSError:
        return 0
    try:
        return sum(_CHUNK.fullmatch(name) is not None for name in os.listdir(directory))
    finally:
        os.close(directory)
