"""Steps on files: both kernels do the same, the right thing, and refuse the same."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import stat
import tempfile
from array import array
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from casync_py.archive.inode_flags import chattr_features, write_chattr
from casync_py.format.flags import Feature
from casync_py.native import _python

try:
    from casync_py.native import _native
except ImportError:
    _native = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Buffer

    File = tuple[bytes, bytes, Buffer, int, int]

BLOCK = 4096
SECOND = 10**9
T = 1_234_567_890_123_456_789


class Kernel(Protocol):
    def create_files(
        self, directory: int, files: Sequence[File], atime_ns: int, sparse: bool, /
    ) -> tuple[int, int, int]: ...
    def open_and_examine(
        self, directory: int, name: bytes, want_flags: bool, want_xattrs: bool, /
    ) -> tuple[int, int, int, tuple[int, int, int, int, int, int, int, int, int]]: ...
    def read_rest(self, fd: int, view: Buffer, size: int, mtime_ns: int, ctime_ns: int, /) -> int: ...
    def read_whole(self, directory: int, name: str | bytes, limit: int, /) -> bytes | tuple[int, int]: ...


KERNELS: dict[str, Kernel] = {"python": _python}
if _native is not None:
    KERNELS["native"] = _native


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return KERNELS[request.param]


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(autouse=True)
def _no_descriptor_stays_open(top: int) -> Iterator[None]:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


@contextmanager
def umask(value: int) -> Iterator[None]:
    old = os.umask(value)
    try:
        yield
    finally:
        os.umask(old)


def status_of(path: Path) -> tuple[int, ...]:
    found = path.lstat()
    return (
        found.st_mode,
        found.st_dev,
        found.st_ino,
        found.st_nlink,
        found.st_uid,
        found.st_gid,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


# What opens the name "f", and refuses it.
OPENERS = {
    "open_and_examine": lambda kernel, top, name: kernel.open_and_examine(top, name, True, True),
    "read_whole": lambda kernel, top, name: kernel.read_whole(top, name, 1 << 20),
}


@pytest.fixture(params=OPENERS)
def open_it(request: pytest.FixtureRequest, kernel: Kernel) -> Any:
    return partial(OPENERS[request.param], kernel)


def test_opening_what_is_not_there(open_it: Any, top: int) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open_it(top, b"missing")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(OSError, match="Bad file descriptor") as closed:
        open_it(9999, b"f")
    assert closed.value.errno == errno.EBADF
    with pytest.raises(OSError, match="too long"):
        open_it(top, b"x" * 256)


@pytest.mark.parametrize("target", ["file", "dir", "nowhere"])
def test_links_are_not_followed(open_it: Any, top: int, tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    (tmp_path / "dir").mkdir()
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the number says it
        open_it(top, b"link")
    assert caught.value.errno == errno.ELOOP


def test_names_with_a_nul(open_it: Any, top: int, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(ValueError, match="embedded null"):
        open_it(top, b"f\0g")


@pytest.mark.parametrize("wrong", [None, 5, ["f"]])
def test_names_of_a_wrong_type(open_it: Any, top: int, wrong: object) -> None:
    with pytest.raises((TypeError, OSError)):
        open_it(top, wrong)


@pytest.mark.parametrize("mode", [0o100644, 0o104711, 0o100000])
def test_a_file_is_examined(kernel: Kernel, top: int, tmp_path: Path, mode: int) -> None:
    path = tmp_path / "f\udcff"
    path.write_bytes(b"content")
    path.chmod(stat.S_IMODE(mode))
    os.link(path, tmp_path / "second")
    os.utime(path, ns=(0, -1))
    if os.getuid() and not mode & 0o400:
        pytest.skip("Only root can open it")
    fd, flags, xattrs, status = kernel.open_and_examine(top, b"f\xff", False, True)
    assert os.read(fd, 100) == b"content"
    assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert (flags, xattrs, status) == (0, 0, status_of(path))
    assert (stat.S_IMODE(status[0]), status[3], status[7]) == (stat.S_IMODE(mode), 2, -1)


def test_a_directory_is_examined(kernel: Kernel, top: int, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    fd, _, xattrs, status = kernel.open_and_examine(top, b"d", True, True)
    os.close(fd)
    assert (xattrs, status) == (0, status_of(tmp_path / "d"))


def test_xattrs_are_seen_where_they_are_wanted(kernel: Kernel, top: int, tmp_path: Path) -> None:
    for name in ("f", "d"):
        (tmp_path / "d").mkdir() if name == "d" else (tmp_path / "f").touch()
        os.setxattr(tmp_path / name, "user.a", b"")
        for wanted in (True, False):
            fd, _, xattrs, _ = kernel.open_and_examine(top, name.encode(), False, wanted)
            os.close(fd)
            assert xattrs == int(wanted)


def test_flags_are_seen_where_they_are_wanted(kernel: Kernel, top: int, tmp_path: Path) -> None:
    wanted_flags = int(Feature.FLAG_NODUMP | Feature.FLAG_NOATIME)
    for name in ("f", "d"):
        (tmp_path / "d").mkdir() if name == "d" else (tmp_path / "f").touch()
        fd = os.open(tmp_path / name, os.O_RDONLY)
        try:
            write_chattr(fd, wanted_flags, wanted_flags)
        except OSError:
            pytest.skip("No chattr flags on this file system")
        finally:
            os.close(fd)
        for wanted in (True, False):
            fd, flags, _, _ = kernel.open_and_examine(top, name.encode(), wanted, False)
            os.close(fd)
            assert chattr_features(flags) == (wanted_flags if wanted else 0)


@pytest.mark.timeout(20)
def test_a_fifo_does_not_hang(kernel: Kernel, top: int, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o640)
    fd, flags, xattrs, status = kernel.open_and_examine(top, b"fifo", True, True)
    os.close(fd)
    assert (flags, xattrs, status) == (0, 0, status_of(tmp_path / "fifo"))
    assert kernel.read_whole(top, b"fifo", 100) == (status[0], 0)


def test_file_systems_without_flags_and_xattrs(kernel: Kernel) -> None:
    fd = os.open("/proc/self", os.O_RDONLY)
    try:
        found, flags, xattrs, status = kernel.open_and_examine(fd, b"stat", True, True)
    finally:
        os.close(fd)
    os.close(found)
    assert (flags, xattrs, stat.S_ISREG(status[0])) == (0, 0, True)


@pytest.mark.parametrize(("size", "limit"), [(0, 0), (0, 5), (1, 1), (100, 100), (300_000, 1 << 40)])
def test_the_whole_of_a_file(kernel: Kernel, top: int, tmp_path: Path, size: int, limit: int) -> None:
    (tmp_path / "f").write_bytes(b"x" * size)
    assert kernel.read_whole(top, b"f", limit) == b"x" * size
    assert kernel.read_whole(top, "f", limit) == b"x" * size


@pytest.mark.parametrize(("size", "limit"), [(1, 0), (101, 100), (1 << 40, (1 << 40) - 1), (0, -1)])
def test_more_than_the_limit_is_not_read(kernel: Kernel, top: int, tmp_path: Path, size: int, limit: int) -> None:
    (tmp_path / "f").touch()
    try:
        os.truncate(tmp_path / "f", size)
    except OSError:
        pytest.skip("Such a large file is too much for this file system")
    assert kernel.read_whole(top, b"f", limit) == ((tmp_path / "f").stat().st_mode, size)


def test_a_directory_is_no_content(kernel: Kernel, top: int, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir(0o750)
    found = (tmp_path / "d").stat()
    assert kernel.read_whole(top, b"d", 1 << 20) == (found.st_mode, found.st_size)


def test_a_file_that_has_less_than_it_says(kernel: Kernel) -> None:
    """As one that shrinks while it is read: a file of sysfs says 4096 bytes, and has a few."""
    fd = os.open("/sys/kernel", os.O_RDONLY)
    try:
        if os.stat("uevent_seqnum", dir_fd=fd).st_size != 4096:
            pytest.skip("It does not say so here")
        data = kernel.read_whole(fd, b"uevent_seqnum", 4096)
    finally:
        os.close(fd)
    assert isinstance(data, bytes)
    assert data.strip().isdigit()


@contextmanager
def opened(path: Path) -> Iterator[tuple[int, tuple[int, int, int]]]:
    """A descriptor for `read_rest`, closed if it left it open, and what it needs to know."""
    fd = os.open(path, os.O_RDONLY)
    found = os.fstat(fd)
    try:
        yield fd, (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    finally:
        if is_open(fd):
            os.close(fd)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize("begin", [0, 3, 10])
def test_the_rest_is_read_and_the_file_closed(kernel: Kernel, tmp_path: Path, begin: int) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    os.utime(tmp_path / "f", ns=(0, -1))
    buffer = bytearray(b"-" * 12)
    with opened(tmp_path / "f") as (fd, known):
        os.lseek(fd, begin, os.SEEK_SET)
        with memoryview(buffer)[1 : 11 - begin] as view:
            assert kernel.read_rest(fd, view, *known) == 10 - begin
        assert not is_open(fd)
    assert buffer == b"-" + b"0123456789"[begin:] + b"-" * (1 + begin)
    buffer.append(0)  # a BufferError if it were still exported


@pytest.mark.parametrize("item", range(3))
def test_a_file_that_changed_is_told_and_left_open(kernel: Kernel, tmp_path: Path, item: int) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    with opened(tmp_path / "f") as (fd, known):
        other = list(known)
        other[item] += 1
        assert kernel.read_rest(fd, bytearray(10), *other) == -1
        assert is_open(fd)


def test_fewer_bytes_than_expected_are_told_and_the_file_is_left_open(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"0123456789")
    with opened(tmp_path / "f") as (fd, known):
        buffer = bytearray(12)
        assert kernel.read_rest(fd, buffer, *known) == 10
        assert buffer == b"0123456789\0\0"
        assert is_open(fd)
        assert kernel.read_rest(fd, buffer, *known) == 0
        assert is_open(fd)


def test_reading_refusals(kernel: Kernel, tmp_path: Path) -> None:
    buffer = bytearray(10)
    with opened(tmp_path) as (fd, known):
        with pytest.raises(IsADirectoryError):
            kernel.read_rest(fd, buffer, *known)
        assert is_open(fd)
    (tmp_path / "f").write_bytes(b"0123456789")
    with opened(tmp_path / "f") as (fd, known):
        with pytest.raises((TypeError, BufferError)):
            kernel.read_rest(fd, b"read only!", *known)
        with pytest.raises(TypeError):
            kernel.read_rest("0", buffer, *known)  # type: ignore[arg-type]
        assert is_open(fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernel.read_rest(9999, buffer, 0, 0, 0)
    buffer.append(0)


def names(top: int) -> list[str]:
    return sorted(os.listdir(top))


def one(data: Buffer, mode: int = 0o644, mtime_ns: int = T, name: bytes = b"f") -> list[File]:
    return [(b".#" + name, name, data, mode, mtime_ns)]


DONE = (0, 0)


def test_files_are_created(kernel: Kernel, top: int, tmp_path: Path) -> None:
    files: list[File] = [
        (b".#1", b"a", b"bytes", 0o600, 0),
        (b".#2", b"b\xff", bytearray(b"bytearray"), 0o640, T),
        (b".#3", b"c", memoryview(b"a view")[2:], 0o444, -1),
        (b".#4", b"d", b"", 0o000, -1_500_000_000),
        (b".#5", b"e", array("I", [1, 2, 3]), 0o777, 2 * SECOND),
    ]
    with umask(0):
        assert kernel.create_files(top, files, 5, False) == (5, *DONE)
    assert names(top) == ["a", "b\udcff", "c", "d", "e"]
    for name, (_, _, data, mode, mtime_ns) in zip(names(top), files, strict=True):
        found = (tmp_path / name).stat()
        assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns, found.st_atime_ns) == (mode, mtime_ns, 5)
        assert (tmp_path / name).read_bytes() == bytes(data)


def test_the_umask_counts(kernel: Kernel, top: int, tmp_path: Path) -> None:
    with umask(0o027):
        assert kernel.create_files(top, one(b"1", 0o666), 0, False) == (1, *DONE)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


def test_no_files(kernel: Kernel, top: int) -> None:
    assert kernel.create_files(top, [], 0, True) == (0, *DONE)
    assert kernel.create_files(-1, [], 0, True) == (0, *DONE)


def test_many_files(kernel: Kernel, top: int) -> None:
    buffers = [bytearray(b"%d" % i) for i in range(1000)]
    files = [(b".#%d" % i, b"%04d" % i, data, 0o644, i) for i, data in enumerate(buffers)]
    assert kernel.create_files(top, files, 0, True) == (1000, *DONE)
    assert names(top) == [f"{i:04d}" for i in range(1000)]
    for data in buffers:
        data.append(0)  # a BufferError if it were still exported


X, Z = b"x" * BLOCK, bytes(BLOCK)


@pytest.mark.parametrize(
    ("data", "blocks"),
    [
        (b"", 0),
        (bytes(BLOCK - 1), 1),  # less than a block is written
        (Z, 0),
        (Z * 5, 0),
        (Z * 5 + b"\0", 1),
        (X + Z * 6, 1),
        (Z * 6 + X, 1),
        (X + Z + X + Z, 2),
        (X + Z * 3 + X + bytes(100), 3),
        (b"\0" + X + Z + X, 4),  # the zeros are no whole block of the file
        (X[1:] + Z + b"\0" + X, 2),
        (Z[1:] + b"x" + Z, 1),
        (b"\0" * 7 + b"x" + Z[8:] + Z, 1),
    ],
)
def test_blocks_of_zeros_are_holes(kernel: Kernel, top: int, tmp_path: Path, data: bytes, blocks: int) -> None:
    if os.fstatvfs(top).f_bsize != BLOCK:
        pytest.skip("A file system with other blocks")
    for sparse in (True, False):
        assert kernel.create_files(top, one(data), 0, sparse) == (1, *DONE)
        assert (tmp_path / "f").read_bytes() == data
        fd = os.open("f", os.O_RDONLY, dir_fd=top)
        try:
            os.fsync(fd)
            used = os.fstat(fd).st_blocks * 512 // BLOCK
        finally:
            os.close(fd)
        assert used == (blocks if sparse else (len(data) + BLOCK - 1) // BLOCK)


@pytest.mark.parametrize("sparse", [True, False])
def test_what_is_no_bytes_is_written_byte_for_byte(kernel: Kernel, top: int, tmp_path: Path, sparse: bool) -> None:
    data: array[int] = array("Q", [0] * 4096 + [1 << 56] + [0] * 511 + [7] * 600)
    assert kernel.create_files(top, one(data), 0, sparse) == (1, *DONE)
    assert (tmp_path / "f").read_bytes() == data.tobytes()


def test_an_existing_file_is_replaced(kernel: Kernel, top: int, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"old")
    os.link(tmp_path / "f", tmp_path / "old")
    (tmp_path / "g").symlink_to("old")
    files = one(b"new") + one(b"newer", name=b"g")
    assert kernel.create_files(top, files, 0, True) == (2, *DONE)
    assert (tmp_path / "f").read_bytes() == b"new"
    assert (tmp_path / "g").read_bytes() == b"newer"
    assert not (tmp_path / "g").is_symlink()
    assert (tmp_path / "old").read_bytes() == b"old"


@pytest.mark.parametrize("kind", ["file", "dangling symlink"])
def test_a_temporary_name_that_is_taken(kernel: Kernel, top: int, tmp_path: Path, kind: str) -> None:
    if kind == "file":
        (tmp_path / ".#b").write_bytes(b"not ours")
    else:
        (tmp_path / ".#b").symlink_to("nowhere")
    files = one(b"1", name=b"a") + one(b"2", name=b"b") + one(b"3", name=b"c")
    assert kernel.create_files(top, files, 0, True) == (1, errno.EEXIST, 0)
    assert names(top) == [".#b", "a"]
    if kind == "file":
        assert (tmp_path / ".#b").read_bytes() == b"not ours"


def test_a_directory_in_the_way_leaves_the_temporary(kernel: Kernel, top: int, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    files = one(b"1", name=b"a") + one(b"2", name=b"b") + one(b"3", name=b"c")
    assert kernel.create_files(top, files, 0, True) == (1, errno.EISDIR, 1)
    assert names(top) == [".#b", "a", "b"]
    assert (tmp_path / ".#b").read_bytes() == b"2"
    assert (tmp_path / ".#b").stat().st_mtime_ns == T


def test_names_that_cannot_be(kernel: Kernel, top: int) -> None:
    assert kernel.create_files(top, [(b"x" * 256, b"f", b"", 0o644, 0)], 0, True) == (0, errno.ENAMETOOLONG, 0)
    assert kernel.create_files(top, [(b"no/f", b"f", b"", 0o644, 0)], 0, True) == (0, errno.ENOENT, 0)
    assert kernel.create_files(9999, [(b".#f", b"f", b"", 0o644, 0)], 0, True) == (0, errno.EBADF, 0)
    assert names(top) == []


def test_a_directory_that_is_gone(kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    fd = os.open(tmp_path / "d", os.O_RDONLY)
    try:
        (tmp_path / "d").rmdir()
        assert kernel.create_files(fd, one(b"1"), 0, True) == (0, errno.ENOENT, 0)
    finally:
        os.close(fd)


@pytest.mark.parametrize("sparse", [True, False])
def test_no_room_leaves_no_temporary(kernel: Kernel, sparse: bool) -> None:
    """A limit on the size of files stands in for a full file system."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with tempfile.TemporaryDirectory() as name:
        fd = os.open(name, os.O_RDONLY)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            small, large = one(X, name=b"a"), one(X * 4, name=b"b")
            assert kernel.create_files(fd, small + large + small, 0, sparse) == (1, errno.EFBIG, 0)
            assert kernel.create_files(fd, one(X + Z * 4, name=b"c"), 0, sparse) == (0, errno.EFBIG, 0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, handler)
            found = names(fd)
            os.close(fd)
    assert found == ["a"]


