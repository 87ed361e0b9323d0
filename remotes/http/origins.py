"""The origins that are asked: lanes to each, made when they are first needed, and which are told who we are."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING
from urllib.request import getproxies, proxy_bypass

from casync_py.remotes.http.address import parse_web
from casync_py.remotes.http.credentials import Credentials
from casync_py.remotes.http.direct import DirectClient
from casync_py.remotes.http.errors import WebError
from casync_py.remotes.http.lanes import Lane
from casync_py.remotes.http.trust import http2_is_there, tls_context
from casync_py.remotes.http.watch import Watch

if TYPE_CHECKING:
    import ssl
    from collections.abc import Collection

    from casync_py.monitor import Monitor
    from casync_py.options import Access
    from casync_py.remotes.http.address import WebAddress
    from casync_py.remotes.http.client import Client

_MOST_LANES = 64  # a server that redirects to ever more others fills no table
_AGENT = "casync-py"


class Origins:
    """Lanes by the beginning of a URL, `scheme://host[:port]`. Thread-safe."""

    def __init__(
        self, access: Access, timeout_s: float | None, monitor: Monitor, user_origins: Collection[str]
    ) -> None:
        """Args and Raises: as `Web`."""
        self._access = access
        self._timeout_s = timeout_s
        self._monitor = monitor
        self._credentials = Credentials(access, user_origins)
        self._proxies = getproxies()
        self._watch = Watch(timeout_s)
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

    def _make(self, beginning: str, bulk: bool) -> Lane:
        with self._lock:
            lanes = self._lanes[bulk]
            if beginning in lanes:
                return lanes[beginning]
            if self._closed:
                raise WebError("The connection was closed")
            address = parse_web(beginning)
            lane = self._new_lane(address, http2=not bulk and http2_is_there())
            while len(lanes) >= _MOST_LANES:
                lanes.pop(next(iter(lanes))).close()
            lanes[beginning] = lane
            return lane

    def _new_lane(self, address: WebAddress, *, http2: bool) -> Lane:
        encrypted = address.url.startswith("https:")  # reading the authorities' certificates takes 30 ms
        tls = self._context(self._credentials.is_named(address.origin), http2) if encrypted else None
        proxy = self._proxy(address)

        def new_client() -> Client:
            from casync_py.remotes.http.client import Client

            return Client(address.url.rstrip("/"), tls, proxy, self._timeout_s, self._watch, http2=http2)

        new_direct = partial(DirectClient, address.host, address.port, tls, self._timeout_s, self._watch)
        is_direct = proxy is None and not (encrypted and http2)
        return Lane(new_client, new_direct if is_direct else None, self._headers(address), self._monitor, self._watch)

    def _proxy(self, address: WebAddress) -> str | None:
        """The URL of the proxy that the environment names for an origin."""
        if not self._proxies or proxy_bypass(f"{address.host}:{address.port}"):
            return None
        proxy = self._proxies.get(address.url.partition(":")[0]) or self._proxies.get("all")
        return proxy if proxy is None or "://" in proxy else f"http://{proxy}"

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
        self._watch.close()
