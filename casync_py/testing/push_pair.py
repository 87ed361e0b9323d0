"""A push within one process: a client's stream here, a server of ours in a thread, pipes between them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from casync_py.compression import DEFAULT_COMPRESSION, Compression
from casync_py.monitor import Monitor
from casync_py.options import Resources
from casync_py.peer.push_server import serve_push
from casync_py.peer.pusher import Pusher, push_connection
from casync_py.testing.streams import pipe_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from casync_py.store.base import Store, WritableStore
    from casync_py.sync.upload import UploadPlan


class PushPair:
    """`serve_push` in a thread.

    Attributes:
        stream: the client's end.
        monitor: of the pusher that `pusher` makes.
    """

    def __init__(
        self,
        store: WritableStore | None,
        *,
        index: str | None = None,
        archive: str | None = None,
        extra: Sequence[Store] = (),
        ours: bool = True,
        capacity: int | None = None,
        timeout: float = 20,
    ) -> None:
        """
        Args:
            ours: both ends speak the dialect; else each takes the other for a casync.
            capacity: bytes that each pipe holds.
        """
        self.stream, self._server = pipe_pair(capacity)
        self.monitor = Monitor()
        self._ours = ours
        self._timeout = timeout
        self._result: object = None

        def serve() -> None:
            try:
                self._result = serve_push(
                    self._server, index=index, archive=archive, store=store, extra=extra, ours=ours, timeout=timeout
                )
            except Exception as error:  # noqa: BLE001 - looked at by the test
                self._result = error
            finally:
                self._server.close()

        self._thread = threading.Thread(target=serve)
        self._thread.start()

    def pusher(
        self, plan: UploadPlan, *, memory: int = 96 << 20, compression: Compression = DEFAULT_COMPRESSION
    ) -> Pusher:
        """A pusher over the client's end."""
        return Pusher(
            self.stream,
            push_connection(ours=self._ours),
            plan,
            compression=compression,
            resources=Resources(jobs=2, memory=memory),
            monitor=self.monitor,
            timeout=self._timeout,
        )

    def result(self) -> object:
        """What the server returned or raised, once it has ended."""
        self._thread.join()
        return self._result
