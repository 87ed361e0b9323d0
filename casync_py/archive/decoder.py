"""Archive bytes to entries: strict, incremental, no recursion. Source: spec sections 1.2, 1.3, 1.5, 1.6."""

from __future__ import annotations

from functools import partial
from stat import S_IFDIR, S_IFREG
from struct import Struct
from typing import TYPE_CHECKING

from casync_py.archive.node_decoder import read_entry, read_node
from casync_py.archive.nodes import Entry, Leave, Node
from casync_py.archive.order import TYPE_MASK, EntryRules
from casync_py.archive.stream import ByteSource, RecordStream, StreamPayload
from casync_py.errors import FormatError
from casync_py.format import constants as c
from casync_py.format import flags
from casync_py.format import records as r
from casync_py.format.goodbye import Children, Goodbye, goodbye_size
from casync_py.native import plain_run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from casync_py.archive.stream import Files

__all__ = ["ByteSource", "decode"]

_unpack_header = r.HEADER.unpack_from
_unpack_head = Struct("<10Q").unpack_from  # ENTRY, and the header after it
_pack_alike = Struct("<7Q").pack  # ENTRY up to its time
_HEAD_MAX = c.HEADER_SIZE + c.NAME_MAX + 1 + c.ENTRY_SIZE + c.HEADER_SIZE
_FILENAME_MIN = c.HEADER_SIZE + 2
_FILENAME_MAX = c.HEADER_SIZE + c.NAME_MAX + 1
_PLAIN_PAYLOAD_MAX = 1 << 48
_NOT_A_CHILD = (b".", b"..")
_NO_OWNERS = (b"", b"")

# Half the time of the classes' own constructors, which matters once for each file.
_node: Callable[[tuple[object, ...]], Node] = partial(tuple.__new__, Node)
_entry: Callable[[tuple[object, ...]], Entry] = partial(tuple.__new__, Entry)


def decode(
    source: ByteSource,
    expected_flags: int | None = None,
    name: str = "",
    *,
    strict_end: bool = True,
    offset: int = 0,
    subtree: bool = False,
) -> Generator[Entry | Leave, None, None]:
    """Read an archive: its entries in archive order, the top directory first, with path `b""`.

    A file's payload may be read until the next entry is asked for; what was not read of it is skipped in the source.

    Args:
        expected_flags: feature flags that the index announced; the archive must have the same.
        name: of the archive, for messages.
        strict_end: bytes after the last GOODBYE are an error (casync ignores them).
        offset: where in the archive the first byte from `source` stands.
        subtree: read one node of any type and what is below it, from its ENTRY on; `source` goes on with the rest of
            the archive, and what follows the node is not looked at.

    Raises:
        FormatError: anything that casync would not have written; `name` and the offset are set.
    """
    decoder = _Decoder(RecordStream(source, offset, name), expected_flags)
    try:
        yield from decoder.entries(strict_end and not subtree, subtree)
    except FormatError as error:
        error.name = error.name or name or None
        raise


