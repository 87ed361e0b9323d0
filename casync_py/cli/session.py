"""What a verb gets to work with, and the description of a verb that help is made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from casync_py.cli.console import Console
    from casync_py.cli.output import Output
    from casync_py.monitor import Monitor
    from casync_py.options import Settings


@dataclass(frozen=True, slots=True)
class Session:
    """One run of one verb.

    Attributes:
        verb: its name.
        arguments: as many as the verb can have, None for those that were not given.
        json: results as JSON.
        options: values by each option's `key`, also of those that are no settings.
    """

    verb: str
    arguments: tuple[str | None, ...]
    settings: Settings
    monitor: Monitor
    console: Console
    output: Output
    json: bool
    options: Mapping[str, Any] = field(default_factory=dict)

    def summarize(self, text: str) -> None:
        """Say what came of it where a person reads along, after the results."""
        if not self.json and (self.console.on_terminal or self.console.verbose):
            self.output.flush()
            self.console.info(text)


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb as help shows it.

    Attributes:
        summary: one line, for the list of verbs.
        text: what it does, in paragraphs; one that begins with a line of `\\b` keeps its lines.
        examples: command lines that run.
        arguments: help of each argument, by name.
        run: does the work; writes results to the session's output.
        streams: results come while work goes on, so that progress would run into them on one terminal.
        announces_itself: a server that tells a service manager when it is ready, which is not at once, and has no
            progress to show.
    """

    summary: str
    text: str
    examples: tuple[str, ...]
    arguments: dict[str, str]
    run: Callable[[Session], None]
    streams: bool = False
    announces_itself: bool = False
