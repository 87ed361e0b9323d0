"""What connections leave behind, and how long requests may take that come on."""

from __future__ import annotations

import gc
import socket
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from casync_py.monitor import Monitor
from casync_py.options import Access
from casync_py.remotes.http.web import Web
from casync_py.testing.web import CLOSE, ScriptedServer, answer

if TYPE_CHECKING:
    import pytest


def make_web(timeout: float = 5.0) -> Web:
    return Web(Access(), timeout=timeout, retries=0, monitor=Monitor(), user_origins=())


def test_connections_that_are_over_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may end the connection after each answer, for days."""
    connected: WeakSet[socket.socket] = WeakSet()

    class Counted(socket.socket):
        def connect(self, address: Any) -> None:
            connected.add(self)
            super().connect(address)

    web = make_web()
    with ScriptedServer(lambda _asked: [answer(200, b"", "Connection: close"), CLOSE]) as server:
        monkeypatch.setattr(socket, "socket", Counted)
        for _ in range(20):
            web.request("GET", server.url())
        gc.collect()
        assert server.connections == 20
        assert 0 < len(connected) < 5
    web.close()
