"""What is measured: groups of commands that do the same work, casync's first, and how each result is checked."""

from __future__ import annotations

import filecmp
import shutil
import struct
from array import array
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench_far import DELAY_MS, environment, take_peak
from bench_measure import RunError, Sample, run

from casync_py.testing.castr import index_faults
from casync_py.testing.compare import tree_differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_TABLE = 64  # offset of the first row of an index
_TAIL = 40
_ROW = struct.Struct("<Q32s")


@dataclass(frozen=True, slots=True)
class Actor:
    """A program with the options it makes with; actors with one `folder` share stores and indexes.

    Attributes:
        suffix: what the row's name gets after the group's; None for casync, the baseline.
    """

    suffix: str | None
    title: str
    folder: str
    make_options: tuple[str, ...] = ()


CASYNC = Actor(None, "casync", "casync")
PLAIN = Actor("", "", "plain")
NO_DIGEST = Actor("-no-digest", "`--archive-digest=no`", "plain", ("--archive-digest=no",))
BLAKE3 = Actor("-blake3", "`--digest=blake3`", "blake3", ("--digest=blake3",))
BLAKE3_NO_DIGEST = Actor(
    "-blake3-no-digest", "`--digest=blake3 --archive-digest=no`", "blake3", ("--digest=blake3", "--archive-digest=no")
)
INTERPRETER = Actor("-interpreter", "bare interpreter", "plain")


@dataclass(frozen=True, slots=True)
class Group:
    """One piece of work that casync and variants of casync-py do in turns.

    Attributes:
        arguments: the command line; `{folder}` is the actor's own directory, `{inputs}` the directory of inputs.
        reset: what is removed from the actor's directory before each run.
        needs: the group whose command has to have run in the actor's directory, and the file that tells.
        targets: the variants, each with the ratio to reach; None where none is set.
        check: (inputs, folder, casync's folder, this sample, casync's sample); raises RunError.
        delay_ms: of the way to the remote end, which is this machine; None: the command uses none.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    check: Callable[[Path, Path, Path, Sample, Sample], None]
    targets: dict[Actor, float | None]
    reset: tuple[str, ...] = ()
    needs: tuple[str, str] | None = None
    delay_ms: int | None = None

    @property
    def input(self) -> str:
        """ "blob", "tree", "remote" (a smaller blob), or "" for none."""
        return self.name.partition("-")[0] if self.name != "start-up" else ""


def _ends(path: Path) -> array[int]:
    """End offsets of an index's chunks."""
    return array("Q", (end for end, _id in _ROW.iter_unpack(path.read_bytes()[_TABLE:-_TAIL])))


def _same_index(name: str) -> Callable[[Path, Path, Path, Sample, Sample], None]:
    def check(_inputs: Path, folder: Path, reference: Path, sample: Sample, expected: Sample) -> None:
        made, wanted = folder / name, reference / name
        if folder.name == BLAKE3.folder:  # other ids; and in a tree other feature flags, so that cuts may differ
            ours, theirs = _ends(made), _ends(wanted)
            same = ours == theirs if name == "blob.caibx" else ours[-1] == theirs[-1]
        else:
            same = filecmp.cmp(made, wanted, shallow=False) and sample.stdout in (expected.stdout, b"")
        if not same:
            raise RunError(f"{made} is not what casync makes")

    return check


def _same_blob(inputs: Path, folder: Path, _reference: Path, _sample: Sample, _expected: Sample) -> None:
    if not filecmp.cmp(inputs / "blob", folder / "blob.out", shallow=False):
        raise RunError(f"{folder / 'blob.out'} is not the blob")


def _pushed(inputs: Path, folder: Path, reference: Path, sample: Sample, expected: Sample) -> None:
    _same_index("blob.caibx")(inputs, folder, reference, sample, expected)
    faults = index_faults(folder / "blob.caibx", folder / "blob.castr")
    if faults:
        raise RunError(faults[0])


def _same_tree(inputs: Path, folder: Path, _reference: Path, _sample: Sample, _expected: Sample) -> None:
    differences = tree_differences(inputs / "tree", folder / "tree.out")
    if differences:
        raise RunError(f"{folder / 'tree.out'} is not the tree: {differences[0]}")


def _same_output(_inputs: Path, _folder: Path, _reference: Path, sample: Sample, expected: Sample) -> None:
    if sample.stdout != expected.stdout:
        raise RunError("The listings differ")


def _anything(_inputs: Path, _folder: Path, _reference: Path, _sample: Sample, _expected: Sample) -> None:
    pass


def _make(index: str, source: str) -> tuple[str, ...]:
    store = f"--store={{folder}}/{source}.castr"
    return ("make", store, f"{{folder}}/{index}", f"{{inputs}}/{source}")


_BLOB_STORE = "--store={folder}/blob.castr"
_TREE_STORE = "--store={folder}/tree.castr"
_BLOB_MADE = ("blob-make-empty", "blob.caibx")
_FAR_STORE = "--store=far:{folder}/blob.castr"
_PULL = ("extract", _FAR_STORE, "far:{folder}/blob.caibx", "{folder}/blob.out")
_PUSH = ("make", _FAR_STORE, "far:{folder}/blob.caibx", "{inputs}/blob")
_PUSHED = ("remote-push", "blob.caibx")
_TREE_MADE = ("tree-make-empty", "tree.caidx")

