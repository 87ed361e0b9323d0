"""The two ways to bring chunks to a web server: casync's messages in POST bodies where it speaks them, else a HEAD and
a PUT for each chunk's file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from casync_py.digest import digest_of_flags
from casync_py.errors import PeerError, ProtocolError
from casync_py.format.index import IndexWriter
from casync_py.protocol.messages import CHUNK_DATA_MAX, ChunkData, IndexData, IndexEnd, Request
from casync_py.protocol.posted import FAREWELL, MEDIA_TYPE, ROWS_MAX, BodyReader, Exchange, Side, body, greeting
from casync_py.remotes.http.address import chunk_url
from casync_py.remotes.http.getting import check_media_type
from casync_py.remotes.http.present import has_by_head
from casync_py.remotes.http.terms import DIGEST_HEADER, WRITTEN, chunk_media_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.ids import ChunkId
    from casync_py.remotes.http.web import Web
    from casync_py.sync.upload import UploadPlan

_QUESTION_SIZE = 4 << 20  # bytes of the stream in one ASK: some dozen rows, so that a request costs next to nothing
_BODY_SIZE = 4 << 20  # bytes of chunks in one SEND, which the server makes durable together
_AT_ONCE = 16  # files that are asked for, and that are sent, at the same time


class Question(NamedTuple):
    """Rows of an index whose chunks may be lacking; `start` is where the first one starts in the stream."""

    start: int
    ends: list[int]
    ids: list[ChunkId]


class Sending(Protocol):
    """A way to bring chunks to a store. Thread-safe.

    Attributes:
        question_rows, question_size: rows, and bytes of the stream, that one question has at most; a larger row alone.
        body_size: stored bytes of chunks that are worth one `send`.
        askers, senders: threads that are worth having.
    """

    question_rows: int
    question_size: int
    body_size: int
    askers: int
    senders: int

    def ask(self, question: Question) -> Sequence[ChunkId]:
        """Those chunks of it that the server lacks. Raises PeerError."""

    def send(self, chunks: Sequence[ChunkData]) -> None:
        """Return when they are durable there. Raises PeerError."""


class ByExchanges:
    """POST ?ask and POST ?send; a chunk that fits into no message goes as a file."""

    question_rows = ROWS_MAX
    question_size = _QUESTION_SIZE
    body_size = _BODY_SIZE
    askers = 4
    senders = 3

    def __init__(self, web: Web, store: str, name: str, plan: UploadPlan, suffix: str) -> None:
        """
        Args:
            store: URL. name: of the store, for messages.
            suffix: of compressed chunks' files.
        """
        self._request = partial(web.request, "POST")
        self._store = store
        self._name = name
        self._flags = plan.feature_flags
        self._params = (plan.params.min, plan.params.avg, plan.params.max)
        self._headers = {"Content-Type": MEDIA_TYPE}
        self._send_headers = {**self._headers, DIGEST_HEADER: digest_of_flags(plan.feature_flags).name}
        self._files = ByFiles(web, store, plan, suffix, compressed=True)

    def ask(self, question: Question) -> Sequence[ChunkId]:
        parts: list[bytes] = []
        index = IndexWriter(parts.append, self._flags, self._params)
        for end, chunk_id in zip(question.ends, question.ids, strict=True):
            index.append(end - question.start, chunk_id)
        index.finish()
        content = body(Exchange.ASK, Side.CLIENT, [IndexData(b"".join(parts)), IndexEnd()])
        answer = self._exchange(Exchange.ASK, content, self._headers)
        wanted = dict.fromkeys(chunk_id for request in answer for chunk_id in request.ids)
        if not wanted.keys() <= set(question.ids):
            raise ProtocolError("Asks for chunks that it was not asked about", self._name)
        return list(wanted)

    def send(self, chunks: Sequence[ChunkData]) -> None:
        parts: list[bytes | memoryview] = [greeting(Exchange.SEND, Side.CLIENT)]
        for chunk in chunks:
            if len(chunk.data) > CHUNK_DATA_MAX:
                self._files.send([chunk])
            else:
                parts += chunk.wire_parts()
        parts.append(FAREWELL)
        if len(parts) > 2:
            self._exchange(Exchange.SEND, b"".join(parts), self._send_headers)

    def _exchange(self, exchange: Exchange, content: bytes, headers: dict[str, str]) -> list[Request]:
        answer = self._request(f"{self._store}?{exchange.value}", content=content, headers=headers)
        reader = BodyReader(exchange, Side.SERVER)
        try:
            check_media_type(answer.headers.get("content-type"))
            messages = reader.feed(answer.body)
            reader.finish()
        except PeerError as error:
            error.name = error.name or self._name
            raise
        return [message for message in messages if isinstance(message, Request)]


class ByFiles:
    """A HEAD and a PUT for each chunk, many at once: for servers that know nothing of casync."""

    question_rows = 1
    question_size = 1
    body_size = 1
    askers = _AT_ONCE
    senders = _AT_ONCE

    def __init__(self, web: Web, store: str, plan: UploadPlan, suffix: str, *, compressed: bool) -> None:
        """
        Args:
            store: URL.
            suffix: of compressed chunks' files.
            compressed: chunks are sent so; a store has them in one form, as clients that know one look for it.
        """
        self._web = web
        self._store = store
        self._suffix = suffix
        self._form = [suffix if compressed else ""]
        self._digest = digest_of_flags(plan.feature_flags).name

    def ask(self, question: Question) -> Sequence[ChunkId]:
        return [chunk_id for chunk_id in question.ids if not has_by_head(self._web, self._store, self._form, chunk_id)]

    def send(self, chunks: Sequence[ChunkData]) -> None:
        for chunk in chunks:
            data = bytes(chunk.data)
            url = chunk_url(self._store, chunk.chunk_id, self._suffix if chunk.compressed else "")
            media_type = chunk_media_type(data if chunk.compressed else b"")
            headers = {"Content-Type": media_type, DIGEST_HEADER: self._digest}
            self._web.request("PUT", url, content=data, headers=headers, expect=WRITTEN)
