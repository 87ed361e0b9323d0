"""Chunks read ahead for the other end of a pull, in the order in which it asked, what is urgent first."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from casync_py.compression import DEFAULT_COMPRESSION, NO_COMPRESSION
from casync_py.errors import ChunkInvalid, ChunkMissing
from casync_py.peer.changes import Changes
from casync_py.protocol.messages import CHUNK_DATA_MAX, ChunkData, Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from casync_py.ids import ChunkId
    from casync_py.store.base import Store

    Answer = ChunkData | Missing

_THREADS = 2  # one reads 1.5 GB/s from a warm file system; a second one where opening a file takes its time
_ROOM = 8 << 20  # bytes that are read and not sent
_BATCH_IDS = 16
_BATCH_SIZE = 1 << 20


class _Batch:
    """Chunks that one thread reads; `answers` is None until it has."""

    __slots__ = ("answers",)

    def __init__(self) -> None:
        self.answers: deque[Answer] | None = None


class ChunkReader:
    """Threads that turn ids into answers. `request` and `next_answer` belong to one thread, which never waits.

    At most `_ROOM` bytes wait to be sent, and a batch for each thread. Nothing is decompressed or verified: what a
    store has damaged, the other end finds out and gets elsewhere.
    """

    def __init__(self, store: Store, wake: Callable[[], None], notice: Callable[[str], None]) -> None:
        """Start no thread yet.

        Args:
            wake: called, in a thread, when `next_answer` has something new.
            notice: called, in a thread, with what is wrong with a chunk that is there, but not in a usable form.
        """
        self._store = store
        self._wake = wake
        self._notice = notice
        self._lock = Changes()
        self._threads: list[threading.Thread] = []
        self._urgent: deque[ChunkId] = deque()
        self._ordinary: deque[ChunkId] = deque()
        self._queued: set[ChunkId] = set()  # in either queue, and no thread has begun with it
        self._unanswered: set[ChunkId] = set()
        self._batches: deque[_Batch] = deque()  # in the order in which the answers go out
        self._urgent_batches: deque[_Batch] = deque()
        self._size = 0
        self._failure: Exception | None = None
        self._closed = False

    def request(self, ids: Iterable[ChunkId], *, urgent: bool) -> None:
        """Queue ids; one that waits already moves forward if `urgent`."""
        with self._lock:
            queue = self._urgent if urgent else self._ordinary
            for chunk_id in ids:
                if chunk_id not in self._unanswered:
                    self._unanswered.add(chunk_id)
                    self._queued.add(chunk_id)
                    queue.append(chunk_id)
                elif urgent and chunk_id in self._queued:
                    queue.append(chunk_id)
            self._lock.notify()
        if not self._threads:
            for number in range(_THREADS):
                thread = threading.Thread(target=self._run, name=f"casync-read_{number}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def next_answer(self) -> Answer | None:
        """The next answer, None if it was not read yet.

        Raises:
            Exception: reading failed.
        """
        with self._lock:
            for batches in (self._urgent_batches, self._batches):
                while batches and batches[0].answers is not None:
                    if batches[0].answers:
                        return self._take(batches[0].answers.popleft())
                    batches.popleft()
            if self._failure is not None:
                raise self._failure
            return None

    def _take(self, answer: Answer) -> Answer:
        self._unanswered.remove(answer.chunk_id)
        full = self._size >= _ROOM
        self._size -= _size(answer)
        if full and self._size < _ROOM:
            self._lock.notify_all()
        return answer

    def close(self) -> None:
        """End the threads; twice is fine."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()

    # In the threads.

    def _run(self) -> None:
        while (work := self._next_batch()) is not None:
            batch, ids = work
            answers: deque[Answer] = deque()
            try:
                size = 0
                while ids and size < _BATCH_SIZE:
                    answer = self._read(ids.pop())
                    size += _size(answer)
                    answers.append(answer)
            except Exception as error:  # noqa: BLE001 - raised where the answers are taken
                self._failure = error
            with self._lock:
                batch.answers = answers
                self._size += sum(map(_size, answers))
                # Those left over come before all that was not begun with, hardly ever out of order
                self._ordinary.extendleft(ids)
                self._queued.update(ids)
            self._wake()

    def _next_batch(self) -> tuple[_Batch, list[ChunkId]] | None:
        """Take some ids, last one first; None at the end."""
        with self._lock:
            while True:
                if self._closed or self._failure is not None:
                    return None
                if self._size < _ROOM and self._queued:
                    queue, batches = self._ordinary, self._batches
                    if self._urgent:
                        queue, batches = self._urgent, self._urgent_batches
                    ids: list[ChunkId] = []
                    while queue and len(ids) < _BATCH_IDS:
                        chunk_id = queue.popleft()
                        if chunk_id in self._queued:  # else it was in the other queue too
                            self._queued.remove(chunk_id)
                            ids.append(chunk_id)
                    if ids:
                        batch = _Batch()
                        batches.append(batch)
                        if self._queued:
                            self._lock.notify()
                        ids.reverse()
                        return batch, ids
                    continue
                self._lock.wait()

    def _read(self, chunk_id: ChunkId) -> Answer:
        """One chunk as it is stored.

        Raises:
            ChunkInvalid: it is larger than a message can be.
            OSError: it cannot be read.
        """
        try:
            chunk = self._store.get(chunk_id)
        except ChunkMissing:
            return Missing(chunk_id)
        except ChunkInvalid as error:
            self._notice(str(error))
            return Missing(chunk_id)
        stored = chunk.stored(NO_COMPRESSION)
        if stored is None and chunk.memory > CHUNK_DATA_MAX:
            stored = chunk.stored(DEFAULT_COMPRESSION)
        data = chunk.plain() if stored is None else stored
        if len(data) > CHUNK_DATA_MAX:
            raise ChunkInvalid(chunk_id, f"It has {len(data)} bytes, more than can be sent", self._store.name)
        return ChunkData(chunk_id, data, stored is not None)


def _size(answer: Answer) -> int:
    return len(answer.data) if isinstance(answer, ChunkData) else 0