WRONG = {
    "temporary": ("f", b"f", b"", 0o644, 0),
    "name": (b".#f", None, b"", 0o644, 0),
    "data": (b".#f", b"f", "text", 0o644, 0),
    "mode": (b".#f", b"f", b"", None, 0),
    "fewer": (b".#f", b"f", b"", 0o644),
    "number": 7,
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_types(kernel: Kernel, top: int, what: str) -> None:
    data = bytearray(b"1")
    files: list[Any] = [*one(data, name=b"a"), WRONG[what]]
    with pytest.raises(TypeError):
        kernel.create_files(top, files, 0, True)
    data.append(0)  # a BufferError if it were still exported
    assert names(top) == []  # all are looked at before the first is made


@pytest.mark.native
def test_what_is_no_list_and_what_is_no_tuple(top: int) -> None:
    with pytest.raises(TypeError, match="not a list"):
        _native.create_files(top, tuple(one(b"1")), 0, True)
    with pytest.raises(TypeError):
        _native.create_files(top, [[*one(b"1")[0]]], 0, True)  # type: ignore[list-item]
    assert names(top) == []


@pytest.mark.parametrize("place", [0, 1])
def test_new_names_with_a_nul(kernel: Kernel, top: int, place: int) -> None:
    data = bytearray(b"1")
    file = list(one(data)[0])
    file[place] = b"f\0g"
    with pytest.raises(ValueError, match="embedded null"):
        kernel.create_files(top, [tuple(file)], 0, True)  # type: ignore[list-item]
    assert names(top) == []
    data.append(0)


contents = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.integers(1, 3).map(lambda count: bytes(count * BLOCK)),
        st.integers(1, 5000).map(bytes),
        st.integers(1, 5000).map(lambda count: b"x" * count),
    ),
    max_size=6,
).map(b"".join)


