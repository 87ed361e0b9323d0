"""Small files are put aside and written in batches by another thread: nothing of the result may tell."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from casync_py.archive import place
from casync_py.archive import restore as restoring
from casync_py.archive.inode_flags import write_chattr
from casync_py.archive.install import Installer, SmallFile
from casync_py.archive.nodes import Acl, AclEntry, Entry, Leave
from casync_py.archive.restore import restore
from casync_py.errors import FormatError
from casync_py.format.flags import WITH_MASK, Feature, normalize
from casync_py.monitor import Monitor
from casync_py.native import create_files
from casync_py.testing.compare import tree_differences
from casync_py.testing.entries import Made, MemoryPayload, directory, entries, file, symlink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = 1_234_567_890_123_456_789
PLAIN = int(Feature.PERMISSIONS | Feature.NSEC_TIME | Feature.SYMLINKS | Feature.XATTRS)
# Root restores everything, anyone else what they may.
ALL = normalize(WITH_MASK) if os.getuid() == 0 else PLAIN | int(Feature.ACL)
MINE: dict[str, Any] = {"uid": os.getuid(), "gid": os.getgid()}


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "casync-background"] == []
    assert len(os.listdir("/proc/self/fd")) == before


def temporaries(top: Path) -> list[Path]:
    return [path for path in top.rglob("*") if path.name.startswith(".#")]


def small(number: int, **metadata: Any) -> Made:
    return file(b"%d" % number * (number % 7), mtime_ns=T + number, **metadata)


def many(count: int) -> Made:
    return directory({b"%05d" % number: small(number) for number in range(count)})


def without_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_SMALL", -1)


def created_in_batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the batches of this test, as they are written."""
    sizes: list[int] = []

    def counted(fd: int, files: list[SmallFile], atime_ns: int, sparse: bool) -> tuple[int, int, int]:
        sizes.append(len(files))
        return create_files(fd, files, atime_ns, sparse)

    monkeypatch.setattr(place, "create_files", counted)
    return sizes


@pytest.mark.parametrize("count", [0, 1, 2, 33, 34, 500])
def test_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    sizes = created_in_batches(monkeypatch)
    stats = restore(entries(many(count)), tmp_path / "t", PLAIN)
    assert sum(sizes) == max(0, count - 1)  # the first one teaches
    assert max(sizes, default=0) <= restoring._BATCH_FILES
    assert (stats.files, stats.directories, stats.removed) == (count, 1, 0)
    assert stats.bytes == sum(path.stat().st_size for path in (tmp_path / "t").iterdir())
    without_batches(monkeypatch)
    restore(entries(many(count)), tmp_path / "other", PLAIN)
    assert sum(sizes) == max(0, count - 1)
    assert tree_differences(tmp_path / "t", tmp_path / "other") == []


def test_several_nodes_into_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = created_in_batches(monkeypatch)
    made = many(40).children
    stream = (item for name, child in made.items() for item in entries(child, b"somewhere/" + name))
    assert restore(stream, tmp_path, PLAIN, inside=True).files == 40
    assert sum(sizes) == 39
    assert {os.fsencode(path.name): path.read_bytes() for path in tmp_path.iterdir()} == {
        name: child.content for name, child in made.items()
    }


def test_a_time_is_read_back_until_one_has_proved_the_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = created_in_batches(monkeypatch)
    second = 10**9
    times = (4 * second, 6 * second, 7 * second, 9 * second, T, T + 1)
    tree = directory({b"%d" % number: file(b"1", mtime_ns=time) for number, time in enumerate(times)})
    restore(entries(tree), tmp_path, PLAIN)
    assert sizes == [3]  # but the first, which teaches, the first odd second, and the first nanosecond
    assert tuple(path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir())) == times


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_permissions_where_a_creation_does_not_give_what_was_expected(tmp_path: Path, umask: int) -> None:
    """As on file systems with permissions of their own, or where somebody changes the umask meanwhile."""
    children = {b"%d" % number: small(number, mode=mode) for number, mode in enumerate((0o644, 0o666, 0o600, 0o755))}
    tree = directory({**children, b"d": directory(children), b"e": directory(children)})
    old = os.umask(0o022)

    def changed() -> Iterator[Entry | Leave]:
        for item in entries(tree):
            yield item
            os.umask(umask)

    try:
        restore(changed(), tmp_path / "t", PLAIN)
    finally:
        os.umask(old)
    for place_of in (".", "d", "e"):
        found = [stat.S_IMODE((tmp_path / "t" / place_of / str(number)).stat().st_mode) for number in range(4)]
        assert found == [0o644, 0o666, 0o600, 0o755]


