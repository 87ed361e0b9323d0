"""Looks at the rows of an index as they come, asks for the chunks that no store has, and installs what is complete."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from casync_py.errors import PeerError
from casync_py.protocol import flags as f
from casync_py.protocol.messages import REQUEST_IDS_MAX, Examined, Request
from casync_py.store.router import RouterStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casync_py.ids import ChunkId
    from casync_py.peer.push_receiver import PushReceiver
    from casync_py.peer.received_index import ReceivedIndex
    from casync_py.protocol.connection import Connection
    from casync_py.store.base import Store, WritableStore

_BATCH = REQUEST_IDS_MAX
_WINDOW = 16384  # chunks asked for and not stored: 1 GiB in default chunks, less than the pipes between ever hold
ROOM_AGAIN = _WINDOW - _BATCH
"""Chunks asked for below which more rows are looked at."""


class Examiner:
    """One thread beside the loop; it takes rows from the index's file, so that nothing queues up in memory."""

    def __init__(
        self,
        receiver: PushReceiver,
        connection: Connection,
        index: ReceivedIndex | None,
        store: WritableStore | None,
        extra: Sequence[Store],
        install: Callable[[], None],
    ) -> None:
        """Make it; `install` is called when all that the client wanted to push is here."""
        self._receiver = receiver
        self._connection = connection
        self._index = index
        self._store = store
        self._extra = RouterStore(extra)
        self._install = install
        self._examined = 0
        self._thread = threading.Thread(target=self._run, name="casync-examiner")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end, which comes when everything is installed or the session has failed."""
        self._thread.join()

    def _run(self) -> None:
        receiver = self._receiver
        try:
            while self._await_work():
                self._examine()
            if receiver.failure is None:
                self._install()
                with receiver.changed:
                    receiver.installed = True
        except BaseException as error:  # noqa: BLE001 - told to the client, then raised by whoever serves it
            receiver.fail(error)
        with receiver.changed:
            receiver.working = False
        receiver.wake()

    def _await_work(self) -> bool:
        """Wait for rows to look at; False when there is nothing more to do than to install."""
        receiver = self._receiver
        with receiver.changed:
            receiver.working = False
            while receiver.failure is None and not self._is_complete():
                if self._rows_left() and len(receiver.requested) <= ROOM_AGAIN:
                    break
                receiver.changed.wait()
            receiver.working = True
            return receiver.failure is None and not self._is_complete()

    def _rows_left(self) -> int:
        if self._index is None or not self._connection.operations & f.PUSH_INDEX_CHUNKS:
            return 0
        return self._index.rows - self._examined

    def _is_complete(self) -> bool:
        receiver, operations = self._receiver, self._connection.operations
        if receiver.farewell and receiver.requested:
            raise PeerError(f"Said GOODBYE while {len(receiver.requested)} chunks were still to come")
        if operations & f.PUSH_INDEX and not (receiver.index_ended and not self._rows_left()):
            return False
        if operations & f.PUSH_ARCHIVE and not receiver.archive_ended:
            return False
        if receiver.requested:
            return False
        return bool(operations & (f.PUSH_INDEX | f.PUSH_ARCHIVE)) or receiver.farewell

    def _examine(self) -> None:
        """Ask for what is lacking of the next rows."""
        receiver, index = self._receiver, self._index
        assert index is not None, "there are rows"
        count = min(_BATCH, self._rows_left())
        chunks = index.read(self._examined, count)
        with receiver.changed:  # before the store is asked: what is on its way now may be there by then
            ids = [chunk_id for chunk_id in chunks if chunk_id not in receiver.requested]
        lacking = self._lacking(ids)
        self._examined += count
        with receiver.changed:
            for chunk_id in lacking:
                receiver.requested[chunk_id] = chunks[chunk_id]
            if receiver.farewell:
                return
            if lacking:
                receiver.outgoing.append(Request(lacking))
            if self._connection.dialect:
                receiver.outgoing.append(Examined(self._examined))
        receiver.wake()

    def _lacking(self, ids: list[ChunkId]) -> list[ChunkId]:
        assert self._store is not None, "the client may not want chunks stored otherwise"
        answers = self._store.recognise(ids)
        lacking = [chunk_id for chunk_id, there in zip(ids, answers, strict=True) if not there]
        answers = self._extra.has_many(lacking)
        return [chunk_id for chunk_id, there in zip(lacking, answers, strict=True) if not there]
