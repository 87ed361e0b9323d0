"""The benchmark's words: actors, the groups of work that they do in turns, and how a group's result is checked."""

from __future__ import annotations

import filecmp
import struct
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench_measure import RunError, Sample

from casync_py.testing.castr import index_faults
from casync_py.testing.compare import tree_differences

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DELAY_MS = 50  # each way, in rows with a delay
_TABLE = 64  # offset of the first row of an index
_TAIL = 40
_ROW = struct.Struct("<Q32s")


@dataclass(frozen=True, slots=True)
class Actor:
    """A program with the options it makes with; actors with one `folder` share stores and indexes.

    Attributes:
        suffix: what the row's name gets after the group's; None for a baseline.
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
LOCAL = Actor(None, "to a local store", "local")
CLIENTS = Actor("", "from casync-py serve", "plain")
NGINX_CLIENTS = Actor(None, "from nginx", "plain")


@dataclass(frozen=True, slots=True)
class Group:
    """One piece of work that a baseline, casync in most groups, and variants of casync-py do in turns.

    Attributes:
        arguments: the command line; `{folder}` is the actor's own directory, `{inputs}` the directory of inputs,
            `{url}` what leads to the former over HTTP.
        reset: what is removed from the actor's directory before each run.
        needs: the group whose command has to have run in the actor's directory, and the file that tells.
        targets: the variants, each with the ratio to reach; None where none is set.
        check: (inputs, folder, the baseline's folder, this sample, the baseline's sample); raises RunError.
        delay_ms: of the way to the remote end, which is this machine; None: the command uses none.
        server: what serves the actor's directory over HTTP meanwhile: a key of bench_http.SERVERS, "" for none.
        baseline: the actor that the others are compared with.
        baseline_arguments, baseline_server: the same as above, where the baseline does something else.
        made_of: the input: "blob", "tree", "remote" and "http" (smaller blobs), "far" (a small one); None: the first
            word of the name.
    """

    name: str
    title: str
    arguments: tuple[str, ...]
    check: Callable[[Path, Path, Path, Sample, Sample], None]
    targets: dict[Actor, float | None]
    reset: tuple[str, ...] = ()
    needs: tuple[str, str] | None = None
    delay_ms: int | None = None
    server: str = ""
    baseline: Actor = CASYNC
    baseline_arguments: tuple[str, ...] | None = None
    baseline_server: str | None = None
    made_of: str | None = None

    @property
    def input(self) -> str:
        """The name of its input, "" for none."""
        return self.name.partition("-")[0] if self.made_of is None else self.made_of

    def command_of(self, actor: Actor) -> tuple[tuple[str, ...], str]:
        """The command line of an actor, and the server that it needs."""
        if actor is not self.baseline:
            return self.arguments, self.server
        arguments = self.arguments if self.baseline_arguments is None else self.baseline_arguments
        return arguments, self.server if self.baseline_server is None else self.baseline_server


def _ends(path: Path) -> array[int]:
    """End offsets of an index's chunks."""
    return array("Q", (end for end, _id in _ROW.iter_unpack(path.read_bytes()[_TABLE:-_TAIL])))


def same_index(name: str) -> Callable[[Path, Path, Path, Sample, Sample], None]:
    """The check of an index that make wrote: the same as the baseline's, byte for byte."""

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


def same_blob(inputs: Path, folder: Path, _reference: Path, _sample: Sample, _expected: Sample) -> None:
    """What was extracted is the blob."""
    if not filecmp.cmp(inputs / "blob", folder / "blob.out", shallow=False):
        raise RunError(f"{folder / 'blob.out'} is not the blob")


def pushed(inputs: Path, folder: Path, reference: Path, sample: Sample, expected: Sample) -> None:
    """The index is the same as the baseline's, and its chunks are in the store."""
    same_index("blob.caibx")(inputs, folder, reference, sample, expected)
    faults = index_faults(folder / "blob.caibx", folder / "blob.castr")
    if faults:
        raise RunError(faults[0])


def same_tree(inputs: Path, folder: Path, _reference: Path, _sample: Sample, _expected: Sample) -> None:
    """What was extracted is the tree."""
    differences = tree_differences(inputs / "tree", folder / "tree.out")
    if differences:
        raise RunError(f"{folder / 'tree.out'} is not the tree: {differences[0]}")


def same_output(_inputs: Path, _folder: Path, _reference: Path, sample: Sample, expected: Sample) -> None:
    """Both printed the same."""
    if sample.stdout != expected.stdout:
        raise RunError("The listings differ")


def anything(_inputs: Path, _folder: Path, _reference: Path, _sample: Sample, _expected: Sample) -> None:
    """The exit status has said all."""
