"""casync's locator grammar: path, SSH or URL, in its order of tests."""

from __future__ import annotations

import pytest

from casync_py.errors import UsageError
from casync_py.remote.locator import LocatorKind, parse_locator
from casync_py.remote.open import open_remote

PATH, SSH, URL = LocatorKind.PATH, LocatorKind.SSH, LocatorKind.URL


@pytest.mark.parametrize(
    ("text", "kind", "authority", "path"),
    [
        ("/a:b", PATH, "", "/a:b"),
        ("./a:b", PATH, "", "./a:b"),
        (".", PATH, "", "."),
        ("..", PATH, "", ".."),
        ("name.caidx", PATH, "", "name.caidx"),
        ("dir/a:b", PATH, "", "dir/a:b"),
        ("a:", PATH, "", "a:"),
        ("a:b.caidx", SSH, "a", "b.caidx"),
        ("user@host.example:/x/y z", SSH, "user@host.example", "/x/y z"),
        ("http://h/d/b.caibx?x=1", URL, "h", "/d/b.caibx?x=1"),
        ("http://h", URL, "h", ""),
        ("http://u:p@[::1]:80;x", URL, "u:p@[::1]:80", ";x"),
        ("ssh://host/path", URL, "host", "/path"),
        ("known:///x?y", URL, "", "/x?y"),
        ("unknown:///x", SSH, "unknown", "///x"),
        ("file:///a%20b", PATH, "", "/a b"),
        ("file://localhost/p", PATH, "", "/p"),
    ],
)
def test_classes(text: str, kind: LocatorKind, authority: str, path: str) -> None:
    locator = parse_locator(text, {"known"})
    assert (locator.kind, locator.authority, locator.path) == (kind, authority, path)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("a.catar", "archive"),
        ("h:a.caidx", "archive-index"),
        ("http://h/b.caibx?x=.catar", "blob-index"),
        ("http://h/b.caibx;x", "blob-index"),
        ("http://h/b.caibx?a;b", "blob-index"),
        ("a.caibx?x", None),
        ("caidx", None),
    ],
)
def test_content_by_suffix(text: str, content: str | None) -> None:
    assert parse_locator(text).content == content


@pytest.mark.parametrize(
    ("text", "store"),
    [
        ("b.caidx", "default.castr"),
        ("/d/b.caidx", "/d/default.castr"),
        ("h:b.caidx", "h:default.castr"),
        ("h:/d/b.caidx", "h:/d/default.castr"),
        ("http://h/d/b.caibx?x=1", "http://h/d/default.castr"),
        ("http://h", "http://h/default.castr"),
    ],
)
def test_default_store(text: str, store: str) -> None:
    assert parse_locator(text).default_store() == store


@pytest.mark.parametrize("text", ["", "a\0b", "file://elsewhere/p"])
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_locator(text)


def test_a_scheme_that_nothing_serves_is_named() -> None:
    with pytest.raises(UsageError, match="gopher"):
        open_remote("gopher://host/x.caidx")


def test_not_utf8_in_a_file_url() -> None:
    assert parse_locator("file:///%ff").path.encode("utf-8", "surrogateescape") == b"/\xff"
