"""The benchmark's remote end: runs what would be run by ssh on this machine, measured, if wanted behind a delay.

As a program (`bench_far.py HOST WORDS...`) it stands in for ssh and adds a line of JSON to $BENCH_FAR_USAGE: the peak
memory of the remote command in bytes.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

DELAY_MS = 50
_HERE = Path(__file__).parent
_USAGE = "BENCH_FAR_USAGE"


def environment(folder: Path, ours: list[str], delay_ms: int) -> dict[str, str]:
    """Write the programs that a remote end needs to `folder`; the environment that makes clients use them.

    Args:
        ours: the command that is to be found as casync-py there.
        delay_ms: how much later each byte arrives, either way; 0 for no relay in between.
    """
    folder.mkdir(exist_ok=True)
    interpreter = [sys.executable, "-S", "-E"]
    relay = [*interpreter, str(_HERE / "relay.py"), f"--delay-ms={delay_ms}"] if delay_ms else []
    _script(folder / "casync-py", ours)
    _script(folder / "ssh", [*relay, *interpreter, str(_HERE / "bench_far.py")])
    return {
        "CASYNC_SSH_PATH": str(folder / "ssh"),
        "PATH": f"{folder}:{os.environ['PATH']}",
        _USAGE: str(_usage_file(folder)),
    }


def take_peak(folder: Path) -> int:
    """The largest peak of the remote commands since the last call, bytes.

    Raises:
        FileNotFoundError: there was none.
    """
    usage = _usage_file(folder)
    peaks = [json.loads(line)["peak"] for line in usage.read_text().splitlines()]
    usage.unlink()
    return int(max(peaks))


def _usage_file(folder: Path) -> Path:
    return folder / "usage.json"


def _script(path: Path, command: list[str]) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
    path.chmod(0o755)


def main() -> int:
    words = sys.argv[1:]
    while words[0].startswith("-"):  # options without values, and "--"
        del words[0]
    process = subprocess.Popen(["/bin/sh", "-c", "exec " + " ".join(words[1:])])
    _pid, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    with open(os.environ[_USAGE], "a", encoding="utf-8") as file:
        print(json.dumps({"peak": usage.ru_maxrss * 1024}), file=file)  # Linux counts KiB
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(main())
