"""A directory as it lies on a web server: a tree, a blob, an archive, indexes and their store, made by casync."""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

INDEXES = ("tree.caidx", "blob.caibx")
NAMES = (*INDEXES, "tree.catar")
STORE = "default.castr"
_SMALL_CHUNKS = "--chunk-size=2K:8K:32K"


@dataclass(frozen=True, slots=True)
class Published:
    """What was published, and what it was made of.

    Attributes:
        folder: the directory to serve; the indexes' store is default.castr in it.
        tree, blob: the sources, elsewhere.
    """

    folder: Path
    tree: Path
    blob: Path

    @property
    def store(self) -> Path:
        return self.folder / STORE

    def chunks(self) -> list[Path]:
        """The files of the store's chunks, sorted."""
        return sorted(self.store.glob("????/*.cacnk"))

    def source_of(self, name: str) -> Path:
        """What an index or archive was made of."""
        return self.blob if name.endswith(".caibx") else self.tree


def publish(folder: Path, casync: str, *, small_chunks: bool = False) -> Published:
    """Write the sources and let casync make the rest; `folder` must not exist."""
    folder.mkdir()
    published = Published(folder / "served", folder / "tree", folder / "blob")
    published.folder.mkdir()
    write_tree(published.tree)
    write_blob(published.blob)
    options = [_SMALL_CHUNKS] if small_chunks else []
    for name in NAMES:
        command = [casync, "make", *options, name, str(published.source_of(name))]
        subprocess.run(command, cwd=published.folder, check=True, capture_output=True)
    return published


def write_tree(path: Path) -> None:
    """Files of many sizes, names that need quoting, links, empty directories, modes and times; the same each time."""
    rng = random.Random(5)  # noqa: S311
    for number in range(60):
        file = path / f"d{number % 7}" / f"{'a b$(c)%2f?;#&' if number % 5 else 'ü'} {number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(rng.randbytes(rng.randrange(1 << rng.randrange(18))) + b"text " * number)
        file.chmod(rng.choice([0o644, 0o600, 0o755]))
    (path / "empty").mkdir()
    (path / "link").symlink_to("d0/nowhere")
    os.mkfifo(path / "fifo")
    for directory, subdirectories, files in os.walk(path, topdown=False):
        for name in [*files, *subdirectories]:
            moment = 1_500_000_000_000_000_000 + rng.getrandbits(56)
            os.utime(os.path.join(directory, name), ns=(moment, moment), follow_symlinks=False)


def write_blob(path: Path) -> None:
    """Some MB: data that does not compress, a part that comes twice, zeros, text; the same each time."""
    rng = random.Random(6)  # noqa: S311
    repeated = rng.randbytes(200_000)
    path.write_bytes(rng.randbytes(900_000) + repeated + bytes(700_000) + repeated + b"text\n" * 100_000)