def test_large_files_between_small_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = created_in_batches(monkeypatch)
    limit = place._SMALL
    contents = [os.urandom(size) for size in (1, 5, limit, limit + 1, 0, limit - 1, 100 << 10, 100 << 10, 3, limit * 2)]
    tree = directory({b"%02d" % number: file(content) for number, content in enumerate(contents)})
    restore(entries(tree), tmp_path / "t", PLAIN)
    assert [path.read_bytes() for path in sorted((tmp_path / "t").iterdir())] == contents
    assert sizes == [2, 2, 2, 1]  # as each batch has its 128 KiB, and what is left at the end


class Piecewise(MemoryPayload):
    """Content in pieces that lose their validity as soon as the next one is asked for."""

    def __init__(self, content: bytes, piece: int, error: OSError | None = None, given: int | None = None) -> None:
        super().__init__(content if given is None else content[:given])
        self.size = len(content)
        self._piece = piece
        self._error = error

    def pieces(self) -> Iterator[memoryview | bytes]:
        buffer = bytearray(self._piece)
        while count := self.read_into(memoryview(buffer)):
            yield memoryview(buffer)[:count]
            buffer[:] = b"\xee" * self._piece
        if self._error is not None:
            raise self._error


def with_payload(stream: Iterator[Entry | Leave], payload: Callable[[Entry], MemoryPayload]) -> Iterator[Entry | Leave]:
    for item in stream:
        if isinstance(item, Entry) and item.payload is not None:
            item = item._replace(payload=payload(item))  # noqa: PLW2901
        yield item


def content_of(item: Entry) -> bytes:
    assert item.payload is not None
    return b"".join(item.payload.pieces())


@pytest.mark.parametrize("piece", [1, 7, 64])
def test_small_files_of_several_pieces(tmp_path: Path, piece: int) -> None:
    contents = {b"%03d" % size: bytes(range(size)) for size in range(200)}
    tree = directory({name: file(content) for name, content in contents.items()})
    restore(with_payload(entries(tree), lambda item: Piecewise(content_of(item), piece)), tmp_path, PLAIN)
    assert {os.fsencode(path.name): path.read_bytes() for path in tmp_path.iterdir()} == contents


def test_content_that_is_too_short(tmp_path: Path) -> None:
    def cut(item: Entry) -> MemoryPayload:
        content = content_of(item)
        return Piecewise(content, 3, given=len(content) - 1 if item.name == b"c" else None)

    tree = directory({b"a": file(b"first"), b"b": file(b"second"), b"c": file(b"third")})
    with pytest.raises(FormatError, match="Content of 4 bytes where 5 were announced"):
        restore(with_payload(entries(tree), cut), tmp_path, PLAIN)
    assert temporaries(tmp_path) == []
    assert not (tmp_path / "c").exists()


def test_content_that_cannot_be_read_is_no_error_of_the_target(tmp_path: Path) -> None:
    broken = OSError(5, "The store is gone", "/the/store")

    def fail(item: Entry) -> MemoryPayload:
        return Piecewise(content_of(item), 3, broken if item.name == b"c" else None)

    tree = directory({b"a": file(b"first"), b"b": file(b"second"), b"c": file(b"third")})
    with pytest.raises(OSError, match="The store is gone") as caught:
        restore(with_payload(entries(tree), fail), tmp_path, PLAIN)
    assert caught.value is broken
    assert temporaries(tmp_path) == []