GROUPS = [
    Group(
        "blob-make-empty",
        "Blob, make, empty store",
        _make("blob.caibx", "blob"),
        _same_index("blob.caibx"),
        {PLAIN: 2.0, BLAKE3: None},
        reset=("blob.castr", "blob.caibx"),
    ),
    Group(
        "blob-make-known",
        "Blob, make, all chunks known",
        _make("blob.caibx", "blob"),
        _same_index("blob.caibx"),
        {PLAIN: 2.0, NO_DIGEST: 3.0, BLAKE3: 4.0, BLAKE3_NO_DIGEST: None},
        needs=_BLOB_MADE,
    ),
    Group(
        "blob-extract",
        "Blob, extract",
        ("extract", _BLOB_STORE, "{folder}/blob.caibx", "{folder}/blob.out"),
        _same_blob,
        {PLAIN: 1.3, BLAKE3: 1.8},
        reset=("blob.out",),
        needs=_BLOB_MADE,
    ),
    Group(
        "tree-make-empty",
        "Tree, make, empty store",
        _make("tree.caidx", "tree"),
        _same_index("tree.caidx"),
        {PLAIN: 1.5, BLAKE3: None},
        reset=("tree.castr", "tree.caidx"),
    ),
    Group(
        "tree-make-known",
        "Tree, make, all chunks known",
        _make("tree.caidx", "tree"),
        _same_index("tree.caidx"),
        {PLAIN: 1.7, NO_DIGEST: None, BLAKE3: None},
        needs=_TREE_MADE,
    ),
    Group(
        "tree-extract",
        "Tree, extract",
        ("extract", _TREE_STORE, "{folder}/tree.caidx", "{folder}/tree.out"),
        _same_tree,
        {PLAIN: 1.3, BLAKE3: None},
        reset=("tree.out",),
        needs=_TREE_MADE,
    ),
    Group(
        "tree-make-archive",
        "Tree, make .catar",
        ("make", "{folder}/tree.catar", "{inputs}/tree"),
        _same_index("tree.catar"),
        {PLAIN: None},
        reset=("tree.catar",),
    ),
    Group(
        "tree-list-archive",
        "Tree, list .catar",
        ("list", "{folder}/tree.catar"),
        _same_output,
        {PLAIN: None},
        needs=("tree-make-archive", "tree.catar"),
    ),
    Group(
        "tree-list-index",
        "Tree, list .caidx",
        ("list", _TREE_STORE, "{folder}/tree.caidx"),
        _same_output,
        {PLAIN: None},
        needs=_TREE_MADE,
    ),
    Group(
        "remote-push",
        "Blob, push into an empty store",
        _PUSH,
        _pushed,
        {PLAIN: 1.5},
        reset=("blob.castr", "blob.caibx"),
        delay_ms=0,
    ),
    Group(
        "remote-push-known", "Blob, push, all chunks known", _PUSH, _pushed, {PLAIN: None}, needs=_PUSHED, delay_ms=0
    ),
    Group("remote-pull", "Blob, pull", _PULL, _same_blob, {PLAIN: 1.2}, reset=("blob.out",), needs=_PUSHED, delay_ms=0),
    Group(
        "remote-pull-delay",
        f"Blob, pull, {DELAY_MS} ms each way",
        _PULL,
        _same_blob,
        {PLAIN: None},
        reset=("blob.out",),
        needs=_PUSHED,
        delay_ms=DELAY_MS,
    ),
    Group("start-up", "Start-up, `--version`", ("--version",), _anything, {PLAIN: None, INTERPRETER: None}),
]


@dataclass(slots=True)
class Bench:
    """Runs groups in a directory.

    Attributes:
        programs: the command that an actor's arguments follow, by actor.
    """

    scratch: Path
    programs: dict[Actor, list[str]] = field(default_factory=dict)

    def run_once(self, group: Group, actor: Actor) -> Sample:
        """Run one actor's command, from the state that the group asks for."""
        folder = self.scratch / actor.folder
        folder.mkdir(exist_ok=True)
        for name in group.reset:
            remove(folder / name)
        arguments = [part.format(folder=folder, inputs=self.scratch) for part in group.arguments]
        options = actor.make_options if arguments[0] == "make" else ()
        if actor is INTERPRETER:
            return run(self.programs[actor], self.scratch)
        command = [*self.programs[actor], *arguments[:1], *options, *arguments[1:]]
        if group.delay_ms is None:
            return run(command, self.scratch)
        far = self.scratch / "far"
        sample = run(command, self.scratch, environment(far, self.programs[PLAIN], group.delay_ms))
        return replace(sample, far_peak=take_peak(far))

    def provide(self, group: Group, actor: Actor) -> None:
        """Make what the group needs, if no earlier group has left it behind."""
        if group.needs is None:
            return
        name, file = group.needs
        if not (self.scratch / actor.folder / file).exists():
            self.run_once(next(other for other in GROUPS if other.name == name), actor)

    def measure(self, group: Group, actors: list[Actor], rounds: int) -> dict[Actor, list[Sample]]:
        """Run casync and the actors in turns; each result is checked in the first round."""
        everyone = [CASYNC, *actors]
        for actor in everyone:
            self.provide(group, actor)
        samples: dict[Actor, list[Sample]] = {actor: [] for actor in everyone}
        reference: Sample | None = None
        for number in range(rounds):
            for actor in everyone:
                sample = self.run_once(group, actor)
                if number == 0:
                    reference = reference or sample  # casync's, which runs first
                    folders = self.scratch / actor.folder, self.scratch / CASYNC.folder
                    group.check(self.scratch, *folders, sample, reference)
                samples[actor].append(replace(sample, stdout=b""))  # this process has to stay small
        for actor in everyone:
            for name in group.reset:
                if name.endswith(".out"):
                    remove(self.scratch / actor.folder / name)
        return samples


def remove(path: Path) -> None:
    """Remove a file or directory, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
