"""Make a directory equal to a tree of entries, whatever was in it before and whatever the entries say."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from casync_py.archive.apply import MetadataWriter, has_default_acl
from casync_py.archive.background import Background
from casync_py.archive.delete import NotRemoved
from casync_py.archive.directories import DirectoryPlacer
from casync_py.archive.inode_flags import read_chattr
from casync_py.archive.install import Installer
from casync_py.archive.nodes import Entry, Leave
from casync_py.archive.payload import readable
from casync_py.archive.place import NodePlacer, PayloadFailed
from casync_py.archive.safe_dirs import Chain, check_name, is_locked
from casync_py.archive.stream import StreamPayload
from casync_py.errors import FormatError
from casync_py.format.flags import Feature
from casync_py.monitor import Monitor
from casync_py.native import syncfs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.archive.install import Directory, SmallFile
    from casync_py.archive.nodes import Node

_OPEN_TARGET = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOCTTY
_FILE, _DIRECTORY, _SYMLINK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK
_SPECIAL = {
    stat.S_IFBLK: Feature.DEVICE_NODES,
    stat.S_IFCHR: Feature.DEVICE_NODES,
    stat.S_IFIFO: Feature.FIFOS,
    stat.S_IFSOCK: Feature.SOCKETS,
}


# Small files are written, and directories finished, by a thread of its own: creating a file is 15 to 30 us in the
# kernel, as long as all else that is done for it. A batch makes handing over cheap; _AHEAD of them may wait.
_BATCH_FILES = 32
_BATCH_SIZE = 128 << 10
_AHEAD = 128


@dataclass(slots=True)
class RestoreStats:
    """What one `restore` did.

    Attributes:
        files, directories, others: regular files, directories (the top one included), symlinks and special nodes.
        bytes: content of the files.
        skipped: nodes of a type that the mask leaves out.
        removed: files and directories that were removed because the archive does not have them.
    """

    files: int = 0
    directories: int = 0
    others: int = 0
    bytes: int = 0
    skipped: int = 0
    removed: int = 0


def restore(
    entries: Iterator[Entry | Leave],
    target: str | bytes | os.PathLike[str],
    features_mask: int,
    *,
    inside: bool = False,
    delete: bool = True,
    punch_holes: bool = True,
    undo_immutable: bool = False,
    sync: bool = False,
    monitor: Monitor | None = None,
) -> RestoreStats:
    """Create, replace and remove below `target` until it equals the tree that `entries` describe.

    Nodes that are no directories appear complete or not at all: whoever interrupts this finds the old or the new one
    under each name. Directories appear empty, with permissions 0700, and get their metadata when their
    last entry is in place.

    Args:
        entries: names of one directory ascend; payloads are read as they come.
        target: a directory, or the name of one to create (one level). Of a symlink to a directory, the directory.
        features_mask: the metadata to restore, and the types of nodes (`format.flags.mask_for_reading`).
        inside: put the first entry and what is below it into `target` under its own name, and leave what else is there,
            and the directory itself, as they are. Otherwise the first entry is what `target` becomes.
        delete: remove what the archive does not have, and directories that are in the way of something else.
        punch_holes: leave blocks of zeros as holes.
        undo_immutable: clear the chattr flags immutable and append-only of what must be replaced or removed.
        sync: return only when all is on disk.
        monitor: `entries` and `path` are advanced; `done` is the business of whoever reads the stream.

    Raises:
        OSError: the target refuses something; `filename` is the path, `target` included. What reading `entries` or
            their payloads raises passes through.
        FormatError: entries that make no tree, or names that no file can have.
    """
    run = _Run(
        os.fsencode(target),
        MetadataWriter(features_mask),
        features_mask,
        monitor or Monitor(),
        inside=inside,
        delete=delete,
        punch_holes=punch_holes,
        undo_immutable=undo_immutable,
    )
    try:
        for item in entries:
            if isinstance(item, Leave):
                run.leave(item.path)
            else:
                run.enter(item)
        return run.finish(sync)
    finally:
        run.close()


class _Run:
    """One restore: the chain of directories that are being filled, and where the next entry must lie."""

    def __init__(
        self,
        target: bytes,
        writer: MetadataWriter,
        features_mask: int,
        monitor: Monitor,
        *,
        inside: bool,
        delete: bool,
        punch_holes: bool,
        undo_immutable: bool,
    ) -> None:
        self._target = target
        self._installer = Installer(delete=delete, undo_immutable=undo_immutable)
        self._nodes = NodePlacer(writer, self._installer, punch_holes)
        self._directories = DirectoryPlacer(writer, self._installer)
        self._monitor = monitor
        self._stats = RestoreStats()
        self._chain: Chain[Directory] = Chain()
        self._prefix = b""  # path of the last directory of the chain, with a slash at its end; empty for the root
        self._lead = 0  # length of what paths have in front that the target does not
        self._inside = inside
        # Not where somebody wants to see each entry, or has chosen those that we get.
        self._in_runs = monitor.on_entry is None and not inside
        self._ended = False
        self._background = Background(_AHEAD)
        self._removed = 0  # in the background; the installer counts the rest
        self._symlinks = bool(features_mask & Feature.SYMLINKS)
        self._special = {kind for kind, feature in _SPECIAL.items() if features_mask & feature}

    def _start(self, first: Entry) -> None:
        """Open the target and make it ready for the first entry or, without `inside`, make it the first entry."""
        path, name, node, _, _ = first
        inside = self._inside
        if not inside and (path or not stat.S_ISDIR(node.mode)):
            raise FormatError("The first entry of a tree must be its top directory")
        self._prefix = path[: len(path) - len(name)] if inside else b""
        self._lead = len(self._prefix)
        try:
            fd, fresh = self._open_target(None if inside else node)
            try:
                directory = self._directories.adopt(
                    fd, os.fstat(fd), None if inside else node, read_chattr(fd) if fresh else None, has_default_acl(fd)
                )
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            raise self._located(error, b"") from error
        directory.prefix = self._prefix
        self._chain.push(directory)

    def _open_target(self, node: Node | None) -> tuple[int, bool]:
        fresh = not os.path.isdir(self._target)
        if fresh:
            self._directories.make_top(self._target, node)
        return os.open(self._target, _OPEN_TARGET), fresh

    def enter(self, entry: Entry) -> None:
        """Put one entry in place."""
        path, name, node, payload, _ = entry
        levels = self._chain.levels
        if not levels:
            self._start(entry)
            if not self._inside:
                self._stats.directories += 1
                self._monitor.entries += 1
                return
        directory = levels[-1]
        check_name(name)
        if path != self._prefix + name or name <= directory.last or self._ended:
            raise FormatError(
                f"Entry {readable(path)} is out of place: not below {readable(self._prefix) or '.'}, or "
                f"not after {readable(directory.last)}"
            )
        directory.last = name
        if directory.known is not None:
            directory.known.add(name)
        monitor, stats = self._monitor, self._stats
        monitor.path = path
        kind = node.mode & 0o170000
        if kind == _DIRECTORY and self._chain.full:
            self._drain_all()
        try:
            if kind == _FILE:
                if payload is None:
                    raise FormatError(f"File {readable(path)} has no content")
                put_aside = self._nodes.file(directory, name, node, payload)
                stats.files += 1
                stats.bytes += payload.size
                if put_aside and self._in_runs and isinstance(payload, StreamPayload):
                    self._following_files(directory, node, payload)
            elif kind == _DIRECTORY:
                self._chain.push(self._directories.enter(directory, name, node))
                self._prefix = levels[-1].prefix = path + b"/"
                stats.directories += 1
            else:
                self._other(directory, name, node, kind)
        except PayloadFailed as failed:
            raise failed.error from None
        except OSError as error:
            raise self._located(error, path, directory) from error
        # Not above: what this raises is about an earlier file, and says so.
        if len(directory.small) >= _BATCH_FILES or directory.small_size >= _BATCH_SIZE:
            self._write_small(directory)
        monitor.entries += 1
        if monitor.on_entry is not None and kind != _DIRECTORY:
            monitor.on_entry("Extracted", path)

    def _following_files(self, directory: Directory, node: Node, payload: StreamPayload) -> None:
        """Take what follows in one step, where it is as easily made."""
        count, size = self._nodes.following_files(directory, node, payload)
        if count:
            self._stats.files += count
            self._stats.bytes += size
            self._monitor.entries += count
            self._monitor.path = self._prefix + directory.last

    def _other(self, directory: Directory, name: bytes, node: Node, kind: int) -> None:
        if kind == _SYMLINK and self._symlinks:
            self._nodes.symlink(directory, name, node)
        elif kind in self._special:
            self._nodes.special(directory, name, node)
        elif kind == _SYMLINK or kind in _SPECIAL:
            self._stats.skipped += 1
            return
        else:
            raise FormatError(f"Node {readable(name)} is of no known type: mode {node.mode:o}")
        self._stats.others += 1

    def leave(self, path: bytes) -> None:
        """Finish the last directory."""
        levels = self._chain.levels
        depth = len(levels) - (1 if self._inside else 0)
        if depth < 1 or path != self._prefix[:-1] or self._ended:
            raise FormatError(f"The end of directory {readable(path) or '.'} is out of place")
        directory = levels[-1]
        self._write_small(directory)
        if len(levels) > 1:
            try:
                self._chain.open_parent()  # while the directory may still be searched
            except OSError as error:
                raise self._located(error, path, directory) from error
            fd = self._chain.pop().fd
            self._prefix = path[: path.rfind(b"/") + 1]
            self._background.submit(partial(self._finish, directory, path), partial(os.close, fd))
        else:
            self._background.submit(partial(self._finish, directory, path))
            self._background.drain()
            self._ended = True
        if self._monitor.on_entry is not None:
            self._monitor.on_entry("Extracted", path)

    def _write_small(self, directory: Directory) -> None:
        """Have the small files of a directory written that wait for it."""
        if directory.small:
            files, directory.small, directory.small_size = directory.small, [], 0
            self._background.submit(partial(self._write_files, directory, directory.fd, directory.prefix, files))

    def _write_files(self, directory: Directory, fd: int, prefix: bytes, files: list[SmallFile]) -> None:
        done, error = self._nodes.small_files(fd, files)
        if error is not None:
            raise self._located(error, prefix + files[done].name, directory) from error

    def _finish(self, directory: Directory, path: bytes) -> None:
        try:
            self._removed += self._directories.leave(directory)
        except OSError as error:
            raise self._located(error, path, directory) from error

    def _drain_all(self) -> None:
        """Leave nothing to be written: the next step closes a directory on the way."""
        for directory in self._chain.levels:
            self._write_small(directory)
        self._background.drain()

    def finish(self, sync: bool) -> RestoreStats:
        """Check that the entries were a whole tree, and make it durable."""
        levels = self._chain.levels
        if not levels or not (self._ended or (self._inside and len(levels) == 1)):
            raise FormatError(f"The entries end inside directory {readable(self._prefix[:-1]) or '.'}")
        if self._inside:
            self._write_small(levels[0])
            self._background.drain()
        try:
            if self._inside:
                self._removed += self._directories.leave(levels[0])
            if sync:
                syncfs(levels[0].fd)
        except OSError as error:
            raise self._located(error, b"") from error
        self._stats.removed = self._installer.removed + self._removed
        return self._stats

    def close(self) -> None:
        """Close what is open, however far the restore came."""
        self._background.close()
        self._chain.close()

    def _located(self, error: OSError, path: bytes, directory: Directory | None = None) -> OSError:
        """The same error with the path that it is about and, where we know one, a remedy."""
        text = error.strerror or str(error)
        refused = error.errno == errno.EPERM and not self._installer.undo_immutable
        if refused and directory is not None and is_locked(directory.fd, os.path.basename(path)):
            text += "; it or its directory is immutable or append-only, --undo-immutable=yes clears that"
        if isinstance(error, NotRemoved) and directory is not None:
            path = directory.prefix + os.fsencode(error.filename)
        path = path[self._lead :]
        return OSError(error.errno, text, os.fsdecode(os.path.join(self._target, path) if path else self._target))
