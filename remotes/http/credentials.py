"""Who we are to web servers: told to the origins that the user named, and to no other."""

from __future__ import annotations

import netrc
import os
from base64 import b64encode
from typing import TYPE_CHECKING

from casync_py.errors import UsageError
from casync_py.remotes.http.address import parse_web

if TYPE_CHECKING:
    from collections.abc import Collection

    from casync_py.options import Access

_OURS = {  # headers on which the course of an exchange depends
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "if-range",
    "range",
    "te",
    "transfer-encoding",
    "upgrade",
}
_AUTHORIZATION = "Authorization"
_NETRC_VARIABLE = "NETRC"  # as curl and httpx's own reader have it

Headers = tuple[tuple[str, str], ...]


class Credentials:
    """The headers that go with each request to an origin.

    Where there are several, a header option wins over user and password in the URL, and these over ~/.netrc.
    """

    def __init__(self, access: Access, named: Collection[str]) -> None:
        """
        Args:
            named: locators or origins that the user named, with user and password where they have any.

        Raises:
            UsageError: ~/.netrc cannot be understood, or a header was given that is not for users.
        """
        for name, _value in access.headers:
            if name.lower() in _OURS:
                raise UsageError(f"The header {name} cannot be chosen")
        chosen = any(name.lower() == _AUTHORIZATION.lower() for name, _value in access.headers)
        self._headers: dict[str, Headers] = {}
        for address in sorted(map(parse_web, named), key=lambda address: address.userinfo is None):
            if address.origin not in self._headers:
                login = None if chosen else address.userinfo or _from_netrc(address.host)
                self._headers[address.origin] = (*access.headers, *(() if login is None else (_basic(*login),)))

    def is_named(self, origin: str) -> bool:
        """Whether the user named the origin."""
        return origin in self._headers

    def headers(self, origin: str) -> Headers:
        """What the origin is told; nothing, if the user did not name it."""
        return self._headers.get(origin, ())


def _basic(user: str, password: str) -> tuple[str, str]:
    text = f"{user}:{password}".encode("utf-8", "surrogateescape")
    return _AUTHORIZATION, "Basic " + b64encode(text).decode()


def _from_netrc(host: str) -> tuple[str, str] | None:
    path = os.environ.get(_NETRC_VARIABLE) or os.path.expanduser("~/.netrc")
    try:
        found = netrc.netrc(path).authenticators(host)
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # as for curl
        return None
    except netrc.NetrcParseError as error:
        raise UsageError(f"{path}: Cannot be understood: {error.msg} in line {error.lineno}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: Cannot be read: {error}") from None
    return None if found is None else (found[0], found[2] or "")
