"""Paths: what is below the served directories is found, and nothing else exists, however it is asked for."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casync_py.errors import UsageError
from casync_py.remotes.http.server.answers import Refusal
from casync_py.remotes.http.server.places import Entry, Places, kind_of, parse_path, shown
from casync_py.testing.serving import Served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SECRET = b"not to be seen"


def _make(tmp_path: Path) -> Path:
    """root/ to be served: in.catar, sub/deep.catar, links; secret.catar stands beside it."""
    (tmp_path / "secret.catar").write_bytes(_SECRET)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/secret.catar").write_bytes(_SECRET)
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "in.catar").write_bytes(b"in")
    (root / "sub/deep.catar").write_bytes(b"deep")
    (root / "up.catar").symlink_to("../secret.catar")
    (root / "absolute.catar").symlink_to(tmp_path / "secret.catar")
    (root / "passwd.catar").symlink_to("/etc/passwd")
    (root / "folder").symlink_to(tmp_path / "other")
    (root / "ring.catar").symlink_to("ring.catar")
    (root / "inside.catar").symlink_to("sub/../sub/deep.catar")
    (root / "inside_absolute.catar").symlink_to(root / "in.catar")
    return root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return _make(tmp_path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(_make(tmp_path_factory.mktemp("served"))) as server:
        yield server


@pytest.mark.parametrize("name", ["/in.catar", "//in.catar", "/%69n.catar", "/in%2ecatar", "/inside_absolute.catar"])
def test_what_is_there(served: Served, name: str) -> None:
    assert served.ask("GET", name).body == b"in"


@pytest.mark.parametrize("name", ["/sub/deep.catar", "/sub//deep.catar", "/sub/%64eep.catar", "/inside.catar"])
def test_what_is_below(served: Served, name: str) -> None:
    assert served.ask("GET", name).body == b"deep"


_DOTS = [
    *("..", "%2e%2e", "%2E.", ".%2e", "..;", "..%00", "..."),
    *("%252e%252e", "%c0%ae%c0%ae", "%u002e%u002e", "%ef%bc%8e%ef%bc%8e"),
]
_SLASHES = ["/", "%2f", "%2F", "%5c", "\\", "%252f", "%c0%af", "//", "/./", "/%2e/"]


@pytest.mark.parametrize("dots", _DOTS)
@pytest.mark.parametrize("slash", _SLASHES)
def test_nothing_leads_out(served: Served, dots: str, slash: str) -> None:
    for before in ("/", "/sub/" + dots + "/"):
        path = f"{before}{dots}{slash}secret.catar"
        answer = served.ask("GET", path)
        assert answer.status == 404
        assert _SECRET not in answer.body
        assert served.ask("GET", f"{before}{dots}{slash}root{slash}in.catar").status == 404


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.catar",
        "../secret.catar",
        "http://localhost/../secret.catar",
        "//localhost/../secret.catar",
        "/in.catar/../../secret.catar",
        "/sub/..\\..\\secret.catar",
        "/proc/self/root/etc/passwd",
        "/./in.catar/..",
        "/in.catar%00.caidx",
        "/in.catar%0a",
        "/%",
        "/%zz.catar",
        "/" + "a/" * 3000 + "in.catar",
        "/" + "a" * 300 + ".catar",
        "/" + "%61" * 2000 + ".catar",
        "*",
        "/sub",
        "/sub/",
        "/up.catar",
        "/absolute.catar",
        "/passwd.catar",
        "/folder/secret.catar",
        "/folder/../in.catar",
        "/sub/../in.catar",
        "/sub/%2e%2e/in.catar",
        "/./in.catar",
        "/ring.catar",
        "/in.catar/x.catar",
        "/.catar",
        "/none.catar",
    ],
)
def test_raw_targets(served: Served, target: str) -> None:
    with socket.create_connection(served.address) as client:
        client.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode("latin-1"))
        answer = b""
        while data := client.recv(65536):
            answer += data
    status = int(answer.split()[1])
    assert status in ((200,) if target.strip("/") == "sub" else (400, 404))
    assert _SECRET not in answer
    assert b"root:" not in answer


def test_only_regular_files(folder: Path) -> None:
    os.mkfifo(folder / "fifo.catar")
    (folder / "folder.catar").mkdir()
    (folder / "file.txt").write_bytes(b"text")
    (folder / ".#new.caibx0123456789abcdef").write_bytes(b"half")
    with socket.socket(socket.AF_UNIX) as listener, Served(folder) as served:
        listener.bind(str(folder / "socket.catar"))
        for name in ("fifo.catar", "folder.catar", "socket.catar", "file.txt", ".%23new.caibx0123456789abcdef"):
            assert served.ask("GET", f"/{name}").status == 404


def test_a_directory_that_becomes_a_link_is_not_followed_out(folder: Path, tmp_path: Path) -> None:
    with Served(folder) as served:
        assert served.ask("GET", "/sub/deep.catar").status == 200
        (folder / "sub").rename(folder / "old")
        (folder / "sub").symlink_to(tmp_path / "other")
        assert served.ask("GET", "/sub/secret.catar").status == 404


def test_several_directories(folder: Path, tmp_path: Path) -> None:
    with Served(folder, tmp_path / "other") as served:
        assert served.ask("GET", "/root/in.catar").body == b"in"
        assert served.ask("GET", "/other/secret.catar").body == _SECRET
        assert served.ask("GET", "/root/folder/secret.catar").body == _SECRET, "a link between them stays below them"
        assert served.ask("GET", "/root/up.catar").status == 404
        assert served.ask("GET", "/in.catar").status == 404
        assert served.ask("GET", "/else/in.catar").status == 404
        assert served.ask("GET", "/other/../root/in.catar").status == 404


def test_directories_that_cannot_be_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a/x").mkdir(parents=True)
    (tmp_path / "b/x").mkdir(parents=True)
    with pytest.raises(UsageError, match="different names"):
        Places([str(tmp_path / "a/x"), str(tmp_path / "b/x")])
    with pytest.raises(UsageError, match="No directory"):
        Places([])
    with pytest.raises(FileNotFoundError):
        Places([str(tmp_path / "none")])


def test_what_a_folder_has(folder: Path, tmp_path: Path) -> None:
    (folder / "default.castr").mkdir()
    (folder / "store/0123").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "empty").mkdir()
    places = Places([str(folder)])
    entries = places.list_folder(()) or []
    assert [entry[:3] for entry in entries] == [
        ("default.castr", "store", 0),
        ("empty", "folder", 0),
        ("in.catar", "archive", 2),
        ("inside.catar", "archive", 4),
        ("inside_absolute.catar", "archive", 2),
        ("store", "store", 0),
        ("sub", "folder", 0),
    ]
    assert places.list_folder(("in.catar",)) is None
    with pytest.raises(FileNotFoundError):
        places.list_folder(("none",))
    places.close()
    places = Places([str(folder), str(tmp_path / "other")])
    assert places.list_folder(()) == [Entry("other", "folder", 0, 0.0), Entry("root", "folder", 0, 0.0)]
    assert places.tops == ("root", "other")
    places.close()


@pytest.mark.parametrize("raw", [b"/..", b"/.", b"/a/../b", b"/%2e%2e/b", b"/a/.%2E", b"/a/%2e/b"])
def test_dot_segments_name_nothing(raw: bytes) -> None:
    with pytest.raises(Refusal):
        parse_path(raw)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
def test_parsing_undoes_showing(raw: list[bytes]) -> None:
    names = [os.fsdecode(name) for name in raw]
    forbidden = any(name in (b".", b"..") or any(byte < 0x20 or byte in b"\x7f/\\" for byte in name) for name in raw)
    if forbidden:
        with pytest.raises(Refusal):
            parse_path(shown(names).encode())
    else:
        assert parse_path(shown(names).encode()) == tuple(names)


@given(st.binary(max_size=60))
def test_any_path_is_names_or_nothing(raw: bytes) -> None:
    try:
        names = parse_path(raw)
    except Refusal:
        return
    for name in names:
        assert name not in ("", ".", "..")
        assert "/" not in name
        assert "\0" not in name


def test_kinds() -> None:
    assert kind_of("a.catar") == "archive"
    assert kind_of("a.caidx") == "archive-index"
    assert kind_of("a.caibx") == "blob-index"
    for name in ("a", ".catar", "a.castr", "a.caibx0", "a.CATAR"):
        assert kind_of(name) is None
