"""list, mtree, stat and digest beside casync's: a directory and its archive, under many sets of options."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.decoder import decode
from casync_py.archive.nodes import Entry
from casync_py.archive.scan import scan
from casync_py.digest import SHA256, SHA512_256, Digest, digest_of_flags
from casync_py.format.flags import COMPOSITES, NAMES, WITH_MASK, F, effective_flags, parse_feature
from casync_py.sync.digesting import digest_entries
from casync_py.sync.listing import list_lines
from casync_py.sync.mtree import mtree_lines
from casync_py.sync.select import select
from casync_py.sync.shown import shown_mask
from casync_py.sync.stat import stat_lines, stat_scan_features
from casync_py.sync.stream import FileStream
from casync_py.testing.trees import build_reference_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from casync_py.archive.nodes import Leave

    Run = Callable[..., bytes]

pytestmark = [pytest.mark.peer("casync"), pytest.mark.root]

_EXTRA = int(F.EXCLUDE_NODUMP | F.EXCLUDE_FILE)
OPTIONS = [
    (),
    ("--digest=sha256",),
    *((f"--with={name}",) for name in (*NAMES, *COMPOSITES)),
    *((f"--without={name}",) for name in (*NAMES, *COMPOSITES)),
    ("--without=32bit-uids", "--without=16bit-uids"),
    ("--without=nsec-time", "--without=usec-time"),
    ("--with=unix", "--with=xattrs", "--without=sec-time", "--without=symlinks"),
    ("--without=acl", "--without=permissions"),
]
UNREADABLE_BY_CASYNC = {"user-names", "usec-time"}


def _tool(program: str, *arguments: str | bytes) -> None:
    """Run a tool that may be absent, or that the file system may refuse: both sides see the tree as it then is."""
    path = shutil.which(program)
    if path is not None:
        subprocess.run([path, *arguments], capture_output=True, check=False)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("listing") / "tree"
    (root / "dir/sub/deep").mkdir(parents=True)
    (root / "emptydir").mkdir(mode=0o700)
    names = [b"plain", b"sp ace", b"nl\nx", b"\xff\xfe", b"back\\slash#hash", b"del\x7f", b"x" * 255]
    for odd in names:
        with open(os.path.join(os.fsencode(root), odd), "wb") as file:
            file.write(odd * 100)
    os.symlink("tar get#x", root / "link")
    os.symlink("\u00e9", root / "dir/link")
    os.mkfifo(root / "fifo")
    os.mknod(root / "chr", 0o600 | 0o020000, os.makedev(1, 3))
    os.mknod(root / "dir/blk", 0o660 | 0o060000, os.makedev(7, 200))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(root / "sock"))
    for name in ("old", "new", "own", "own2", "attributes", "acl", "caps", "dir/sub/deep/f", "still", "kept"):
        (root / name).write_bytes(name.encode() * 3000)
    os.chown(root / "own", 12345, 54321)
    os.chown(root / "own2", 1, 2)
    for name, mode in (("own", 0o6644), ("plain", 0o4755), ("dir", 0o1777), ("dir/sub", 0o2750), ("new", 0o444)):
        os.chmod(root / name, mode)
    os.setxattr(root / "attributes", "user.a b", b"va\x00l\xff \\#")
    os.setxattr(root / "attributes", "user.empty", b"")
    os.setxattr(root, "user.root", b"of all")
    _tool("setfacl", "-m", "u:daemon:rw,u:4242:r,g:bin:rwx", str(root / "acl"))
    _tool("setfacl", "-d", "-m", "u:daemon:rw", str(root / "dir"))
    _tool("setcap", "cap_net_raw+ep", str(root / "caps"))
    _tool("chattr", "+A", str(root / "new"))
    _tool("chattr", "+A", str(root))
    _tool("chattr", "+a", str(root / "still"))
    _tool("chattr", "+d", str(root / "kept"))
    os.utime(root / "old", ns=(0, -2))
    os.utime(root / "new", ns=(0, 981173106987654321))
    os.utime(root / "link", ns=(0, 2148782706500000000), follow_symlinks=False)
    yield root
    _tool("chattr", "-a", str(root / "still"))


@pytest.fixture(scope="module")
def archive(tree: Path, casync: str) -> Path:
    path = tree.parent / "tree.catar"
    subprocess.run([casync, "make", path, tree], check=True, capture_output=True)
    return path


@pytest.fixture
def run(casync: str) -> Run:
    """What casync prints; its status where `status` is given."""

    def output(*arguments: str | bytes | Path, status: int | None = 0) -> bytes:
        done = subprocess.run([casync, *arguments], stdin=subprocess.DEVNULL, capture_output=True)
        assert status in (None, done.returncode), done.stderr
        return done.stdout

    return output


def _bits(options: tuple[str, ...], key: str) -> list[int]:
    return [parse_feature(option.removeprefix(key)) for option in options if option.startswith(key)]


def _asked_digest(options: tuple[str, ...]) -> Digest:
    return SHA256 if "--digest=sha256" in options else SHA512_256


def show(verb: str, entries: Iterator[Entry | Leave], mask: int, features: int, digest: Digest, label: Digest) -> bytes:
    match verb:
        case "list":
            return b"".join(list_lines(entries))
        case "mtree":
            return b"".join(mtree_lines(entries, mask, features, digest, label))
        case "stat":
            return b"".join(stat_lines(entries, mask, features, digest))
    return digest_entries(entries, features, digest).hex().encode() + b"\n"


def show_directory(verb: str, tree: Path, options: tuple[str, ...] = ()) -> bytes:
    digest = _asked_digest(options)
    features = effective_flags(_bits(options, "--with="), _bits(options, "--without="), WITH_MASK, _EXTRA | digest.flag)
    entries = scan(str(tree), stat_scan_features(features) if verb == "stat" else features)
    return show(verb, entries, features, features, digest, digest)


def show_archive(verb: str, archive: Path, options: tuple[str, ...] = (), subpath: bytes = b"") -> bytes:
    features = int.from_bytes(archive.read_bytes()[16:24], "little")
    mask = shown_mask(_bits(options, "--with="), _bits(options, "--without="), features)
    source = FileStream(str(archive))
    with closing(source):
        entries = select(decode(source), subpath)
        return show(verb, entries, mask, features, digest_of_flags(features), _asked_digest(options))


@pytest.mark.parametrize("verb", ["list", "mtree", "stat", "digest"])
def test_a_directory(verb: str, tree: Path, run: Run) -> None:
    for options in OPTIONS:
        # casync's stat fails after its last line where it would have to say that there are no xattrs.
        expected = run(verb, *options, tree, status=None if verb == "stat" else 0)
        assert show_directory(verb, tree, options) == expected, options


@pytest.mark.parametrize("verb", ["list", "mtree", "stat", "digest"])
def test_an_archive(verb: str, archive: Path, run: Run) -> None:
    for options in OPTIONS:
        assert show_archive(verb, archive, options) == run(verb, *options, archive), options


def test_archives_with_few_features(tree: Path, run: Run, tmp_path: Path) -> None:
    for name in ("unix", "fat", "symlinks", "acl", "chattr", "quota-projid", "2sec-time", "read-only"):
        archive = tmp_path / f"{name}.catar"
        run("make", f"--with={name}", archive, tree)
        for verb in ("list", "mtree", "stat", "digest"):
            for options in ((), ("--with=fat",), ("--without=unix",)):
                assert show_archive(verb, archive, options) == run(verb, *options, archive), (name, verb, options)


def test_archives_that_casync_writes_and_cannot_read(tree: Path, run: Run, tmp_path: Path) -> None:
    for name in UNREADABLE_BY_CASYNC:
        archive = tmp_path / f"{name}.catar"
        run("make", f"--with={name}", archive, tree)
        run("list", archive, status=1)
        for verb in ("list", "mtree", "digest"):
            assert show_archive(verb, archive) == run(verb, f"--with={name}", tree), (name, verb)


def test_every_sub_path(archive: Path, run: Run) -> None:
    with closing(FileStream(str(archive))) as source:
        entries = [item for item in decode(source) if isinstance(item, Entry)]
    assert len(entries) > 25
    for entry in entries:
        for verb in ("stat", "mtree"):
            assert show_archive(verb, archive, subpath=entry.path) == run(verb, archive, entry.path), entry.path
        if stat.S_ISREG(entry.node.mode) or stat.S_ISDIR(entry.node.mode):
            assert show_archive("digest", archive, subpath=entry.path) == run("digest", archive, entry.path), entry.path


def test_an_index_shows_what_its_archive_shows(tree: Path, archive: Path, run: Run, tmp_path: Path) -> None:
    index = tmp_path / "tree.caidx"
    run("make", f"--store={tmp_path / 'store.castr'}", index, tree)
    for verb in ("list", "mtree", "stat", "digest"):
        for subpath in (b"", b"dir", b"own"):
            expected = run(verb, f"--store={tmp_path / 'store.castr'}", index, subpath)
            assert show_archive(verb, archive, subpath=subpath) == expected


def test_the_reference_tree(run: Run, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    build_reference_tree(tree)
    for number, options in enumerate(
        ((), ("--with=unix", "--without=16bit-uids"), ("--with=fat",), ("--with=chattr",))
    ):
        archive = tmp_path / f"{number}.catar"
        run("make", *options, archive, tree)
        for verb in ("list", "mtree", "stat", "digest"):
            expected = run(verb, *options, tree, status=None if verb == "stat" else 0)
            assert show_directory(verb, tree, options) == expected, (verb, options)
            assert show_archive(verb, archive, options) == run(verb, *options, archive), (verb, options)
