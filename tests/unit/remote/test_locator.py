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
        ("ssh://host/path", SSH, "host", "/path"),
        ("ssh://u@h:22/a%20b%3F?c;d#e", SSH, "u@h:22", "/a b??c;d#e"),
        ("ssh://h/~/x.caibx", SSH, "h", "x.caibx"),
        ("ssh://h/~", SSH, "h", "."),
        ("ssh://h//x", SSH, "h", "//x"),
        ("ssh://[::1]:22/x", SSH, "[::1]:22", "/x"),
        ("h:~/x.caibx", SSH, "h", "x.caibx"),
        ("h:a~/x", SSH, "h", "a~/x"),
        ("h:a%20b", SSH, "h", "a%20b"),
        ("[::1]:x", PATH, "", "[::1]:x"),
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
        ("ssh://h/a%2Ecaidx", "archive-index"),
        ("ssh://h/b.caibx?x", None),
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
        ("h:~/b.caidx", "h:~/default.castr"),
        ("ssh://u@h:22/d%20e/b.caidx", "ssh://u@h:22/d%20e/default.castr"),
        ("ssh://h/~/b.caidx", "ssh://h/~/default.castr"),
        ("ssh://h/b.caidx", "ssh://h/default.castr"),
        ("http://h/d/b.caibx?x=1", "http://h/d/default.castr"),
        ("http://h", "http://h/default.castr"),
    ],
)
def test_default_store(text: str, store: str) -> None:
    assert parse_locator(text).default_store() == store


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\0b",
        "file://elsewhere/p",
        "ssh://host",
        "ssh://host?x",
        "ssh://host;x/y",
        "ssh://h/a%00b",
        "ssh://h/~bob/x",
        "h:~bob/x",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_locator(text)


def test_a_scheme_that_nothing_serves_is_named() -> None:
    with pytest.raises(UsageError, match="gopher"):
        open_remote("gopher://host/x.caidx")


def test_not_utf8_in_a_file_url() -> None:
    assert parse_locator("file:///%ff").path.encode("utf-8", "surrogateescape") == b"/\xff"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://joe:hush@host:8042/a.caibx?token=hush", "http://host:8042/a.caibx?..."),
        ("https://host/a;b", "https://host/a;b"),
        ("joe@host:a?b", "joe@host:a?b"),
        ("a/b", "a/b"),
    ],
)
def test_what_messages_show(text: str, shown: str) -> None:
    assert parse_locator(text).shown == shown