@pytest.mark.parametrize("after", [0, 50, 10_000])
@pytest.mark.parametrize("inside", [False, True])
def test_an_error_in_the_background_names_its_own_path(tmp_path: Path, after: int, inside: bool) -> None:
    """However far the others are by then."""
    in_the_way = tmp_path / "d" / "00007"
    in_the_way.mkdir(parents=True)
    (in_the_way / "kept").touch()
    more = {b"z%05d" % number: small(number) for number in range(after)}
    tree = directory({b"d": directory({**many(10).children, **more}), b"e": many(100)})
    top = entries(tree.children[b"d"], b"far/down/d") if inside else entries(tree)
    with pytest.raises(IsADirectoryError, match="--delete=no") as caught:
        restore(top, tmp_path, PLAIN, delete=False, inside=inside)
    assert caught.value.filename == str(in_the_way)
    assert (in_the_way / "kept").exists()
    assert temporaries(tmp_path) == []


def test_an_error_before_a_deep_directory_names_its_own_path(tmp_path: Path) -> None:
    """Directories deeper than the descriptors that are kept wait for what is being written."""
    (tmp_path / "b").mkdir()
    made = many(3)
    for _ in range(80):
        made = directory({b"a": small(1), b"b": small(2), b"d": made})
    with pytest.raises(IsADirectoryError) as caught:
        restore(entries(made), tmp_path, PLAIN, delete=False)
    assert caught.value.filename == str(tmp_path / "b")
    assert temporaries(tmp_path) == []


def test_an_error_in_one_file_that_is_restored_alone(tmp_path: Path) -> None:
    tree = {b"a": small(1), b"b": small(2)}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with pytest.raises(IsADirectoryError) as caught:
            restore(entries(tree[name.encode()], name.encode()), tmp_path, PLAIN, delete=False, inside=True)
        assert caught.value.filename == str(tmp_path / name)


@pytest.mark.root
def test_what_cannot_be_removed_in_the_background_is_named(tmp_path: Path) -> None:
    locked = tmp_path / "b" / "old" / "locked"
    locked.parent.mkdir(parents=True)
    locked.touch()
    if subprocess.run(["chattr", "+i", locked], capture_output=True).returncode:
        pytest.skip("No chattr flags on this file system")
    tree = directory(
        {b"b": directory({b"f": small(1)}), b"c": directory({b"%04d" % i: many(1) for i in range(1000)})},
    )
    try:
        with pytest.raises(PermissionError) as caught:
            restore(entries(tree), tmp_path, PLAIN)
    finally:
        subprocess.run(["chattr", "-i", locked], check=True)
    assert caught.value.filename == str(locked)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2, 3, 20, 33, 34, 35, 70, 240])
