"""URLs as users type them, and what of them is shown, sent and compared."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casync_py.errors import UsageError
from casync_py.ids import ChunkId
from casync_py.remotes.http.address import chunk_url, parse_web, redirected, shown, store_url

CHUNK = ChunkId(bytes(range(32)))


@pytest.mark.parametrize(
    ("text", "url", "origin", "host"),
    [
        ("http://h", "http://h/", "http://h:80", "h"),
        ("https://h/", "https://h/", "https://h:443", "h"),
        ("HTTP://H.Example:8080/A", "http://h.example:8080/A", "http://h.example:8080", "h.example"),
        ("http://h:80/a", "http://h/a", "http://h:80", "h"),
        ("http://h:/a", "http://h/a", "http://h:80", "h"),
        ("https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443", "2001:db8::1"),
        ("http://[fe80::1%25eth0]/", "http://[fe80::1%25eth0]/", "http://[fe80::1%25eth0]:80", "fe80::1%eth0"),
        ("http://h/a b/ü%20?x=1&y=z#part", "http://h/a%20b/%C3%BC%20?x=1&y=z", "http://h:80", "h"),
        ("http://h?x=1", "http://h/?x=1", "http://h:80", "h"),
        ('http://h/"<>\r\n\0', "http://h/%22%3C%3E%0D%0A%00", "http://h:80", "h"),
        ("http://h/\udcff", "http://h/%FF", "http://h:80", "h"),
    ],
)
def test_taken_apart(text: str, url: str, origin: str, host: str) -> None:
    address = parse_web(text)
    assert (address.url, address.origin, address.host) == (url, origin, host)
    assert address.userinfo is None
    assert address.named == origin
    assert parse_web(url) == address


@pytest.mark.parametrize(
    ("authority", "userinfo"),
    [
        ("user:word@h", ("user", "word")),
        ("user@h", ("user", "")),
        (":word@h", ("", "word")),
        ("u%40x:p%3A%2f@h", ("u@x", "p:/")),
        ("u@x:p:q@h", ("u@x", "p:q")),
    ],
)
def test_user_and_password(authority: str, userinfo: tuple[str, str]) -> None:
    address = parse_web(f"http://{authority}:81/a?b")
    assert address.userinfo == userinfo
    assert (address.url, address.origin, address.shown) == ("http://h:81/a?b", "http://h:81", "http://h:81/a?...")
    assert parse_web(address.named).userinfo == userinfo
    assert parse_web(address.named).origin == address.origin


@pytest.mark.parametrize(
    "text",
    [
        *("", "h", "ftp://h/", "http:/h", "http://", "http:///a", "http://u:secret@/a", "http://a b/", "http://h:x/"),
        *("http://h:0/", "http://h:65536/", "http://h:123456/", "http://[::1/", "http://::1/", "http://[h]/"),
        *("http://h\r\nX: y/", "http://h\0/", "http://ü/", "http://u:secret@h:99999/", "http://h\\@x/"),
        "http://h/" + "a" * 20_000,
    ],
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_web(text)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()


@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    """An address whose URL can be sent as it is, or a UsageError; and no password in what is shown."""
    for url in (text, f"http://u:hush@{text}", f"http://h/{text}"):
        assert "u:hush" not in shown(url) or "u:hush" in text
        try:
            address = parse_web(url)
        except UsageError:
            continue
        assert address.url.isascii()
        assert address.url.isprintable()
        assert " " not in address.url
        assert parse_web(address.url).url == address.url
        assert 0 < address.port < 65536


@pytest.mark.parametrize(
    ("store", "base"),
    [
        ("http://h/s", "http://h/s"),
        ("http://h/s///", "http://h/s"),
        ("http://h/a/s/?x=/b", "http://h/a/s"),
        ("http://h/s;v=1?x", "http://h/s"),
        ("http://h", "http://h"),
        ("http://h/?", "http://h"),
    ],
)
def test_chunks_of_a_store(store: str, base: str) -> None:
    """As casync has it (spec section 6)."""
    digits = CHUNK.hex()
    assert store_url(store) == base
    assert chunk_url(store, CHUNK, ".cacnk") == f"{base}/0001/{digits}.cacnk"
    assert chunk_url(store, CHUNK, "") == f"{base}/0001/{digits}"
    assert parse_web(store).store == base


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("c", "https://h:8443/a/c"),
        ("/c?d", "https://h:8443/c?d"),
        ("//o/c", "https://o/c"),
        ("http://u:p@o/c", "http://o/c"),
        ("", "https://h:8443/a/b?x"),
    ],
)
def test_redirects(location: str, url: str) -> None:
    assert redirected(parse_web("https://h:8443/a/b?x"), location).url == url


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    """httpx takes 100 ms to import."""
    code = """if True:
        import sys
        heavy = {"httpx", "httpcore", "h2", "h11", "starlette", "uvicorn", "prometheus_client"}
        import casync_py.cli, casync_py.api.sources, casync_py.remote.open
        assert not heavy & {*sys.modules}, heavy & {*sys.modules}
        assert not any("remotes.http" in name for name in sys.modules)
        import casync_py.remotes.http.web, casync_py.remotes.http.files
        assert not heavy & {*sys.modules}, heavy & {*sys.modules}
    """
    subprocess.run([sys.executable, "-c", code], check=True)
