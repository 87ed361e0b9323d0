from __future__ import annotations

import errno
import os
import resource
import socket
import stat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.holes import BLOCK
from casync_py.archive.restore import RestoreStats, restore
from casync_py.format.flags import WITH_MASK, Feature, normalize
from casync_py.monitor import Monitor
from casync_py.testing.entries import Made, directory, entries, file, special, symlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from casync_py.archive.nodes import Entry, Leave

T = 1_234_567_890_123_456_789
ALL = normalize(WITH_MASK)
# What anyone may restore anywhere: content, permissions, times, symlinks, fifos, sockets.
PLAIN = int(
    Feature.PERMISSIONS | Feature.NSEC_TIME | Feature.SYMLINKS | Feature.FIFOS | Feature.SOCKETS | Feature.XATTRS
)
TYPES = int(Feature.SYMLINKS | Feature.FIFOS | Feature.SOCKETS)

TREE = directory(
    {
        b"a": directory({b"empty": directory(mode=0o700), b"f": file(b"content", 0o640, T + 1)}),
        b"fifo": special(stat.S_IFIFO | 0o622),
        b"link": symlink(b"a/f"),
        b"sock": special(stat.S_IFSOCK | 0o700),
        b"z": file(b"", 0o4711),
    }
)


def shown(top: Path) -> dict[str, str]:
    """Each path with its type, permissions and content or target."""
    lines = {}
    for path in sorted([top, *top.rglob("*")]):
        status = path.lstat()
        text = stat.filemode(status.st_mode)
        if path.is_symlink():
            text += f" -> {os.readlink(path)}"
        elif path.is_file():
            text += f" {path.read_bytes()!r}"
        lines[str(path.relative_to(top))] = text
    return lines


SHOWN = {
    ".": "drwxr-xr-x",
    "a": "drwxr-xr-x",
    "a/empty": "drwx------",
    "a/f": "-rw-r----- b'content'",
    "fifo": "prw--w--w-",
    "link": "lrwxrwxrwx -> a/f",
    "sock": "srwx------",
    "z": "-rws--x--x b''",
}


def test_a_new_tree(tmp_path: Path) -> None:
    stats = restore(entries(TREE), tmp_path / "new", PLAIN, sync=True)
    assert shown(tmp_path / "new") == SHOWN
    assert stats == RestoreStats(files=2, directories=3, others=3, bytes=7)
    assert (tmp_path / "new" / "a" / "f").stat().st_mtime_ns == T + 1
    assert (tmp_path / "new" / "link").lstat().st_mtime_ns == T
    assert (tmp_path / "new" / "fifo").stat().st_mtime_ns == T
    assert (tmp_path / "new" / "a").stat().st_mtime_ns == T
    assert (tmp_path / "new").stat().st_mtime_ns == T


def fifo(path: Path) -> None:
    os.mkfifo(path)


def bound(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))


def full(path: Path) -> None:
    (path / "x" / "y").mkdir(parents=True)
    (path / "x" / "f").touch()


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _path: None,
    "file": lambda path: path.write_bytes(b"old, and longer than what comes"),
    "symlink to a file": lambda path: path.symlink_to("../outside/file"),
    "symlink to a directory": lambda path: path.symlink_to("../outside"),
    "dangling symlink": lambda path: path.symlink_to("nowhere"),
    "empty directory": lambda path: path.mkdir(),
    "directory": full,
    "fifo": fifo,
    "socket": bound,
}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").write_bytes(b"untouched")
    return path


