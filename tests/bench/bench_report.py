"""The benchmark's results for people, as a Markdown table with notes, and for programs, as JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from bench_group import CASYNC, INTERPRETER, PLAIN
from bench_measure import own_peak

if TYPE_CHECKING:
    from bench_group import Actor, Group
    from bench_inputs import Tree
    from bench_measure import Samples

MIB = 1 << 20


@dataclass(slots=True)
class Results:
    """What one run of the benchmark found.

    Attributes:
        rows: (group, variant, the baseline's samples, the variant's samples).
        blob: what the blobs are made of; "" if none was needed.
        blob_sizes: bytes of the blobs that were needed, by input.
    """

    rounds: int
    rows: list[tuple[Group, Actor, Samples, Samples]] = field(default_factory=list)
    blob: str = ""
    blob_sizes: dict[str, int] = field(default_factory=dict)
    tree: Tree | None = None


def _seconds(samples: Samples) -> str:
    low, high = samples.spread
    digits = 3 if samples.seconds < 1 else 2
    return f"{samples.seconds:.{digits}f} s ({low:.{digits}f}-{high:.{digits}f})"


def print_table(results: Results) -> None:
    """One line a row, with the ratio that it should reach."""
    print("| work | casync | casync-py | ratio | target | peak memory casync / casync-py |")
    print("|---|---|---|---|---|---|")
    for group, actor, theirs, ours in results.rows:
        target = group.targets[actor]
        title = group.title + (f", {actor.title}" if actor.title else "")
        ratio = f"{theirs.seconds / ours.seconds:.2f}"
        wanted = f"{target:.1f}" if target else ""
        before = "" if group.baseline is CASYNC else f"{group.baseline.title}: "
        memory = f"{theirs.peak / MIB:.0f} / {ours.peak / MIB:.0f} MiB"
        print(f"| {title} | {before}{_seconds(theirs)} | {_seconds(ours)} | {ratio} | {wanted} | {memory} |")


def print_notes(results: Results, programs: dict[Actor, list[str]]) -> None:
    """What the table was measured with, and the figures that are no ratio: start-up, time per file."""
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}"
    versions = [f"Python {platform.python_version()}", *(_version(programs[actor]) for actor in (CASYNC, PLAIN))]
    print(f"\nMedian of {results.rounds} (shortest-longest); {machine}, {', '.join(versions)}.")
    if results.blob:
        sizes = ", ".join(f"{name} {size // MIB} MiB" for name, size in results.blob_sizes.items())
        print(f"Blobs ({sizes}): {results.blob}.")
    tree = results.tree
    if tree:
        print(f"Tree: {tree.files} files, {tree.others} other nodes, {tree.size / MIB:.0f} MiB.")
    start = {actor: (theirs, ours) for group, actor, theirs, ours in results.rows if group.name == "start-up"}
    if PLAIN in start and INTERPRETER in start:
        beyond = start[PLAIN][1].seconds - start[INTERPRETER][1].seconds
        print(f"Start-up beyond the bare interpreter's: {beyond:.3f} s (target 0.15 s).")
    for group, actor, *both in results.rows:
        if tree and group.input == "tree" and PLAIN in start:
            seconds = [samples.seconds - version.seconds for samples, version in zip(both, start[PLAIN], strict=True)]
            each = [f"{max(0.0, value) / tree.files * 1e6:.1f} µs" for value in seconds]
            name = group.name + (actor.suffix or "")
            print(f"A file without start-up, {name}: casync {each[0]}, casync-py {each[1]}.")
    _print_remote(results)
    print(f"A peak below {own_peak() / MIB:.0f} MiB, the measuring process's own, cannot be told.")


def _print_remote(results: Results) -> None:
    """What the rows with a remote end show beyond their ratio: its memory, speeds, and what the delay adds."""
    found = {}
    for group, _actor, *both in results.rows:
        if any(samples.far_peak for samples in both):
            peaks = " / ".join(f"{samples.far_peak / MIB:.0f}" for samples in both)
            print(f"Peak memory of the remote end, {group.name}: {peaks} MiB.")
        found[group.name] = [samples.seconds for samples in both]
    for name, target in (("remote-pull", 200), ("http-extract", 300), ("http-extract-nginx", None)):
        if name in found:
            size = results.blob_sizes[name.partition("-")[0]]
            speeds = [f"{size / seconds / 1e6:.0f} MB/s" for seconds in found[name]]
            wanted = f" (target {target} MB/s)" if target else ""
            print(f"Plain data, {name}: casync {speeds[0]}, casync-py {speeds[1]}{wanted}.")
    if "remote-pull" in found and "remote-pull-delay" in found:
        pairs = zip(found["remote-pull"], found["remote-pull-delay"], strict=True)
        added = [f"{late - early:.2f} s" for early, late in pairs]
        print(f"What the delay adds to a pull: casync {added[0]}, casync-py {added[1]} (target 0.6 s).")


def _version(command: list[str]) -> str:
    found = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    return " ".join(found.stdout.split())


def print_json(results: Results) -> None:
    """One object with every run."""
    rows = [
        {
            "row": group.name + (actor.suffix or ""),
            "target": group.targets[actor],
            "baseline": group.baseline.title,
            "ratio": theirs.seconds / ours.seconds,
            "baseline_runs": _runs(theirs),
            "runs": _runs(ours),
        }
        for group, actor, theirs, ours in results.rows
    ]
    tree = results.tree
    inputs = {
        "blob": results.blob,
        "blob_sizes": results.blob_sizes,
        "tree": {"files": tree.files, "others": tree.others, "size": tree.size} if tree else None,
    }
    print(json.dumps({"version": 1, "cores": os.cpu_count(), "inputs": inputs, "rows": rows}))


def _runs(samples: Samples) -> list[dict[str, float]]:
    runs = [asdict(run) for run in samples.runs]
    return [{name: value for name, value in run.items() if name != "stdout"} for run in runs]
