"""Directories that someone from outside is confined to: what he names is found below them or not at all.

A path is walked one name at a time from a descriptor of the root. `..` is refused; a link is followed as long as it
stays below a root, whichever; nothing that changes meanwhile can make the walk leave it.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_LINKS = 40  # Linux include/linux/namei.h, MAXSYMLINKS


class _Root(NamedTuple):
    spellings: tuple[list[str], ...]  # its path as given and without links, as names
    fd: int


class Roots:
    """Some directories, held open; what is looked up in them stays open until `close`."""

    def __init__(self, paths: Sequence[str]) -> None:
        """Open the directories, at least one; a relative path that is looked up stands below the first.

        Raises:
            OSError: one is absent or no directory.
        """
        self._roots: list[_Root] = []
        self._held: list[int] = []
        self._shown: dict[str, str] = {}
        try:
            for path in paths:
                fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                self._held.append(fd)
                spellings = (os.path.abspath(path), os.path.realpath(path))
                self._roots.append(_Root(tuple(map(_names, spellings)), fd))
        except OSError:
            self.close()
            raise

    def find(self, path: str, *, follow: bool = True) -> str:
        """Another path of what is at `path`, which is good as long as this object is open.

        Its directory is one that is held open; its last name is no link (unless it becomes one afterwards), and may not
        exist.

        Args:
            follow: if the last name is a link, to what it points; False for what will be replaced.

        Raises:
            UsageError: it is not below the roots, or leads out of them.
            OSError: a directory on the way is absent or no directory.
        """
        root, names = self._below(path, path)
        fd, name = self._enter(path, root, names, follow)
        self._held.append(fd)
        found = f"/proc/self/fd/{fd}/{name}"
        self._shown[found] = path
        return found

    def enter(self, number: int, names: Sequence[str], asked: str, *, follow: bool = True) -> tuple[int, str]:
        """What is at some names below root `number`: a new descriptor of its directory, and its name there, as `find`.

        Args:
            names: components of a path, none of them empty, `.` or `..`.
            asked: what was asked for, for errors.

        Raises:
            UsageError: they lead out of the roots.
            OSError: a directory on the way is absent or no directory.
        """
        return self._enter(asked, self._roots[number].fd, list(names), follow)

    @contextmanager
    def naming(self) -> Iterator[None]:
        """In errors of the operating system, name what was asked for, not how it was found."""
        try:
            yield
        except OSError as error:
            if isinstance(error.filename, (str, bytes)):
                error.filename = self.shown(os.fsdecode(error.filename))
            raise

    def shown(self, text: str) -> str:
        """A text for messages with what was asked for in place of what was found for it."""
        for found in sorted(self._shown, key=len, reverse=True):  # a name may begin with another one
            text = text.replace(found, self._shown[found])
        return text

    def close(self) -> None:
        """Close all descriptors; twice is fine."""
        while self._held:
            os.close(self._held.pop())

    def _below(self, path: str, asked: str) -> tuple[int, list[str]]:
        """The root that a path is below, and the names that lead on from there."""
        names = _names(path)
        if ".." in names:
            raise UsageError(f"{asked}: No '..' in a path here")
        if not path.startswith("/"):
            return self._roots[0].fd, names
        for root in self._roots:
            for spelling in root.spellings:
                if names[: len(spelling)] == spelling:
                    return root.fd, names[len(spelling) :]
        raise UsageError(f"{asked}: Not below the directories that are served")

    def _enter(self, asked: str, root: int, names: list[str], follow: bool) -> tuple[int, str]:
        try:
            return self._walk(asked, root, names, follow)
        except OSError as error:
            raise OSError(error.errno, error.strerror, asked) from None

    def _walk(self, asked: str, root: int, names: list[str], follow: bool) -> tuple[int, str]:
        """A new descriptor of the directory that holds the last name, and that name."""
        way = [os.dup(root)]
        links = 0
        try:
            while names:
                name, *names = names
                if name == "..":  # of a link: those of the path were refused
                    _go_up(asked, way)
                    continue
                if not names and not follow:
                    return way.pop(), name
                link = _enter(way, name, last=not names)
                if link is not None:
                    links += 1
                    if links > _MAX_LINKS:
                        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                    names = [*self._start_of_link(asked, way, link), *names]
                elif not names:
                    return way.pop(), name
            return way.pop(), "."
        finally:
            _close(way)

    def _start_of_link(self, asked: str, way: list[int], link: str) -> list[str]:
        """The names that a link stands for, from where `way` ends then."""
        if not link.startswith("/"):
            return _names(link)
        root, names = self._below(link, asked)
        _close(way)
        way[:] = [os.dup(root)]
        return names


def _enter(way: list[int], name: str, *, last: bool) -> str | None:
    """Go down into a directory, unless it is the last name; where there is a link, return what it says."""
    try:
        fd = os.open(name, _LOOK, dir_fd=way[-1])
    except FileNotFoundError:
        if last:
            return None
        raise
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISLNK(mode):
            return os.readlink("", dir_fd=fd)
        if not last:
            if not stat.S_ISDIR(mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            way.append(os.dup(fd))
        return None
    finally:
        os.close(fd)


def _go_up(asked: str, way: list[int]) -> None:
    if len(way) == 1:
        raise UsageError(f"{asked}: Leads out of the directories that are served")
    os.close(way.pop())


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
