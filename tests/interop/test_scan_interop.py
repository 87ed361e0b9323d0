"""What a scan yields, encoded, is byte for byte what casync makes of the same tree under the same options."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.encoder import encode
from casync_py.archive.scan import scan
from casync_py.errors import CasyncError
from casync_py.format.flags import WITH_MASK, Feature, effective_flags, parse_feature
from casync_py.testing.trees import build_reference_tree, make_removable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from casync_py.archive.nodes import Payload

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


class Collected:
    """A sink that keeps the archive."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    def copy(self, payload: Payload) -> None:
        for piece in payload.pieces():
            self.data += piece


def features_of(options: str) -> int:
    with_, without = [], []
    extra = int(Feature.EXCLUDE_FILE | Feature.EXCLUDE_NODUMP | Feature.SHA512_256)
    for option in options.split():
        name, _, value = option.partition("=")
        if name == "--with":
            with_.append(parse_feature(value))
        elif name == "--without":
            without.append(parse_feature(value))
        else:
            extra ^= {
                "--exclude-nodump=no": int(Feature.EXCLUDE_NODUMP),
                "--exclude-submounts=yes": int(Feature.EXCLUDE_SUBMOUNTS),
                "--exclude-file=no": int(Feature.EXCLUDE_FILE),
                "--digest=sha256": int(Feature.SHA512_256),
            }[option]
    return effective_flags(with_, without, WITH_MASK, extra)


def ours(tree: Path, options: str = "") -> bytes:
    features = features_of(options)
    collected = Collected()
    encode(scan(os.fsencode(tree), features), collected, features)
    return bytes(collected.data)


def theirs(tree: Path, options: str = "") -> bytes | None:
    """casync's archive, None where it fails."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        archive = Path(directory) / "tree.catar"
        command: list[str | Path] = ["casync", "make", *options.split(), archive, tree]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return archive.read_bytes() if done.returncode == 0 else None


def outcome(tree: Path, options: str = "") -> bytes | None:
    try:
        return ours(tree, options)
    except (OSError, CasyncError):
        return None


def same(tree: Path, options: str = "") -> None:
    expected = theirs(tree, options)
    assert expected is not None
    made = ours(tree, options)
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
    assert theirs(tree, "--with=unix") is None
    with pytest.raises(OSError, match="too large for 16bit-uids") as caught:
        ours(tree, "--with=unix")
    assert caught.value.filename.startswith(f"{tree}/modes/")
