"""Directories of a tree that is being restored: made or taken over when entered, finished when left."""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from casync_py.archive.apply import EARLY, has_default_acl, volume_of
from casync_py.archive.delete import remove_others
from casync_py.archive.inode_flags import (
    chattr_features,
    create_subvolume,
    is_subvolume,
    read_chattr,
    set_subvolume_read_only,
)
from casync_py.archive.install import Directory, set_mode, set_owner
from casync_py.archive.payload import Status
from casync_py.archive.safe_dirs import LOCKS, allow_owner, open_directory, unlock_fd
from casync_py.format.flags import CHATTR, Feature
from casync_py.native import open_and_examine

if TYPE_CHECKING:
    from casync_py.archive.apply import MetadataWriter, Volume
    from casync_py.archive.install import Installer
    from casync_py.archive.nodes import Node

_SUBVOLUME = int(Feature.SUBVOLUME)


_Found = tuple[int, os.stat_result | Status, int | None]  # descriptor, status, flags if it was made just now


class DirectoryPlacer:
    """Makes, takes over and finishes directories, for one run of `restore`.

    Every method raises OSError (without a useful `filename`) where the target refuses something.
    """

    def __init__(self, writer: MetadataWriter, installer: Installer) -> None:
        self._writer = writer
        self._installer = installer
        self._now = time.time_ns()
        self._volumes: dict[int, Volume] = {}

    def enter(self, parent: Directory, name: bytes, node: Node) -> Directory:
        """Create a directory, or take the one that is there, ready for entries to be put into it."""
        fd, status, flags = self._open_or_make(parent, name, node)
        try:
            return self.adopt(fd, status, node, flags, parent.default_acl)
        except BaseException:
            os.close(fd)
            raise

    def _open_or_make(self, parent: Directory, name: bytes, node: Node) -> _Found:
        try:
            self._make_directory(parent.fd, name, node)
        except FileExistsError:
            pass
        else:
            return self._open_made(parent.fd, name)
        try:
            return *open_directory(parent.fd, name), None
        except OSError as error:
            if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
                raise
        temporary = self._installer.temporary_name(name)
        self._make_directory(parent.fd, temporary, node)
        try:
            self._installer.install_directory(parent.fd, temporary, name)
        except BaseException:
            with suppress(OSError):
                os.rmdir(temporary, dir_fd=parent.fd)
            raise
        return self._open_made(parent.fd, name)

    def _open_made(self, dir_fd: int, name: bytes) -> _Found:
        fd, flags, _, status = open_and_examine(dir_fd, name, bool(self._writer.chattr), False)
        found = Status(*status)
        if not stat.S_ISDIR(found.st_mode):
            os.close(fd)
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return fd, found, chattr_features(flags)

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

    def adopt(
        self,
        fd: int,
        status: os.stat_result | Status,
        node: Node | None,
        fresh_flags: int | None,
        default_acl: bool = False,
    ) -> Directory:
        """Make an open directory ready for entries.

        Args:
            status: of the directory as it was found.
            node: what the archive has for it; None: it stays as it is but for the entries.
            fresh_flags: the chattr flags of one that was just made; None for one that was there.
            default_acl: whether a fresh one has inherited one.
        """
        volume = self._volumes.get(status.st_dev)
        if volume is None:
            volume = self._volumes[status.st_dev] = volume_of(fd)
        fresh = fresh_flags is not None
        directory = Directory(fd, status, volume, node, fresh)
        directory.default_acl = default_acl
        if not fresh:
            if self._installer.undo_immutable:
                unlock_fd(fd)
            elif read_chattr(fd) & LOCKS:
                # Else a temporary file in an append-only directory could be neither renamed nor removed.
                raise OSError(errno.EPERM, os.strerror(errno.EPERM))
            allow_owner(fd, status.st_mode)
            directory.default_acl = has_default_acl(fd)
            directory.known = set() if self._installer.delete and node is not None else None
        if node is not None:
            if not fresh and node.flags & self._writer.subvolumes & _SUBVOLUME and not is_subvolume(fd):
                raise OSError(errno.EEXIST, "A directory that is no subvolume is in the way")
            if fresh_flags is not None:
                self._prepare_fresh(directory, node, fresh_flags)
            else:
                self._writer.set_early(fd, node)
        return directory

    def _prepare_fresh(self, directory: Directory, node: Node, flags: int) -> None:
        """Look at what a new directory has inherited; where that is nothing, new files in it are as elsewhere."""
        writer, volume = self._writer, directory.volume
        flags &= writer.chattr
        if (flags ^ node.flags) & writer.chattr & EARLY or node.projid:
            writer.set_early(directory.fd, node)
            return
        directory.flags = flags
        if not flags and volume.fix_modes is not None and not directory.default_acl:
            directory.chattr = 0
            directory.fix_modes = volume.fix_modes
            directory.owner = directory.found.st_uid, directory.found.st_gid

    def leave(self, directory: Directory) -> int:
        """Remove what the archive does not have and give the directory its own metadata; how many nodes it removed."""
        writer, fd, node = self._writer, directory.fd, directory.node
        removed = 0
        if directory.known is not None:
            removed = remove_others(fd, directory.known, self._installer.undo_immutable)
        if node is None:
            found = stat.S_IMODE(directory.found.st_mode)
            if found & stat.S_IRWXU != stat.S_IRWXU:
                os.fchmod(fd, found)
            return removed
        status = directory.found if directory.fresh else os.fstat(fd)
        owner = writer.owner_of(node)
        moved = owner is not None and owner != (status.st_uid, status.st_gid)
        if owner is not None and moved:
            set_owner(fd, owner)
        if node.xattrs or not directory.fresh:
            writer.set_xattrs(fd, node, directory.fresh)
        mode = writer.directory_mode(node.mode, stat.S_IMODE(directory.found.st_mode), directory.fresh)
        if moved or mode != stat.S_IMODE(status.st_mode):
            set_mode(fd, mode)
        if node.acl is not None or directory.default_acl or not directory.fresh:
            writer.set_acl(fd, node)
        writer.set_security(fd, node)
        same_flags = directory.flags == node.flags & writer.chattr and not writer.fat & node.flags
        if not same_flags or directory.volume.fat:
            writer.set_flags(fd, node, CHATTR & ~LOCKS, directory.volume)
        if writer.times:
            writer.set_time(fd, self._now, node.mtime_ns, directory.volume)
        if node.flags & LOCKS or not directory.fresh:
            writer.set_flags(fd, node, LOCKS, directory.volume)
        if node.flags & writer.subvolumes & Feature.SUBVOLUME_RO:
            set_subvolume_read_only(fd)
        return removed
