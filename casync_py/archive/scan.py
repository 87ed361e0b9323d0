"""A directory tree to entries, in archive order, as casync's make sees it under given feature flags.

Everything is opened relative to its directory's descriptor and never through a link, so the depth of a tree is bounded
by nothing: a limited number of the directories on the way down stay open, and those above are found again through
`..`. Only directories and regular files are opened. Source: spec 1.5, 1.8.
"""

from __future__ import annotations

import errno
import os
import sys
from stat import S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFREG, S_IFSOCK
from typing import TYPE_CHECKING

from casync_py.archive.exclude import EXCLUDE_NAME, NO_RULES, Rules, read_patterns
from casync_py.archive.hard_links import LinkCounter
from casync_py.archive.identity import Identities
from casync_py.archive.node_reader import TYPE_MASK, NodeReader
from casync_py.archive.nodes import Entry, Leave
from casync_py.archive.payload import FilePayload, Status, readable
from casync_py.errors import SourceChanged
from casync_py.format.flags import Feature
from casync_py.native import open_and_examine

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from casync_py.monitor import Monitor

_OPEN_DIRECTORIES = 64  # of the 1024 descriptors that most systems allow a process

# O_NONBLOCK: should a fifo have taken the file's place meanwhile, opening it must not wait for a writer.
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY | os.O_NONBLOCK
_OPEN_DIRECTORY = _OPEN | os.O_DIRECTORY

_REGULAR, _DIRECTORY, _OTHER = range(3)
_OTHERS = {
    S_IFLNK: Feature.SYMLINKS,
    S_IFBLK: Feature.DEVICE_NODES,
    S_IFCHR: Feature.DEVICE_NODES,
    S_IFIFO: Feature.FIFOS,
    S_IFSOCK: Feature.SOCKETS,
}
_ENCODING = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
_new = tuple.__new__  # a NamedTuple's own constructor takes twice as long


def scan(
    root: str | bytes | int, features: int, *, identities: Identities | None = None, monitor: Monitor | None = None
) -> Generator[Entry | Leave, None, None]:
    """Yield the nodes of the tree at `root` as archive entries.

    Args:
        root: a directory's path, or a descriptor of one, which stays the caller's.
        features: normalised feature flags; the EXCLUDE_* bits among them say what is left out.
        identities: where names of users and groups come from.
        monitor: gets a notice at the end if hard links became copies.

    Returns:
        Entries and leaves; an entry's payload can be read until the next one is asked for. Descriptors are given
        back at the end, after an error, or when the iterator is closed or collected.

    Raises:
        OSError: something cannot be read, is gone or cannot be archived; `filename` is its path.
        SourceChanged: a file or directory changed while it was read.
    """
    return _Scan(root, features, identities or Identities(), monitor).walk()


class _Directory:
    """A directory on the way down; `fd` is -1 while closed, `names` are those still to come, `mount` -1 if unknown."""

    __slots__ = ("fd", "identity", "kinds", "mount", "names", "path", "prefix", "rules")

    def __init__(self, fd: int, st: os.stat_result, path: bytes, rules: Rules) -> None:
        self.fd = fd
        self.identity = st.st_dev, st.st_ino
        self.path = path
        self.prefix = path + b"/" if path else b""
        self.rules = rules
        self.mount = -1
        self.kinds: dict[bytes, int] = {}
        self.names: Iterator[bytes] = iter(())


