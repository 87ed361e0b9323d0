"""Digests of one node: of a file's content, and of its records with its content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.archive.encoder import encode

if TYPE_CHECKING:
    from casync_py.archive.nodes import Entry, Payload
    from casync_py.digest import Buffer, Digest, Hasher


def payload_digest(payload: Payload, digest: Digest) -> bytes:
    """Digest of a file's content, 32 bytes. Raises what reading it raises."""
    hasher = digest.new()
    for piece in payload.pieces():
        hasher.update(piece)
    return hasher.digest()


def content_digests(entry: Entry, features: int, digest: Digest) -> tuple[bytes, bytes]:
    """Digest of a node's content (of nothing, where it has none), and of the node: ENTRY up to the end of its content.

    casync calls the second one HLDigest, because it finds files that can be hard links to each other.

    Args:
        entry: anything but a directory.
        features: the feature flags that the ENTRY record carries.
    """
    sink = _DigestSink(digest)
    encode([entry._replace(name=b"")], sink, features)
    return sink.content.digest(), sink.whole.digest()


class _DigestSink:
    """Takes one node's records and content."""

    def __init__(self, digest: Digest) -> None:
        self.content: Hasher = digest.new()
        self.whole: Hasher = digest.new()

    def write(self, data: Buffer) -> None:
        self.whole.update(data)

    def copy(self, payload: Payload) -> None:
        for piece in payload.pieces():
            self.content.update(piece)
            self.whole.update(piece)