def test_an_interruption_leaves_whole_files_only(tmp_path: Path, at: int) -> None:
    tree = directory({b"d%d" % number: many(40) for number in range(6)})

    def interrupted() -> Iterator[Entry | Leave]:
        for number, item in enumerate(entries(tree)):
            if number == at:
                raise Interrupted
            yield item

    with pytest.raises(Interrupted):
        restore(interrupted(), tmp_path / "t", PLAIN)
    assert temporaries(tmp_path) == []
    for path in (tmp_path / "t").rglob("0*"):
        number = int(path.name)
        assert path.read_bytes() == small(number).content
        assert path.stat().st_mtime_ns == T + number
        assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is one."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir="/dev/shm") as name:
        yield Path(name)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """As few as `ulimit -n 256` gives, whatever whoever runs the tests has open."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/", os.O_PATH)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 250, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_depth_and_width_with_few_descriptors(memory: Path, few_descriptors: None) -> None:
    """Each directory that waits to be finished has a descriptor, beside those of the way down."""
    made = directory({b"%04d" % number: directory({b"f": small(number)}, mode=0o500) for number in range(1000)})
    wide = {
        b"w%03d" % number: directory({b"f": small(number), b"g": small(number + 1)}, mode=0o500) for number in range(5)
    }
    for _ in range(300):
        made = directory({b"a": small(1), b"b": small(2), b"d": made, b"e": small(3), **wide}, mode=0o500)
    for _ in range(2):
        stats = restore(entries(made), memory / "t", PLAIN)
        assert (stats.files, stats.directories) == (1000 + 300 * 13, 1 + 1000 + 300 * 6)
    here = memory / "t"
    for _ in range(300):
        assert {name: (here / name).read_bytes() for name in ("a", "b", "e")} == {"a": b"1", "b": b"22", "e": b"333"}
        assert stat.S_IMODE(here.stat().st_mode) == 0o500
        here /= "d"
        if len(str(here)) > 3000:
            break
    restore(entries(directory()), memory / "t", PLAIN)


def test_a_directory_is_closed_only_when_its_files_are_written(memory: Path, few_descriptors: None) -> None:
    deep = directory()
    for _ in range(90):
        deep = directory({b"d": deep})
    tree = directory({**many(3000).children, b"d": deep})
    restore(entries(tree), memory / "t", PLAIN)
    assert len(list((memory / "t").iterdir())) == 3001
    assert temporaries(memory) == []


def fill(path: Path) -> None:
    path.mkdir()
    (path / "x").mkdir()
    (path / "x" / "f").touch()


def read_only(path: Path) -> None:
    path.write_bytes(b"old")
    path.chmod(0)


IN_THE_WAY: dict[str, tuple[Callable[[Path], object], int]] = {
    "nothing": (lambda _path: None, 0),
    "file": (lambda path: path.write_bytes(b"old, and longer than what comes"), 0),
    "read-only file": (read_only, 0),
    "symlink to a file": (lambda path: path.symlink_to("../outside/file"), 0),
    "symlink to a directory": (lambda path: path.symlink_to("../outside"), 0),
    "directory": (fill, 3),
    "fifo": (os.mkfifo, 0),
}


@pytest.mark.parametrize("old", IN_THE_WAY)
def test_whatever_is_in_the_way_of_small_files_is_replaced(tmp_path: Path, old: str) -> None:
    make, removed = IN_THE_WAY[old]
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"untouched")
    (tmp_path / "t").mkdir()
    for number in range(50):
        make(tmp_path / "t" / f"{number:05d}")
    assert restore(entries(many(50)), tmp_path / "t", PLAIN).removed == removed * 50
    assert restore(entries(many(50)), tmp_path / "new", PLAIN).removed == 0
    assert tree_differences(tmp_path / "t", tmp_path / "new") == []
    assert (tmp_path / "outside" / "file").read_bytes() == b"untouched"
    assert os.listdir(tmp_path / "outside") == ["file"]


def test_a_temporary_name_that_is_taken_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = created_in_batches(monkeypatch)
    name = Installer.temporary_name
    taken: list[Path] = []

    def already_there(self: Installer, final: bytes) -> bytes:
        temporary = name(self, final)
        if final in {b"00003", b"00004"} and len(taken) < 3:
            taken.append(tmp_path / os.fsdecode(temporary))
            taken[-1].touch()
        return temporary

    monkeypatch.setattr(Installer, "temporary_name", already_there)
    restore(entries(many(10)), tmp_path, PLAIN, delete=False)
    assert sizes[0] == 9
    assert len(sizes) == 4
    assert sorted(tmp_path.glob(".#*")) == sorted(taken)
    for number in range(10):
        assert (tmp_path / f"{number:05d}").read_bytes() == small(number).content


@pytest.mark.parametrize("delete", [True, False])
def test_what_the_archive_does_not_have(tmp_path: Path, delete: bool) -> None:
    tree = directory({b"d%d" % number: many(40) for number in range(4)})
    restore(entries(tree), tmp_path / "t", PLAIN)
    for number in range(4):
        fill(tmp_path / "t" / f"d{number}" / "more")
        (tmp_path / "t" / f"d{number}" / ".#000070123456789abcdef").touch()
        (tmp_path / "t" / f"d{number}" / "00007").unlink()
    assert restore(entries(tree), tmp_path / "t", PLAIN, delete=delete).removed == (4 * 4 if delete else 0)
    restore(entries(tree), tmp_path / "new", PLAIN)
    assert bool(tree_differences(tmp_path / "t", tmp_path / "new")) != delete
    for number in range(4):
        assert (tmp_path / "t" / f"d{number}" / "more").exists() != delete


def test_what_both_threads_remove_is_counted(tmp_path: Path) -> None:
    """Small files are put over directories in one thread while symlinks are in the other."""
    made: dict[bytes, Made] = {}
    for number in range(12):
        children: dict[bytes, Made] = {}
        for child in range(64):
            (tmp_path / f"{number:02d}" / f"{child:02d}").mkdir(parents=True)
            children[b"%02d" % child] = symlink(b"x") if number % 2 else file(b"1", mtime_ns=0)
        made[b"%02d" % number] = directory(children)
    assert restore(entries(directory(made)), tmp_path, PLAIN).removed == 12 * 64


def test_progress(tmp_path: Path) -> None:
    seen: list[bytes] = []
    monitor = Monitor(on_entry=lambda _what, path: seen.append(path))
    tree = directory({b"d": many(100), b"e": many(3)})
    stats = restore(entries(tree), tmp_path / "t", PLAIN, monitor=monitor)
    assert monitor.entries == 106
    assert monitor.path == b"e/00002"
    expected = [item.path for item in entries(tree) if isinstance(item, Leave) or item.payload is not None]
    assert seen == expected
    assert (stats.files, stats.directories) == (103, 3)


def set_flags(path: Path, flags: int = int(Feature.FLAG_NODUMP | Feature.FLAG_NOATIME)) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        write_chattr(fd, flags, flags)
    except OSError:
        pytest.skip("No chattr flags on this file system")
    finally:
        os.close(fd)


def set_default_acl(path: Path) -> None:
    acl = Acl(
        default_user_obj=7, default_group_obj=5, default_other=0, default_mask=7, default_users=(AclEntry(5, b"", 7),)
    )
    try:
        restore(entries(directory(acl=acl, **MINE)), path, int(Feature.ACL | Feature.PERMISSIONS), delete=False)
    except OSError:
        pytest.skip("No ACLs on this file system")


def set_group(path: Path) -> None:
    if os.getuid() == 0:
        os.chown(path, 0, 7)
    path.chmod(0o2775)


PARENTS: dict[str, Callable[[Path], object]] = {
    "plain": lambda _path: None,
    "setgid": set_group,
    "default ACL": set_default_acl,
    "flags": set_flags,
    "flag that is set last": lambda path: set_flags(path, int(Feature.FLAG_NODUMP)),
}
KINDS = {
    b"1": small(1, **MINE),
    b"2": small(2, mode=0o4711, **MINE),
    b"3": small(3, mode=0o600, **MINE),
    b"4": small(4, mode=0o666, **MINE),
    b"5": small(5, mode=0o444, **MINE),
    b"6": small(6, **MINE),
    b"7": file(b"old", mtime_ns=2**64 - 5, **MINE),
    b"8": file(b"second", mtime_ns=3 * 10**9, **MINE),
    b"9": file(b"0" * 9000 + bytes(9000), **MINE),
}
OTHERS: dict[bytes, Made] = {
    b"a": file(b"attributes", xattrs=((b"user.a", b"1"),), **MINE),
    b"b": file(b"flags", flags=int(Feature.FLAG_NODUMP), **MINE),
    b"c": file(b"acl", acl=Acl(users=(AclEntry(4, b"", 6),), group_obj=5), **MINE),
    b"d": file(b"owner", uid=3, gid=4),
}
LAST = {b"x": small(7, **MINE), b"y": small(8, uid=3, gid=7), b"z": small(9, uid=0, gid=7)}


def tree_of_kinds() -> Made:
    children = {**KINDS, **(OTHERS if os.getuid() == 0 else {}), **LAST}
    nodump = int(Feature.FLAG_NODUMP | Feature.FLAG_NOATIME) if os.getuid() == 0 else 0
    return directory(
        {
            **children,
            b"zd": directory(children, mode=0o2750, **MINE),
            b"ze": directory({**children, b"zz": directory(children, **MINE)}, flags=nodump, **MINE),
            b"zf": directory({b"only": small(3, mode=0o640, **MINE)}, uid=0, gid=7),
            b"zg": directory({b"zz": directory(children, **MINE)}, mode=0o1777, **MINE),
        },
        **MINE,
    )


@pytest.mark.parametrize("umask", [0o002, 0o077])
@pytest.mark.parametrize("parent", PARENTS)
def test_what_is_inherited_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str, umask: int
) -> None:
    """New trees below such a parent, and a second time over what is there, with batches and without."""
    PARENTS[parent](tmp_path)
    old = os.umask(umask)
    tree = tree_of_kinds()
    try:
        for _ in range(2):
            restore(entries(tree), tmp_path / "batches", ALL)
        (tmp_path / "existing").mkdir()
        restore(entries(tree), tmp_path / "existing", ALL)
        without_batches(monkeypatch)
        restore(entries(tree), tmp_path / "alone", ALL)
        with TemporaryDirectory(dir=tmp_path.parent) as elsewhere:
            restore(entries(tree), Path(elsewhere) / "plain", ALL)
            assert tree_differences(tmp_path / "alone", Path(elsewhere) / "plain") == []
    finally:
        os.umask(old)
    assert tree_differences(tmp_path / "batches", tmp_path / "alone") == []
    assert tree_differences(tmp_path / "existing", tmp_path / "alone") == []
    for name, made in {**KINDS, **LAST}.items():
        found = (tmp_path / "batches" / os.fsdecode(name)).stat()
        assert stat.S_IMODE(found.st_mode) == stat.S_IMODE(made.node.mode)
        if os.getuid() == 0:
            assert (found.st_uid, found.st_gid) == (made.node.uid, made.node.gid)


@pytest.mark.parametrize("parent", PARENTS)
def test_what_is_inherited_in_one_directory_and_not_in_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str
) -> None:
    (tmp_path / "batches" / "b").mkdir(parents=True)
    PARENTS[parent](tmp_path / "batches" / "b")
    kinds = tree_of_kinds()
    tree = directory({name: directory({b"new": kinds}, **MINE) for name in (b"a", b"b", b"c")}, **MINE)
    restore(entries(tree), tmp_path / "batches", ALL)
    without_batches(monkeypatch)
    restore(entries(tree), tmp_path / "alone", ALL)
    assert tree_differences(tmp_path / "batches", tmp_path / "alone") == []


@pytest.mark.parametrize("umask", [0o002, 0o077])
@pytest.mark.parametrize("mask", [0, int(Feature.READ_ONLY), int(Feature.SEC_TIME | Feature.PERMISSIONS)])
@pytest.mark.parametrize("parent", PARENTS)
def test_masks_that_leave_things_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str, mask: int, umask: int
) -> None:
    PARENTS[parent](tmp_path)
    old = os.umask(umask)
    ignore = () if mask & Feature.NSEC_TIME else ("mtime",)
    try:
        restore(entries(tree_of_kinds()), tmp_path / "batches", mask)
        without_batches(monkeypatch)
        restore(entries(tree_of_kinds()), tmp_path / "alone", mask)
    finally:
        os.umask(old)
    assert tree_differences(tmp_path / "batches", tmp_path / "alone", ignore) == []


def test_times_that_are_not_restored(tmp_path: Path) -> None:
    tree = directory({b"%d" % number: file(b"1", mtime_ns=0) for number in range(4)})
    restore(entries(tree), tmp_path, PLAIN & ~Feature.NSEC_TIME)
    assert all(path.stat().st_mtime_ns > T for path in tmp_path.iterdir())


def test_holes_in_small_files(tmp_path: Path) -> None:
    content = b"x" * 4096 + bytes(20 * 4096) + b"y" * 4096 + bytes(10 * 4096)
    tree = directory({b"a": small(1), b"b": file(content), b"c": file(bytes(40960))})
    for punch in (True, False):
        restore(entries(tree), tmp_path, PLAIN, punch_holes=punch, sync=True)
        assert (tmp_path / "b").read_bytes() == content
        assert (tmp_path / "c").read_bytes() == bytes(40960)
        assert ((tmp_path / "b").stat().st_blocks * 512 < len(content)) == punch
        assert ((tmp_path / "c").stat().st_blocks == 0) == punch