@pytest.mark.native
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=contents,
    mode=st.integers(0, 0o777),
    mtime_ns=st.integers(-(2**31) * SECOND, 2**31 * SECOND - 1),
    sparse=st.booleans(),
)
def test_both_kernels_create_the_same(
    top: int, tmp_path: Path, content: bytes, mode: int, mtime_ns: int, sparse: bool
) -> None:
    found = []
    for name, each in KERNELS.items():
        file = one(content, mode, mtime_ns, name.encode())
        assert each.create_files(top, file, 7, sparse) == (1, *DONE)
        status = (tmp_path / name).stat()
        extents = []
        fd = os.open(tmp_path / name, os.O_RDWR)
        with closing(os.fdopen(fd, "rb")):
            at = 0
            while at < len(content):
                try:
                    start = os.lseek(fd, at, os.SEEK_DATA)
                except OSError:
                    break
                at = os.lseek(fd, start, os.SEEK_HOLE)
                extents.append((start, at))
        found.append((status.st_mode, status.st_mtime_ns, status.st_atime_ns, (tmp_path / name).read_bytes(), extents))
    assert found[0] == found[1]
    assert found[0][3] == content


@pytest.mark.native
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200), begin=st.integers(0, 210), room=st.integers(0, 210), limit=st.integers(0, 210))
def test_both_kernels_read_the_same(
    top: int, tmp_path: Path, content: bytes, begin: int, room: int, limit: int
) -> None:
    (tmp_path / "f").write_bytes(content)
    found = []
    for each in KERNELS.values():
        whole = each.read_whole(top, b"f", limit)
        buffer = bytearray(room)
        with opened(tmp_path / "f") as (fd, known):
            os.lseek(fd, begin, os.SEEK_SET)
            found.append((whole, each.read_rest(fd, buffer, *known), bytes(buffer), is_open(fd)))
    assert found[0] == found[1]