@pytest.mark.parametrize("name", ["a", "fifo", "link", "sock", "z"])
@pytest.mark.parametrize("old", IN_THE_WAY)
def test_whatever_is_in_the_way_is_replaced_and_no_link_followed(
    tmp_path: Path, outside: Path, name: str, old: str
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    IN_THE_WAY[old](target / name)
    restore(entries(TREE), target, PLAIN)
    assert shown(target) == SHOWN
    assert shown(outside) == {".": "drwxr-xr-x", "file": "-rw-r--r-- b'untouched'"}


def test_again_over_itself(tmp_path: Path) -> None:
    for _ in range(2):
        assert restore(entries(TREE), tmp_path / "t", PLAIN).removed == 0
        assert shown(tmp_path / "t") == SHOWN


def test_what_the_archive_does_not_have_goes(tmp_path: Path) -> None:
    full(tmp_path / "more")
    full(tmp_path / "a" / "more")
    (tmp_path / "a" / "f").touch()
    (tmp_path / "a" / ".#f0123456789abcdef").touch()
    (tmp_path / "out").symlink_to("/")
    stats = restore(entries(TREE), tmp_path, PLAIN)
    assert shown(tmp_path) == SHOWN
    assert stats.removed == 4 + 4 + 1 + 1


def test_without_delete_it_stays(tmp_path: Path) -> None:
    full(tmp_path / "a" / "more")
    assert restore(entries(TREE), tmp_path, PLAIN, delete=False).removed == 0
    more = {
        "a/more": "drwxr-xr-x",
        "a/more/x": "drwxr-xr-x",
        "a/more/x/f": "-rw-r--r-- b''",
        "a/more/x/y": "drwxr-xr-x",
    }
    assert shown(tmp_path) == SHOWN | more


@pytest.mark.parametrize("name", ["fifo", "link", "z"])
def test_without_delete_a_directory_is_in_the_way(tmp_path: Path, name: str) -> None:
    full(tmp_path / name)
    with pytest.raises(IsADirectoryError, match="--delete=no") as caught:
        restore(entries(TREE), tmp_path, PLAIN, delete=False)
    assert caught.value.filename == str(tmp_path / name)
    assert (tmp_path / name / "x" / "f").exists()
    assert not list(tmp_path.rglob(".#*"))


def test_a_target_that_is_a_link_is_the_callers_choice(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    restore(entries(TREE), tmp_path / "link", PLAIN)
    assert shown(tmp_path / "real") == SHOWN
    assert (tmp_path / "link").is_symlink()


def test_a_target_that_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="exists") as caught:
        restore(entries(TREE), tmp_path / "file", PLAIN)
    assert caught.value.filename == str(tmp_path / "file")
    with pytest.raises(FileNotFoundError) as missing:
        restore(entries(TREE), tmp_path / "no" / "parent", PLAIN)
    assert missing.value.filename == str(tmp_path / "no" / "parent")


def test_inside_leaves_the_rest_alone(tmp_path: Path) -> None:
    target = tmp_path / "t"
    target.mkdir(0o750)
    (target / "other").touch()
    os.utime(target, ns=(5, 5))
    target.chmod(0o550)
    restore(entries(TREE.children[b"a"], b"deep/down/a"), target, PLAIN, inside=True)
    assert shown(target) == {
        ".": "dr-xr-x---",
        "a": "drwxr-xr-x",
        "a/empty": "drwx------",
        "a/f": "-rw-r----- b'content'",
        "other": "-rw-r--r-- b''",
    }
    assert stat.S_IMODE(target.stat().st_mode) == 0o550
    full(target / "x")
    with pytest.raises(IsADirectoryError) as caught:
        restore(entries(file(b"1"), b"deep/x"), target, PLAIN, inside=True, delete=False)
    assert caught.value.filename == str(target / "x")
    stats = restore(entries(file(b"1"), b"deep/x"), target, PLAIN, inside=True)
    assert stats == RestoreStats(files=1, bytes=1, removed=4)
    assert (target / "x").read_bytes() == b"1"


def test_a_type_that_the_mask_leaves_out_is_skipped_and_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "fifo").write_bytes(b"mine")
    stats = restore(entries(TREE), tmp_path, PLAIN & ~TYPES)
    assert (stats.skipped, stats.others) == (3, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "fifo", "z"]
    assert (tmp_path / "fifo").read_bytes() == b"mine"


