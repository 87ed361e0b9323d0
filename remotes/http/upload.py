"""Chunks on their way to a web server: asked about in the stream's order, sent where they are lacking."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from casync_py.compression import NO_COMPRESSION
from casync_py.errors import PeerError
from casync_py.ids import ChunkId
from casync_py.peer.changes import Changes
from casync_py.peer.push_count import PushCount
from casync_py.peer.spool import Spool, Tally
from casync_py.peer.workers import Workers
from casync_py.protocol.messages import ChunkData
from casync_py.remotes.http.fetcher import PATIENCE_S
from casync_py.remotes.http.offers import ask_offers, check_writable
from casync_py.remotes.http.sending import ByExchanges, ByFiles, Question
from casync_py.store.chunk import Chunk

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casync_py.monitor import Monitor
    from casync_py.options import Settings
    from casync_py.remotes.http.address import WebAddress
    from casync_py.remotes.http.sending import Sending
    from casync_py.remotes.http.web import Web
    from casync_py.sync.upload import UploadPlan

_SPOOL_SHARE = 3  # of the memory: the pipeline has half of it
_LEAST_SHARE = 4  # questions and bodies take no more than this share of what may be kept
_NEARLY_ALL = 0.9  # of what was asked about lately: what comes next is taken for lacking too
_COMPRESSION_S = 60.0  # more than a chunk takes; no thread of ours keeps the program from ending


class _Asked:
    """A question, and what came of it."""

    __slots__ = ("number", "question", "rows", "wanted")

    def __init__(self, number: int, question: Question, rows: int) -> None:
        self.number = number
        self.question = question
        self.rows = rows  # of the index up to its end
        self.wanted: Sequence[ChunkId] | None = None


class _Body:
    """Chunks that are sent together."""

    __slots__ = ("chunks", "size", "stored_size")

    def __init__(self) -> None:
        self.chunks: list[ChunkData] = []
        self.size = 0  # plain
        self.stored_size = 0

    def add(self, chunk: ChunkData, size: int) -> None:
        self.chunks.append(chunk)
        self.size += size
        self.stored_size += len(chunk.data)


class HttpSink:
    """A `ChunkSink` on a web server.

    Chunks are kept until the server has said whether it lacks them, answers are taken in the order of the questions,
    and what is lacking is compressed and sent, several bodies at once. Everything that was asked for is in memory until
    it is sent, so that the stream is read once.
    """

    takes_rows = True

    def __init__(self, web: Web, address: WebAddress, plan: UploadPlan, settings: Settings, monitor: Monitor) -> None:
        """Ask what the server can do.

        Args:
            web: belongs to the sink from now on, unless this raises.
            monitor: counts what was put, as new once it was sent, as reused once it is known not to be lacking; in the
                threads of `append` and `commit`.

        Raises:
            PeerError: it cannot be asked.
            UsageError: it lets nobody write.
        """
        self._compression = settings.store_options.compression
        self._name = address.shown
        self._sending = _choose(web, address, plan, settings)
        self._web = web
        self._limit = settings.resources.memory // _SPOOL_SHARE
        self._question_size = min(self._sending.question_size, self._limit // _LEAST_SHARE)
        self._body_size = min(self._sending.body_size, self._limit // _LEAST_SHARE)
        self._changed = Changes()
        self._failure: BaseException | None = None
        self._spool = Spool()
        self._sent = Tally()
        self._sent_stored = 0
        self._count = PushCount(monitor)
        self._eager = False
        self._question = Question(0, [], [])
        self._asked: deque[_Asked] = deque()
        self._questions = 0
        self._on_way: set[ChunkId] = set()  # asked for; and for a while after they were sent, see `_settle`
        self._settling: deque[tuple[int, list[ChunkId]]] = deque()
        self._under_way = 0  # plain bytes that were asked for and are not there yet
        self._compressing = 0
        self._body = _Body()
        self._bodies = 0  # that are being sent
        self._waiting = False  # for all of that
        jobs = settings.resources.jobs
        self._askers = Workers(self._ask, self._fail, self._sending.askers, "casync-http-ask", patience_s=PATIENCE_S)
        self._compressors = Workers(self._compress, self._fail, jobs, "casync-http-compress", patience_s=_COMPRESSION_S)
        self._senders = Workers(
            self._send, self._fail, self._sending.senders, "casync-http-send", patience_s=PATIENCE_S
        )

    # The `ChunkSink`.

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Nobody waits for the server: what is not here or on its way already is taken as lacking there."""
        with self._changed:
            self._check()
            on_way = self._on_way
            return [held or chunk_id in on_way for chunk_id, held in zip(ids, self._spool.holds(ids), strict=True)]

    def put(self, chunk: Chunk) -> None:
        """Keep a copy until it is known whether it is lacking: compressed already, where nearly everything is."""
        size = len(chunk.plain())
        stored = chunk.stored(self._compression) if self._eager else None
        kept = chunk.owned() if stored is None else Chunk(chunk.chunk_id, stored=stored)
        with self._changed:
            self._check()
            self._spool.put(kept, size)

    def append(self, end: int, chunk_id: bytes) -> None:
        """The next row; waits while as much as may be kept is in doubt or on its way."""
        question = self._question
        with self._changed:
            chunk_id = chunk_id if isinstance(chunk_id, ChunkId) else ChunkId(chunk_id)
            self._spool.append(chunk_id)
            question.ends.append(end)
            question.ids.append(chunk_id)
            if len(question.ids) >= self._sending.question_rows or end - question.start >= self._question_size:
                self._check()
                self._ask_next()
                self._report()
            if self._is_full():
                self._wait_until(lambda: not self._is_full())

    def wants_again(self) -> bool:
        return False

    def commit(self) -> None:
        """Return once every chunk is durable on the server."""
        with self._changed:
            self._check()
            if self._question.ids:
                self._ask_next()
            self._wait_until(lambda: not self._asked and not self._under_way)
        self.abort()
        self._report(final=True)

    def abort(self) -> None:
        """End what is under way; chunks that arrived stay there."""
        with self._changed:
            self._failure = self._failure or PeerError("The connection was closed")
        self._web.close()
        for workers in (self._askers, self._compressors, self._senders):
            workers.close()

    def _is_full(self) -> bool:
        return self._spool.in_doubt + self._under_way > self._limit

    def _wait_until(self, done: Callable[[], bool]) -> None:
        self._waiting = True
        try:
            while not done():
                self._check()
                self._send_if_due()
                self._changed.wait()
        finally:
            self._waiting = False

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def _report(self, *, final: bool = False) -> None:
        known = self._spool.known(self._sent) if final else self._spool.let_go
        self._count.report(self._sent, self._sent_stored, known)

    # Questions, in the order of which answers count.

    def _ask_next(self) -> None:
        question, self._question = self._question, Question(self._question.ends[-1], [], [])
        self._questions += 1
        asked = _Asked(self._questions, question, self._spool.rows)
        self._asked.append(asked)
        self._askers.give(asked)

    def _ask(self, asked: _Asked) -> None:
        wanted = self._sending.ask(asked.question)
        with self._changed:
            asked.wanted = wanted
            while self._asked and (first := self._asked[0]).wanted is not None:
                self._answered(first, first.wanted)
                self._asked.popleft()  # not before: nobody may take this for done if it fails
            self._changed.notify_all()

    def _answered(self, asked: _Asked, wanted: Sequence[ChunkId]) -> None:
        spool = self._spool
        lacking = [chunk_id for chunk_id in wanted if chunk_id not in self._on_way]
        self._eager = len(wanted) >= len(asked.question.ids) * _NEARLY_ALL
        for chunk, size in spool.ask(lacking):
            self._on_way.add(chunk.chunk_id)
            self._under_way += size
            self._compressing += 1
            if chunk.is_stored:
                self._compressed(chunk, size)
            else:
                self._compressors.give((chunk, size))
        if spool.wanted:
            raise PeerError(f"Lost chunk {next(iter(spool.wanted))}, which it had a moment ago", self._name)
        spool.examined(asked.rows)
        while self._settling and self._settling[0][0] <= asked.number:
            self._on_way.difference_update(self._settling.popleft()[1])

    # Chunks that are lacking.

    def _compress(self, item: tuple[Chunk, int]) -> None:
        chunk, size = item
        chunk.stored(self._compression)
        with self._changed:
            self._compressed(chunk, size)

    def _compressed(self, chunk: Chunk, size: int) -> None:
        stored = chunk.stored(NO_COMPRESSION)
        data = chunk.plain() if stored is None else stored
        self._compressing -= 1
        self._body.add(ChunkData(chunk.chunk_id, data, stored is not None), size)
        self._send_if_due()

    def _send_if_due(self) -> None:
        """Send a body that is large enough, or that somebody waits for while nothing can be added soon."""
        full = self._body.stored_size >= self._body_size
        last = self._waiting and not self._compressing and not (self._bodies and self._asked)
        if self._body.chunks and (full or last):
            body, self._body = self._body, _Body()
            self._bodies += 1
            self._senders.give(body)

    def _send(self, body: _Body) -> None:
        self._sending.send(body.chunks)
        with self._changed:
            self._bodies -= 1
            self._under_way -= body.size
            self._sent.chunks += len(body.chunks)
            self._sent.size += body.size
            self._sent_stored += body.stored_size
            self._settle([chunk.chunk_id for chunk in body.chunks])
            if self._waiting:
                self._send_if_due()
            self._changed.notify_all()

    def _settle(self, ids: list[ChunkId]) -> None:
        """They are there. Questions that were asked before that may still be answered with them."""
        if self._asked:
            self._settling.append((self._questions, ids))
        else:
            self._on_way.difference_update(ids)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure = self._failure or error
            self._changed.notify_all()


def _choose(web: Web, address: WebAddress, plan: UploadPlan, settings: Settings) -> Sending:
    """How a store is written. Raises PeerError, UsageError."""
    options = settings.store_options
    offers = ask_offers(web, address.store)
    if offers.known is None:
        return ByFiles(
            web,
            address.store,
            plan,
            options.compressed_suffix,
            compressed=options.compression.compressor is not None,
        )
    check_writable(offers, address.shown)
    return ByExchanges(web, address.store, address.shown, plan, options.compressed_suffix)
