"""Steps on files in plain Python: what `files.c` does with the GIL released once, call by call."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING

from casync_py.native.ioctl import ioctl_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

_BLOCK = 4096
_ZEROS = bytes(_BLOCK)
# O_NONBLOCK: should a fifo have taken the file's place, opening it must not wait for a writer.
_OPEN_TO_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY
_HAS_NONE = (errno.ENOTTY, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENODATA)
_GETFLAGS = ioctl_number(False, "f", 1, struct.calcsize("l"))  # linux/fs.h, FS_IOC_GETFLAGS


def open_and_examine(
    directory: int, name: bytes, want_flags: bool, want_xattrs: bool, /
) -> tuple[int, int, int, tuple[int, int, int, int, int, int, int, int, int]]:
    """Open a file or directory to read it, never through a link, and look at its inode.

    Returns:
        Descriptor, FS_IOC_GETFLAGS's flags, 1 if there are xattrs, and of its status mode, device, inode, links, user,
        group, size, mtime and ctime in ns. Flags and xattrs are 0 where they were not wanted, do not exist on the file
        system, or the node is neither a regular file nor a directory.

    Raises:
        OSError: what the kernel reports.
    """
    fd = os.open(name, _OPEN_TO_READ, dir_fd=directory)
    try:
        st = os.fstat(fd)
        examined = S_ISREG(st.st_mode) or S_ISDIR(st.st_mode)
        flags = _flags(fd) if want_flags and examined else 0
        xattrs = _has_xattrs(fd) if want_xattrs and examined else 0
    except BaseException:
        os.close(fd)
        raise
    status = (
        st.st_mode,
        st.st_dev,
        st.st_ino,
        st.st_nlink,
        st.st_uid,
        st.st_gid,
        st.st_size,
        st.st_mtime_ns,
        st.st_ctime_ns,
    )
    return fd, flags, xattrs, status


def _flags(fd: int) -> int:
    try:
        return int.from_bytes(fcntl.ioctl(fd, _GETFLAGS, bytes(8))[:4], "little")
    except OSError as error:
        if error.errno in _HAS_NONE:
            return 0
        raise


def _has_xattrs(fd: int) -> int:
    try:
        return int(bool(os.listxattr(fd)))
    except OSError as error:
        if error.errno in _HAS_NONE:
            return 0
        raise


def read_rest(fd: int, view: Buffer, size: int, mtime_ns: int, ctime_ns: int, /) -> int:
    """Read what should be the rest of a file in one call, make sure that it is what it was, and close it.

    Returns:
        Bytes read; fewer than `view` has where the kernel gave fewer, 0 at the end; -1 if `view` was filled and the
        file's size or times are not those given. It is closed only where `view` was filled and all is well.

    Raises:
        OSError: what the kernel reports.
    """
    count = os.readv(fd, (view,))
    if count == memoryview(view).nbytes:
        st = os.fstat(fd)
        if (st.st_size, st.st_mtime_ns, st.st_ctime_ns) != (size, mtime_ns, ctime_ns):
            return -1
        os.close(fd)
    return count


def read_whole(directory: int, name: str | bytes, limit: int, /) -> bytes | tuple[int, int]:
    """Content of a regular file of at most `limit` bytes, never through a link; of anything else its mode and size.

    A file that shrinks meanwhile gives what it had.

    Raises:
        OSError: what the kernel reports.
    """
    fd = os.open(name, _OPEN_TO_READ, dir_fd=directory)
    try:
        st = os.fstat(fd)
        if not S_ISREG(st.st_mode) or st.st_size > limit:
            return st.st_mode, st.st_size
        data = os.read(fd, st.st_size)
        while len(data) < st.st_size:
            more = os.read(fd, st.st_size - len(data))
            if not more:
                break
            data += more
        return data
    finally:
        os.close(fd)


def create_files(
    directory: int, files: Sequence[tuple[bytes, bytes, Buffer, int, int]], atime_ns: int, sparse: bool, /
) -> tuple[int, int, int]:
    """Write new files under temporary names, set their times, rename them; stop at the first that fails.

    Args:
        files: a list; of each the temporary name, the final name, the content, the mode for its creation (subject to
            the umask) and the time of modification in ns.
        sparse: leave out whole blocks of 4096 zeros.

    Returns:
        How many are done; the errno of the next one, 0 where none failed; 1 if only its rename failed and it is left
        under its temporary name, else there is no such file.
    """
    taken = [_taken(*file) for file in files]  # all of them first, so that nothing is made where a type is wrong
    for done, (temporary, name, data, mode, mtime_ns) in enumerate(taken):
        try:
            _create(directory, temporary, data, mode, (atime_ns, mtime_ns), sparse)
        except OSError as error:
            return done, error.errno or errno.EIO, 0
        try:
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError as error:
            return done, error.errno or errno.EIO, 1
    return len(files), 0, 0


def _taken(
    temporary: bytes, name: bytes, data: Buffer, mode: int, mtime_ns: int
) -> tuple[bytes, bytes, memoryview, int, int]:
    if b"\0" in temporary + name:
        raise ValueError("embedded null byte")
    return temporary, name, memoryview(data).cast("B"), int(mode), mtime_ns


def _create(directory: int, name: bytes, data: memoryview, mode: int, times: tuple[int, int], sparse: bool) -> None:
    fd = os.open(name, _OPEN_NEW, mode, dir_fd=directory)
    try:
        try:
            _write(fd, data, sparse)
            os.utime(fd, ns=times)
        finally:
            os.close(fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)
        raise


def _write(fd: int, view: memoryview, sparse: bool) -> None:
    size = len(view)
    done = 0
    for start in range(0, size - _BLOCK + 1, _BLOCK) if sparse else ():
        if view[start : start + _BLOCK] == _ZEROS:
            _write_at(fd, view[done:start], done)
            done = start + _BLOCK
    _write_at(fd, view[done:], done)
    if sparse and done == size:
        os.ftruncate(fd, size)


def _write_at(fd: int, view: memoryview, offset: int) -> None:
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written
