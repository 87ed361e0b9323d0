"""Chunks that are only kept because they came by: marked as such in their file's mode, so that they may be removed.

A store cache may stand in a directory whose other chunks belong to indexes. The mark is the sticky bit, which means
nothing else on a file and which no other tool sets. A writer that is going to rely on a kept chunk takes the mark away
first; both that and removing hold a lock on the file, so that neither is done by one who has not seen the other.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from stat import S_IMODE, S_ISREG, S_ISVTX
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

OWN_MODE = 0o444  # casync's
KEPT_MODE = OWN_MODE | S_ISVTX
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_NOT_OURS = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ELOOP)


def is_kept(status: os.stat_result) -> bool:
    """Whether a file is a chunk, or a temporary one, that is only kept."""
    return bool(status.st_mode & S_ISVTX) and S_ISREG(status.st_mode)


def make_own(root: int, path: str) -> bool:
    """Take the mark away from a kept chunk; False if it is gone, or is not ours to change.

    Raises:
        OSError: for other reasons.
    """
    try:
        with _locked(root, path, fcntl.LOCK_SH) as (fd, status):
            if not status.st_nlink:
                return False
            os.fchmod(fd, S_IMODE(status.st_mode) & ~S_ISVTX)
    except OSError as error:
        if error.errno == errno.EROFS:  # nobody removes chunks there either
            return True
        if error.errno in _NOT_OURS:
            return False
        raise
    return True


def drop(root: int, path: str, not_after_ns: int) -> int:
    """Remove a kept chunk that was not used later than that; the bytes freed, 0 if it is to stay.

    Raises:
        OSError: it cannot be removed.
    """
    try:
        with _locked(root, path, fcntl.LOCK_EX) as (_fd, status):
            if not is_kept(status) or not status.st_nlink or status.st_mtime_ns > not_after_ns:
                return 0
            os.unlink(path, dir_fd=root)
            return status.st_size
    except FileNotFoundError:
        return 0


@contextmanager
def _locked(root: int, path: str, lock: int) -> Iterator[tuple[int, os.stat_result]]:
    fd = os.open(path, _OPEN, dir_fd=root)
    try:
        with suppress(OSError):  # NFS locks only what is open for writing: there, the instant in between is left
            fcntl.flock(fd, lock)
        yield fd, os.fstat(fd)
    finally:
        os.close(fd)
