"""Whom ssh connects to: user, host and port of a locator, so strict that none of them can become an option of ssh."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from casync_py.errors import UsageError

if TYPE_CHECKING:
    from casync_py.remote.locator import Locator

# No word begins with a dash (an option), and none has what a shell in ssh's own configuration (ProxyCommand %h, %r)
# would act on: OpenSSH refuses the same since 9.6 (CVE-2023-51385).
_USER = re.compile(r"[A-Za-z0-9._%+@][A-Za-z0-9._%+@-]*")
_HOST = re.compile(r"[A-Za-z0-9._%][A-Za-z0-9._%-]*")
_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9._][A-Za-z0-9._-]*)?")
_AUTHORITY = re.compile(r"(?:(?P<user>[^@]*)@)?(?:\[(?P<ipv6>[^][]*)\]|(?P<host>[^][:@]*))(?::(?P<port>[0-9]*))?")
_MAX_PORT = 65535


class Address(NamedTuple):
    """A user (None: ssh's choice), a host as ssh takes it (no brackets), a port (None: ssh's choice)."""

    user: str | None
    host: str
    port: int | None

    def __str__(self) -> str:
        """As in messages: `[USER@]HOST[:PORT]`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{user}{host}:{self.port}" if self.port else user + host


def parse_address(locator: Locator) -> Address:
    """User, host and port of an ssh locator; in an `ssh://` URL user and host may be percent-encoded.

    Raises:
        UsageError: no host, a password, or something that ssh or a shell could take for more than a name.
    """
    text, authority = locator.text, locator.authority
    if not text.startswith("ssh://"):
        user, at, host = authority.rpartition("@")
        return Address(_checked(text, "user", user, _USER) if at else None, _checked(text, "host", host, _HOST), None)
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise UsageError(f"{text}: No [USER@]HOST[:PORT], with an IPv6 address in brackets")
    user, ipv6, host, port = found.group("user", "ipv6", "host", "port")
    if user is not None:
        if ":" in user:
            raise UsageError(f"{locator.scheme}://: ssh takes no password from a URL; use a key")
        user = _checked(text, "user", unquote(user), _USER)
    if ipv6 is not None:
        host = _checked(text, "IPv6 address", unquote(ipv6), _IPV6)
    else:
        host = _checked(text, "host", unquote(host), _HOST)
    return Address(user, host, _port(text, port))


def _checked(text: str, what: str, value: str, pattern: re.Pattern[str]) -> str:
    if not pattern.fullmatch(value):
        raise UsageError(f"{text}: Not a name for a {what}: {value!r}")
    return value


def _port(text: str, digits: str | None) -> int | None:
    if not digits:
        return None
    if len(digits) > len(str(_MAX_PORT)) or not 1 <= int(digits) <= _MAX_PORT:
        raise UsageError(f"{text}: Not a port: {digits}")
    return int(digits)
