"""Scanning: order, errors that name their path, what changes meanwhile, depth, descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.nodes import Entry, Leave
from casync_py.archive.scan import scan
from casync_py.errors import SourceChanged
from casync_py.format.flags import WITH_MASK, Feature, normalize
from casync_py.monitor import Monitor

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

DEFAULT = normalize(WITH_MASK | Feature.EXCLUDE_FILE | Feature.EXCLUDE_NODUMP)


def entries(root: Path | int, features: int = DEFAULT) -> list[Entry | Leave]:
    return list(scan(root if isinstance(root, int) else os.fsencode(root), features))


def paths(root: Path | int, features: int = DEFAULT) -> list[bytes]:
    return [item.path for item in entries(root, features) if isinstance(item, Entry)]


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def make_node(path: Path, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("first")
    else:
        path.touch()


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> Iterator[None]:
    before = len(descriptors())
    yield
    assert len(descriptors()) == before


def test_order_is_that_of_the_name_bytes(tmp_path: Path) -> None:
    for name in (b"b", b"a.b", b"\xff", b"\xc3\xa9", "\ue000".encode(), b"B"):
        (tmp_path / os.fsdecode(name)).touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a/z").touch()
    assert [(type(item).__name__, item.path) for item in entries(tmp_path)] == [
        ("Entry", b""),
        ("Entry", b"B"),
        ("Entry", b"a"),
        ("Entry", b"a/z"),
        ("Leave", b"a"),
        ("Entry", b"a.b"),
        ("Entry", b"b"),
        ("Entry", b"\xc3\xa9"),
        ("Entry", b"\xee\x80\x80"),
        ("Entry", b"\xff"),
        ("Leave", b""),
    ]


def test_a_descriptor_stays_its_owners(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for flags in (os.O_RDONLY, os.O_PATH):
        fd = os.open(tmp_path, flags)
        assert paths(fd) == paths(fd) == [b"", b"file"]
        os.close(fd)


def test_a_link_is_followed_at_the_top_alone(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/below").symlink_to("..")
    (tmp_path / "link").symlink_to("real")
    assert paths(tmp_path / "link") == [b"", b"below"]


@pytest.mark.parametrize(("name", "code"), [("absent", errno.ENOENT), ("file", errno.ENOTDIR)])
def test_a_top_that_is_no_directory(tmp_path: Path, name: str, code: int) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r".") as caught:
        entries(tmp_path / name)
    assert caught.value.errno == code
    assert caught.value.filename == str(tmp_path / name)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_vanishes_is_an_error_with_its_path(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").mkdir()
    victim = tmp_path / "a/victim"
    make_node(victim, kind)
    (tmp_path / "a/first").touch()
    walk = scan(os.fsencode(tmp_path), DEFAULT)
    for item in walk:
        if item.path == b"a/first":
            break
    victim.rmdir() if kind == "directory" else victim.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        next(walk)
    assert caught.value.filename == str(victim)


@pytest.mark.parametrize("now", ["fifo", "file", "directory", "link"])
@pytest.mark.parametrize("then", ["file", "directory", "link"])
def test_what_changes_its_kind_is_an_error(tmp_path: Path, then: str, now: str) -> None:
    """And a fifo in the place of a file does not make the scan wait for a writer."""
    if then == now:
        return
    (tmp_path / "first").touch()
    victim = tmp_path / "victim"
    make_node(victim, then)
    walk = scan(os.fsencode(tmp_path), DEFAULT)
    assert [next(walk).path, next(walk).path] == [b"", b"first"]
    victim.rmdir() if then == "directory" else victim.unlink()
    make_node(victim, now)
    if then == "link" and now == "fifo":  # neither of them is opened, so this is a fifo seen late
        assert next(walk).path == b"victim"
        walk.close()
        return
    with pytest.raises((OSError, SourceChanged), match="victim"):
        next(walk)


def read_all(entry: Entry) -> bytes:
    assert entry.payload is not None
    return b"".join(bytes(piece) for piece in entry.payload.pieces())


def file_entry(tmp_path: Path, size: int) -> tuple[Generator[Entry | Leave, None, None], Entry]:
    (tmp_path / "file").write_bytes(os.urandom(size))
    walk = scan(os.fsencode(tmp_path), DEFAULT)
    next(walk)
    entry = next(walk)
    assert isinstance(entry, Entry)
    return walk, entry


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_content(tmp_path: Path, size: int) -> None:
    walk, entry = file_entry(tmp_path, size)
    assert entry.node.size == size
    assert read_all(entry) == (tmp_path / "file").read_bytes()
    assert read_all(entry) == b""
    assert list(walk) == [Leave(b"")]


def test_content_into_small_and_large_views(tmp_path: Path) -> None:
    walk, entry = file_entry(tmp_path, 1000)
    assert entry.payload is not None
    buffer = bytearray(5000)
    view = memoryview(buffer)
    assert entry.payload.read_into(view[:0]) == 0
    assert entry.payload.read_into(view[:300]) == 300
    assert entry.payload.read_into(view[300:]) == 700
    assert entry.payload.read_into(view) == 0
    assert buffer[:1000] == (tmp_path / "file").read_bytes()
    list(walk)


@pytest.mark.parametrize("change", ["shorter", "longer", "touched", "rewritten", "mode"])
def test_a_file_that_changes_is_an_error(tmp_path: Path, change: str) -> None:
    walk, entry = file_entry(tmp_path, 600_000)
    path = tmp_path / "file"
    assert entry.payload is not None
    assert entry.payload.read_into(memoryview(bytearray(1000))) == 1000
    if change == "shorter":
        os.truncate(path, 500_000)
    elif change == "longer":
        os.truncate(path, 600_001)
    elif change == "touched":
        os.utime(path, ns=(1, 1))
    elif change == "mode":
        path.chmod(0o600)
        path.chmod(0o606)
    else:
        with path.open("r+b") as file:
            file.write(b"x")
        os.utime(path, ns=(entry.node.mtime_ns, entry.node.mtime_ns))
    with pytest.raises(SourceChanged) as caught:
        read_all(entry)
    assert str(caught.value) == f"File {path} changed while it was read"
    walk.close()


def test_odd_names_in_messages_stay_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"new\nline \xff")
    path.write_bytes(b"content")
    walk = scan(os.fsencode(tmp_path), DEFAULT)
    next(walk)
    entry = next(walk)
    assert isinstance(entry, Entry)
    path.write_bytes(b"short")
    with pytest.raises(SourceChanged, match=r"/new\\nline \\\\xff changed"):
        read_all(entry)
    walk.close()


def deep_tree(top: bytes, depth: int) -> None:
    fd = os.open(top, os.O_RDONLY)
    for level in range(depth):
        name = b"%04d" % level
        os.mkdir(name, dir_fd=fd)
        below = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(os.open(b"zfile", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        os.close(fd)
        fd = below
    os.close(fd)


def free_descriptor() -> int:
    """The lowest number that no descriptor has."""
    fd = os.open("/", os.O_PATH)
    os.close(fd)
    return fd


def test_depth_needs_few_descriptors() -> None:
    depth = 2000  # paths become longer than the 4096 bytes that the kernel takes
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    top = tempfile.mkdtemp(dir="/dev/shm")  # ext4 takes seconds to remove it
    try:
        deep_tree(os.fsencode(top), depth)
        # The limit is about numbers, and whoever runs the tests may have descriptors of their own.
        resource.setrlimit(resource.RLIMIT_NOFILE, (free_descriptor() + 128, hard))
        found = [(type(item), item.path.count(b"/"), item.path[-5:]) for item in scan(top, DEFAULT)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        subprocess.run(["rm", "-rf", "--", top], check=True)
    assert sum(kind is Entry for kind, _, _ in found) == 2 * depth + 1
    files = [level for kind, level, end in found if kind is Entry and end == b"zfile"]
    assert files == list(range(depth - 1, -1, -1))


def test_a_directory_that_moves_away_is_an_error(tmp_path: Path) -> None:
    """Which is found out where `..` is needed to come back to a directory that was closed on the way down."""
    deep_tree(os.fsencode(tmp_path), 70)
    walk = scan(os.fsencode(tmp_path), DEFAULT)
    for item in walk:
        if item.path.endswith(b"/0065"):
            break
    (tmp_path / "elsewhere").mkdir()
    first = tmp_path / "0000"
    (first / "0001").rename(tmp_path / "elsewhere/moved")
    with pytest.raises(SourceChanged, match="changed while the tree was read"):
        list(walk)


def test_closing_early_gives_descriptors_back(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"content")
    with contextlib.closing(scan(os.fsencode(tmp_path), DEFAULT)) as walk:
        for item in walk:
            if item.path == b"a/b/file":
                break


def test_kinds_whose_flag_is_off_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("x")
    os.mkfifo(tmp_path / "fifo")
    assert paths(tmp_path) == [b"", b"fifo", b"link"]
    assert paths(tmp_path, DEFAULT & ~Feature.SYMLINKS) == [b"", b"fifo"]
    assert paths(tmp_path, DEFAULT & ~Feature.FIFOS) == [b"", b"link"]


def test_hard_links_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "other").write_bytes(b"y")
    for name in ("b", "c"):
        (tmp_path / name).hardlink_to(tmp_path / "a")
    (tmp_path / "below").mkdir()
    (tmp_path / "below/d").hardlink_to(tmp_path / "other")
    monitor = Monitor()
    list(scan(os.fsencode(tmp_path), DEFAULT, monitor=monitor))
    assert monitor.notices == ["3 hard links are stored as independent copies"]
    monitor = Monitor()
    list(scan(os.fsencode(tmp_path / "below"), DEFAULT, monitor=monitor))
    assert monitor.notices == []


@pytest.mark.root
def test_unreadable_without_root(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "closed").mkdir(parents=True)
    (tree / "closed").chmod(0)
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.getuid() and path != path.parent and str(path).startswith(("/tmp/", "/var/tmp/")):
            path.chmod(path.stat().st_mode | 0o055)
    code = (
        "import os, sys\n"
        "from casync_py.archive.scan import scan\n"  # first: another user may not be able to read the interpreter
        "os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "try:\n    list(scan(sys.argv[1], int(sys.argv[2])))\n"
        "except PermissionError as error:\n    print(error.filename)\n"
    )
    command = [sys.executable, "-c", code, str(tree), str(DEFAULT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == (str(tree / "closed"), "")
