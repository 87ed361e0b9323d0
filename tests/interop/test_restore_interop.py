"""Trees that casync extracts and trees that are restored here from the same archive are the same, to the last flag."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.decoder import decode
from casync_py.archive.restore import restore
from casync_py.archive.scan import scan
from casync_py.format.flags import ANY_TIME, WITH_MASK, Feature, mask_for_reading
from casync_py.sync.stream import FileStream
from casync_py.testing.archives import casync_archive, features_of
from casync_py.testing.compare import tree_differences
from casync_py.testing.trees import build_reference_tree, make_removable

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.peer("casync")]

SETS = [
    "",
    "--with=best",
    "--with=unix",
    "--with=fat",
    "--without=privileged",
    "--without=acl",
    "--with=best --without=acl",
    "--without=symlinks --without=device-nodes --without=fifos --without=sockets",
    "--with=sec-time --with=16bit-uids",
    "--with=2sec-time --with=symlinks",
    "--with=32bit-uids",
    "--with=acl",
    "--with=xattrs --with=symlinks",
    "--with=selinux --with=symlinks --with=fifos",
    "--with=fcaps",
    "--with=read-only",
    "--with=permissions",
    "--with=chattr",
    "--without=user-names",
]
CASYNC_NAME_MAX = 255 - 18  # it does not shorten a name in its temporary one
MODES = re.compile(r"mode: (\d{4}) != (\d{4})$")


@pytest.fixture(scope="module", params=["memory", "disk"])
def work(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with the reference tree in `tree`, less what casync cannot extract, on ext4 or so and on tmpfs."""
    on_disk = request.param == "disk"
    top = tmp_path_factory.mktemp("restore") if on_disk else Path(tempfile.mkdtemp(dir="/dev/shm"))
    build_reference_tree(top / "tree", unremovable=True)
    for parent, directories, files in os.walk(os.fsencode(top / "tree"), topdown=False):
        for name in directories + files:
            path = os.path.join(parent, name)
            # casync restores times before 1970 as times after 2500.
            if len(name) > CASYNC_NAME_MAX or os.lstat(path).st_mtime_ns < 0:
                remove(path)
    yield top
    remove(os.fsencode(top))


def remove(path: bytes) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        make_removable(path)
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


@pytest.fixture
def targets(work: Path) -> Iterator[tuple[Path, Path]]:
    """Where casync extracts to, and where we do."""
    theirs, ours = work / "theirs", work / "ours"
    yield theirs, ours
    remove(os.fsencode(theirs))
    remove(os.fsencode(ours))


def archive(work: Path, options: str) -> Path:
    data = casync_archive(work / "tree", options)
    assert data is not None
    path = work / "made.catar"
    path.write_bytes(data)
    return path


def casync_extract(source: Path, target: Path, options: str) -> None:
    subprocess.run(["casync", "extract", *options.split(), source, target], check=True, capture_output=True, timeout=60)


def our_extract(source: Path, target: Path, made: str, options: str, undo_immutable: bool = False) -> int:
    """Restore; the mask of what was restored."""
    mask = mask_for_reading(features_of(options) & WITH_MASK, features_of(made))
    with open(source, "rb") as file:
        restore(decode(FileStream(file.name)), target, mask, undo_immutable=undo_immutable)
    return mask


def is_intended(line: str) -> bool:
    """Where casync's permissions are not what we want: what is to be read-only ends with no permissions at all, and
    setuid, setgid and sticky bits come from an archive whose permissions are not restored."""
    found = MODES.search(line)
    if not found:
        return False
    theirs, ours = (int(text, 8) for text in found.groups())
    return (theirs in {0, 0o100} and ours in {0o444, 0o400, 0o555}) or (theirs > 0o777 and theirs & 0o777 == ours)


def compare(theirs: Path, ours: Path, mask: int) -> None:
    found = tree_differences(theirs, ours, ignore=() if mask & ANY_TIME else ("mtime",))
    restores_modes = mask & (Feature.PERMISSIONS | Feature.ACL)
    assert [line for line in found if restores_modes or not is_intended(line)] == []


