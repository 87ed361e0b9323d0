"""From the path of a URL to what is below the directories that are served; anything else does not exist."""

from __future__ import annotations

import os
import re
import stat
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from casync_py.errors import UsageError
from casync_py.files import NAME_MAX
from casync_py.remote.locator import SUFFIXES
from casync_py.remote.roots import Roots
from casync_py.remotes.http.server.answers import Refusal
from casync_py.store.castr import PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

Names = tuple[str, ...]

_PATH_MAX = 4096  # Linux limits.h, PATH_MAX; also of the path as it is written in the URL, however it is encoded
_FORBIDDEN = re.compile(rb"[\x00-\x1f\x7f/\\]")  # in a name, once decoded
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_LOOKED_AT = 16  # entries of a directory, to see whether it is a store
_LISTED_MAX = 10_000  # entries of one folder


class Entry(NamedTuple):
    """One thing in a folder.

    Attributes:
        kind: "folder", "store", or as `locator.SUFFIXES` has it.
        size, mtime: of a file; 0 of others.
    """

    name: str
    kind: str
    size: int
    mtime: float


@lru_cache(maxsize=512)
def parse_path(raw: bytes) -> Names:
    """The names in a URL's path, decoded; no dot segments, no NUL, no slash or backslash in disguise.

    Raises:
        Refusal: 404, there can be no such thing.
    """
    if len(raw) > _PATH_MAX:
        raise Refusal(404, "A path of this length names nothing here")
    names = []
    for part in raw.split(b"/"):
        if not part:  # `//` and a slash at the end: as other servers do, and casync asks so
            continue
        name = unquote_to_bytes(part)
        if name in (b".", b"..") or len(name) > NAME_MAX or _FORBIDDEN.search(name):
            raise Refusal(404, f"{printable(raw)}: No such file")
        names.append(os.fsdecode(name))
    return tuple(names)


def printable(raw: bytes) -> str:
    """A path of a URL, as it came, for messages."""
    return "".join(character if character.isprintable() else "?" for character in raw.decode("utf-8", "replace"))


def shown(names: Sequence[str]) -> str:
    """The path of some names in a URL, for messages and links."""
    return "/" + "/".join(quote(os.fsencode(name), safe="") for name in names)


def kind_of(name: str) -> str | None:
    """What a file of this name is: "archive", "archive-index", "blob-index"; None for anything else."""
    return next((kind for suffix, kind in SUFFIXES.items() if name.endswith(suffix) and name != suffix), None)


def is_store(name: str, fd: int) -> bool:
    """Whether a directory is a store, by its name or by what is in it."""
    if name.endswith(".castr"):
        return True
    with os.scandir(fd) as found:  # a store has nothing else in it
        return any(PREFIX.fullmatch(item.name) for item in islice(found, _LOOKED_AT))


class Places:
    """The directories that are served, held open."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Open the directories.

        Raises:
            OSError: one is absent or no directory.
            UsageError: there is none, or two have the same name.
        """
        if not paths:
            raise UsageError("No directory to serve")
        self.paths = tuple(map(os.path.abspath, paths))
        self._numbers: dict[str, int] | None = None
        if len(paths) > 1:
            self._numbers = {}
            for number, path in enumerate(self.paths):
                name = os.path.basename(path)
                if not name or name in self._numbers:
                    raise UsageError(f"{path}: Directories that are served together need different names")
                self._numbers[name] = number
        self._roots = Roots(paths)

    @property
    def tops(self) -> Names:
        """The names of the directories, where `/` is made of them; empty where there is only one, which is `/`."""
        return tuple(self._numbers or ())

    def enter(self, names: Names, *, follow: bool = True) -> tuple[int, str]:
        """A new descriptor of the directory in which something is, and its name there.

        Args:
            follow: if it is a link, to what it points; False for what will be replaced.

        Raises:
            Refusal: 404, it is not below the directories that are served.
            OSError: something on the way is absent or no directory.
        """
        number = 0
        where = shown(names)
        if self._numbers is not None:
            if not names or names[0] not in self._numbers:
                raise Refusal(404, f"{where}: No such file")
            number = self._numbers[names[0]]
            names = names[1:]
        try:
            return self._roots.enter(number, names, where, follow=follow)
        except UsageError:
            raise Refusal(404, f"{where}: No such file") from None

    def open_file(self, names: Names) -> int:
        """A descriptor of a regular file, for reading.

        Raises:
            Refusal: 404, it is something else, or not below the directories that are served.
            OSError: it is absent or cannot be read.
        """
        directory, name = self.enter(names)
        try:
            fd = os.open(name, _OPEN, dir_fd=directory)
        finally:
            os.close(directory)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise Refusal(404, f"{shown(names)}: No such file")
        return fd

    def list_folder(self, names: Names) -> list[Entry] | None:
        """What is served of a directory, sorted, at most so much as a page can show; None if it is none.

        Raises:
            Refusal: as `enter`.
            OSError: it cannot be read.
        """
        if self._numbers is not None and not names:
            return [Entry(name, self._kind_of_folder((name,)), 0, 0.0) for name in sorted(self._numbers)]
        directory, name = self.enter(names)
        try:
            fd = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=directory)
        except NotADirectoryError:
            return None
        finally:
            os.close(directory)
        try:
            return self._entries(names, fd)
        finally:
            os.close(fd)

    def _entries(self, names: Names, fd: int) -> list[Entry]:
        entries = []
        with os.scandir(fd) as found:
            for item in found:
                if item.name.startswith(".") or PREFIX.fullmatch(item.name):
                    continue  # what is hidden, and the directories of a store
                kind = kind_of(item.name)
                try:
                    if kind is not None:
                        os.close(self.open_file((*names, item.name)))
                        status = item.stat()
                        entries.append(Entry(item.name, kind, status.st_size, status.st_mtime))
                    elif item.is_dir():
                        entries.append(Entry(item.name, self._kind_of_folder((*names, item.name)), 0, 0.0))
                except (OSError, Refusal):
                    continue  # it went, cannot be read, or leads out
                if len(entries) >= _LISTED_MAX:
                    break
        return sorted(entries)

    def _kind_of_folder(self, names: Names) -> str:
        """
        Raises:
            Refusal, OSError: as `enter`.
        """
        directory, name = self.enter(names)
        try:
            fd = os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=directory)
        finally:
            os.close(directory)
        try:
            return "store" if is_store(names[-1], fd) else "folder"
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the directories; twice is fine."""
        self._roots.close()