MODES = directory(
    {
        b"dir": directory(mode=0o2751),
        b"fifo": special(stat.S_IFIFO | 0o666),
        b"ro": file(b"1", 0o444),
        b"rod": directory({b"f": file(b"2")}, mode=0o555),
        b"rw": file(b"3", 0o666),
        b"suid": file(b"4", 0o4755),
    }
)
NO_MODES = int(Feature.NSEC_TIME | Feature.FIFOS)
READ_ONLY = int(Feature.READ_ONLY | Feature.FIFOS)
MODE_CASES = [
    (PLAIN, 0o022, "755 2751 0666 0444 0555 0666 4755"),
    (PLAIN, 0o077, "755 2751 0666 0444 0555 0666 4755"),
    (PLAIN, 0o000, "755 2751 0666 0444 0555 0666 4755"),
    # As casync: what is created keeps the permissions of its creation, directories 0700.
    (NO_MODES, 0o022, "755 0700 0644 0644 0700 0644 0755"),
    (NO_MODES, 0o077, "700 0700 0600 0600 0700 0600 0700"),
    # casync's read-only leaves 0000 and 0100 (spec 9.4, item 7).
    (READ_ONLY, 0o022, "755 0700 0644 0444 0555 0644 0755"),
    (READ_ONLY, 0o077, "700 0700 0600 0400 0500 0600 0700"),
]


@pytest.mark.parametrize(("mask", "umask", "expected"), MODE_CASES)
def test_permissions(tmp_path: Path, mask: int, umask: int, expected: str) -> None:
    top = tmp_path / "t"
    old = os.umask(umask)
    try:
        restore(entries(MODES), top, mask)
    finally:
        os.umask(old)
    found = [stat.S_IMODE(path.stat().st_mode) for path in (top, *sorted(top.iterdir()))]
    assert found == [int(text, 8) for text in expected.split()]


def test_permissions_where_a_creation_does_not_give_what_was_expected(tmp_path: Path) -> None:
    old = os.umask(0o022)

    def stricter() -> Iterator[Entry | Leave]:
        for item in entries(MODES):
            yield item
            os.umask(0o077)

    try:
        restore(stricter(), tmp_path / "t", PLAIN)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "t" / "rw").stat().st_mode) == 0o666
    assert stat.S_IMODE((tmp_path / "t" / "ro").stat().st_mode) == 0o444


@pytest.mark.parametrize(
    ("before", "entry", "after"),
    [(0o755, 0o555, 0o555), (0o700, 0o555, 0o500), (0o555, 0o777, 0o777), (0o550, 0o777, 0o770), (0o711, 0o777, 0o711)],
)
def test_read_only_of_a_directory_that_is_there(tmp_path: Path, before: int, entry: int, after: int) -> None:
    (tmp_path / "t" / "d").mkdir(parents=True)
    (tmp_path / "t" / "d").chmod(before)
    restore(entries(directory({b"d": directory({b"f": file(b"1")}, mode=entry)})), tmp_path / "t", READ_ONLY)
    assert stat.S_IMODE((tmp_path / "t" / "d").stat().st_mode) == after


def test_permissions_that_are_not_restored_stay_those_that_were_there(tmp_path: Path) -> None:
    (tmp_path / "rod").mkdir()
    (tmp_path / "rod").chmod(0o111)
    restore(entries(MODES), tmp_path, NO_MODES)
    assert stat.S_IMODE((tmp_path / "rod").stat().st_mode) == 0o111


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        (0, 0),
        (1, 1),
        (T, T),
        (2**64 - 1, -1),
        (2**64 - 1_500_000_000, -1_500_000_000),
        (4 * 10**18 + 7, 4 * 10**18 + 7),
    ],
)
def test_times_far_away(tmp_path: Path, stored: int, kept: int) -> None:
    try:
        os.utime(tmp_path, ns=(0, kept))
    except OSError:
        kept = tmp_path.stat().st_mtime_ns
    if tmp_path.stat().st_mtime_ns != kept:
        with pytest.raises(OSError, match="keeps the time") as caught:
            restore(entries(directory({b"f": file(mtime_ns=stored)})), tmp_path, PLAIN)
        assert caught.value.errno == errno.EOPNOTSUPP
        return
    tree = directory({b"f": file(mtime_ns=stored), b"l": symlink(b"x", stored)}, mtime_ns=stored)
    restore(entries(tree), tmp_path / "t", PLAIN)
    for path in (tmp_path / "t", tmp_path / "t" / "f", tmp_path / "t" / "l"):
        assert path.lstat().st_mtime_ns == kept


