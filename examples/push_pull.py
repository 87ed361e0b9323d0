"""Push a tree to another machine, change it, push again, pull it, compare. Run it as `examples/push-pull [HOST]`.

HOST is any that ssh reaches without a password and that has casync-py or casync. Without HOST, a stand-in for ssh runs
the commands for the "other machine" here, in a directory of its own. Each command is printed before it runs.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from casync_py.testing.compare import tree_differences

BLOCK = 1 << 20
BLOCKS = 32
# What ssh does as far as it matters here: options and the host are dropped, the words are joined, a shell runs them.
STAND_IN = """\
#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
shift
cd "$OTHER_MACHINE" && exec sh -c "$*"
"""


class Steps:
    """Runs and prints commands in one directory, with an environment that leads to the other machine."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        programs = Path(sys.executable).parent  # where a stand-in finds casync-py
        path = f"{programs}:{os.environ.get('PATH', os.defpath)}"
        self.environment = {**os.environ, "PATH": path, **environment}
        self.options = [] if os.geteuid() == 0 else ["--without=privileged"]

    def run(self, verb: str, *arguments: str) -> dict[str, Any]:
        """Print and run `casync-py VERB --json ...`; the object that it prints."""
        shown = ["casync-py", verb, "--json", *self.options, *arguments]
        print(f"\n$ {shlex.join(shown)}", flush=True)
        command = [sys.executable, "-P", "-m", "casync_py", *shown[1:]]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise SystemExit(f"casync-py {verb} ended with status {done.returncode}")
        found: dict[str, Any] = json.loads(done.stdout)
        return found


def write_tree(tree: Path) -> None:
    """Something to push: the sources of the package, and a file that does not compress."""
    import casync_py

    shutil.copytree(Path(casync_py.__file__).parent, tree / "sources", symlinks=True)
    (tree / "image").write_bytes(random.Random(1).randbytes(BLOCKS * BLOCK))  # noqa: S311 - the same each time


def change(tree: Path) -> None:
    """A few bytes in the middle of the large file, and a new small one."""
    with (tree / "image").open("r+b") as image:
        image.seek(BLOCKS * BLOCK // 2)
        image.write(b"changed")
    (tree / "sources" / "new").write_text("A file that was not there before\n")


def push_and_pull(folder: Path, host: str, there: str, environment: dict[str, str]) -> None:
    tree = folder / "tree"
    write_tree(tree)
    steps = Steps(folder, environment)
    index = f"{host}:{there}/tree.caidx"

    first = steps.run("make", index, "tree")
    print(f"{first['size']:,} bytes in {first['chunks_new']} chunks; {first['bytes_sent']:,} bytes crossed the wire")
    change(tree)
    second = steps.run("make", index, "tree")
    new, reused = second["chunks_new"], second["chunks_reused"]
    print(f"Changed a little: {reused} of {new + reused} chunks were there; {second['bytes_sent']:,} bytes crossed")

    pulled = steps.run("extract", index, "copy")
    print(f"{pulled['chunks']} chunks came back, in {pulled['bytes_received']:,} bytes")
    differences = tree_differences(tree, folder / "copy")
    if differences:
        raise SystemExit("\n".join(["The tree that was pulled differs from its source:", *differences]))
    if second["bytes_sent"] * 10 > first["bytes_sent"]:
        raise SystemExit("The second push sent too much")
    print("\nWhat was pulled is equal to what was pushed")


def on_another_machine(folder: Path, host: str) -> None:
    """Use a temporary directory of HOST, and remove it at the end."""
    there = subprocess.run(["ssh", host, "mktemp -d"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    try:
        push_and_pull(folder, host, there, {})
    finally:
        subprocess.run(["ssh", host, f"rm -rf {shlex.quote(there)}"], check=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="casync-py-push-pull-") as name:
        folder = Path(name)
        if len(sys.argv) > 1:
            on_another_machine(folder, sys.argv[1])
            return
        other = folder / "other machine"
        other.mkdir()
        stand_in = folder / "ssh"
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
        environment = {"CASYNC_SSH_PATH": str(stand_in), "OTHER_MACHINE": str(other)}
        push_and_pull(folder, "elsewhere", ".", environment)


if __name__ == "__main__":
    main()
