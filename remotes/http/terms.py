"""What requests and answers say in their heads, for clients and servers alike. Source: docs/http.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.compression import detect
from casync_py.protocol.posted import Exchange

if TYPE_CHECKING:
    from casync_py.compression import Buffer

DIGEST_HEADER = "Casync-Digest"
"""Which digest the ids are of; it is tried first."""
STORE_HEADER = "Casync-Store"
"""With the PUT of an index: the path, as in URLs, of the store that its chunks are in."""

HAS = "has"
"""The question which chunks there are, which is no exchange: its body is ids, the answer a byte for each."""
HAS_IDS_MAX = 32768  # 1 MiB, for which a server needs no turn of its own
HAS_MEDIA_TYPE = "application/vnd.casync.ids"

READING = (Exchange.PULL.value, HAS)
WRITING = (Exchange.ASK.value, Exchange.SEND.value)
"""What is POSTed to a store, by the name in the URL's query: where it can be read, and where it can be written too."""
POSTED = frozenset(name.encode() for name in (*READING, *WRITING))

INDEX_MEDIA_TYPE = "application/vnd.casync.index"
ARCHIVE_MEDIA_TYPE = "application/vnd.casync.archive"
PLAIN_MEDIA_TYPE = "application/octet-stream"
_COMPRESSED_MEDIA_TYPES = {"zstd": "application/zstd", "xz": "application/x-xz", "gzip": "application/gzip"}

WRITTEN = frozenset({200, 201, 204})
"""Statuses by which a server says that it has what was PUT."""


def chunk_media_type(stored: Buffer) -> str:
    """Of a chunk, by the first bytes of its compressed form; empty for the plain one."""
    compressor = detect(stored)
    return PLAIN_MEDIA_TYPE if compressor is None else _COMPRESSED_MEDIA_TYPES[compressor.name]
