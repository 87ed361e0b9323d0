"""Remove what an archive does not have, however deep, without following a link."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from casync_py.archive.safe_dirs import Chain, Level, allow_owner, open_directory, unlock, unlock_fd

if TYPE_CHECKING:
    from collections.abc import Collection


class NotRemoved(OSError):
    """Something that could not be removed; `filename` is its path below the directory that was named."""


def remove_others(fd: int, keep: Collection[bytes], undo_immutable: bool = False) -> int:
    """Remove all entries of the directory `fd` but those named in `keep`.

    Returns:
        Number of files and directories removed.

    Raises:
        NotRemoved: `filename` is the path below `fd` of what cannot be removed.
    """
    with os.scandir(fd) as entries:
        names = [name for entry in entries if (name := os.fsencode(entry.name)) not in keep]
    return sum(remove_tree(fd, name, undo_immutable) for name in names)


def remove_tree(dir_fd: int, name: bytes, undo_immutable: bool = False) -> int:
    """Remove `name` from the directory `dir_fd`, whatever it is, with all that is below it.

    Args:
        undo_immutable: clear the chattr flags immutable and append-only where they are in the way.

    Returns:
        Number of files and directories removed.

    Raises:
        NotRemoved: `filename` is the path below `dir_fd` of what cannot be removed; it may be half empty then.
    """
    return _Removal(dir_fd, undo_immutable).remove(name)


class _Doomed(Level):
    """A directory being emptied; `subdirectories` are what is left in it."""

    __slots__ = ("name", "subdirectories")

    def __init__(self, fd: int, status: os.stat_result, name: bytes) -> None:
        super().__init__(fd, status)
        self.name = name
        self.subdirectories: list[bytes] = []


class _Removal:
    """One tree's removal: no recursion and few descriptors, so that no depth is too much."""

    def __init__(self, dir_fd: int, undo_immutable: bool) -> None:
        self._dir_fd = dir_fd
        self._undo_immutable = undo_immutable
        self._chain: Chain[_Doomed] = Chain()
        self._current = b""  # the name below the chain's last directory that is being worked on
        self._removed = 0

    def remove(self, name: bytes) -> int:
        levels = self._chain.levels
        self._current = name
        try:
            if stat.S_ISDIR(os.lstat(name, dir_fd=self._dir_fd).st_mode):
                self._enter(self._dir_fd, name)
                while levels:
                    level = levels[-1]
                    if level.subdirectories:
                        self._enter(level.fd, level.subdirectories.pop())
                    else:
                        self._leave(level)
            else:
                self._unlink(self._dir_fd, name)
        except OSError as error:
            names = [level.name for level in levels]
            path = b"/".join([*names, self._current] if self._current else names)
            raise NotRemoved(error.errno, error.strerror, os.fsdecode(path)) from error
        finally:
            self._chain.close()
        return self._removed

    def _enter(self, dir_fd: int, name: bytes) -> None:
        """Open a directory and remove all in it that is none."""
        self._current = name
        fd, status = open_directory(dir_fd, name)
        level = _Doomed(fd, status, name)
        self._chain.push(level)
        self._current = b""
        allow_owner(fd, status.st_mode)
        if self._undo_immutable:
            unlock_fd(fd)
        with os.scandir(fd) as entries:
            found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        level.subdirectories = [child for child, is_directory in found if is_directory]
        for child, is_directory in found:
            if not is_directory:
                self._current = child
                self._unlink(fd, child)
        self._current = b""

    def _leave(self, level: _Doomed) -> None:
        """Remove a directory that has become empty."""
        dir_fd = self._chain.open_parent().fd if len(self._chain.levels) > 1 else self._dir_fd
        try:
            os.rmdir(level.name, dir_fd=dir_fd)
        except PermissionError:
            if not self._undo_immutable:
                raise
            unlock(dir_fd, level.name)
            os.rmdir(level.name, dir_fd=dir_fd)
        os.close(self._chain.pop().fd)
        self._removed += 1

    def _unlink(self, dir_fd: int, name: bytes) -> None:
        try:
            os.unlink(name, dir_fd=dir_fd)
        except PermissionError:
            if not self._undo_immutable:
                raise
            unlock(dir_fd, name)
            os.unlink(name, dir_fd=dir_fd)
        self._removed += 1
