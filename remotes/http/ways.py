"""The lanes to all origins that are asked, made when they are first needed: which of them are direct, go through
a proxy of the environment or speak HTTP/2, and which of them are told who we are."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

from casync_py.remotes.http.address import parse_web
from casync_py.remotes.http.connect import http2_is_there, tls_context
from casync_py.remotes.http.credentials import Credentials
from casync_py.remotes.http.errors import WebError
from casync_py.remotes.http.lanes import DirectLane

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection

    from casync_py.monitor import Monitor
    from casync_py.options import Access
    from casync_py.remotes.http.address import WebAddress
    from casync_py.remotes.http.lanes import Lane

_MOST_LANES = 64  # a server that redirects to ever more others fills no table
_AGENT = "casync-py"


class Ways:
    """Lanes by the beginning of a URL, `scheme://host[:port]`. Thread-safe."""

    def __init__(
        self, access: Access, timeout_s: float | None, monitor: Monitor, user_origins: Collection[str]
    ) -> None:
        """Args and Raises: as `Web`."""
        self._access = access
        self._timeout_s = timeout_s
        self._monitor = monitor
        self._credentials = Credentials(access, user_origins)
        self._proxies = {scheme for scheme in getproxies() if scheme in {"http", "https", "all"}}
        self._lock = threading.RLock()
        self._lanes: tuple[dict[str, Lane], dict[str, Lane]] = ({}, {})
        self._contexts: dict[tuple[bool, bool], ssl.SSLContext] = {}
        self._closed = False

    def lane(self, beginning: str, bulk: bool) -> Lane:
        """The lane to an origin.

        Args:
            bulk: for answers of any size, which HTTP/2 is not used for: httpcore lets 64 KiB of each be under way, so
                that it takes a round trip for each 64 KiB.
        """
        return self._lanes[bulk].get(beginning) or self._make(beginning, bulk)

    def use_http2(self, beginning: str) -> Lane:
        """The lane to an origin that chose HTTP/2, in place of the one on which it did."""
        with self._lock:
            lane = self._lanes[False].get(beginning)
            if lane is None or isinstance(lane, DirectLane):
                lane = self._lanes[False][beginning] = self._client_lane(parse_web(beginning))
            return lane

    def _make(self, beginning: str, bulk: bool) -> Lane:
        with self._lock:
            lanes = self._lanes[bulk]
            if beginning in lanes:
                return lanes[beginning]
            if self._closed:
                raise WebError("The connection was closed")
            address = parse_web(beginning)
            if self._is_proxied(address):
                lane: Lane = self._client_lane(address)
            else:
                lane = self._direct_lane(address, bulk)
            while len(lanes) >= _MOST_LANES:
                lanes.pop(next(iter(lanes))).close()
            lanes[beginning] = lane
            return lane

    def _is_proxied(self, address: WebAddress) -> bool:
        return not self._proxies.isdisjoint({address.url.partition(":")[0], "all"}) and not proxy_bypass(
            f"{address.host}:{address.port}"
        )

    def _direct_lane(self, address: WebAddress, bulk: bool) -> DirectLane:
        tls = None
        if address.url.startswith("https:"):
            named = self._credentials.is_named(address.origin)
            tls = partial(self._context, named, not bulk and http2_is_there())
        lines = "".join(f"{name}: {value}\r\n" for name, value in self._headers(address))
        return DirectLane(address, lines, tls, self._timeout_s, self._monitor)

    def _client_lane(self, address: WebAddress) -> Lane:
        from casync_py.remotes.http.client_lane import ClientLane, make_client

        http2 = http2_is_there()
        tls = self._context(self._credentials.is_named(address.origin), http2)
        make = partial(make_client, tls, http2=http2)
        return ClientLane(make, address, self._headers(address), self._timeout_s, self._monitor)

    def _headers(self, address: WebAddress) -> list[tuple[str, str]]:
        host = address.url.split("/")[2]
        chosen = self._credentials.headers(address.origin)
        agent = [] if any(name.lower() == "user-agent" for name, _value in chosen) else [("User-Agent", _AGENT)]
        return [("Host", host), *agent, ("Accept-Encoding", "identity"), *chosen]

    def _context(self, named: bool, http2: bool) -> ssl.SSLContext:
        with self._lock:
            context = self._contexts.get((named, http2))
            if context is None:
                context = self._contexts[named, http2] = tls_context(self._access, named=named, http2=http2)
            return context

    def close(self) -> None:
        """Close all lanes; twice is fine."""
        with self._lock:
            self._closed = True
            for lanes in self._lanes:
                for lane in lanes.values():
                    lane.close()
                lanes.clear()
