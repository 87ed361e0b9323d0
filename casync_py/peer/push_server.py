"""Serve a push: take an index, ask for the chunks that are lacking, verify and store them; then the index appears."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from casync_py.digest import digest_of_flags
from casync_py.errors import ChunkInvalid
from casync_py.options import Resources
from casync_py.peer.examiner import ROOM_AGAIN, Examiner
from casync_py.peer.push_receiver import PushReceiver
from casync_py.peer.received_index import ReceivedIndex
from casync_py.peer.workers import Workers
from casync_py.protocol import flags as f
from casync_py.protocol.connection import Connection, Role
from casync_py.store.chunk import Chunk
from casync_py.store.verify import verified
from casync_py.sync.upload import LocalFile
from casync_py.transport.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from casync_py.protocol.messages import ChunkData
    from casync_py.store.base import Store, WritableStore
    from casync_py.transport.stream import Stream

_MEMORY_SHARE = 4  # of the memory, for chunks that wait to be stored


def serve_push(
    stream: Stream,
    *,
    index: str | None,
    archive: str | None,
    store: WritableStore | None,
    extra: Sequence[Store] = (),
    ours: bool,
    timeout: float,
    resources: Resources | None = None,
    shown: Callable[[str], str] = str,
) -> bool:
    """Serve one client, until all is in place or something went wrong; the stream and the stores stay open.

    Args:
        index, archive: paths at which the client may let one appear.
        store: where its chunks go; stays the caller's to close.
        extra: stores whose chunks count as there.
        ours: the client said that it is of this package.
        timeout: as for `Driver`.
        shown: as for `last_words`.

    Returns:
        False if something went wrong and the client was told what; casync shows only the number of an error, so that
        with casync it is raised.

    Raises:
        PeerError, ProtocolError: the client went away, was silent or broke the protocol.
        FormatError, ChunkInvalid: what it sent is no index, or not the chunk that was asked for.
        OSError: index, archive or store cannot be written. No index has appeared then; chunks that came stay.
    """
    return _PushServer(stream, index, archive, store, extra, ours, timeout, resources or Resources(), shown).serve()


class _PushServer:
    def __init__(
        self,
        stream: Stream,
        index: str | None,
        archive: str | None,
        store: WritableStore | None,
        extra: Sequence[Store],
        ours: bool,
        timeout: float,
        resources: Resources,
        shown: Callable[[str], str],
    ) -> None:
        self._stream = stream
        self._paths = index, archive
        self._store = store
        self._extra = extra
        self._timeout = timeout
        self._resources = resources
        self._shown = shown
        flags = f.WRITABLE_STORE if store is not None else 0
        if index is not None or (ours and store is not None):
            flags |= f.WRITABLE_INDEX
        if archive is not None:
            flags |= f.WRITABLE_ARCHIVE
        self._connection = Connection(Role.PUSH_SERVER, flags, ours=ours)
        self._index: ReceivedIndex | None = None
        self._archive: LocalFile | None = None

    def serve(self) -> bool:
        with ExitStack() as cleanup:
            problem = self._open_files(cleanup)
            self._workers = Workers(self._store_chunk, self._fail, self._resources.jobs, "casync-store")
            cleanup.callback(self._workers.close)
            receiver = PushReceiver(
                self._index, self._archive, self._workers.give, self._resources.memory // _MEMORY_SHARE, self._shown
            )
            self._receiver = receiver
            receiver.failure = problem
            driver = Driver(self._stream, self._connection, receiver, timeout=self._timeout)
            receiver.wake = driver.wake
            examiner = Examiner(receiver, self._connection, self._index, self._store, self._extra, self._install)
            examiner.start()
            told = self._connection.dialect
            try:
                driver.run()
            except Exception as error:  # noqa: BLE001 - what went wrong first is raised, and the rest follows from it
                receiver.fail(error)
                told = False
            except BaseException as error:
                receiver.fail(error)
                raise
            finally:
                examiner.join()
                if receiver.failure is not None:
                    self._keep_chunks()
            if receiver.failure is not None and not told:
                raise receiver.failure
            return receiver.failure is None

    def _open_files(self, cleanup: ExitStack) -> OSError | None:
        """Begin what may come; what cannot be written is told to the client once it listens."""
        index, archive = self._paths
        try:
            if self._connection.flags & f.WRITABLE_INDEX:
                self._index = ReceivedIndex(index)
                cleanup.callback(self._index.abort)
            if archive is not None:
                self._archive = LocalFile(archive)
                cleanup.callback(self._archive.abort)
        except OSError as error:
            return error
        return None

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, ChunkInvalid):
            error.where = error.where or f"what {self._stream.name} sent"
        self._receiver.fail(error)

    def _store_chunk(self, message: ChunkData) -> None:
        """In a thread of the pool: nothing is stored before its digest was checked."""
        assert self._index is not None, "chunks are asked for by an index"
        assert self._store is not None, "and for a store"
        if self._receiver.failure is not None:
            return
        chunk_id, data = message.chunk_id, bytes(message.data)
        chunk = Chunk(chunk_id, stored=data) if message.compressed else Chunk(chunk_id, plain=data)
        size = self._receiver.requested[chunk_id]
        plain = verified(chunk, [digest_of_flags(self._index.header.feature_flags)], size)
        if len(plain) < size:
            raise ChunkInvalid(chunk_id, f"Has {len(plain)} bytes, and {size} in the index")
        self._store.put(chunk)
        self._receiver.stored(message, notify_at=ROOM_AGAIN)

    def _install(self) -> None:
        """Chunks first, then archive and index."""
        if self._store is not None:
            self._store.flush()
        operations = self._connection.operations
        if self._archive is not None and operations & f.PUSH_ARCHIVE:
            self._archive.commit()
        if self._index is not None and operations & f.PUSH_INDEX:
            self._index.commit()

    def _keep_chunks(self) -> None:
        """The next try need not send again what came in this one."""
        self._workers.close()
        if self._store is not None:
            with suppress(OSError):
                self._store.flush()
