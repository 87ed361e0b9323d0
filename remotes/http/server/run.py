"""A server for an app, from open sockets to its end: uvicorn, on our sockets, stopped gracefully.

A signal, or `stop()`, ends listening and lets what is in flight finish, for 30 seconds; a second signal ends that too.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import threading
from contextlib import nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, cast

from uvicorn import Config, Server

from casync_py.remotes.http.server.guard import Limits, guarded
from casync_py.transport.listen import BACKLOG

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager
    from types import TracebackType

    from casync_py.transport.listen import Listening

    Asgi = Callable[[Any, Any, Any], Awaitable[None]]

GRACE_SECONDS = 30
_LAST_SECONDS = 5
_KEEP_ALIVE_SECONDS = 75  # as nginx
_TLS_HANDSHAKE_SECONDS = 20
_CONNECTIONS_MAX = 1000
_REPEATED_AFTER_SECONDS = 60
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class WebServer:
    """An app on open sockets.

    Attributes:
        url: where it is.
        on_ready: called when connections are taken.
        on_stopping: called with the number of requests in flight when the end begins.
        on_trouble: called with what went wrong outside requests, as when no more files can be opened.
    """

    def __init__(
        self,
        app: Asgi,
        listening: Listening,
        limits: Limits,
        *,
        tls: ssl.SSLContext | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        """
        Args:
            listening: closed at the end.
            limits: used by this server alone.
            deadline: started when a signal asks for the end; closed by whoever made it, once everything has ended.
        """
        self.url = listening.url(tls is not None)
        self.on_ready: Callable[[], None] = lambda: None
        self.on_stopping: Callable[[int], None] = lambda _in_flight: None
        self.on_trouble: Callable[[str], None] = lambda _text: None
        config = Config(
            app,
            http=guarded(limits),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        self._deadline = deadline or Deadline()
        self._server = _Server(config, listening, limits, tls)

    def run(self, *, signals: bool = True) -> None:
        """Serve until a signal or `stop`.

        In asyncio's own loop: uvloop's does not use the buffer of `Guarded`, and is not faster with what is sent here.

        Args:
            signals: take SIGINT, SIGTERM and SIGHUP, in the main thread; those that are ignored stay ignored.
        """
        self._server.on_ready, self._server.on_stopping = self.on_ready, self.on_stopping
        self._server.on_trouble = self.on_trouble
        with asyncio.Runner() as runner:
            if not signals:
                runner.run(self._server.serve())
                return
            found = {number: signal.getsignal(number) for number in _ENDING}
            before = {number: handler for number, handler in found.items() if handler not in {None, signal.SIG_IGN}}
            loop = runner.get_loop()
            for number in before:
                loop.add_signal_handler(number, self._on_signal)
            try:
                runner.run(self._server.serve())
            finally:
                for number, handler in before.items():
                    loop.remove_signal_handler(number)
                    signal.signal(number, handler)

    def stop(self) -> None:
        """Begin the end; from any thread."""
        self._server.should_exit = True

    def _on_signal(self) -> None:
        if not self._server.should_exit:
            self._deadline.start(GRACE_SECONDS + _LAST_SECONDS)
            self._server.should_exit = True
        else:
            self._deadline.start(_LAST_SECONDS)
            self._server.force()


class Deadline:
    """Ends the process when its end takes too long, as where a thread waits for a disk that does not answer."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def start(self, seconds: float) -> None:
        """From now on; takes the place of an earlier one."""
        self.close()
        self._timer = threading.Timer(seconds, os._exit, (1,))
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """It ended by itself; twice is fine."""
        if self._timer is not None:
            self._timer.cancel()


class _Server(Server):
    """uvicorn's server, with our sockets, no signals of its own, and a look at the connections once a second."""

    def __init__(self, config: Config, listening: Listening, limits: Limits, tls: ssl.SSLContext | None) -> None:
        super().__init__(config)
        self.on_ready: Callable[[], None] = lambda: None
        self.on_stopping: Callable[[int], None] = lambda _in_flight: None
        self.on_trouble: Callable[[str], None] = lambda _text: None
        self._told = "", 0.0
        self._listening = listening
        self._limits = limits
        self._tls = tls

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override] # no generator
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen on our sockets; uvicorn's own way knows no time limit for the TLS handshake."""
        await super().startup(sockets=sockets or [])
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._tell)
        handshake = None if self._tls is None else _TLS_HANDSHAKE_SECONDS
        for each in self._listening.sockets:
            server = await loop.create_server(
                self._connection, sock=each, ssl=self._tls, ssl_handshake_timeout=handshake, backlog=BACKLOG
            )
            self.servers.append(server)
        self._looking = loop.create_task(self._look())
        self.on_ready()

    def _tell(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """asyncio repeats itself: it says the same of each connection that it cannot take."""
        error = context.get("exception")
        text = context["message"] + (f" ({error})" if error else "")
        now = monotonic()
        if text != self._told[0] or now > self._told[1] + _REPEATED_AFTER_SECONDS:
            self._told = text, now
            self.on_trouble(text)

    async def _look(self) -> None:
        """During the end too."""
        while True:
            await asyncio.sleep(1)
            self._limits.look()

    def _connection(self) -> asyncio.BufferedProtocol:
        protocol: Any = self.config.http_protocol_class
        return cast(
            "asyncio.BufferedProtocol",
            protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state),
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.on_stopping(self._limits.busy)
        try:
            await super().shutdown(sockets)
        finally:
            self._looking.cancel()
            for connection in list(self._limits.connections):
                connection.outlet.abort()
            self._listening.close()

    def force(self) -> None:
        """End what is in flight; in the loop's thread."""
        self.force_exit = True
        for connection in list(self._limits.connections):
            connection.outlet.abort()
        for task in self.server_state.tasks:
            task.cancel()


class Running:
    """A server in a thread of its own, from the moment when it takes connections; a context that stops it."""

    def __init__(self, server: WebServer) -> None:
        """Start it.

        Raises:
            whatever keeps it from starting.
        """
        self.url = server.url
        self._server = server
        self._failed: list[BaseException] = []
        ready = threading.Event()
        server.on_ready = ready.set
        self._thread = threading.Thread(target=self._run, args=(ready,), name="http-server")
        self._thread.start()
        ready.wait()
        if self._failed:
            self.stop()

    def _run(self, ready: threading.Event) -> None:
        try:
            self._server.run(signals=False)
        except BaseException as error:  # noqa: BLE001 - raised again by stop
            self._failed.append(error)
        finally:
            ready.set()

    def stop(self) -> None:
        """Let what is in flight finish, and end; raises what ended the server. Twice is fine."""
        self._server.stop()
        self._thread.join()
        while self._failed:
            raise self._failed.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def connections_max() -> int:
    """How many connections the limit of open files allows, half of it being left for files; at most 1000."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(_CONNECTIONS_MAX, soft // 2))
