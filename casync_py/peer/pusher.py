"""Push an index and its chunks: the rows go out, the other end asks for what it lacks, nothing else is sent."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from casync_py.digest import BLAKE3_FLAG
from casync_py.errors import PeerError, SourceChanged, UsageError
from casync_py.format.index import IndexWriter
from casync_py.ids import ChunkId
from casync_py.peer.push_count import PushCount
from casync_py.peer.push_handler import PushHandler
from casync_py.peer.session import Session
from casync_py.protocol import flags as f
from casync_py.protocol.connection import Connection, Role

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.compression import Compression
    from casync_py.monitor import Monitor
    from casync_py.options import Resources
    from casync_py.store.chunk import Chunk
    from casync_py.sync.upload import UploadPlan
    from casync_py.transport.stream import Stream

# casync asks for all that it lacks as soon as it sees the rows: 16 GiB of default chunks, 40 MiB of ids.
_OUTSTANDING_MAX = 1 << 18
_SPOOL_SHARE = 3  # of the memory: the pipeline has half of it
_ROWS_AT_ONCE = 32  # 2 MiB of the stream in one message: 1.3 KiB, and a thousand a second at most
_PATIENCE_S = (0.1, 2.0)  # bounds of how long casync, which does not say what it has, is waited for
_QUIET_S = 0.3  # without a new request from casync, after which it is taken to have asked for all
_READINGS_MAX = 16  # of the stream; an end that wants it once more is not slow, but mean


def push_connection(*, ours: bool) -> Connection:
    """The connection for a `Pusher`; `ours`: the server that was started may be of this package."""
    flags = f.PUSH_CHUNKS | f.PUSH_INDEX | f.PUSH_INDEX_CHUNKS
    return Connection(Role.PUSH_CLIENT, flags, ours=ours, outstanding_limit=_OUTSTANDING_MAX)


class Pusher:
    """An `Upload` to where both index and store are, and a `ChunkSink` where the other end keeps no index.

    Chunks are kept until it is known that they are not wanted. An end of this package says so; casync does not: when
    memory is used up and it stays silent for a while, the oldest are dropped, and if it asks for them after all,
    `wants_again` has the stream read again.
    """

    takes_rows = True

    def __init__(
        self,
        stream: Stream,
        connection: Connection,
        plan: UploadPlan,
        *,
        compression: Compression,
        resources: Resources,
        monitor: Monitor,
        timeout: float,
    ) -> None:
        """Take over the stream, and begin to talk.

        Args:
            connection: of `push_connection`.
            monitor: counts chunks that were put, as new once they are sent, as reused once they are known not to be
                wanted; in the threads of `append` and `commit`.
            timeout: as for `Driver`.

        Raises:
            UsageError: the other end is casync and does not know the digest.
            PeerError, ProtocolError: it cannot be asked.
        """
        self._connection = connection
        self._limit = resources.memory // _SPOOL_SHARE
        self._handler = handler = PushHandler(connection, compression, resources.jobs)
        self._changed = handler.changed
        self._spool = handler.spool
        self._session = Session(stream, connection, handler, handler.changed, timeout)
        handler.connect(self._session.wake, self._session.fail)
        params = (plan.params.min, plan.params.avg, plan.params.max)
        self._index = IndexWriter(self._write_rows, plan.feature_flags, params)
        self._again: set[ChunkId] | None = None  # what the second reading is for and has not found yet
        self._counted = PushCount(monitor)
        self._readings = 1
        self._patience_s = 0.0
        self._requests_seen = 0
        self._session.start()
        if plan.feature_flags & BLAKE3_FLAG:
            self._refuse_unknown_digest()

    def _refuse_unknown_digest(self) -> None:
        try:
            self._session.await_hello()
            if not self._connection.dialect:
                raise UsageError(
                    f"{self._session.name}: Is casync, which does not know BLAKE3; --digest= chooses another"
                )
        except BaseException:
            self.abort()
            raise

    def _write_rows(self, data: bytes) -> None:
        if data:
            self._handler.rows.append(data)

    def recognise(self, ids: Sequence[ChunkId]) -> list[bool]:
        """Nobody waits for the other end: what is not here already is taken as lacking there."""
        with self._changed:
            self._session.check()
            if self._again is not None:
                wanted = self._spool.wanted
                return [chunk_id not in wanted for chunk_id in ids]
            return self._spool.holds(ids)

    def put(self, chunk: Chunk) -> None:
        """Keep a copy until it is asked for or known not to be wanted."""
        chunk = chunk.owned()
        size = len(chunk.plain())
        with self._changed:
            self._session.check()
            if self._again is None:
                asked_for = self._spool.put(chunk, size)
            else:
                self._again.discard(chunk.chunk_id)
                asked_for = self._spool.put_again(chunk)
            if asked_for:
                self._handler.send(chunk, size)

    def append(self, end: int, chunk_id: bytes) -> None:
        """The next row; waits while as much as may be kept is in doubt or on its way."""
        with self._changed:
            full = self._is_full()
            if self._again is None:
                self._index.append(end, chunk_id)
                self._spool.append(chunk_id if isinstance(chunk_id, ChunkId) else ChunkId(chunk_id))
                if full or self._spool.rows % _ROWS_AT_ONCE == 0:
                    self._session.check()
                    self._count()
                    self._index.flush()
                    self._session.wake()
        if full:
            self._make_room()

    def _is_full(self) -> bool:
        in_doubt = self._spool.in_doubt if self._again is None else 0  # nothing is added in the second reading
        return in_doubt + self._handler.sending > self._limit

    def _make_room(self) -> None:
        handler, changed = self._handler, self._changed
        with changed:
            while self._is_full():
                self._session.check()
                if self._connection.dialect or handler.sending or handler.rows or self._connection.peer_flags is None:
                    changed.wait()
                elif not changed.wait(self._patience()):
                    self._spool.drop(self._limit // 2)

    def _patience(self) -> float:
        """Seconds to wait for casync, which has got all rows and wants nothing that is here: is it slow, or content?

        First twice what it took to start and answer, then half as long each time until it asks for something, so that
        a store that has everything costs no more than twice the first wait.
        """
        if self._handler.requests != self._requests_seen or not self._patience_s:
            self._requests_seen = self._handler.requests
            shortest, longest = _PATIENCE_S
            self._patience_s = 2 * min(longest, max(shortest, 2 * self._handler.greeted_after_s))
        self._patience_s /= 2
        return self._patience_s

    def wants_again(self) -> bool:
        """Wait until the other end has all it wants, or wants what could not be kept.

        Raises:
            SourceChanged: the stream was read again, and chunks that had been in it were not.
            PeerError: the session failed, or the other end asks without end.
        """
        handler, changed, wanted = self._handler, self._changed, self._spool.wanted
        with changed:
            if not handler.rows_ended:
                self._index.finish()
                handler.rows_ended = True
                self._session.wake()
            self._check_found()
            while not handler.finished:
                self._session.check()
                if not wanted or handler.sending:
                    changed.wait()
                elif self._connection.dialect:
                    if handler.all_examined:
                        break
                    changed.wait()
                elif not changed.wait_for(partial(self._asks_for_more, len(wanted)), _QUIET_S):
                    break
            self._again = set(wanted)
            self._readings += not handler.finished
            if self._readings > _READINGS_MAX:
                raise PeerError("Asks for chunks again and again", self._session.name)
            return not handler.finished

    def _asks_for_more(self, known: int) -> bool:
        """Whether there is news from casync, or it wants more that is not here than it did; asking again is no news."""
        self._session.check()
        return self._handler.finished or bool(self._handler.sending) or len(self._spool.wanted) > known

    def _check_found(self) -> None:
        if self._again:
            lost = next(iter(self._again))
            raise SourceChanged(f"What is packed changed while it was read: chunk {lost} is no longer part of it")

    def commit(self) -> None:
        """Return once the other end has said that everything is in place."""
        if self.wants_again():
            raise SourceChanged("What is packed was not read to its end again")
        self._session.close()
        self._handler.close()
        with self._changed:
            self._count(final=True)

    def abort(self) -> None:
        """Close the connection; the other end keeps no index then."""
        self._session.abort()
        self._handler.close()

    def _count(self, *, final: bool = False) -> None:
        """Pass on to the monitor what was sent and let go since the last time."""
        sent = self._handler.sent
        known = self._spool.known(sent) if final else self._spool.let_go
        self._counted.report(sent, self._handler.sent_stored, known)
