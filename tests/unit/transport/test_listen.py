"""Addresses, sockets of all kinds, and who can reach them."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import UsageError
from casync_py.transport.listen import Listen, is_loopback

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("localhost", "localhost", 8042),
        (":80", "", 80),
        ("[::1]:65535", "::1", 65535),
        ("[::1]", "::1", 8042),
        ("fe80::1%eth0", "fe80::1%eth0", 8042),
        ("example.org:1", "example.org", 1),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert Listen.parse(text, 8042) == Listen(host, port)


@pytest.mark.parametrize(
    "text", ["", "a b", "host:", "host:http", "host:65536", "host:-1", "[::1", "[]:1", "[::1]x", "http://host", "a/b:1"]
)
def test_no_addresses(text: str) -> None:
    if text == "host:":  # an empty port is the default one
        assert Listen.parse(text, 7) == Listen("host", 7)
        return
    with pytest.raises(UsageError):
        Listen.parse(text, 8042)


def test_loopback() -> None:
    assert [is_loopback(address) for address in ("127.0.0.1", "127.9.9.9", "::1", "10.0.0.1", "0.0.0.0", "::")] == [
        *(True, True, True, False, False, False)
    ]


def test_a_port_is_picked() -> None:
    listening = Listen("127.0.0.1").open()
    assert listening.port > 0
    assert listening.url(tls=False) == f"http://127.0.0.1:{listening.port}/"
    assert listening.only_local
    assert listening.local_names == frozenset({"127.0.0.1", "localhost", socket.gethostname().lower()})
    same = Listen("127.0.0.1", listening.port)
    with socket.create_connection(("127.0.0.1", listening.port)), pytest.raises(OSError, match="in use") as caught:
        same.open()
    assert caught.value.filename == same.shown
    listening.close()
    listening.close()
    same.open().close()


def test_all_addresses_share_a_port() -> None:
    listening = Listen().open()
    assert {each.getsockname()[1] for each in listening.sockets} == {listening.port}
    assert not listening.only_local
    assert listening.local_names is None
    assert listening.url(tls=True) == f"https://{socket.gethostname()}:{listening.port}/"
    listening.close()


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(OSError, match="assign") as caught:
        Listen("192.0.2.1").open()
    assert (caught.value.errno, caught.value.filename) == (errno.EADDRNOTAVAIL, "192.0.2.1:0")


def test_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "a socket")
    listening = Listen(path=path).open()
    assert listening.only_local
    assert (listening.port, listening.local_names) == (0, None)
    assert listening.url(tls=False).startswith("http+unix://%2F")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
    with pytest.raises(OSError, match="in use") as caught:
        Listen(path=path).open()
    assert caught.value.filename == path
    listening.close()
    assert not os.path.exists(path)


def test_a_unix_socket_that_nobody_serves_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    listening = Listen(path=path).open()
    os.rename(path, path + ".old")
    with open(path, "w"):
        pass
    listening.close()
    assert sorted(os.listdir(tmp_path)) == ["socket", "socket.old"]  # what others put there stays
    with pytest.raises(OSError, match="in use"):
        Listen(path=path).open()
    with pytest.raises(OSError, match="No such"):
        Listen(path=str(tmp_path / "absent" / "socket")).open()
    with pytest.raises(OSError, match="too long"):
        Listen(path=str(tmp_path / ("x" * 200))).open()