def test_zeros_become_holes_unless_not_wanted(tmp_path: Path) -> None:
    content = b"x" * BLOCK + bytes(64 * BLOCK) + b"y" * BLOCK + bytes(16 * BLOCK)
    for punch, most in ((True, 5 * BLOCK), (False, None)):
        restore(entries(directory({b"f": file(content)})), tmp_path, PLAIN, punch_holes=punch)
        status = (tmp_path / "f").stat()
        assert (tmp_path / "f").read_bytes() == content
        assert status.st_blocks * 512 <= most if most else status.st_blocks * 512 >= len(content)


def test_xattrs_are_those_of_the_archive(tmp_path: Path) -> None:
    tree = directory(
        {b"f": file(b"1", 0o444, xattrs=((b"user.a", b"1"), (b"user.empty", b"")))}, xattrs=((b"user.d", b"\0\xff"),)
    )
    (tmp_path / "t").mkdir()
    os.setxattr(tmp_path / "t", b"user.old", b"gone")
    os.setxattr(tmp_path / "t", b"user.d", b"other")
    restore(entries(tree), tmp_path / "t", PLAIN)
    assert os.listxattr(tmp_path / "t") == ["user.d"]
    assert os.getxattr(tmp_path / "t", b"user.d") == b"\0\xff"
    assert sorted(os.listxattr(tmp_path / "t" / "f")) == ["user.a", "user.empty"]
    restore(
        entries(directory({b"f": file(b"1", xattrs=((b"user.a", b"1"),))})), tmp_path / "t", PLAIN & ~Feature.XATTRS
    )
    assert os.listxattr(tmp_path / "t") == ["user.d"]
    assert os.listxattr(tmp_path / "t" / "f") == []

    restore(entries(directory({})), tmp_path / "t", PLAIN)
    assert os.listxattr(tmp_path / "t") == []


def deep(levels: int) -> Made:
    made = directory({b"bottom": file(b"here")}, mode=0o500)
    for _ in range(levels):
        made = directory({b"d": made, b"file": file(b"1")}, mode=0o500)
    return made


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one: thousands of directories take ext4 seconds."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


def test_two_thousand_levels_with_few_descriptors(memory: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    others = len(os.listdir("/proc/self/fd"))  # what tests before this one still hold
    resource.setrlimit(resource.RLIMIT_NOFILE, (others + 240, limits[1]))
    try:
        for _ in range(2):
            assert restore(entries(deep(2000)), memory / "t", PLAIN).directories == 2001
        restore(entries(directory()), memory / "t", PLAIN)  # and away with it
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert list((memory / "t").iterdir()) == []


def test_names_of_full_length(tmp_path: Path) -> None:
    tree = directory({b"d" * 255: directory({b"f" * 255: file(b"1")}), b"l" * 255: symlink(b"x")})
    restore(entries(tree), tmp_path, PLAIN)
    assert (tmp_path / ("d" * 255) / ("f" * 255)).read_bytes() == b"1"
    assert (tmp_path / ("l" * 255)).is_symlink()


def test_progress(tmp_path: Path) -> None:
    seen: list[tuple[str, bytes]] = []
    monitor = Monitor(on_entry=lambda what, path: seen.append((what, path)))
    restore(entries(TREE), tmp_path, PLAIN, monitor=monitor)
    assert monitor.entries == 8
    assert [path for _, path in seen] == [b"a/empty", b"a/f", b"a", b"fifo", b"link", b"sock", b"z", b""]
    assert {what for what, _ in seen} == {"Extracted"}
