"""Give nodes that are complete under a temporary name their final one, over whatever has it."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from casync_py.archive.delete import remove_tree
from casync_py.archive.safe_dirs import Level, exchange, unlock
from casync_py.files import NAME_MAX

if TYPE_CHECKING:
    from casync_py.archive.apply import Volume
    from casync_py.archive.nodes import Node
    from casync_py.archive.payload import Status

_NAME_ROOM = NAME_MAX - 18  # of `.#NAME<16 hex digits>`


class SmallFile(NamedTuple):
    """A file that needs nothing but content, the mode that it is opened with, and its time."""

    temporary: bytes
    name: bytes
    data: bytes | bytearray | memoryview
    mode: int
    mtime_ns: int


class Directory(Level):
    """A directory being filled, and what new entries in it start with, learnt from the first one.

    Attributes:
        node: what the archive has for it; None for a directory whose own metadata stays.
        fresh: it was made by this run, so nothing else can be in it.
        found: its status as it was found, or made.
        flags: its own chattr flags of those that are restored; -1 while unknown.
        last: name of the last entry so far; names must ascend.
        known: names that the archive has; None where nothing is to be removed.
        owner: of new entries; None while unknown.
        chattr: flags of new files; -1 while unknown.
        fix_modes: permissions of new files are not what `open` was given.
        default_acl: it hands on a default ACL.
        prefix: its path with a slash, empty for the top; for messages.
        small, small_size: files that wait to be written together, and their bytes.
    """

    __slots__ = (
        "chattr",
        "default_acl",
        "fix_modes",
        "flags",
        "found",
        "fresh",
        "known",
        "last",
        "node",
        "owner",
        "prefix",
        "small",
        "small_size",
        "volume",
    )

    def __init__(
        self, fd: int, status: os.stat_result | Status, volume: Volume, node: Node | None, fresh: bool
    ) -> None:
        super().__init__(fd, status)
        self.volume = volume
        self.node = node
        self.fresh = fresh
        self.found = status
        self.flags = -1
        self.last = b""
        self.known: set[bytes] | None = None
        self.owner: tuple[int, int] | None = None
        self.chattr = -1
        self.fix_modes = False
        self.default_acl = False
        self.prefix = b""
        self.small: list[SmallFile] = []
        self.small_size = 0


class Installer:
    """Temporary names and final ones, for one run of `restore`.

    Attributes:
        delete: directories may be removed where something else is to stand.
        undo_immutable: the chattr flags immutable and append-only may be cleared.
        removed: nodes that were removed so far.
    """

    def __init__(self, *, delete: bool, undo_immutable: bool) -> None:
        self.delete = delete
        self.undo_immutable = undo_immutable
        self.removed = 0
        self._counting = Lock()  # files are installed by two threads
        # Unique in this run and unlikely elsewhere; drawing 16 new digits for each file would cost a system call.
        self._run = secrets.token_hex(4).encode()
        self._numbers = count()

    def temporary_name(self, name: bytes) -> bytes:
        """A name for `name` on its way, in casync's form, not used before in this run."""
        return b".#%b%b%08x" % (name[:_NAME_ROOM], self._run, next(self._numbers) & 0xFFFFFFFF)

    def install(self, fd: int, temporary: bytes, name: bytes) -> None:
        """Rename `temporary`, which is no directory, to `name`, both in the directory `fd`."""
        try:
            os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
        except OSError as error:
            self.install_over(fd, temporary, name, error)

    def install_over(self, fd: int, temporary: bytes, name: bytes, error: OSError) -> None:
        """The same where a plain rename failed with `error`: over what is immutable or a directory."""
        if error.errno == errno.EPERM and self.undo_immutable:
            unlock(fd, name)
            try:
                os.rename(temporary, name, src_dir_fd=fd, dst_dir_fd=fd)
                return
            except OSError as again:
                error = again
        if error.errno != errno.EISDIR:
            raise error
        if not self.delete:
            raise OSError(error.errno, "A directory is in the way, which --delete=no keeps")
        exchange(fd, temporary, name)
        self._remove(fd, temporary)

    def install_directory(self, fd: int, temporary: bytes, name: bytes) -> None:
        """Put the directory `temporary` in the place of `name`, which is none, and remove that."""
        try:
            exchange(fd, temporary, name)
        except PermissionError:
            if not self.undo_immutable:
                raise
            unlock(fd, name)
            exchange(fd, temporary, name)
        self._remove(fd, temporary)

    def _remove(self, fd: int, name: bytes) -> None:
        removed = remove_tree(fd, name, self.undo_immutable)
        with self._counting:
            self.removed += removed


def set_owner(inode: int | str | bytes, owner: tuple[int, int], dir_fd: int | None = None) -> None:
    """Change owner and group of a descriptor, a /proc/self/fd path, or a name in `dir_fd` that is not followed."""
    try:
        if dir_fd is None:
            os.chown(inode, *owner)
        else:
            os.chown(inode, *owner, dir_fd=dir_fd, follow_symlinks=False)
    except PermissionError as error:
        uid, gid = owner
        text = f"{error.strerror}: giving it to {uid}:{gid}; --without=privileged leaves owners out"
        raise OSError(error.errno, text) from error


def set_mode(inode: int | str, mode: int) -> None:
    """Change the permissions of a descriptor or /proc/self/fd path."""
    os.chmod(inode, mode)
    # Who may not set these bits is not told so by chmod, which leaves them out.
    if mode & 0o6000 and stat.S_IMODE(os.stat(inode).st_mode) != mode:
        raise OSError(errno.EPERM, f"{os.strerror(errno.EPERM)}: permissions {mode:04o}")
