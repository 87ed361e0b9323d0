"""What a scan yields, encoded, is byte for byte what casync makes of the same tree under the same options."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.acl import acl_to_xattrs
from casync_py.archive.nodes import Acl, AclEntry
from casync_py.errors import CasyncError
from casync_py.testing.archives import casync_archive, scanned_archive
from casync_py.testing.trees import build_reference_tree, make_removable

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.peer("casync")]

SETS = [
    "",
    "--with=best",
    "--with=unix",
    "--with=fat",
    "--with=all",
    "--without=privileged",
    "--without=acl",
    "--with=best --without=acl",
    "--without=symlinks --without=device-nodes --without=fifos --without=sockets",
    "--with=usec-time",
    "--with=sec-time --with=16bit-uids",
    "--with=2sec-time --with=symlinks",
    "--with=user-names",
    "--with=32bit-uids",
    "--with=acl",
    "--with=acl --with=user-names",
    "--with=acl --with=32bit-uids",
    "--with=xattrs --with=symlinks",
    "--with=selinux --with=symlinks --with=fifos",
    "--with=fcaps",
    "--with=read-only",
    "--with=permissions",
    "--with=chattr",
    "--without=nsec-time --without=usec-time",
    "--exclude-nodump=no",
    "--exclude-nodump=no --without=chattr",
    "--exclude-submounts=yes",
    "--digest=sha256",
]


def outcome(tree: Path, options: str = "") -> bytes | None:
    try:
        return scanned_archive(tree, options)
    except (OSError, CasyncError):
        return None


def same(tree: Path, options: str = "") -> None:
    expected = casync_archive(tree, options)
    assert expected is not None
    made = scanned_archive(tree, options)
    if made != expected:  # pytest's own comparison of megabytes takes minutes
        at = next((i for i, (a, b) in enumerate(zip(made, expected, strict=False)) if a != b), -1)
        pytest.fail(f"{len(made)} bytes, casync makes {len(expected)}; first difference at {at}")


@pytest.fixture(scope="module", params=["disk", "memory"])
def reference(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    on_disk = request.param == "disk"
    directory = tmp_path_factory.mktemp("scan") if on_disk else Path(tempfile.mkdtemp(dir="/dev/shm"))
    build_reference_tree(directory / "tree", excludes=True, unremovable=True)
    yield directory / "tree"
    make_removable(directory / "tree")
    shutil.rmtree(directory)


@pytest.mark.parametrize("options", SETS)
def test_same_archive(reference: Path, options: str) -> None:
    same(reference, options)


def test_ids_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    build_reference_tree(tree, wide_ids=True)
    same(tree)
    assert casync_archive(tree, "--with=unix") is None
    with pytest.raises(OSError, match="too large for 16bit-uids") as caught:
        scanned_archive(tree, "--with=unix")
    assert caught.value.filename.startswith(f"{tree}/modes/")


@pytest.mark.parametrize("options", ["", "--with=user-names", "--with=acl", "--with=permissions"])
@pytest.mark.parametrize("number", [65535, 65536, 2**32 - 2])
def test_odd_owners(tmp_path: Path, number: int, options: str) -> None:
    path = tmp_path / "file"
    path.touch()
    os.chown(path, 0, number)
    assert outcome(tmp_path, options) == casync_archive(tmp_path, options)
    os.chown(path, 0, 0)
    os.setxattr(
        path, "system.posix_acl_access", acl_to_xattrs(Acl((AclEntry(number, b"", 6),), (), 4), 0o640)[0] or b""
    )
    assert outcome(tmp_path, options) == casync_archive(tmp_path, options)


@pytest.mark.parametrize("options", ["", "--with=usec-time", "--with=sec-time", "--with=2sec-time"])
def test_times_beyond_the_archives_range(options: str) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:  # tmpfs takes any time, ext4 up to 2446
        for number, moment in enumerate((-1, -(10**9), -(10**18), 2**64 - 1, 2**64, 2 * 10**19, 5 * 10**9)):
            path = Path(directory) / str(number)
            path.touch()
            os.utime(path, ns=(moment, moment))
        same(Path(directory), options)


def test_nodump_does_not_hide_the_top(tmp_path: Path) -> None:
    for path in (tmp_path / "file", tmp_path / "directory/below"):
        path.parent.mkdir(exist_ok=True)
        path.touch()
        for marked in (path, path.parent):
            if subprocess.run(["chattr", "+d", marked], capture_output=True).returncode != 0:
                pytest.skip("The file system has no nodump flag")
    for options in ("", "--exclude-nodump=no"):
        same(tmp_path, options)
    assert scanned_archive(tmp_path).count(b"directory") == 0
    assert scanned_archive(tmp_path, "--exclude-nodump=no").count(b"directory") == 1
