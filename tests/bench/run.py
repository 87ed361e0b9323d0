"""Measure casync-py against casync (or nginx, or itself): `tests/bench/run.py [--quick] [--json] [--only ROW ...]`.

Both read the same input on a fresh tmpfs and keep stores, outputs and temporary files there; they alternate; the table
gives the median of the rounds with the shortest and the longest run, and every row's result is checked once.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from pathlib import Path
from typing import NoReturn

from bench_group import (
    BLAKE3,
    BLAKE3_NO_DIGEST,
    CASYNC,
    CLIENTS,
    INTERPRETER,
    LOCAL,
    NGINX_CLIENTS,
    NO_DIGEST,
    PLAIN,
    Actor,
    Group,
)
from bench_inputs import InputError, make_blob, make_tree
from bench_measure import RunError, Samples, fresh_tmpfs
from bench_report import MIB, Results, print_json, print_notes, print_table
from bench_rows import GROUPS
from bench_turns import Bench, remove

BLOB_MIB = {"blob": 1024, "remote": 500, "http": 500, "far": 50}
QUICK_BLOB_MIB = {"blob": 64, "remote": 64, "http": 64, "far": 4}


def programs() -> dict[Actor, list[str]]:
    """The command of each actor: Debian's casync, and the casync-py of this interpreter."""
    casync = shutil.which("casync")
    if casync is None:
        raise InputError("casync is not installed (Debian's package casync)")
    script = Path(sys.executable).with_name("casync-py")
    ours = [str(script)] if script.exists() else [sys.executable, "-P", "-m", "casync_py"]
    many = [sys.executable, str(Path(__file__).with_name("bench_clients.py"))]
    return {
        CASYNC: [casync],
        INTERPRETER: [sys.executable, "-c", ""],
        **dict.fromkeys((PLAIN, NO_DIGEST, BLAKE3, BLAKE3_NO_DIGEST, LOCAL), ours),
        **dict.fromkeys((CLIENTS, NGINX_CLIENTS), many),
    }


def parse_arguments() -> argparse.Namespace:
    names = [group.name + (actor.suffix or "") for group in GROUPS for actor in group.targets]
    parser = argparse.ArgumentParser(description="Measure casync against casync-py", epilog=f"Rows: {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="64 MiB, 2,000 files and one round: a try, not a result")
    parser.add_argument("--json", action="store_true", help="print one JSON object with every run instead of a table")
    parser.add_argument("--only", action="append", metavar="ROW", choices=names, help="measure this row (repeatable)")
    parser.add_argument("--rounds", type=int, help="runs of each program in each row (5)")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 5)
    return options


def selected(only: list[str] | None) -> list[tuple[Group, list[Actor]]]:
    """The groups to measure, each with its chosen variants."""
    chosen = []
    for group in GROUPS:
        actors = [actor for actor in group.targets if only is None or group.name + (actor.suffix or "") in only]
        if actors:
            chosen.append((group, actors))
    return chosen


def measure(options: argparse.Namespace, scratch: Path, programs: dict[Actor, list[str]]) -> Results:
    """Make the inputs and measure every chosen row; what groups of another input left behind is removed first."""
    bench = Bench(scratch, programs)
    results = Results(options.rounds)
    current = ""
    for group, actors in selected(options.only):
        if group.input not in ("", current):
            for path in list(scratch.iterdir()):
                remove(path)
            current = group.input
            print(f"Making the {current}", file=sys.stderr)
            if current in BLOB_MIB:
                size = (QUICK_BLOB_MIB if options.quick else BLOB_MIB)[current] * MIB
                results.blob_sizes[current] = size
                results.blob = make_blob(scratch / "blob", size)
            else:
                results.tree = make_tree(scratch / "tree", 2_000 if options.quick else 20_000)
        print(f"Measuring {group.name}", file=sys.stderr)
        samples = bench.measure(group, actors, options.rounds)
        results.rows += [(group, actor, Samples(samples[group.baseline]), Samples(samples[actor])) for actor in actors]
    return results


def _stop(_number: int, _frame: object) -> NoReturn:
    raise SystemExit("Stopped")  # so that the tmpfs is unmounted


def main() -> None:
    signal.signal(signal.SIGTERM, _stop)
    options = parse_arguments()
    size = (1 if options.quick else 8) * 1024 * MIB
    try:
        commands = programs()
        with fresh_tmpfs(size) as scratch:
            results = measure(options, scratch, commands)
        if options.json:
            print_json(results)
        else:
            print_table(results)
            print_notes(results, commands)
    except (InputError, RunError) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
