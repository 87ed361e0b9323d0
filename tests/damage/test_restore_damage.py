"""Entries that lie, targets that refuse, and restores that are cut short."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import traceback
from functools import partial
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.inode_flags import write_chattr
from casync_py.archive.nodes import Entry, Leave, Node
from casync_py.archive.restore import restore
from casync_py.errors import FormatError, SourceChanged
from casync_py.format.flags import WITH_MASK, Feature, normalize
from casync_py.testing.compare import tree_differences
from casync_py.testing.entries import MemoryPayload, directory, entries, file, special, symlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from casync_py.testing.entries import Made

ALL = normalize(WITH_MASK)
PLAIN = int(Feature.PERMISSIONS | Feature.NSEC_TIME | Feature.SYMLINKS | Feature.FIFOS | Feature.XATTRS)
NOBODY = 65534

ROOT = Entry(b"", b"", Node(0o40755, uid=os.getuid(), gid=os.getgid()))
FILE = Node(0o100644, size=3)


def one(path: bytes, name: bytes, node: Node = FILE) -> Entry:
    return Entry(path, name, node, MemoryPayload(b"evil"[:3]) if stat.S_ISREG(node.mode) else None)


LINK = one(b"link", b"link", Node(0o120777, target=b"../outside"))
NAME, PLACE = "Not a file name", "out of place"
BAD: dict[str, tuple[str, list[Entry | Leave]]] = {
    "parent": (NAME, [one(b"..", b"..")]),
    "itself": (NAME, [one(b".", b".")]),
    "empty": (NAME, [one(b"", b"")]),
    "slash": (NAME, [one(b"../outside/new", b"../outside/new")]),
    "absolute": (NAME, [one(b"/tmp/x", b"/tmp/x")]),
    "NUL": (NAME, [one(b"a\0b", b"a\0b")]),
    "256 bytes": (NAME, [one(b"x" * 256, b"x" * 256)]),
    "parent directory": (NAME, [one(b"..", b"..", Node(0o40755))]),
    "parent symlink": (NAME, [one(b"..", b"..", Node(0o120777, target=b"x"))]),
    "parent fifo": (NAME, [one(b"..", b"..", Node(0o10644))]),
    "twice": (PLACE, [one(b"a", b"a"), one(b"a", b"a")]),
    "descending": (PLACE, [one(b"b", b"b"), one(b"a", b"a")]),
    "below a symlink": (PLACE, [LINK, one(b"link/new", b"new")]),
    "symlink, then directory": (PLACE, [LINK, one(b"link", b"link", Node(0o40755)), one(b"link/new", b"new")]),
    "directory, then symlink": (PLACE, [one(b"link", b"link", Node(0o40755)), Leave(b"link"), LINK]),
    "below a file": (PLACE, [one(b"a", b"a"), one(b"a/b", b"b")]),
    "path elsewhere": (PLACE, [one(b"x/a", b"a")]),
    "left twice": (PLACE, [Leave(b""), Leave(b"")]),
    "left elsewhere": (PLACE, [Leave(b"x")]),
    "more after the end": (PLACE, [Leave(b""), one(b"a", b"a")]),
    "second top": (NAME, [Leave(b""), ROOT]),
    "cut short": ("end inside directory d", [one(b"d", b"d", Node(0o40755))]),
    "no type": ("no known type", [one(b"a", b"a", Node(0o644))]),
    "unknown type": ("no known type", [one(b"a", b"a", Node(0o160644))]),
    "file without content": ("no content", [Entry(b"a", b"a", FILE)]),
    "symlink to nothing": ("symlink", [one(b"a", b"a", Node(0o120777))]),
    "symlink with NUL": ("symlink", [one(b"a", b"a", Node(0o120777, target=b"x\0y"))]),
    "xattr with NUL": ("extended attribute", [one(b"a", b"a", FILE._replace(xattrs=((b"user.\0", b""),)))]),
    "no id": ("number of a user", [one(b"a", b"a", FILE._replace(uid=2**32 - 1))]),
}


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory beside the target that must stay as it is."""
    path = tmp_path / "outside"
    path.mkdir()
    (path / "file").write_bytes(b"untouched")
    before = path.stat()
    yield path
    assert [p.name for p in path.iterdir()] == ["file"]
    assert (path / "file").read_bytes() == b"untouched"
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def leftovers(top: Path) -> list[Path]:
    return list(top.rglob(".#*"))


