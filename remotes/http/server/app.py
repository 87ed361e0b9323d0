"""The app: which part of the server answers a request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from casync_py.errors import UsageError
from casync_py.protocol.posted import PROTOCOL_HEADER, Exchange
from casync_py.remotes.http.server.answers import Refusal, answer, refuse
from casync_py.remotes.http.server.bodies import Gone
from casync_py.remotes.http.server.calls import Call
from casync_py.remotes.http.server.page import show_folder
from casync_py.remotes.http.server.places import Places, kind_of, parse_path, printable, shown
from casync_py.remotes.http.server.posts import Posts, Pulls
from casync_py.remotes.http.server.reading import Reading
from casync_py.remotes.http.server.shelf import Shelf
from casync_py.remotes.http.server.work import Work
from casync_py.remotes.http.server.writing import Writing
from casync_py.remotes.http.terms import HAS, READING, WRITING

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from casync_py.monitor import Monitor
    from casync_py.remotes.http.server.options import ServeOptions
    from casync_py.remotes.http.server.places import Names
    from casync_py.remotes.http.server.upstream import Upstream

_FILE_METHODS = (b"allow", b"GET, HEAD, PUT, OPTIONS")
_STORE_METHODS = (b"allow", b"GET, HEAD, POST, OPTIONS")


class App:
    """A server's ASGI callable; what it holds open is closed by `close`, once no request is being answered."""

    def __init__(self, options: ServeOptions, monitor: Monitor) -> None:
        """Open what is served.

        Raises:
            OSError: a directory is absent.
            UsageError: two of them have the same name, or the upstream server is none.
        """
        if options.cache_size is not None and options.upstream is None:
            raise UsageError("A size of what is kept is given, and no upstream server (--upstream)")
        self.options = options
        self._monitor = monitor
        self.places = Places(options.roots)
        self._work = Work(options.settings.resources)
        self._shelf = Shelf(self.places, options.settings.store_options, self._work)
        self._upstream: Upstream | None = None
        if options.upstream is None:
            self._reading = Reading(options, self.places, self._shelf, self._work)
            pulls = Pulls(self._shelf, self._work, monitor)
        else:
            from casync_py.remotes.http.server.proxying import PatientWork, ProxyReading
            from casync_py.remotes.http.server.upstream import Upstream

            self._waiting = PatientWork(self._work)
            self._upstream = Upstream(options, self.places, self._work, monitor)
            self._reading = ProxyReading(options, self.places, self._upstream, self._waiting)
            pulls = Pulls(self._upstream, self._waiting, monitor)
        posts = Posts(self._shelf, self._work)
        self._writing = Writing(options, self.places, self._shelf, self._work)
        self._posted = {
            Exchange.PULL.value: pulls.pull,
            HAS: pulls.has,
            Exchange.ASK.value: posts.ask,
            Exchange.SEND.value: posts.send,
        }
        suffix = re.escape(options.settings.store_options.compressed_suffix)
        self._chunk = re.compile(rf"(.*)/([0-9a-f]{{4}})/(\2[0-9a-f]{{60}})({suffix})?".encode())
        known = (*READING, *WRITING) if options.writable else READING
        self._protocol = (PROTOCOL_HEADER.lower().encode(), ", ".join(known).encode())

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
            await refuse(send, refusal, end=not call.received)
        except Gone:
            pass

    async def _answer(self, call: Call) -> None:
        chunk = self._chunk.fullmatch(call.path)
        if chunk is not None:
            await self._answer_chunk(call, parse_path(chunk[1]), chunk[3].decode(), chunk[4] is not None)
            return
        names = parse_path(call.path)
        kind = kind_of(names[-1]) if names else None
        if kind is not None:
            await self._answer_file(call, names, kind)
        else:
            await self._answer_store(call, names)

    async def _answer_chunk(self, call: Call, names: Names, digits: str, compressed: bool) -> None:
        if call.method == "GET":
            await self._reading.chunk(call, names, digits, compressed)
        elif call.method == "PUT":
            self._check_writable(call)
            await self._writing.chunk(call, names, digits, compressed)
        else:
            await self._tell_methods(call)

    async def _answer_file(self, call: Call, names: Names, kind: str) -> None:
        if call.method == "GET":
            await self._reading.file(call, names, kind)
        elif call.method == "PUT":
            self._check_writable(call)
            await (self._writing.archive if kind == "archive" else self._writing.index)(call, names)
        else:
            await self._tell_methods(call)

    async def _tell_methods(self, call: Call) -> None:
        if call.method != "OPTIONS":
            raise Refusal(405, f"{printable(call.path)}: {call.method} is not for files", [_FILE_METHODS])
        await answer(call.send, 204, [_FILE_METHODS])

    async def _answer_store(self, call: Call, names: Names) -> None:
        if call.method == "OPTIONS":
            await answer(call.send, 204, [_STORE_METHODS, self._protocol])
        elif call.method == "POST":
            posted = call.query.decode("latin-1")
            answer_posted = self._posted.get(posted)
            if answer_posted is None:
                raise Refusal(400, f"{shown(names)}: POST needs ?{' or ?'.join(self._posted)}")
            if posted in WRITING:
                self._check_writable(call)
            await answer_posted(call, names)
        elif call.method == "GET":
            await show_folder(call, self.options, self.places, names, self._work)
        else:
            raise Refusal(405, f"{shown(names)}: {call.method} is not for stores and folders", [_STORE_METHODS])

    def _check_writable(self, call: Call) -> None:
        if not self.options.writable:
            raise Refusal(403, f"{printable(call.path)}: This server takes nothing, it only gives")
        if call.header(b"content-range") is not None:  # RFC 9110, 14.5: or the part would become the whole
            raise Refusal(400, f"{printable(call.path)}: Only a whole file can be put")

    def crowded(self) -> bool:
        """Whether a request waits for room for its body."""
        return self._work.bodies.awaited or self._work.large.awaited

    def close(self) -> None:
        """Finish what is being worked on and close everything; twice is fine."""
        if self._upstream is not None:
            self._upstream.close()
            self._waiting.close()
        self._work.close()
        self._shelf.close()
        self.places.close()
