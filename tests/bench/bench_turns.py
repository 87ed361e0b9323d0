"""Run the groups: each actor in turn, from the state that the group asks for."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bench_far import environment, take_peak
from bench_group import INTERPRETER, PLAIN, Actor, Group
from bench_http import serving
from bench_measure import Sample, run
from bench_rows import GROUPS

if TYPE_CHECKING:
    from pathlib import Path


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
        if actor is INTERPRETER:
            return run(self.programs[actor], self.scratch)
        words, server = group.command_of(actor)
        with ExitStack() as stack:
            far = None
            if server:
                far = stack.enter_context(serving(server, folder, self.programs[PLAIN], group.delay_ms or 0))
            url = far.url if far else ""
            arguments = [part.format(folder=folder, inputs=self.scratch, url=url) for part in words]
            options = actor.make_options if arguments[0] == "make" else ()
            command = [*self.programs[actor], *arguments[:1], *options, *arguments[1:]]
            if far or group.delay_ms is None:
                sample = run(command, self.scratch)
                return replace(sample, far_peak=far.peak()) if far else sample
        return self._over_ssh(command, group.delay_ms)

    def _over_ssh(self, command: list[str], delay_ms: int) -> Sample:
        folder = self.scratch / "far"
        sample = run(command, self.scratch, environment(folder, self.programs[PLAIN], delay_ms))
        return replace(sample, far_peak=take_peak(folder))

    def provide(self, group: Group, actor: Actor) -> None:
        """Make what the group needs, if no earlier group has left it behind."""
        if group.needs is None:
            return
        name, file = group.needs
        if not (self.scratch / actor.folder / file).exists():
            maker = PLAIN if actor.folder == PLAIN.folder else actor
            self.run_once(next(other for other in GROUPS if other.name == name), maker)

    def measure(self, group: Group, actors: list[Actor], rounds: int) -> dict[Actor, list[Sample]]:
        """Run the baseline and the actors in turns; each result is checked in the first round."""
        everyone = [group.baseline, *actors]
        for actor in everyone:
            self.provide(group, actor)
        samples: dict[Actor, list[Sample]] = {actor: [] for actor in everyone}
        reference: Sample | None = None
        for number in range(rounds):
            for actor in everyone:
                sample = self.run_once(group, actor)
                if number == 0:
                    reference = reference or sample  # the baseline's, which runs first
                    folders = self.scratch / actor.folder, self.scratch / group.baseline.folder
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