class _Scan:
    def __init__(self, root: str | bytes | int, features: int, identities: Identities, monitor: Monitor | None) -> None:
        self._root = root
        self._top = b"" if isinstance(root, int) else os.fsencode(root)
        self._monitor = monitor
        self._reader = NodeReader(features, identities)
        self._exclude_file = bool(features & Feature.EXCLUDE_FILE)
        self._exclude_mounts = bool(features & Feature.EXCLUDE_SUBMOUNTS)
        self._others = {kind for kind, flag in _OTHERS.items() if features & flag}
        self._links = LinkCounter()
        self._stack: list[_Directory] = []
        self._payload: FilePayload | None = None  # of the entry that was yielded last
        self._path = b""  # of what is being looked at, for errors

    def walk(self) -> Generator[Entry | Leave, None, None]:
        stack = self._stack
        try:
            yield self._enter_root()
            while stack:
                directory = stack[-1]
                kinds, prefix, rules = directory.kinds, directory.prefix, directory.rules
                for name in directory.names:
                    self._path = path = prefix + name
                    kind = kinds[name]
                    if rules and rules.exclude(name, kind == _DIRECTORY):
                        continue
                    if kind == _REGULAR:
                        entry = self._file(directory, name, path)
                        if entry is not None:
                            yield entry
                            payload = self._payload
                            if payload is not None and payload.fd >= 0:
                                payload.close()
                    elif kind == _DIRECTORY:
                        entry = self._enter(directory, name, path)
                        if entry is not None:
                            yield entry
                            break
                    else:
                        entry = self._other(directory, name, path)
                        if entry is not None:
                            yield entry
                else:
                    self._path = directory.path
                    yield Leave(directory.path)
                    self._leave()
        except OSError as error:
            raise self._located(error) from None
        finally:
            if self._payload is not None:
                self._payload.close()
            for directory in stack:
                if directory.fd >= 0:
                    os.close(directory.fd)
        if self._monitor is not None and self._links.copies:
            self._monitor.notice(str(self._links))

    def _file(self, directory: _Directory, name: bytes, path: bytes) -> Entry | None:
        reader = self._reader
        fd, flags, xattrs, status = open_and_examine(directory.fd, name, reader.wants_flags, reader.wants_xattrs)
        try:
            st = _new(Status, status)
            mode, number, _, names, _, _, size, _, _ = status
            if mode & TYPE_MASK != S_IFREG:
                raise self._changed()
            if self._exclude_mounts and _mount_id(fd) != directory.mount:
                os.close(fd)
                return None
            device = reader.devices.get(number) or reader.device(fd, number)
            if device.api:
                size = 0
            node = reader.file(fd, st, size, device, flags, xattrs)
            if node is None:
                os.close(fd)
                return None
        except BaseException:
            os.close(fd)
            raise
        if names > 1:
            self._links.see(st)
        self._payload = payload = FilePayload(fd, st, size, self._top, path)
        return _new(Entry, (path, name, node, payload, -1))

    def _other(self, directory: _Directory, name: bytes, path: bytes) -> Entry | None:
        st = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        kind = st.st_mode & TYPE_MASK
        if kind in (S_IFREG, S_IFDIR):
            raise self._changed()
        if kind not in self._others:
            return None
        if st.st_nlink > 1:
            self._links.see(st)
        return Entry(path, name, self._reader.unopened(directory.fd, name, st))

    def _enter_root(self) -> Entry:
        self._path = b""
        if isinstance(self._root, int):
            fd = os.open(b".", _OPEN_DIRECTORY, dir_fd=self._root)
        else:
            fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        entry = self._entered(fd, None, b"", b"")
        assert entry is not None
        return entry

    def _enter(self, parent: _Directory, name: bytes, path: bytes) -> Entry | None:
        return self._entered(os.open(name, _OPEN_DIRECTORY, dir_fd=parent.fd), parent, name, path)

    def _entered(self, fd: int, parent: _Directory | None, name: bytes, path: bytes) -> Entry | None:
        """Make the open directory `fd` the current one, unless it is left out; takes `fd` over."""
        try:
            st = os.fstat(fd)
            rules = parent.rules.enter(name) if parent is not None else NO_RULES
            directory = _Directory(fd, st, path, rules)
            if self._exclude_mounts:
                directory.mount = _mount_id(fd)
            device = self._reader.device(fd, st.st_dev)
            node = None
            if parent is None or directory.mount == parent.mount:
                node = self._reader.opened(fd, st, 0, device, keep=parent is None)
            if node is not None and not device.api:
                self._list(directory)
        except BaseException:
            os.close(fd)
            raise
        if node is None:
            os.close(fd)
            return None
        self._stack.append(directory)
        if len(self._stack) > _OPEN_DIRECTORIES:
            far = self._stack[-1 - _OPEN_DIRECTORIES]
            os.close(far.fd)
            far.fd = -1
        return Entry(path, name, node)

    def _list(self, directory: _Directory) -> None:
        encoding, errors = _ENCODING
        with os.scandir(directory.fd) as found:
            directory.kinds = kinds = {
                entry.name.encode(encoding, errors): _REGULAR
                if entry.is_file(follow_symlinks=False)
                else _DIRECTORY
                if entry.is_dir(follow_symlinks=False)
                else _OTHER
                for entry in found
            }
        directory.names = iter(sorted(kinds))
        if self._exclude_file and EXCLUDE_NAME in kinds:
            self._path = directory.prefix + EXCLUDE_NAME
            directory.rules = directory.rules.extended(read_patterns(directory.fd))

    def _leave(self) -> None:
        left = self._stack.pop()
        try:
            if self._stack and self._stack[-1].fd < 0:
                parent = self._stack[-1]
                parent.fd = os.open(b"..", _OPEN_DIRECTORY, dir_fd=left.fd)
                st = os.fstat(parent.fd)
                if (st.st_dev, st.st_ino) != parent.identity:
                    raise self._changed()
        finally:
            os.close(left.fd)

    def _located(self, error: OSError) -> OSError:
        path = os.path.join(self._top, self._path) if self._path else self._top
        return OSError(error.errno, error.strerror, os.fsdecode(path or b"."))

    def _changed(self) -> SourceChanged:
        path = os.path.join(self._top, self._path)
        return SourceChanged(f"{readable(path)} changed while the tree was read")


def _mount_id(fd: int) -> int:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as info:
        for line in info:
            if line.startswith(b"mnt_id:"):
                return int(line[7:])
    raise OSError(errno.EOPNOTSUPP, "The kernel does not tell mounts apart")