IN_MEMORY = pytest.mark.parametrize("work", ["memory"], indirect=True)


@IN_MEMORY
@pytest.mark.parametrize("made", SETS[1:])
def test_archives_of_every_kind(work: Path, targets: tuple[Path, Path], made: str) -> None:
    source = archive(work, made)
    casync_extract(source, targets[0], "")
    compare(*targets, our_extract(source, targets[1], made, ""))


@IN_MEMORY
@pytest.mark.parametrize("options", SETS[1:])
def test_parts_of_a_full_archive(work: Path, targets: tuple[Path, Path], options: str) -> None:
    source = archive(work, "")
    casync_extract(source, targets[0], options)
    compare(*targets, our_extract(source, targets[1], "", options))


def test_over_another_tree(work: Path, targets: tuple[Path, Path]) -> None:
    source = archive(work, "")
    for target in targets:
        (target / "content" / "more").mkdir(parents=True)
        (target / "content" / "more" / "file").write_bytes(b"goes")
        (target / "kinds").write_bytes(b"in the way")
        (target / "xattrs").symlink_to("/nowhere")
        (target / "deep").mkdir(mode=0o700)
        os.setxattr(target / "deep", "user.gone", b"1")
        os.setxattr(target / "deep", "system.posix_acl_default", DEFAULT_ACL)
        os.chown(target / "deep", 4, 5)
        (target / "deep").chmod(0o2770)
    casync_extract(source, targets[0], "")
    compare(*targets, our_extract(source, targets[1], "", ""))
    assert tree_differences(work / "tree", targets[1], ignore=("xattrs",)) == []


# Version 2; user rwx, user 7 rwx, group r-x, mask rwx, others nothing.
DEFAULT_ACL = bytes.fromhex("0200000001000700ffffffff020007000700000004000500ffffffff10000700ffffffff20000000ffffffff")


def test_into_a_directory_that_hands_on_group_flags_and_acl(work: Path, targets: tuple[Path, Path]) -> None:
    source = archive(work, "")
    for target in targets:
        target.mkdir()
        os.chown(target, 0, 1234)
        target.chmod(0o2755)
        os.setxattr(target, "system.posix_acl_default", DEFAULT_ACL)
        subprocess.run(["chattr", "+A", target], check=True)
    casync_extract(source, targets[0], "")
    compare(*targets, our_extract(source, targets[1], "", ""))


def test_again_over_itself_with_its_immutable_files(work: Path, targets: tuple[Path, Path]) -> None:
    source = archive(work, "")
    mask = our_extract(source, targets[1], "", "")
    with pytest.raises(PermissionError, match="--undo-immutable=yes"):
        our_extract(source, targets[1], "", "")
    our_extract(source, targets[1], "", "", undo_immutable=True)
    casync_extract(source, targets[0], "")
    compare(*targets, mask)


@IN_MEMORY
@pytest.mark.parametrize(
    "made", ["--with=best --with=usec-time --without=nsec-time", "--without=16bit-uids --without=32bit-uids"]
)
def test_archives_that_casync_cannot_read_back(work: Path, targets: tuple[Path, Path], made: str) -> None:
    source = archive(work, made)
    our_extract(source, targets[1], made, "")
    found = tree_differences(work / "tree", targets[1], ignore=("xattrs", "mtime"))
    assert found == []
    for node in (work / "tree" / "content").iterdir():
        kept = (targets[1] / "content" / node.name).lstat().st_mtime_ns
        assert kept == node.lstat().st_mtime_ns // (1000 if "usec" in made else 1) * (1000 if "usec" in made else 1)


@IN_MEMORY
def test_from_a_scan_without_an_archive_between(work: Path, targets: tuple[Path, Path]) -> None:
    features = features_of("")
    restore(scan(os.fsencode(work / "tree"), features), targets[1], mask_for_reading(WITH_MASK, features))
    casync_extract(archive(work, ""), targets[0], "")
    assert tree_differences(*targets) == []
