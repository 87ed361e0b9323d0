"""The archive of a tree, made by a scan and by casync, from the same command-line options."""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import TYPE_CHECKING

from casync_py.archive.encoder import encode
from casync_py.archive.scan import scan
from casync_py.format.flags import WITH_MASK, Feature, effective_flags, parse_feature

if TYPE_CHECKING:
    from casync_py.archive.nodes import Payload

_DEFAULT = int(Feature.EXCLUDE_FILE | Feature.EXCLUDE_NODUMP | Feature.SHA512_256)
_TOGGLES = {
    "--exclude-nodump=no": Feature.EXCLUDE_NODUMP,
    "--exclude-submounts=yes": Feature.EXCLUDE_SUBMOUNTS,
    "--exclude-file=no": Feature.EXCLUDE_FILE,
    "--digest=sha256": Feature.SHA512_256,
}


class _Collected:
    """A sink that keeps the archive."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    def copy(self, payload: Payload) -> None:
        for piece in payload.pieces():
            self.data += piece


def features_of(options: str) -> int:
    """Feature flags of an archive made with these command-line options, separated by spaces."""
    with_, without, extra = [], [], _DEFAULT
    for option in options.split():
        name, _, value = option.partition("=")
        if name == "--with":
            with_.append(parse_feature(value))
        elif name == "--without":
            without.append(parse_feature(value))
        else:
            extra ^= int(_TOGGLES[option])
    return effective_flags(with_, without, WITH_MASK, extra)


def scanned_archive(tree: str | os.PathLike[str], options: str = "") -> bytes:
    """The archive of the directory `tree` as a scan and the encoder make it.

    Raises:
        OSError, SourceChanged: from the scan.
    """
    features = features_of(options)
    collected = _Collected()
    encode(scan(os.fsencode(tree), features), collected, features)
    return bytes(collected.data)


def casync_archive(tree: str | os.PathLike[str], options: str = "") -> bytes | None:
    """The archive of the directory `tree` as the installed casync makes it, None where it refuses."""
    with tempfile.TemporaryDirectory() as directory:
        archive = os.path.join(directory, "tree.catar")
        command = ["casync", "make", *options.split(), archive, os.fspath(tree)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
        if done.returncode != 0:
            return None
        with open(archive, "rb") as file:
            return file.read()
