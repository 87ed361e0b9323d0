"""The app: which part of the server answers a request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from casync_py.protocol.posted import PROTOCOL_HEADER
from casync_py.remotes.http.server.answers import Refusal, answer, refuse
from casync_py.remotes.http.server.bodies import Gone
from casync_py.remotes.http.server.calls import Call
from casync_py.remotes.http.server.places import Places, kind_of, parse_path, shown
from casync_py.remotes.http.server.posts import Posts
from casync_py.remotes.http.server.reading import Reading
from casync_py.remotes.http.server.shelf import Shelf
from casync_py.remotes.http.server.work import Work

if TYPE_CHECKING:
    from casync_py.monitor import Monitor
    from casync_py.remotes.http.server.answers import Receive, Scope, Send
    from casync_py.remotes.http.server.options import ServeOptions
    from casync_py.remotes.http.server.places import Names

_NO_METHOD = 405


class App:
    """A server's ASGI callable; what it holds open is closed by `close`, once no request is being answered."""

    def __init__(self, options: ServeOptions, monitor: Monitor) -> None:
        """Open what is served.

        Raises:
            OSError: a directory is absent.
            UsageError: two of them have the same name.
        """
        self.options = options
        self._monitor = monitor
        self.places = Places(options.roots)
        self._work = Work()
        self._shelf = Shelf(self.places, options.settings.store_options, self._work)
        self._reading = Reading(options, self.places, self._shelf, self._work)
        self._posts = Posts(options, self._shelf, self._work, monitor)
        suffix = re.escape(options.settings.store_options.compressed_suffix)
        self._chunk = re.compile(rf"(.*)/([0-9a-f]{{4}})/(\2[0-9a-f]{{60}})({suffix})?".encode())
        exchanges = "pull, has, ask, send" if options.writable else "pull, has"
        self._protocol = (PROTOCOL_HEADER.lower().encode(), exchanges.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise ValueError(f"Only HTTP is served, not {scope['type']}")
        call = Call(scope, receive, send)
        try:
            await self._answer(call)
        except Refusal as refusal:
            if call.started:
                self._monitor.notice(refusal.text)  # and nothing more: the connection is closed before the end
                return
            await refuse(send, refusal)
        except Gone:
            pass

    async def _answer(self, call: Call) -> None:
        chunk = self._chunk.fullmatch(call.path)
        if chunk is not None:
            names = parse_path(chunk[1])
            if call.method == "GET":
                await self._reading.chunk(call, names, chunk[3].decode(), chunk[4] is not None)
                return
            self._refuse_method(call, b"GET, HEAD, PUT")
        names = parse_path(call.path)
        kind = kind_of(names[-1]) if names else None
        if kind is not None:
            await self._answer_file(call, names, kind)
        else:
            await self._answer_store(call, names)

    async def _answer_file(self, call: Call, names: Names, kind: str) -> None:
        if call.method == "GET":
            await self._reading.file(call, names, kind)
        else:
            self._refuse_method(call, b"GET, HEAD, PUT")

    async def _answer_store(self, call: Call, names: Names) -> None:
        if call.method == "OPTIONS":
            allowed = (b"allow", b"GET, HEAD, POST, OPTIONS")
            await answer(call.send, 204, [allowed, self._protocol])
        elif call.method == "POST":
            await self._post(call, names)
        elif call.method == "GET":
            raise Refusal(404, f"{shown(names)}: No such file")
        else:
            self._refuse_method(call, b"GET, HEAD, POST, OPTIONS")

    async def _post(self, call: Call, names: Names) -> None:
        if call.query == b"pull":
            await self._posts.pull(call, names)
        elif call.query == b"has":
            await self._posts.has(call, names)
        else:
            raise Refusal(404, f"{shown(names)}: No such exchange")

    def _refuse_method(self, call: Call, allowed: bytes) -> None:
        raise Refusal(405, f"{call.method} is not for this", [(b"allow", allowed)])

    def close(self) -> None:
        """Finish what is being worked on and close everything; twice is fine."""
        self._work.close()
        self._shelf.close()
        self.places.close()


def make_app(options: ServeOptions, monitor: Monitor) -> App:
    """The app of a server. Raises as `App` does."""
    return App(options, monitor)
