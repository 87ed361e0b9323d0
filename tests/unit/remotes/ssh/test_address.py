"""Whom ssh connects to: nothing that is typed becomes an option or a shell's word."""

from __future__ import annotations

import pytest

from casync_py.errors import UsageError
from casync_py.remote.locator import parse_locator
from casync_py.remotes.ssh.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("host:x", Address(None, "host", None)),
        ("user@host.example:x", Address("user", "host.example", None)),
        ("u%x@h%eth0:x", Address("u%x", "h%eth0", None)),
        ("ssh://host/x", Address(None, "host", None)),
        ("ssh://host:/x", Address(None, "host", None)),
        ("ssh://user@host:2222/x", Address("user", "host", 2222)),
        ("ssh://name%40realm@host/x", Address("name@realm", "host", None)),
        ("ssh://[::1]/x", Address(None, "::1", None)),
        ("ssh://u@[fe80::1%25eth0]:65535/x", Address("u", "fe80::1%eth0", 65535)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(parse_locator(text)) == address


@pytest.mark.parametrize(
    "text",
    [
        "-oProxyCommand:x",
        "-u@host:x",
        "u@-host:x",
        "ssh://-oProxyCommand/x",
        "ssh://%2DoProxyCommand=id/x",
        "ssh://-l@host/x",
        "ssh://u@-h/x",
        "ssh://h%20%2Dx/x",
        "ssh://h%60id%60/x",
        "ssh://u%24(id)@h/x",
        "ssh://u%0a@h/x",
        "ssh://a%2Fb/x",
        "ssh://user:password@host/x",
        "ssh://@host/x",
        "ssh://u@/x",
        "ssh://host:0/x",
        "ssh://host:65536/x",
        "ssh://host:" + "9" * 5000 + "/x",
        "ssh://host:port/x",
        "ssh://::1/x",
        "ssh://[::1]x/x",
        "ssh://[-o::]/x",
        "ssh://[::1%25-x]/x",
        "ssh://[host]/x",
        "ssh://a@b@c/x",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_address(parse_locator(text))


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(parse_locator("ssh://user:secret@host/x"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("shown", ["host", "u@host", "u@host:22", "[::1]:22", "u@[::1]"])
def test_as_in_messages(shown: str) -> None:
    assert str(parse_address(parse_locator(f"ssh://{shown}/x"))) == shown
