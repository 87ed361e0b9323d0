"""What connections leave behind, and how long requests may take that come on."""

from __future__ import annotations

import gc
import socket
import sys
import threading
from typing import Any
from weakref import WeakSet

import pytest

from casync_py.monitor import Monitor
from casync_py.options import Access
from casync_py.remotes.http.lanes import Lane
from casync_py.remotes.http.watch import Watch
from casync_py.remotes.http.web import Web
from casync_py.testing.web import CLOSE, ScriptedServer, Step, answer


def make_web(timeout: float = 5.0, retries: int = 0) -> Web:
    return Web(Access(), timeout=timeout, retries=retries, monitor=Monitor(), user_origins=())


def test_connections_that_are_over_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may end the connection after each answer, for days."""
    connected: WeakSet[socket.socket] = WeakSet()
    count = [0]

    class Counted(socket.socket):
        def connect(self, address: Any) -> None:
            connected.add(self)
            count[0] += 1
            super().connect(address)

    web = make_web()
    with ScriptedServer(lambda _asked: [answer(200, b"", "Connection: close"), CLOSE]) as server:
        monkeypatch.setattr(socket, "socket", Counted)
        for _ in range(20):
            web.request("GET", server.url())
        gc.collect()
        assert server.connections == 20
        assert count[0] == 20
        assert len(connected) < 5
    web.close()


def test_closing_while_connections_are_made() -> None:
    class Idle:
        shut = close = staticmethod(lambda: None)

    made: list[Any] = []
    lane = Lane(Idle, None, [], Monitor(), Watch(None))  # type: ignore[arg-type] # it asks nobody
    many, closed = threading.Event(), threading.Event()

    def make() -> None:
        while not closed.is_set():
            made.append(lane._client(False))
            if len(made) == 2000:
                many.set()
                del made[1000:]

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread = threading.Thread(target=make)
    thread.start()
    try:
        assert many.wait(10)
        for _ in range(500):
            lane.close()
    finally:
        sys.setswitchinterval(before)
        closed.set()
        thread.join()


@pytest.mark.parametrize("beginning", [b"HTTP/1.1 302 Found\r\nLocation: /nowh", b"HTTP/1.1 404 Not Found\r\n"])
def test_a_head_that_ends_early_is_no_answer(beginning: bytes) -> None:
    """Nothing is absent because a connection broke."""
    web = make_web(retries=1)
    rest: dict[int, list[Step]] = {0: [beginning, CLOSE]}
    with ScriptedServer(lambda asked: rest.get(asked.number, [answer(200, b"right")])) as server:
        assert web.request("GET", server.url("/a"), expect=(200, 404)).body == b"right"
        assert [asked.target for asked in server.asked] == ["/a", "/a"]
    web.close()


def test_a_body_that_is_taken_slowly_is_no_stall() -> None:
    """However large it is: what was taken so far counts."""
    size = 20 << 20
    taken: list[int] = []
    pause = threading.Event()

    def serve(listening: socket.socket) -> None:
        sock, _address = listening.accept()
        with sock, sock.makefile("rb") as reader:
            while reader.readline().strip():
                pass
            while sum(taken) < size and (data := reader.read(1 << 20)):
                taken.append(len(data))
                pause.wait(0.1)
            sock.sendall(answer(200))

    web = make_web(timeout=1.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)  # the kernel takes no seconds' worth of it
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        try:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}/a"
            assert web.request("PUT", url, content=bytes(size)).status == 200
        finally:
            web.close()
            pause.set()
            thread.join()
    assert sum(taken) == size
