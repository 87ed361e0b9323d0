"""Extract a blob from an index."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casync_py.sync.blob import BlobTarget
    from casync_py.sync.stream import IndexStream


def extract_blob(stream: IndexStream, target: BlobTarget) -> int:
    """Write a whole stream to a target, in order; commits it, or aborts it on any error. Returns the blob's size."""
    offset = 0
    try:
        with closing(stream):
            while plain := stream.read():
                target.write_at(offset, plain)
                offset += len(plain)
        target.commit()
    finally:
        target.abort()
    return offset
