"""Put single nodes into an open directory: complete under a temporary name, then renamed over what was there."""

from __future__ import annotations

import errno
import os
import secrets
import stat
import time
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from casync_py.archive.apply import Volume, has_default_acl, signed_time, volume_of
from casync_py.archive.delete import remove_others, remove_tree
from casync_py.archive.holes import BLOCK, write_at, write_sparse
from casync_py.archive.inode_flags import create_subvolume, is_subvolume, read_chattr, set_subvolume_read_only
from casync_py.archive.safe_dirs import LOCKS, Level, allow_owner, exchange, open_directory, unlock, unlock_fd
from casync_py.errors import FormatError
from casync_py.files import NAME_MAX
from casync_py.format.flags import CHATTR, Feature

if TYPE_CHECKING:
    from casync_py.archive.apply import MetadataWriter
    from casync_py.archive.nodes import Node, Payload

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
_NAME_ROOM = NAME_MAX - 18  # of `.#NAME<16 hex digits>`
_PLAIN_TIMES = (1 << 31) * 10**9  # from 1970 to this, no file system in use has a range problem
_SUBVOLUME = int(Feature.SUBVOLUME)


class Directory(Level):
    """A directory being filled, and what new entries in it start with, learnt from the first one.

    Attributes:
        node: what the archive has for it; None for a directory whose own metadata stays.
        fresh: it was made by this run, so nothing else can be in it.
        mode: permissions that it was found with.
        last: name of the last entry so far; names must ascend.
        known: names that the archive has; None where nothing is to be removed.
        owner: of new entries; None while unknown.
        chattr: flags of new files; -1 while unknown.
        fix_modes: permissions of new files are not what `open` was given.
        default_acl: it hands on a default ACL.
    """

    __slots__ = ("chattr", "default_acl", "fix_modes", "fresh", "known", "last", "mode", "node", "owner", "volume")

    def __init__(self, fd: int, status: os.stat_result, volume: Volume, node: Node | None, fresh: bool) -> None:
        super().__init__(fd, status)
        self.volume = volume
        self.node = node
        self.fresh = fresh
        self.mode = stat.S_IMODE(status.st_mode)
        self.last = b""
        self.known: set[bytes] | None = None
        self.owner: tuple[int, int] | None = None
        self.chattr = -1
        self.fix_modes = False
        self.default_acl = False


