"""URLs of web servers as users type them: where requests go, what may be shown, and whose credentials they carry.

Source: spec section 6; RFC 3986.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urljoin

from casync_py.errors import UsageError

if TYPE_CHECKING:
    from casync_py.ids import ChunkId

PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(https?)://([^/?#;]*)([^#]*)", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]|[A-Za-z0-9._~-]+)(?::([0-9]{0,5}))?")
_QUERY = re.compile(r"[?;]")
_IN_PATH = "/%:@!$&'()*+,;=-._~?[]|"  # what is sent as typed; anything else is percent-encoded
_LONGEST = 16384


@dataclass(frozen=True, slots=True)
class WebAddress:
    """A URL, taken apart.

    Attributes:
        url: for requests: ASCII, without user, password and fragment.
        origin: `scheme://host:port`, the port always there, host in lower case: equal for the same server.
        host, port: where to connect; an IPv6 address without its brackets.
        userinfo: (user, password), decoded; None where the URL has none.
        shown: for messages: the URL without what may be secret, that is user, password and query.
    """

    url: str
    origin: str
    host: str
    port: int
    userinfo: tuple[str, str] | None
    shown: str

    @property
    def named(self) -> str:
        """The origin with user and password, as `Web` wants it among the origins that the user named."""
        if self.userinfo is None:
            return self.origin
        scheme, _, rest = self.origin.partition("://")
        return f"{scheme}://{':'.join(quote(part, safe='') for part in self.userinfo)}@{rest}"

    @property
    def store(self) -> str:
        """The URL as that of a store: cut at the first `?` or `;`, without slashes at its end."""
        return store_url(self.url)


def parse_web(text: str) -> WebAddress:
    """Take an http or https URL apart; characters that cannot stand in a URL are percent-encoded.

    Raises:
        UsageError: it is none; the message shows neither user nor password.
    """
    match = _URL.fullmatch(text.partition("#")[0]) if len(text) <= _LONGEST else None
    if match is None:
        raise UsageError(f"{shown(text)}: Not a URL of a web server")
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    user, at, place = authority.rpartition("@")
    found = _HOST.fullmatch(place)
    if found is None or "\\" in user:  # which browsers take for a slash
        raise UsageError(f"{shown(text)}: Not a host name")
    host = found[1].lower()
    port = int(found[2] or PORTS[scheme])
    if not 0 < port < 65536:
        raise UsageError(f"{shown(text)}: Not a port")
    base = f"{scheme}://{host}" + ("" if port == PORTS[scheme] else f":{port}")
    if not rest.startswith("/"):
        rest = "/" + rest
    rest = quote(rest, safe=_IN_PATH, errors="surrogateescape")
    name, _, password = user.partition(":")
    path, query, _ = rest.partition("?")
    return WebAddress(
        url=base + rest,
        origin=f"{scheme}://{host}:{port}",
        host=host.strip("[]").replace("%25", "%"),
        port=port,
        userinfo=(unquote(name), unquote(password)) if at else None,
        shown=base + path + ("?..." if query else ""),
    )


def redirected(address: WebAddress, location: str) -> WebAddress:
    """Where a redirect leads; user and password in it are not ours and are dropped by whoever asks.

    Raises:
        UsageError: to nothing that is a web server's URL.
    """
    return parse_web(urljoin(address.url, location))


def shown(url: str) -> str:
    """A URL, whatever is wrong with it, without what may be secret and in one short line."""
    scheme, mark, rest = url.partition("://")
    if mark:
        end = re.search(r"[/?#;]|\Z", rest)
        assert end is not None
        authority = rest[: end.start()].rpartition("@")[2]
        url = f"{scheme}://{authority}{rest[end.start() :]}"
    path, query, _ = url.partition("?")
    text = path + ("?..." if query else "")
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def store_url(url: str) -> str:
    """A store's URL as chunks' URLs begin with it: cut at the first `?` or `;`, slashes at the end removed."""
    return _QUERY.split(url, maxsplit=1)[0].rstrip("/")


def chunk_url(store: str, chunk_id: ChunkId, suffix: str) -> str:
    """Where a chunk is in the store at a URL."""
    return f"{store_url(store)}/{chunk_id.store_path(suffix)}"
