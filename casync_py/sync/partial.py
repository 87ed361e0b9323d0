"""A file on its way under one fixed name, so that the next run finds what an interrupted one left."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import time
from typing import Self

from casync_py.errors import UsageError
from casync_py.files import NAME_MAX, sync_directory

_SUFFIX = b".partial"
_HASHED = 16  # hex digits that tell long names apart
_WAIT_S = 0.05
_OPEN = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY
_NO_FILE = (
    errno.ELOOP,
    errno.EISDIR,
    errno.ENXIO,
    errno.EACCES,
    errno.EPERM,
)  # link, directory, socket, another's file


def partial_name(name: bytes) -> bytes:
    """`.NAME.partial`; a name too long for that is cut and told apart from others by a hash of it."""
    room = NAME_MAX - 1 - len(_SUFFIX)
    if len(name) > room:
        name = name[: room - _HASHED] + hashlib.sha256(name).hexdigest()[:_HASHED].encode()
    return b"." + name + _SUFFIX


def lock_target(fd: int, path: str, patience_s: float = 0) -> None:
    """Take the target for this process until the descriptor is closed.

    Args:
        patience_s: so long a lock of somebody else's is waited for.

    Raises:
        OSError: another run has it, or it cannot be locked; `filename` is `path`.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                raise OSError(errno.EBUSY, "Another run is extracting to it", path) from None
            time.sleep(_WAIT_S)
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        else:
            return


class PartialFile:
    """The file that takes its final name in `commit()`, and until then, runs that fail or are killed included, stands
    beside it as `.NAME.partial`. Locked, so that two runs never write to it at once.

    Attributes:
        fd: descriptor, open for reading and writing.
        name: path of the partial file.
        left: whether an earlier run left it; what is in it is anything then.
    """

    def __init__(self, path: str, fd: int, name: str, *, left: bool) -> None:
        """Use `open`."""
        self.path = path
        self.fd = fd
        self.name = name
        self.left = left

    @classmethod
    def open(cls, path: str) -> Self | None:
        """Create the partial file of `path`, or open the one that is there.

        Returns:
            None if it got its final name, or was removed, while it was being opened: look at `path` again.

        Raises:
            OSError: the directory is absent or not writable, or another run has the file; `filename` is `path`.
            UsageError: something stands in its place that no earlier run of this user left.
        """
        directory, base = os.path.split(os.fsencode(path))
        name = os.fsdecode(os.path.join(directory, partial_name(base)))
        try:
            fd, left = os.open(name, _OPEN | os.O_CREAT | os.O_EXCL, 0o666), False
        except FileExistsError:
            found = _open_left(name)
            if found is None:
                return None
            fd, left = found, True
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        try:
            lock_target(fd, path)
            if _stands_at(fd, name):
                return cls(path, fd, name, left=left)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        return None

    def commit(self) -> None:
        """Sync the content, rename it into place, sync the directory, close.

        Raises:
            OSError: it is not on disk under its final name; `filename` is the path.
        """
        os.fsync(self.fd)
        if not _stands_at(self.fd, self.name):
            raise OSError(errno.ESTALE, "Its partial file was removed or replaced while it was written", self.path)
        os.rename(self.name, self.path)
        self._close()
        sync_directory(os.path.dirname(self.path) or ".")

    def abort(self) -> bool:
        """Close it without a final name; nothing happens after `commit()` or a second time.

        Returns:
            Whether it stays for the next run: if anything is in it.
        """
        if self.fd < 0:
            return False
        stays = os.fstat(self.fd).st_size > 0
        if not stays and _stands_at(self.fd, self.name):
            os.unlink(self.name)
        self._close()
        return stays

    def _close(self) -> None:
        os.close(self.fd)
        self.fd = -1


def _open_left(name: str) -> int | None:
    """Open what an earlier run left; None if it is gone by now."""
    refusal = UsageError(f"{name}: In the way, and no file that an earlier run of this user left; remove it")
    try:
        fd = os.open(name, _OPEN)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refusal if error.errno in _NO_FILE else error from None
    status = os.fstat(fd)
    # Whoever owns it, or knows another name of it, could change it after it was verified.
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink > 1:
        os.close(fd)
        raise refusal
    return fd


def _stands_at(fd: int, name: str) -> bool:
    """Whether the open file is what the name names."""
    mine = os.fstat(fd)
    try:
        there = os.lstat(name)
    except FileNotFoundError:
        return False
    return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)
