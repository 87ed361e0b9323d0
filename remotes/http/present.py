"""Which chunks a server has, without getting them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from casync_py.errors import ProtocolError
from casync_py.remotes.http.address import chunk_url
from casync_py.remotes.http.terms import HAS, HAS_IDS_MAX, HAS_MEDIA_TYPE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.ids import ChunkId
    from casync_py.remotes.http.web import Web

NOT_THERE = (404, 410)
NOT_IN_THIS_FORM = 400  # of desync's server to .cacnk where it has plain chunks, and the other way round
_HEADS = 16  # at once


def has_by_post(web: Web, store: str, ids: Sequence[ChunkId], name: str) -> list[bool]:
    """Ask a server of this package: one byte, 0 or 1, for each id.

    Raises:
        PeerError: it did not answer, or not so.
    """
    found: list[bool] = []
    headers = {"Content-Type": HAS_MEDIA_TYPE}
    for start in range(0, len(ids), HAS_IDS_MAX):
        asked = ids[start : start + HAS_IDS_MAX]
        answer = web.request("POST", f"{store}?{HAS}", content=b"".join(asked), headers=headers, limit=HAS_IDS_MAX)
        if len(answer.body) != len(asked) or answer.body.strip(b"\0\1"):
            raise ProtocolError(f"Answered with {len(answer.body)} bytes for {len(asked)} chunks", name)
        found.extend(map(bool, answer.body))
    return found


def has_by_head(web: Web, store: str, suffixes: Sequence[str], chunk_id: ChunkId) -> bool:
    """Ask any server for one chunk, in any of its forms.

    Raises:
        WebError: it did not answer.
    """
    known = False
    for suffix in suffixes:
        several = known or suffix != suffixes[-1]
        expected = (200, *NOT_THERE, NOT_IN_THIS_FORM) if several else (200, *NOT_THERE)
        answer = web.request("HEAD", chunk_url(store, chunk_id, suffix), expect=expected)
        if answer.status == 200 and answer.headers.get("content-length") != "0":
            return True
        known = known or answer.status != NOT_IN_THIS_FORM
    return False


def has_by_heads(web: Web, store: str, suffixes: Sequence[str], ids: Sequence[ChunkId]) -> list[bool]:
    """Ask any server for each chunk. Raises WebError."""
    threads = ThreadPoolExecutor(min(_HEADS, max(1, len(ids))), "casync-http-head")
    try:
        return list(threads.map(partial(has_by_head, web, store, suffixes), ids))
    finally:
        # What is under way after an error, or Ctrl-C, is not waited for: it ends with the web
        threads.shutdown(wait=False, cancel_futures=True)
