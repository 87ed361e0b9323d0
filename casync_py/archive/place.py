"""Create files, symlinks and special nodes: complete under a temporary name, then renamed over what was there."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from casync_py.archive.apply import PLAIN_TIMES, signed_time
from casync_py.archive.holes import BLOCK, write_at, write_sparse
from casync_py.archive.inode_flags import read_chattr
from casync_py.archive.install import SmallFile, set_mode, set_owner
from casync_py.archive.safe_dirs import LOCKS, check_name
from casync_py.archive.stream import StreamPayload
from casync_py.errors import FormatError
from casync_py.format.flags import CHATTR
from casync_py.native import create_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.archive.apply import MetadataWriter, Volume
    from casync_py.archive.install import Directory, Installer
    from casync_py.archive.nodes import Node, Payload

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY

_small_file = partial(tuple.__new__, SmallFile)  # half the time of its constructor

_SMALL = 256 << 10  # what is put together in memory if it comes in pieces, and written in one step


class PayloadFailed(Exception):
    """A payload could not be read; `error` is what it raised, so that it is not taken for an error of the target."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


class NodePlacer:
    """Creates what is no directory, for one run of `restore`.

    Every method raises OSError (without a useful `filename`) where the target refuses something; nothing but the old
    or the new node has the final name then, and no temporary file is left.
    """

    def __init__(self, writer: MetadataWriter, installer: Installer, punch_holes: bool) -> None:
        self._writer = writer
        self._installer = installer
        self._sparse = punch_holes
        self._smallest_sparse = BLOCK if punch_holes else 1 << 64
        self._not_by_open = writer.umask | 0o7000
        self._now = time.time_ns()  # access times: about what the kernel gives

    def file(self, directory: Directory, name: bytes, node: Node, payload: Payload) -> bool:
        """Create a regular file, or put it aside in `directory.small` where `small_files` can create it.

        Returns:
            Whether it was put aside: then so can others that share its metadata (`following_files`).

        Raises:
            PayloadFailed: the content cannot be read.
        """
        mode, flags, _, _, mtime_ns, _, _, xattrs, acl, selinux, fcaps, projid, _, _, _ = node
        writer, volume = self._writer, directory.volume
        given = xattrs or acl is not None or fcaps is not None or selinux is not None or projid or flags & writer.fat
        rich = bool(given) or directory.default_acl or volume.fat
        mode = writer.mode_of(mode)
        creation_mode = mode & 0o777 if mode >= 0 else node.mode & 0o777 | 0o600
        owner = writer.owner_of(node)
        if (
            not rich
            and payload.size <= _SMALL
            and flags & writer.chattr == directory.chattr
            and (owner is None or owner == directory.owner)
            and (mode < 0 or not (directory.fix_modes or mode & self._not_by_open))
            and writer.times
            and not mtime_ns % volume.time_unit
            and mtime_ns < PLAIN_TIMES
        ):
            data = _content(payload) if payload.size else b""
            temporary = self._installer.temporary_name(name)
            directory.small.append(SmallFile(temporary, name, data, creation_mode, mtime_ns))
            directory.small_size += payload.size
            return True
        self._file_in_steps(directory, name, node, payload, mode, creation_mode, rich)
        return False

    def following_files(self, directory: Directory, node: Node, payload: StreamPayload) -> tuple[int, int]:
        """Put those files aside too that follow one that was, and share its metadata, `node`.

        Returns:
            How many, and the bytes in them.
        """
        if directory.volume.time_unit != 1:  # their times have to be read back
            return 0, 0
        names, times, contents = payload.following_files(node, PLAIN_TIMES - 1, _SMALL)
        if not names:
            return 0, 0
        mode = directory.small[-1].mode
        size = sum(map(len, contents))
        kept: Sequence[bytes | memoryview] = contents
        if _copies(size, contents[0]):
            kept = [bytes(content) for content in contents]
        temporary_name, put_aside = self._installer.temporary_name, directory.small.append
        for name, mtime_ns, data in zip(names, times, kept, strict=True):
            check_name(name)
            put_aside(_small_file((temporary_name(name), name, data, mode, mtime_ns)))
        directory.small_size += size
        directory.last = names[-1]
        if directory.known is not None:
            directory.known.update(names)
        return len(names), size

    def _file_in_steps(
        self,
        directory: Directory,
        name: bytes,
        node: Node,
        payload: Payload,
        mode: int,
        creation_mode: int,
        rich: bool,
    ) -> None:
        """Create a file that needs more: its directory's first one, a large one, one with attributes of its own."""
        writer, volume, dir_fd, flags = self._writer, directory.volume, directory.fd, node.flags
        if rich:
            creation_mode |= 0o600  # who is not root may not set attributes of a file that is not writable
        fd, temporary = self._create(dir_fd, name, creation_mode)
        try:
            if directory.chattr < 0:
                self._learn(directory, fd, creation_mode)
            rich = rich or flags & writer.chattr != directory.chattr
            if rich:
                writer.set_early(fd, node)
            if payload.size:
                self._write(fd, payload)
            owner = writer.owner_of(node)
            if owner is not None and owner != directory.owner:
                set_owner(fd, owner)
            if rich:
                writer.set_xattrs(fd, node, fresh=True)
            if mode >= 0 and (rich or directory.fix_modes or mode & self._not_by_open):
                set_mode(fd, mode)
            if rich:
                self._enrich(fd, node, directory)
            if writer.times:
                writer.set_time(fd, self._now, node.mtime_ns, volume)
            if not rich:
                closing, fd = fd, -1
                os.close(closing)  # first: some file systems tell only now that there was no room
            try:
                os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            except OSError as error:
                self._installer.install_over(dir_fd, temporary, name, error)
            if rich and flags & LOCKS:
                writer.set_flags(fd, node, CHATTR, volume)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=dir_fd)
            raise
        finally:
            if fd >= 0:
                os.close(fd)

    def small_files(self, dir_fd: int, files: list[SmallFile]) -> tuple[int, OSError | None]:
        """Create files that `file` has put aside; any thread may.

        Returns:
            How many are done, and what the next one failed with, None where all are done.
        """
        place = 0
        while place < len(files):
            done, failed, renaming = create_files(dir_fd, files[place:], self._now, self._sparse)
            place += done
            if not failed:
                break
            error = OSError(failed, os.strerror(failed))
            temporary, name = files[place][:2]
            if renaming:
                try:
                    self._installer.install_over(dir_fd, temporary, name, error)
                except OSError as final:
                    with suppress(OSError):
                        os.unlink(temporary, dir_fd=dir_fd)
                    return place, final
                place += 1
            elif isinstance(error, FileExistsError):
                files[place] = files[place]._replace(temporary=self._installer.temporary_name(name))
            else:
                return place, error
        return place, None

    def _create(self, dir_fd: int, name: bytes, mode: int) -> tuple[int, bytes]:
        while True:
            temporary = self._installer.temporary_name(name)
            try:
                return os.open(temporary, _CREATE, mode, dir_fd=dir_fd), temporary
            except FileExistsError:
                continue

    def _learn(self, directory: Directory, fd: int, mode: int) -> None:
        """See from its first new file what a directory hands on."""
        status = os.fstat(fd)
        directory.owner = (status.st_uid, status.st_gid)
        directory.fix_modes = stat.S_IMODE(status.st_mode) != mode & ~self._writer.umask
        directory.chattr = read_chattr(fd) & self._writer.chattr if self._writer.chattr else 0
        if directory.fresh and not directory.flags and not directory.chattr and not directory.default_acl:
            directory.volume.fix_modes = directory.fix_modes

    def _write(self, fd: int, payload: Payload) -> None:
        size = payload.size
        offset = left_out = 0
        writing = False  # else an error is the payload's
        try:
            for piece in payload.pieces():
                writing = True
                length = len(piece)
                if length >= self._smallest_sparse:
                    left_out += write_sparse(fd, piece, offset)
                else:
                    write_at(fd, piece, offset)
                offset += length
                writing = False
        except OSError as error:
            if writing:
                raise
            raise PayloadFailed(error) from error
        if offset != size:
            raise FormatError(f"Content of {offset} bytes where {size} were announced")
        if left_out:
            os.ftruncate(fd, size)

    def _enrich(self, fd: int, node: Node, directory: Directory) -> None:
        """All that comes after the permissions, proving already that the flags which come last can be set."""
        writer = self._writer
        if node.acl is not None or directory.default_acl:
            writer.set_acl(fd, node)
        writer.set_security(fd, node)
        writer.prove_flags(fd, node, directory.volume)

    def symlink(self, directory: Directory, name: bytes, node: Node) -> None:
        """Create a symlink."""
        if not node.target or b"\0" in node.target:
            raise FormatError("A symlink without a target, or with a NUL in it")
        writer, dir_fd = self._writer, directory.fd
        temporary = self._installer.temporary_name(name)
        os.symlink(node.target, temporary, dir_fd=dir_fd)
        try:
            owner = writer.owner_of(node)
            if owner is not None and owner != (directory.owner or self._learn_owner(directory, temporary)):
                set_owner(temporary, owner, dir_fd=dir_fd)
            if node.selinux is not None:
                writer.set_security(f"/proc/self/fd/{dir_fd}/{os.fsdecode(temporary)}", node, follow_symlinks=False)
            if writer.times:
                times = (self._now, signed_time(node.mtime_ns))
                os.utime(temporary, ns=times, dir_fd=dir_fd, follow_symlinks=False)
                if node.mtime_ns % directory.volume.time_unit or node.mtime_ns >= PLAIN_TIMES:
                    kept = os.lstat(temporary, dir_fd=dir_fd).st_mtime_ns
                    writer.check_time(kept, node.mtime_ns, directory.volume)
            self._installer.install(directory.fd, temporary, name)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=dir_fd)
            raise

    @staticmethod
    def _learn_owner(directory: Directory, name: bytes) -> tuple[int, int]:
        status = os.lstat(name, dir_fd=directory.fd)
        directory.owner = owner = (status.st_uid, status.st_gid)
        return owner

    def special(self, directory: Directory, name: bytes, node: Node) -> None:
        """Create a device node, fifo or socket."""
        mode = self._writer.mode_of(node.mode)
        kind = stat.S_IFMT(node.mode)
        temporary = self._installer.temporary_name(name)
        try:
            permissions = (mode if mode >= 0 else node.mode) & 0o777
            os.mknod(temporary, kind | permissions, os.makedev(*node.rdev), dir_fd=directory.fd)
        except PermissionError as error:
            if kind in {stat.S_IFBLK, stat.S_IFCHR} and error.errno == errno.EPERM:
                raise OSError(
                    error.errno, f"{error.strerror}; --without=device-nodes leaves device nodes out"
                ) from None
            raise
        try:
            fd = os.open(temporary, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)
            try:
                self._finish_special(fd, node, mode, directory.volume)
            finally:
                os.close(fd)
            self._installer.install(directory.fd, temporary, name)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory.fd)
            raise

    def _finish_special(self, fd: int, node: Node, mode: int, volume: Volume) -> None:
        writer = self._writer
        status = os.fstat(fd)
        if stat.S_IFMT(status.st_mode) != stat.S_IFMT(node.mode):
            raise OSError(errno.ESTALE, "Was replaced while it was being worked on")
        path = f"/proc/self/fd/{fd}"  # an O_PATH descriptor allows no more, and opening a device has effects
        owner = writer.owner_of(node)
        if owner is not None and owner != (status.st_uid, status.st_gid):
            set_owner(path, owner)
        if mode >= 0:
            set_mode(path, mode)
        writer.set_acl(path, node)
        writer.set_security(path, node)
        if writer.times:
            os.utime(path, ns=(self._now, signed_time(node.mtime_ns)))
            writer.check_time(os.fstat(fd).st_mtime_ns, node.mtime_ns, volume)


def _copies(size: int, content: memoryview) -> bool:
    """Whether `size` bytes are better copied than kept as slices of the buffer that `content` is of: what waits to be
    written must not hold much more memory than it has bytes."""
    return 2 * size < len(content.obj)  # type: ignore[arg-type] # bytes, as it came from a source


def _content(payload: Payload) -> bytes | bytearray | memoryview:
    """All of a small payload, to be kept for a while."""
    if isinstance(payload, StreamPayload) and (whole := payload.whole()) is not None:
        return bytes(whole) if _copies(payload.size, whole) else whole
    data = bytearray()
    try:
        for piece in payload.pieces():
            data += piece
    except OSError as error:
        raise PayloadFailed(error) from error
    if len(data) != payload.size:
        raise FormatError(f"Content of {len(data)} bytes where {payload.size} were announced")
    return data
