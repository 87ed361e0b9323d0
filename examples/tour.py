"""The main job on a real tree of this machine: make, change, make again, extract, serve, fetch. It is `examples/tour`.

Everything happens in a temporary directory that is removed at the end. Each command is printed before it runs.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casync_py import native
from casync_py.testing.compare import tree_differences

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = ("/usr/share/doc", "/usr/lib/python3", "/usr/include", "/usr/share", "/usr/lib")
NATIVE_LIMIT = 100_000_000
PYTHON_LIMIT = 20_000_000  # the Python kernel cuts a few MB/s
FILE_LIMIT = 2_000_000  # many small files show more than a few large ones


class Tour:
    """Runs and prints commands in one directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # What only root may restore (owners, devices, capabilities) is left out for everyone else.
        self.options = [] if os.geteuid() == 0 else ["--without=privileged"]

    def run(self, verb: str, *arguments: str) -> str:
        """Print and run `casync-py VERB ...`; its stdout."""
        command = self._shown(verb, *self.options, *arguments)
        done = subprocess.run(command, cwd=self.folder, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"casync-py {verb} ended with status {done.returncode}")
        print(done.stdout, end="")
        return done.stdout

    @contextmanager
    def serve(self, *arguments: str) -> Iterator[str]:
        """Print and run `casync-py serve ...` until the end of the context; its URL."""
        command = self._shown("serve", *arguments)
        with subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            try:
                url = server.stdout.readline().strip()  # it prints it when it is ready
                if not url:
                    raise SystemExit("casync-py serve does not start")
                print(url)
                yield url.rstrip("/")
            finally:
                server.terminate()

    def _shown(self, *words: str) -> list[str]:
        """Print a command line of casync-py; how to run it here."""
        print(f"\n$ {shlex.join(['casync-py', *words])}", flush=True)
        script = Path(sys.executable).with_name("casync-py")
        return [*([str(script)] if script.exists() else [sys.executable, "-P", "-m", "casync_py"]), *words]


def _files(source: str) -> Iterator[tuple[str, int]]:
    """Readable regular files and symlinks of a tree with their sizes, in a fixed order."""
    for folder, folders, names in os.walk(source):
        folders.sort()
        for name in sorted(names):
            path = os.path.join(folder, name)
            if os.path.islink(path):
                yield path, 0
            elif os.path.isfile(path) and os.access(path, os.R_OK):
                yield path, os.stat(path).st_size


def copy_real_tree(target: Path, limit: int) -> tuple[int, int]:
    """Copy files of this machine until `limit` bytes; the numbers of files and bytes."""
    count = size = 0
    for source in SOURCES:
        for path, length in _files(source):
            copy = Path(f"{target}{path}")
            if length > FILE_LIMIT or os.path.lexists(copy):
                continue
            if size + length > limit:
                return count, size
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy, follow_symlinks=False)
            count, size = count + 1, size + length
    return count, size


def change(tree: Path) -> None:
    """What happens to trees between two versions: an edit, a new file, a removed one, a renamed directory."""
    files = sorted(path for path in tree.rglob("*") if path.is_file() and not path.is_symlink())
    with files[len(files) // 2].open("ab") as edited:
        edited.write(b"one more line\n")
    files[len(files) // 3].unlink()
    (tree / "new file").write_text("A file that was not there before\n")
    largest = max((path for path in tree.rglob("*") if path.is_dir()), key=lambda path: len(list(path.iterdir())))
    largest.rename(largest.with_name(largest.name + ".renamed"))


def _report(text: str) -> dict[str, Any]:
    """The object that `--json` printed."""
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def tour(folder: Path) -> None:
    tree = folder / "tree"
    limit = NATIVE_LIMIT
    if native.KERNEL != "native":
        limit = PYTHON_LIMIT
        print(
            "Warning: the C kernel is not there (no compiler or no Python headers when this was installed); "
            f"the Python kernel is slow, so this tour uses {limit // 1_000_000} MB at most",
            file=sys.stderr,
        )
    steps = Tour(folder)
    count, size = copy_real_tree(tree, limit)
    print(f"A tree to work on: a copy of {count} files of this machine, {size / 1e6:.1f} MB")

    steps.run("make", "--store=store.castr", "first.caidx", "tree")
    change(tree)
    print("\nChanged: one file edited, one added, one removed, the largest directory renamed")
    report = _report(steps.run("make", "--json", "--store=store.castr", "second.caidx", "tree"))
    new, reused = report["chunks_new"], report["chunks_reused"]
    print(f"{reused} of {new + reused} chunks were there already; {report['bytes_stored']:,} bytes were added")

    if not reused > new:
        raise SystemExit("The second make reused too little")

    steps.run("extract", "--store=store.castr", "second.caidx", "copy")
    _assert_same(tree, folder / "copy")
    print("The extracted tree is equal to its source: names, contents, modes, times, links")

    with steps.serve("--listen=127.0.0.1:0", ".") as url:
        steps.run("extract", f"--store={url}/store.castr", f"{url}/second.caidx", "fetched")
        _assert_same(tree, folder / "fetched")
        print("The tree that came over HTTP is equal to it too; casync and desync fetch from the same URLs")


def _assert_same(tree: Path, copy: Path) -> None:
    differences = tree_differences(tree, copy)
    for difference in differences:
        print(difference)
    if differences:
        raise SystemExit("The extracted tree differs from its source")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="casync-py-tour-") as folder:
        tour(Path(folder))


if __name__ == "__main__":
    main()