@pytest.mark.parametrize(("message", "items"), BAD.values(), ids=BAD.keys())
def test_entries_that_make_no_tree(tmp_path: Path, outside: Path, message: str, items: list[Entry | Leave]) -> None:
    mask = int(Feature.UIDS_32BIT) if "user" in message else PLAIN
    with pytest.raises(FormatError, match=message) as caught:
        restore(iter([ROOT, *items]), tmp_path / "t", mask)
    assert "\n" not in str(caught.value)
    assert "\0" not in str(caught.value)
    assert not leftovers(tmp_path / "t")
    assert {p.name for p in tmp_path.iterdir()} == {"outside", "t"}


@pytest.mark.parametrize("first", [Leave(b""), one(b"a", b"a"), one(b"", b"")])
def test_a_tree_begins_with_a_directory(tmp_path: Path, first: Entry | Leave) -> None:
    with pytest.raises(FormatError):
        restore(iter([first]), tmp_path / "t", PLAIN)
    with pytest.raises(FormatError):
        restore(iter([]), tmp_path / "t", PLAIN)
    assert not (tmp_path / "t").exists()


def swapped(tree: Made, when: bytes, action: Callable[[], object]) -> Iterator[Entry | Leave]:
    for item in entries(tree):
        yield item
        if item.path == when:
            action()
            when = b"\0"


NESTED = directory({b"d": directory({b"e": directory({b"f": file(b"1")}), b"g": file(b"2")}), b"h": file(b"3")})


@pytest.mark.parametrize("when", [b"d", b"d/e", b"d/e/f"])
def test_a_link_that_takes_a_directorys_place_is_not_followed(tmp_path: Path, outside: Path, when: bytes) -> None:
    top = tmp_path / "t"

    def swap() -> None:
        (top / "d").rename(tmp_path / "moved")
        (top / "d").symlink_to(outside.absolute())

    restore(swapped(NESTED, when, swap), top, PLAIN)
    assert (tmp_path / "moved" / "e" / "f").read_bytes() == b"1"
    assert (tmp_path / "moved" / "g").read_bytes() == b"2"


def test_a_directory_moved_away_below_many_others(tmp_path: Path, outside: Path) -> None:
    tree = directory({b"f": file(b"1")})
    for _ in range(200):
        tree = directory({b"d": tree})
    top = tmp_path / "t"
    deep = top / "/".join("d" * 100)

    def swap() -> None:
        deep.rename(outside.parent / "moved")

    with pytest.raises(OSError, match="moved") as caught:
        restore(swapped(tree, b"/".join([b"d"] * 200), swap), top, PLAIN)
    assert caught.value.errno == errno.ESTALE


class Failing(MemoryPayload):
    def __init__(self, error: Exception) -> None:
        super().__init__(b"x" * 10)
        self._error = error

    def pieces(self) -> Iterator[bytes]:
        yield b"x" * 5
        raise self._error


class Wrong(MemoryPayload):
    def pieces(self) -> Iterator[bytes]:
        yield b"only this"


@pytest.mark.parametrize(
    "error", [SourceChanged("File f changed while it was read"), FormatError("Ends"), OSError(errno.EIO, "I/O", "src")]
)
def test_content_that_cannot_be_read(tmp_path: Path, error: Exception) -> None:
    (tmp_path / "f").write_bytes(b"old")
    with pytest.raises(type(error)) as caught:
        restore(iter([ROOT, Entry(b"f", b"f", FILE, Failing(error))]), tmp_path, PLAIN)
    assert caught.value is error
    assert (tmp_path / "f").read_bytes() == b"old"
    assert not leftovers(tmp_path)


def test_content_of_another_length(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="9 bytes where 4"):
        restore(iter([ROOT, Entry(b"f", b"f", FILE, Wrong(b"1234"))]), tmp_path, PLAIN)
    assert list(tmp_path.iterdir()) == []


WIDE = directory(
    {
        b"a": file(b"new a"),
        b"b": directory({b"c": file(b"new c"), b"d": symlink(b"new")}),
        b"e": special(stat.S_IFIFO | 0o600),
        b"f": file(b"new f"),
    }
)


@pytest.mark.parametrize("kept", range(9))
def test_a_stream_that_breaks_leaves_old_or_new(tmp_path: Path, kept: int) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a", "b/c", "b/d", "e", "f"):
        (tmp_path / name).write_bytes(b"old")

    def broken() -> Iterator[Entry | Leave]:
        yield from list(entries(WIDE))[:kept]
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        restore(broken(), tmp_path, PLAIN)
    assert not leftovers(tmp_path)
    for name, new in (("a", b"new a"), ("b/c", b"new c"), ("f", b"new f")):
        assert (tmp_path / name).read_bytes() in {b"old", new}
    assert (tmp_path / "b/d").is_symlink() or (tmp_path / "b/d").read_bytes() == b"old"
    restore(entries(WIDE), tmp_path, PLAIN)
    assert (tmp_path / "f").read_bytes() == b"new f"


