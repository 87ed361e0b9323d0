"""A pull within one process: a puller here, servers of ours in threads, pipes between them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from casync_py.peer.pull_server import serve_pull
from casync_py.peer.puller import Puller
from casync_py.protocol import Connection, Role
from casync_py.protocol import flags as f
from casync_py.testing.streams import pipe_pair

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from casync_py.store.base import Store
    from casync_py.transport.stream import Stream


class PullPair:
    """A context with a puller that is connected to `serve_pull`, once for each session.

    Attributes:
        puller: what is tested; closed at the end.
        sessions: how many connections there were.
        results: what each server returned or raised, once it has ended.
    """

    def __init__(
        self,
        stores: Sequence[Store] = (),
        *,
        index: str | None = None,
        archive: str | None = None,
        ours: bool = True,
        capacity: int | None = None,
        timeout: float = 20,
    ) -> None:
        """
        Args:
            ours: both ends speak the dialect; else each takes the other for a casync.
            capacity: bytes that each pipe holds.
        """
        self.sessions = 0
        self.results: list[object] = []
        self._arguments: dict[str, Any] = {"index": index, "archive": archive, "stores": stores, "ours": ours}
        self._arguments["timeout"] = timeout
        self._capacity = capacity
        self._flags = f.PULL_CHUNKS if stores else 0
        self._flags |= f.PULL_INDEX if index is not None else 0
        self._flags |= f.PULL_ARCHIVE if archive is not None else 0
        self._threads: list[threading.Thread] = []
        self.puller = Puller(self._connect, timeout=timeout)

    def _connect(self) -> tuple[Stream, Connection]:
        self.sessions += 1
        client, server = pipe_pair(self._capacity)
        thread = threading.Thread(target=self._serve, args=(server,))
        self._threads.append(thread)
        thread.start()
        return client, Connection(Role.PULL_CLIENT, self._flags, ours=self._arguments["ours"])

    def _serve(self, stream: Stream) -> None:
        try:
            self.results.append(serve_pull(stream, **self._arguments))
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.results.append(error)
        finally:
            stream.close()

    def __enter__(self) -> PullPair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End both sides."""
        self.puller.close()
        for thread in self._threads:
            thread.join()
