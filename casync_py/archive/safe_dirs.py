"""Directories held by descriptor, so that no name that someone swaps for a link can lead out of a tree.

A path is walked one name at a time, never through a symlink, and the way back up is `..`, compared with what the
parent was on the way down.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

from casync_py.archive.inode_flags import read_chattr, write_chattr
from casync_py.errors import FormatError
from casync_py.files import NAME_MAX
from casync_py.format.flags import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.archive.payload import Status

LOCKS = int(Feature.FLAG_IMMUTABLE | Feature.FLAG_APPEND)
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
_OPEN_ANY = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
_KEPT_OPEN = 64  # levels that keep their descriptor: trees are rarely deeper, and `ulimit -n` is 1024 or more
_RENAME_EXCHANGE = 2  # Linux include/uapi/linux/fs.h
_NO_EXCHANGE = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})


class Level:
    """A directory on the way down; `fd` is -1 while it is closed."""

    __slots__ = ("fd", "identity")

    def __init__(self, fd: int, status: os.stat_result | Status) -> None:
        self.fd = fd
        self.identity = (status.st_dev, status.st_ino)


L = TypeVar("L", bound=Level)


class Chain(Generic[L]):
    """The directories from a top one downwards, of which only the deepest few are open at any time."""

    def __init__(self) -> None:
        self.levels: list[L] = []

    @property
    def full(self) -> bool:
        """Whether the next `push` closes a directory further up."""
        return len(self.levels) >= _KEPT_OPEN

    def push(self, level: L) -> None:
        """Enter a child of the last directory; its descriptor becomes the chain's."""
        levels = self.levels
        levels.append(level)
        if len(levels) > _KEPT_OPEN:
            old = levels[-_KEPT_OPEN - 1]
            if old.fd >= 0:
                os.close(old.fd)
                old.fd = -1

    def open_parent(self) -> L:
        """The last directory but one, opened again if need be. Must be called while the last one can be searched.

        Raises:
            OSError: ESTALE; the last directory has been moved elsewhere.
        """
        child, parent = self.levels[-1], self.levels[-2]
        if parent.fd < 0:
            fd = os.open("..", _OPEN, dir_fd=child.fd)
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) != parent.identity:
                os.close(fd)
                raise OSError(errno.ESTALE, "The directory was moved while it was being worked on")
            parent.fd = fd
        return parent

    def pop(self) -> L:
        """Leave the last directory, whose descriptor becomes the caller's."""
        return self.levels.pop()

    def close(self) -> None:
        """Close all that is open."""
        while self.levels:
            level = self.levels.pop()
            if level.fd >= 0:
                os.close(level.fd)


def check_name(name: bytes) -> None:
    """Accept the name of a directory entry.

    Raises:
        FormatError: empty, `.`, `..`, with a slash or NUL in it, or too long for Linux.
    """
    if not name or name in {b".", b".."} or b"/" in name or b"\0" in name or len(name) > NAME_MAX:
        shown = name[:64].decode(errors="backslashreplace")
        raise FormatError(f"Not a file name: {shown!r}{'...' if len(name) > 64 else ''}")


def open_directory(dir_fd: int, name: bytes) -> tuple[int, os.stat_result]:
    """Open a directory, but no symlink to one; where its owner (who we are) may not read it, give them that right.

    Returns:
        The descriptor, and the directory's status as it was found.

    Raises:
        OSError: ENOTDIR (or ELOOP) for anything else than a directory.
    """
    try:
        fd = os.open(name, _OPEN, dir_fd=dir_fd)
        return fd, os.fstat(fd)
    except PermissionError:
        path_fd = os.open(name, os.O_PATH | _OPEN, dir_fd=dir_fd)
        try:
            status = os.fstat(path_fd)
            os.chmod(f"/proc/self/fd/{path_fd}", stat.S_IMODE(status.st_mode) | stat.S_IRWXU)
            return os.open(".", _OPEN, dir_fd=path_fd), status
        finally:
            os.close(path_fd)


def allow_owner(fd: int, mode: int) -> None:
    """Let the owner read, write and search the directory `fd` of `mode` for as long as it is worked on."""
    if mode & stat.S_IRWXU != stat.S_IRWXU:
        with suppress(PermissionError):  # not ours: what our rights do not suffice for will say so itself
            os.fchmod(fd, stat.S_IMODE(mode) | stat.S_IRWXU)


def unlock_fd(fd: int) -> None:
    """Clear the chattr flags immutable and append-only."""
    write_chattr(fd, 0, LOCKS)


def unlock(dir_fd: int, name: bytes) -> None:
    """Clear immutable and append-only of a regular file or directory and of the directory it lies in."""
    unlock_fd(dir_fd)
    with _lockable(dir_fd, name) as fd:
        if fd >= 0:
            unlock_fd(fd)


def is_locked(dir_fd: int, name: bytes) -> bool:
    """Whether immutable or append-only is set on `name` or the directory it lies in, as far as that can be seen."""
    with suppress(OSError):
        if read_chattr(dir_fd) & LOCKS:
            return True
        with _lockable(dir_fd, name) as fd:
            return fd >= 0 and bool(read_chattr(fd) & LOCKS)
    return False


@contextmanager
def _lockable(dir_fd: int, name: bytes) -> Iterator[int]:
    """A descriptor of a regular file or directory, -1 for what has no such flags."""
    fd = -1
    if stat.S_IFMT(os.lstat(name, dir_fd=dir_fd).st_mode) in {stat.S_IFREG, stat.S_IFDIR}:
        fd = os.open(name, _OPEN_ANY, dir_fd=dir_fd)
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def exchange(dir_fd: int, one: bytes, other: bytes) -> None:
    """Swap two names atomically, whatever they are; `one` takes the place of `other` at least.

    Where the kernel or file system cannot (Linux before 3.15, some network file systems), `other` is moved aside and
    `one` put in its place in two steps.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    code = errno.ENOSYS
    if renameat2 is not None:
        if renameat2(dir_fd, one, dir_fd, other, _RENAME_EXCHANGE) == 0:
            return
        code = ctypes.get_errno()
    if code not in _NO_EXCHANGE:
        raise OSError(code, os.strerror(code))
    aside = one + b"~"
    os.rename(other, aside, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    os.rename(one, other, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    os.rename(aside, one, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
