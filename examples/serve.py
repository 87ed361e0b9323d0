"""Serve a directory over HTTP, make into it, change, make again, fetch, compare. Run it as `examples/serve [--stay]`.

The server takes writes from those who have the token. With --stay it stays until Ctrl-C, for a look with a browser.
Each command is printed before it runs; everything happens in a temporary directory.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from casync_py.testing.compare import tree_differences

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 20
BLOCKS = 32


class Steps:
    """Runs and prints commands in one directory; the token is in their environment, not in the list of processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token = secrets.token_urlsafe()
        self.environment = {**os.environ, "CASYNC_PY_HTTP_HEADER": f"Authorization: Bearer {self.token}"}
        self.options = [] if os.geteuid() == 0 else ["--without=privileged"]

    def run(self, verb: str, *arguments: str) -> dict[str, Any]:
        """Print and run `casync-py VERB --json ...`; the object that it prints."""
        command = self._shown(verb, "--json", *self.options, *arguments)
        done = subprocess.run(command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise SystemExit(f"casync-py {verb} ended with status {done.returncode}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    @contextmanager
    def serve(self, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """Print and run `casync-py serve ...` until the end of the context; its URL and process."""
        command = self._shown("serve", *arguments)
        with subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout
            try:
                url = server.stdout.readline().strip().rstrip("/")  # printed when it is ready
                if not url:
                    raise SystemExit("casync-py serve does not start")
                print(url)
                yield url, server
            finally:
                server.terminate()

    def _shown(self, *words: str) -> list[str]:
        print(f"\n$ {shlex.join(['casync-py', *words])}", flush=True)
        return [sys.executable, "-P", "-m", "casync_py", *words]


def write_tree(tree: Path) -> None:
    """Something to serve: the sources of the package, and a file that does not compress."""
    import casync_py

    shutil.copytree(Path(casync_py.__file__).parent, tree / "sources", symlinks=True)
    (tree / "image").write_bytes(random.Random(1).randbytes(BLOCKS * BLOCK))  # noqa: S311 - the same each time


def change(tree: Path) -> None:
    """A few bytes in the middle of the large file, and a new small one."""
    with (tree / "image").open("r+b") as image:
        image.seek(BLOCKS * BLOCK // 2)
        image.write(b"changed")
    (tree / "sources" / "new").write_text("A file that was not there before\n")


def make_and_fetch(steps: Steps, url: str) -> None:
    tree = steps.folder / "tree"
    write_tree(tree)
    first = steps.run("make", f"{url}/tree.caidx", "tree")
    print(f"{first['size']:,} bytes in {first['chunks_new']} chunks; {first['bytes_sent']:,} bytes crossed the wire")
    change(tree)
    second = steps.run("make", f"{url}/tree.caidx", "tree")
    new, reused = second["chunks_new"], second["chunks_reused"]
    print(f"Changed a little: {reused} of {new + reused} chunks were there; {second['bytes_sent']:,} bytes crossed")
    if second["bytes_sent"] * 10 > first["bytes_sent"]:
        raise SystemExit("The second time too much was sent")

    fetched = steps.run("extract", f"{url}/tree.caidx", "copy")
    print(f"{fetched['chunks']} chunks came back, in {fetched['bytes_received']:,} bytes")
    differences = tree_differences(tree, steps.folder / "copy")
    if differences:
        raise SystemExit("\n".join(["The tree that was fetched differs from its source:", *differences]))
    print("\nWhat was fetched is equal to what was made")


def main() -> None:
    stay = "--stay" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="casync-py-serve-") as name:
        steps = Steps(Path(name))
        (steps.folder / "served").mkdir()
        tokens = steps.folder / "tokens"
        tokens.touch(mode=0o600)
        tokens.write_text(steps.token + "\n")
        with steps.serve("--listen=127.0.0.1:0", "--writable", "--token-file=tokens", "served") as (url, server):
            make_and_fetch(steps, url)
            if stay:
                scheme, _, place = url.partition("://")
                print(f"\nIn a browser: {scheme}://any:{steps.token}@{place}/ (Ctrl-C ends)", flush=True)
                with suppress(KeyboardInterrupt):
                    server.wait()


if __name__ == "__main__":
    main()
