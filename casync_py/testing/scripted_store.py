"""A store on a scripted web server, with or without exchanges, that checks what it is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from casync_py.compression import detect
from casync_py.digest import SHA512_256, Digest
from casync_py.files import unnamed_file, write_all
from casync_py.format.index import Index
from casync_py.protocol.messages import ChunkData, IndexData, Message, Request
from casync_py.protocol.posted import MEDIA_TYPE, BodyReader, Exchange, Side, body
from casync_py.testing.web import Asked, ScriptedServer, Step, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from casync_py.ids import ChunkId

_CHUNK = re.compile(r"/s/[0-9a-f]{4}/([0-9a-f]{64})(\.cacnk)?")


@dataclass
class StoreServer:
    """A store at /s, with or without exchanges.

    Attributes:
        chunks: plain content by id.
        files: whatever else was PUT.
        asks: the ids of each ASK; `sends`: of each SEND.
        before: called with each request; gives steps instead of the answer, or None.
    """

    speaks: bool = True
    digest: Digest = SHA512_256
    chunks: dict[bytes, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    asks: list[list[ChunkId]] = field(default_factory=list)
    sends: list[list[ChunkId]] = field(default_factory=list)
    before: Callable[[Asked], Iterable[Step] | None] = lambda _asked: None

    def __post_init__(self) -> None:
        self.server = ScriptedServer(self._script)

    def __enter__(self) -> StoreServer:
        self.server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__(None, None, None)

    def asked(self, method: str) -> list[Asked]:
        return [asked for asked in self.server.asked if asked.method == method]

    def _script(self, asked: Asked) -> Iterable[Step]:
        instead = self.before(asked)
        return [self._answer(asked)] if instead is None else instead

    def _answer(self, asked: Asked) -> bytes:
        if asked.method == "OPTIONS":
            return answer(204, b"", "Casync-Protocol: has, ask, send, pull", length=-1) if self.speaks else answer(405)
        if asked.method == "POST" and self.speaks:
            return self._exchange(asked)
        if asked.method == "PUT":
            return self._put(asked)
        if asked.method == "HEAD" and (named := _CHUNK.fullmatch(asked.target)):
            return answer(200 if bytes.fromhex(named[1]) in self.chunks else 404, length=5)
        return answer(405)

    def _exchange(self, asked: Asked) -> bytes:
        exchange = Exchange(asked.target.removeprefix("/s?"))
        reader = BodyReader(exchange, Side.CLIENT)
        got = reader.feed(asked.body)
        reader.finish()
        reply = self._ask(got) if exchange is Exchange.ASK else self._send(got)
        return answer(200, body(exchange, Side.SERVER, reply), f"Content-Type: {MEDIA_TYPE}")

    def _ask(self, got: list[Message]) -> list[Message]:
        fd = unnamed_file()
        for message in got:
            if isinstance(message, IndexData):
                write_all(fd, message.data)
        with Index(fd, "asked") as index:
            assert index.digest == self.digest
            ids = list(dict.fromkeys(row.chunk_id for row in index))
        self.asks.append(ids)
        lacking = [chunk_id for chunk_id in ids if chunk_id not in self.chunks]
        return [Request(lacking)] if lacking else []

    def _send(self, got: list[Message]) -> list[Message]:
        ids = []
        for message in got:
            assert isinstance(message, ChunkData)
            self._keep(message.chunk_id, bytes(message.data), compressed=message.compressed)
            ids.append(message.chunk_id)
        self.sends.append(ids)
        return []

    def _keep(self, chunk_id: bytes, data: bytes, *, compressed: bool) -> None:
        compressor = detect(data)
        assert (compressor is not None) == compressed
        plain = compressor.decompress(data, 1 << 25) if compressor else data
        assert self.digest.of(plain) == chunk_id
        self.chunks[chunk_id] = plain

    def _put(self, asked: Asked) -> bytes:
        named = _CHUNK.fullmatch(asked.target)
        if named is None:
            self.files[asked.target] = asked.body
        else:
            self._keep(bytes.fromhex(named[1]), asked.body, compressed=named[2] is not None)
        return answer(201)