class PayloadFailed(Exception):
    """A payload could not be read; `error` is what it raised, so that it is not taken for an error of the target."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


class Placer:
    """Creates nodes for one run of `restore`.

    Every method raises OSError (without a useful `filename`) where the target refuses something; nothing but the old
    or the new node has the final name then, and no temporary file is left.
    """

    def __init__(self, writer: MetadataWriter, *, delete: bool, punch_holes: bool, undo_immutable: bool) -> None:
        self.removed = 0
        self._writer = writer
        self._delete = delete
        self._smallest_sparse = BLOCK if punch_holes else 1 << 64
        self._undo_immutable = undo_immutable
        self._not_by_open = writer.umask | 0o7000
        self._now = time.time_ns()  # access times: about what the kernel gives
        self._volumes: dict[int, Volume] = {}
        # Unique in this run and unlikely elsewhere; drawing 16 new digits for each file would cost a system call.
        self._run = secrets.token_hex(4).encode()
        self._numbers = count()

    def _temporary_name(self, name: bytes) -> bytes:
        return b".#%b%b%08x" % (name[:_NAME_ROOM], self._run, next(self._numbers) & 0xFFFFFFFF)

    def file(self, directory: Directory, name: bytes, node: Node, payload: Payload) -> None:
        """Create a regular file.

        Raises:
            PayloadFailed: the content cannot be read.
        """
        writer = self._writer
        rich = bool(
            node.xattrs
            or node.acl is not None
            or node.fcaps is not None
            or node.selinux is not None
            or node.projid
            or directory.default_acl
            or directory.volume.fat
        )
        mode = writer.mode_of(node.mode)
        creation_mode = mode & 0o777 if mode >= 0 else node.mode & 0o777 | 0o600
        if rich:
            creation_mode |= 0o600  # who is not root may not set attributes of a file that is not writable
        fd, temporary = self._create(directory, name, creation_mode)
        try:
            if directory.chattr < 0:
                self._learn(directory, fd, creation_mode)
            rich = rich or node.flags & writer.chattr != directory.chattr or bool(node.flags & writer.fat)
            if rich:
                writer.set_early(fd, node)
            if node.size:
                self._write(fd, payload, node.size)
            owner = writer.owner_of(node)
            if owner is not None and owner != directory.owner:
                _set_owner(fd, owner)
            if rich:
                writer.set_xattrs(fd, node, fresh=True)
            if mode >= 0 and (rich or directory.fix_modes or mode & self._not_by_open):
                _set_mode(fd, mode)
            if rich:
                self._enrich(fd, node, directory)
            if writer.times:
                self._set_time(fd, node.mtime_ns, directory.volume)
            self._install(directory, temporary, name)
            if rich and node.flags & LOCKS:
                writer.set_flags(fd, node, CHATTR, directory.volume)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=directory.fd)
            raise
        finally:
            os.close(fd)

    def _create(self, directory: Directory, name: bytes, mode: int) -> tuple[int, bytes]:
        while True:
            temporary = self._temporary_name(name)
            with suppress(FileExistsError):
                return os.open(temporary, _CREATE, mode, dir_fd=directory.fd), temporary

    def _learn(self, directory: Directory, fd: int, mode: int) -> None:
        """See from its first new file what a directory hands on."""
        status = os.fstat(fd)
        directory.owner = (status.st_uid, status.st_gid)
        directory.fix_modes = stat.S_IMODE(status.st_mode) != mode & ~self._writer.umask
        directory.chattr = read_chattr(fd) & self._writer.chattr if self._writer.chattr else 0

    def _write(self, fd: int, payload: Payload, size: int) -> None:
        offset = left_out = 0
        pieces = iter(payload.pieces())
        while True:
            try:
                piece = next(pieces, None)
            except OSError as error:
                raise PayloadFailed(error) from error
            if piece is None:
                break
            length = len(piece)
            if length >= self._smallest_sparse:
                left_out += write_sparse(fd, piece, offset)
            else:
                write_at(fd, piece, offset)
            offset += length
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

    def _set_time(self, fd: int, mtime_ns: int, volume: Volume) -> None:
        """Set the time of modification by descriptor."""
        os.utime(fd, ns=(self._now, mtime_ns if mtime_ns < _PLAIN_TIMES else signed_time(mtime_ns)))
        if not volume.exact_times or mtime_ns >= _PLAIN_TIMES:
            self._writer.check_time(os.fstat(fd).st_mtime_ns, mtime_ns, volume)

    def symlink(self, directory: Directory, name: bytes, node: Node) -> None:
        """Create a symlink."""
        if not node.target or b"\0" in node.target:
            raise FormatError("A symlink without a target, or with a NUL in it")
        writer, dir_fd = self._writer, directory.fd
        temporary = self._temporary_name(name)
        os.symlink(node.target, temporary, dir_fd=dir_fd)
        try:
            owner = writer.owner_of(node)
            if owner is not None and owner != (directory.owner or self._learn_owner(directory, temporary)):
                _set_owner(temporary, owner, dir_fd=dir_fd)
            if node.selinux is not None:
                writer.set_security(f"/proc/self/fd/{dir_fd}/{os.fsdecode(temporary)}", node, follow_symlinks=False)
            if writer.times:
                times = (self._now, signed_time(node.mtime_ns))
                os.utime(temporary, ns=times, dir_fd=dir_fd, follow_symlinks=False)
                if not directory.volume.exact_times or node.mtime_ns >= _PLAIN_TIMES:
                    kept = os.lstat(temporary, dir_fd=dir_fd).st_mtime_ns
                    writer.check_time(kept, node.mtime_ns, directory.volume)
            self._install(directory, temporary, name)
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
        temporary = self._temporary_name(name)
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
            self._install(directory, temporary, name)
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
            _set_owner(path, owner)
        if mode >= 0:
            _set_mode(path, mode)
        writer.set_acl(path, node)
        writer.set_security(path, node)
        if writer.times:
            os.utime(path, ns=(self._now, signed_time(node.mtime_ns)))
            writer.check_time(os.fstat(fd).st_mtime_ns, node.mtime_ns, volume)

    def _install(self, directory: Directory, temporary: bytes, name: bytes) -> None:
        """Give a complete node its name."""
        fd = directory.fd
        try:
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError as error:
            self._install_over(fd, temporary, name, error)

    def _install_over(self, fd: int, temporary: bytes, name: bytes, error: OSError) -> None:
        """The same where a plain rename failed: over what is immutable or a directory."""
        if error.errno == errno.EPERM and self._undo_immutable:
            unlock(fd, name)
            try:
                os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
                return
            except OSError as again:
                error = again
        if error.errno != errno.EISDIR:
            raise error
        if not self._delete:
            raise OSError(error.errno, "A directory is in the way, which --delete=no keeps")
        exchange(fd, temporary, name)
        self.removed += remove_tree(fd, temporary, self._undo_immutable)

    def enter(self, parent: Directory, name: bytes, node: Node) -> Directory:
        """Create a directory, or take the one that is there, ready for entries to be put into it."""
        fd, fresh = self._open_or_make(parent, name, node)
        try:
            return self.adopt(fd, node, fresh, parent.default_acl)
        except BaseException:
            os.close(fd)
            raise

    def _open_or_make(self, parent: Directory, name: bytes, node: Node) -> tuple[int, bool]:
        try:
            self._make_directory(parent.fd, name, node)
            return open_directory(parent.fd, name), True
        except FileExistsError:
            pass
        try:
            return open_directory(parent.fd, name), False
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
        temporary = self._temporary_name(name)
        self._make_directory(parent.fd, temporary, node)
        try:
            self._exchange(parent.fd, temporary, name)
        except BaseException:
            with suppress(OSError):
                os.rmdir(temporary, dir_fd=parent.fd)
            raise
        self.removed += remove_tree(parent.fd, temporary, self._undo_immutable)
        return open_directory(parent.fd, name), True

    def _exchange(self, fd: int, temporary: bytes, name: bytes) -> None:
        try:
            exchange(fd, temporary, name)
        except PermissionError:
            if not self._undo_immutable:
                raise
            unlock(fd, name)
            exchange(fd, temporary, name)

    def _make_directory(self, fd: int, name: bytes, node: Node) -> None:
        if not node.flags & self._writer.subvolumes & _SUBVOLUME:
            os.mkdir(name, 0o700, dir_fd=fd)
            return
        try:
            create_subvolume(fd, name)
        except FileExistsError:
            raise
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}; only btrfs has subvolumes, --without=subvolume") from error

    def make_top(self, path: bytes, node: Node | None) -> None:
        """Create the directory that a tree is extracted to, with the permissions that mkdir gives."""
        if node is None or not node.flags & self._writer.subvolumes & _SUBVOLUME:
            os.mkdir(path, 0o777)
            return
        parent, name = os.path.split(path.rstrip(b"/"))
        fd = os.open(parent or b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._make_directory(fd, name, node)
        finally:
            os.close(fd)

    def adopt(self, fd: int, node: Node | None, fresh: bool, default_acl: bool = False) -> Directory:
        """Make an open directory ready for entries; `default_acl`: whether a fresh one has inherited one."""
        status = os.fstat(fd)
        volume = self._volumes.get(status.st_dev)
        if volume is None:
            volume = self._volumes[status.st_dev] = volume_of(fd)
        directory = Directory(fd, status, volume, node, fresh)
        directory.default_acl = default_acl
        if not fresh:
            allow_owner(fd, status.st_mode)
            if self._undo_immutable:
                unlock_fd(fd)
            directory.default_acl = has_default_acl(fd)
            directory.known = set() if self._delete and node is not None else None
        if node is not None:
            if not fresh and node.flags & self._writer.subvolumes & _SUBVOLUME and not is_subvolume(fd):
                raise OSError(errno.EEXIST, "A directory that is no subvolume is in the way")
            self._writer.set_early(fd, node)
        return directory

    def leave(self, directory: Directory) -> None:
        """Remove what the archive does not have and give the directory its own metadata."""
        writer, fd, node = self._writer, directory.fd, directory.node
        if directory.known is not None:
            self.removed += remove_others(fd, directory.known, self._undo_immutable)
        if node is None:
            if directory.mode & stat.S_IRWXU != stat.S_IRWXU:
                os.fchmod(fd, directory.mode)
            return
        status = os.fstat(fd)
        owner = writer.owner_of(node)
        moved = owner is not None and owner != (status.st_uid, status.st_gid)
        if owner is not None and moved:
            _set_owner(fd, owner)
        if node.xattrs or not directory.fresh:
            writer.set_xattrs(fd, node, directory.fresh)
        mode = writer.directory_mode(node.mode, directory.mode, directory.fresh)
        if moved or mode != stat.S_IMODE(status.st_mode):
            _set_mode(fd, mode)
        if node.acl is not None or directory.default_acl or not directory.fresh:
            writer.set_acl(fd, node)
        writer.set_security(fd, node)
        writer.set_flags(fd, node, CHATTR & ~LOCKS, directory.volume)
        if writer.times:
            self._set_time(fd, node.mtime_ns, directory.volume)
        if node.flags & LOCKS or not directory.fresh:
            writer.set_flags(fd, node, LOCKS, directory.volume)
        if node.flags & writer.subvolumes & Feature.SUBVOLUME_RO:
            set_subvolume_read_only(fd)


def _set_owner(inode: int | str | bytes, owner: tuple[int, int], dir_fd: int | None = None) -> None:
    try:
        if dir_fd is None:
            os.chown(inode, *owner)
        else:
            os.chown(inode, *owner, dir_fd=dir_fd, follow_symlinks=False)
    except PermissionError as error:
        uid, gid = owner
        text = f"{error.strerror}: giving it to {uid}:{gid}; --without=privileged leaves owners out"
        raise OSError(error.errno, text) from error


def _set_mode(inode: int | str, mode: int) -> None:
    os.chmod(inode, mode)
    # Who may not set these bits is not told so by chmod, which leaves them out.
    if mode & 0o6000 and stat.S_IMODE(os.stat(inode).st_mode) != mode:
        raise OSError(errno.EPERM, f"{os.strerror(errno.EPERM)}: permissions {mode:04o}")