def in_child(action: Callable[[], object]) -> int:
    """Run in a process of its own that may end badly; its wait status."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def test_killed_between_any_two_entries_and_run_again(tmp_path: Path) -> None:
    restore(entries(WIDE), tmp_path / "whole", PLAIN)
    top = tmp_path / "t"

    class Deadly(MemoryPayload):
        def pieces(self) -> Iterator[bytes]:
            yield b"half"
            os.kill(os.getpid(), signal.SIGKILL)

    items = list(entries(WIDE))
    for number, item in enumerate(items):
        if isinstance(item, Entry) and item.payload is not None:
            deadly = [*items[:number], item._replace(payload=Deadly(b"12345"))]
            assert os.WTERMSIG(in_child(partial(restore, iter(deadly), top, PLAIN))) == signal.SIGKILL
            assert leftovers(top)
            final = top / os.fsdecode(item.path)
            assert not final.exists() or final.read_bytes() != b"half"
    restore(entries(WIDE), top, PLAIN)
    assert tree_differences(tmp_path / "whole", top) == []


def test_a_full_disk(small_disk: Path) -> None:
    (small_disk / "big").write_bytes(b"old")
    tree = directory({b"a": file(b"x" * 1000), b"big": file(os.urandom(1 << 20)), b"c": file(b"y")})
    with pytest.raises(OSError, match="No space left") as caught:
        restore(entries(tree), small_disk, PLAIN)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(small_disk / "big")
    assert (small_disk / "big").read_bytes() == b"old"
    assert not leftovers(small_disk)


def test_a_read_only_file_system(small_disk: Path) -> None:
    (small_disk / "a").write_bytes(b"old")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(OSError, match="Read-only") as caught:
        restore(entries(WIDE), small_disk, PLAIN & ~Feature.PERMISSIONS)
    assert caught.value.errno == errno.EROFS
    assert caught.value.filename == str(small_disk / "a")
    assert (small_disk / "a").read_bytes() == b"old"


@pytest.fixture
def as_nobody(open_tmp_path: Path) -> Iterator[Path]:
    """A directory of another user's, as whom the test then runs."""
    if os.geteuid() != 0:
        pytest.skip("Needs root")
    top = open_tmp_path / "theirs"
    top.mkdir()
    os.chown(top, NOBODY, NOBODY)
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    yield top
    os.seteuid(0)
    os.setegid(0)
    os.setgroups(groups)


def test_a_directory_that_may_not_be_written(as_nobody: Path) -> None:
    (as_nobody / "sub").mkdir()
    os.seteuid(0)
    os.chown(as_nobody / "sub", 0, 0)
    os.seteuid(NOBODY)
    with pytest.raises(PermissionError) as caught:
        restore(entries(directory({b"sub": directory({b"f": file(b"1")})})), as_nobody, PLAIN)
    assert caught.value.filename == str(as_nobody / "sub" / "f")


def test_owners_need_root_and_the_error_says_what_helps(as_nobody: Path) -> None:
    tree = directory({b"f": file(b"1", uid=0, gid=0)}, uid=NOBODY, gid=NOBODY)
    with pytest.raises(PermissionError, match="giving it to 0:0; --without=privileged") as caught:
        restore(entries(tree), as_nobody, ALL)
    assert caught.value.filename == str(as_nobody / "f")
    assert list(as_nobody.iterdir()) == []
    mine = directory({b"f": file(b"1", uid=NOBODY, gid=NOBODY)}, uid=NOBODY, gid=NOBODY)
    restore(entries(mine), as_nobody, ALL)
    assert (as_nobody / "f").read_bytes() == b"1"


def test_device_nodes_need_root(as_nobody: Path) -> None:
    tree = directory({b"null": special(stat.S_IFCHR | 0o666, (1, 3))})
    with pytest.raises(PermissionError, match="--without=device-nodes") as caught:
        restore(entries(tree), as_nobody, PLAIN | Feature.DEVICE_NODES)
    assert caught.value.filename == str(as_nobody / "null")