class _Decoder:
    """The loop over entries, with the directories that are open.

    `_prefix` is the path of the current directory with a slash, empty for the top; the paths above are prefixes of
    it, so that a deep tree does not keep each of them. `_last` is the name of the current directory's newest child.
    """

    def __init__(self, stream: RecordStream, expected_flags: int | None) -> None:
        self._stream = stream
        self._features = expected_flags
        self._children = Children(-1)
        self._above: list[tuple[Children, bytes]] = []
        self._prefix = b""
        self._last = b""
        self._owner = (b"", b"", b"")

    def entries(self, strict_end: bool, subtree: bool) -> Iterator[Entry | Leave]:
        stream = self._stream
        record = read_entry(stream)
        self._rules = rules = self._accept_features(record.feature_flags)
        if record.mode & TYPE_MASK != S_IFDIR and not subtree:
            raise stream.error("The archive's top is not a directory")
        name = b""
        while True:
            start = stream.start
            node, following = read_node(stream, record, rules)
            kind = node.mode & TYPE_MASK
            if kind == S_IFREG:
                payload = StreamPayload(stream, node.size, self._following_files)
                yield Entry(self._prefix + name, name, node, payload, start)
                payload.close()
                stream.skip_body()
                following = None
            else:
                yield Entry(self._prefix + name, name, node, None, start)
            if kind == S_IFDIR:
                self._enter(name, start)
            elif not self._above:
                return
            if following is None:
                yield from self._plain_files(rules, node)
                following = stream.next()
            while following == c.GOODBYE:
                self._check_goodbye()
                path = self._leave()
                if not self._above and strict_end and not stream.at_end():
                    raise stream.error("Bytes after the end of the archive", stream.reader.offset)
                yield Leave(path)
                if not self._above:
                    return
                yield from self._plain_files(rules, node)
                following = stream.next()
            name = self._accept_child(following)
            record = read_entry(stream)
            if record.feature_flags != rules.features:
                raise stream.error("ENTRY whose feature flags differ from those before")

    def _plain_files(self, rules: EntryRules, newest: Node) -> Iterator[Entry]:
        """Regular files without metadata records other than the newest owner's names, as long as all of a file's
        records up to the content lie in the current buffer. What is not as expected is left for `read_node`, which
        knows what is wrong with it."""
        owner, user, group = self._owner_records(newest)
        stream, children, prefix = self._stream, self._children, self._prefix
        following_files = self._following_files
        reader = stream.reader
        features, known, granularity, mtime_max = rules.features, rules.known, rules.granularity, rules.mtime_max
        needed = _HEAD_MAX + len(owner)
        while reader.position + needed <= reader.end:
            data, position = reader.data, reader.position
            length, record_type = _unpack_header(data, position)
            if record_type != c.FILENAME or not _FILENAME_MIN <= length <= _FILENAME_MAX:
                break
            start = position + length
            (
                entry_size, entry_type, entry_features, mode, inode_flags, uid, gid, mtime, size, record_type
            ) = _unpack_head(data, start)  # fmt: skip
            content = start + c.ENTRY_SIZE
            owned = record_type != c.PAYLOAD
            if owned:
                if not owner or data[content : content + len(owner)] != owner:
                    break
                content += len(owner)
                size, record_type = _unpack_header(data, content)
            name = bytes(data[position + c.HEADER_SIZE : start - 1])
            if (
                record_type != c.PAYLOAD
                or entry_type != c.ENTRY
                or entry_size != c.ENTRY_SIZE
                or entry_features != features
                or mode & TYPE_MASK != S_IFREG
                or (mode, inode_flags, uid, gid) not in known
                or mtime > mtime_max
                or mtime % granularity
                or not c.HEADER_SIZE <= size <= _PLAIN_PAYLOAD_MAX
                or data[start - 1]
                or b"/" in name
                or b"\0" in name
                or name <= self._last
                or name in _NOT_A_CHILD
            ):
                break
            size -= c.HEADER_SIZE
            offset = reader.offset
            children.add(name, offset)
            self._last = name
            reader.position = content + c.HEADER_SIZE
            reader.left = size
            owners = (user, group) if owned else _NO_OWNERS
            node = _node((mode, inode_flags, uid, gid, mtime, *owners, (), None, None, None, 0, b"", (0, 0), size))
            payload = StreamPayload(stream, size, following_files)
            yield _entry((prefix + name, name, node, payload, offset + length))
            payload.close()
            if reader.left:
                stream.skip_body()

    def _following_files(self, node: Node, latest_ns: int, largest: int) -> Files:
        """See `StreamPayload.following_files`."""
        if node.xattrs or node.acl or node.selinux is not None or node.fcaps is not None or node.projid:
            return [], [], []  # those that follow are compared by their ENTRY and owner's names alone
        reader, rules = self._stream.reader, self._rules
        position = reader.position
        start = reader.offset - position
        alike = _pack_alike(c.ENTRY_SIZE, c.ENTRY, rules.features, node.mode, node.flags, node.uid, node.gid)
        owner = self._owner_records(node)[0] if node.user or node.group else b""
        latest_ns = min(latest_ns, rules.mtime_max)
        reader.position, names, starts, times, contents = plain_run(
            reader.view, position, self._last, alike, owner, rules.granularity, latest_ns, largest
        )
        if names:
            self._children.add_many(names, [start + each for each in starts])
            self._last = names[-1]
        return names, times, contents

    def _owner_records(self, node: Node) -> tuple[bytes, bytes, bytes]:
        """The newest owner's records as they stand in the archive, and the names in them."""
        if (node.user or node.group) and self._owner[1:] != (node.user, node.group):
            owner = (r.User(node.user).encode() if node.user else b"") + (
                r.Group(node.group).encode() if node.group else b""
            )
            self._owner = (owner, node.user, node.group)
        return self._owner

    def _accept_features(self, features: int) -> EntryRules:
        flags.check(features, self._stream.start + c.HEADER_SIZE)
        if self._features not in (None, features):
            raise self._stream.error(
                f"Archive with feature flags {features:#x}, where its index has {self._features:#x}"
            )
        return EntryRules(features)

    def _accept_child(self, record_type: int) -> bytes:
        """Read the FILENAME that has to stand here, and remember the child."""
        stream = self._stream
        if record_type != c.FILENAME:
            raise stream.error(f"{r.RECORDS[record_type].name} where FILENAME or GOODBYE must stand")
        name = r.Filename.decode(stream.body(), stream.start).name
        if name <= self._last:
            raise stream.error(f"Names do not ascend: {name!r} after {self._last!r}")
        self._last = name
        self._children.add(name, stream.start)
        return name

    def _enter(self, name: bytes, start: int) -> None:
        self._above.append((self._children, name))
        self._children = Children(start)
        self._last = b""
        if name:
            self._prefix += name + b"/"
            if len(self._prefix) > c.PATH_MAX:
                raise self._stream.error("Path is too long")

    def _leave(self) -> bytes:
        """Go back to the directory above; the path of the one that was left."""
        path = self._prefix[:-1]
        self._children, name = self._above.pop()
        self._prefix = self._prefix[: len(path) - len(name)]
        self._last = name
        return path

    def _check_goodbye(self) -> None:
        """Compare the table with what was seen; its size first, so that no longer one is read."""
        stream, children = self._stream, self._children
        if stream.reader.left + c.HEADER_SIZE != goodbye_size(len(children)):
            raise stream.error(f"GOODBYE that is not for {len(children)} children")
        body = stream.body()
        if children.goodbye(stream.start)[c.HEADER_SIZE :] != body:
            Goodbye(body, stream.start)
            raise stream.error("GOODBYE that does not match the directory")