def test_what_only_the_owner_may_change_is_restored_without_root(as_nobody: Path) -> None:
    locked = directory({b"f": file(b"1", 0o400, xattrs=((b"user.x", b"1"),))}, mode=0o000, xattrs=((b"user.y", b"2"),))
    tree = directory({b"locked": locked}, mode=0o555)
    for _ in range(2):
        restore(entries(tree), as_nobody, PLAIN)
        assert stat.S_IMODE((as_nobody / "locked").stat().st_mode) == 0
        assert stat.S_IMODE(as_nobody.stat().st_mode) == 0o555
    (as_nobody / "locked").chmod(0o700)
    assert stat.S_IMODE((as_nobody / "locked" / "f").stat().st_mode) == 0o400
    assert os.getxattr(as_nobody / "locked" / "f", "user.x") == b"1"
    restore(entries(directory()), as_nobody, PLAIN)
    assert list(as_nobody.iterdir()) == []


def test_permissions_that_are_not_restored_are_put_back(as_nobody: Path) -> None:
    (as_nobody / "d").mkdir(mode=0o111)
    restore(entries(directory({b"d": directory({b"f": file(b"1")})})), as_nobody, int(Feature.NSEC_TIME))
    assert stat.S_IMODE((as_nobody / "d").stat().st_mode) == 0o111
    assert (as_nobody / "d" / "f").read_bytes() == b"1"


def test_permissions_that_chmod_would_silently_leave_out(as_nobody: Path) -> None:
    os.seteuid(0)
    os.chown(as_nobody, NOBODY, 0)  # group root, of which we are no member, through the directory's setgid bit
    as_nobody.chmod(0o2755)
    os.seteuid(NOBODY)
    tree = directory({b"f": file(b"1", 0o2755)}, mode=0o2755)
    with pytest.raises(PermissionError, match="permissions 2755") as caught:
        restore(entries(tree), as_nobody, PLAIN)
    assert caught.value.filename == str(as_nobody / "f")
    assert list(as_nobody.iterdir()) == []


def set_flag(path: Path, feature: Feature, on: bool = True) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        write_chattr(fd, int(feature) if on else 0, int(feature))
    except OSError:
        pytest.skip("No such flag on this file system")
    finally:
        os.close(fd)


@pytest.mark.root
@pytest.mark.parametrize("locked", ["a", "b", "b/c", "f"])
@pytest.mark.parametrize("flag", [Feature.FLAG_IMMUTABLE, Feature.FLAG_APPEND])
def test_locked_nodes_are_replaced_only_if_that_was_asked_for(tmp_path: Path, locked: str, flag: Feature) -> None:
    restore(entries(WIDE), tmp_path / "whole", PLAIN)
    top = tmp_path / "t"
    restore(entries(WIDE), top, PLAIN)
    set_flag(top / locked, flag)
    try:
        with pytest.raises(PermissionError, match="--undo-immutable=yes") as caught:
            restore(entries(WIDE), top, PLAIN)
        assert caught.value.filename == str(top / locked)
        assert not leftovers(top)
    finally:
        restore(entries(WIDE), top, PLAIN, undo_immutable=True)
    assert tree_differences(tmp_path / "whole", top) == []


@pytest.mark.root
def test_unknown_names_are_errors_that_name_them(tmp_path: Path) -> None:
    cases = (
        (file(b"1", user=b"no.such-user"), r"user 'no\.such-user'"),
        (file(b"1", group=b"nogrp$"), r"group 'nogrp\$'"),
    )
    for node, text in cases:
        with pytest.raises(ProcessLookupError, match=text) as caught:
            restore(entries(directory({b"f": node})), tmp_path, ALL)
        assert caught.value.filename == str(tmp_path / "f")
        assert list(tmp_path.iterdir()) == []


@pytest.mark.root
def test_what_the_file_system_does_not_have_is_an_error_before_the_file_has_its_name(small_disk: Path) -> None:
    # tmpfs has no compression, no FAT attributes and no subvolumes.
    for node in (
        file(b"1", flags=int(Feature.FLAG_COMPR)),
        file(b"1", flags=int(Feature.FLAG_SYNC)),
        file(b"1", flags=int(Feature.FLAG_HIDDEN)),
        file(b"1", xattrs=((b"nonsense", b""),)),
        directory(flags=int(Feature.SUBVOLUME)),
    ):
        with pytest.raises(OSError, match=r"support|btrfs|FAT") as caught:
            restore(entries(directory({b"n": node})), small_disk, ALL)
        assert caught.value.filename == str(small_disk / "n")
        assert list(small_disk.iterdir()) == []
