"""One run of the command: command line, settings, the verb, and what becomes of errors and signals."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from casync_py.cli.command_line import read_command_line
from casync_py.cli.console import Console
from casync_py.cli.errors import AlreadyTold, describe
from casync_py.cli.signals import Interrupted, interruptible
from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from casync_py.cli.command_line import Request
    from casync_py.cli.session import Session

# Threads that fetch chunks need the GIL for a moment three times a chunk, from a main thread that seldom gives it up by
# itself: measured on two cores, extracting a tree takes 10 % less time than with Python's 5 ms. make loses by it.
_READING_SWITCH_S = 1e-5

# Python looks for cycles of garbage after each 700 objects that it keeps; 1.5 % of a tree's extraction. There are few.
_GARBAGE_THRESHOLD = 50_000

_COMPLETION_VARIABLE = "_CASYNC_PY_COMPLETE"  # click's name for it, set by the completion scripts
_COMPLETION_OPTIONS = ("--install-completion", "--show-completion")


def run(argv: Sequence[str]) -> int:
    """Run one command line; returns the exit status, 0 or 1."""
    _reserve_standard_descriptors()
    if _COMPLETION_VARIABLE in os.environ or (argv and argv[0] in _COMPLETION_OPTIONS):
        from casync_py.cli import app

        return app.complete(argv)
    console = Console(os.environ)
    with interruptible() as interruption:
        try:
            request = read_command_line(argv, console)
            if request is not None:
                _run_verb(request, console)
        except (BrokenPipeError, AlreadyTold):
            pass  # whoever reads our output has what he wanted, or knows why not
        except Interrupted:
            console.error("Interrupted")
        except UsageError as error:
            console.error(describe(error))
        except Exception as error:  # noqa: BLE001 - the last resort: one line, and a traceback with -v
            if console.verbose:
                console.traceback(error)
            # The exception of a signal may come between any two steps, and make whatever cleans up stumble.
            console.error("Interrupted" if interruption.happened else describe(error))
        else:
            return 0
    return 1


def _run_verb(request: Request, console: Console) -> None:
    from casync_py.cli.notify import notify_ready
    from casync_py.cli.verb_table import load_verb

    verb = load_verb(request.verb)
    session = _session(request, console)
    _raise_descriptor_limit()
    gc.set_threshold(_GARBAGE_THRESHOLD)
    if request.verb != "make":
        sys.setswitchinterval(_READING_SWITCH_S)
    if not verb.announces_itself:
        notify_ready(os.environ)
    with ExitStack() as cleanup:
        cleanup.enter_context(_environment_of_children(console, "log_level" in session.options))
        streams = verb.streams and session.output.on_terminal
        if console.shows_progress and not streams and not verb.announces_itself:
            from casync_py.cli.progress import progress

            cleanup.enter_context(progress(console, session.monitor))
        verb.run(session)
    session.output.flush()


@contextmanager
def _environment_of_children(console: Console, level_given: bool) -> Iterator[None]:
    """What is started for a connection learns of -v and -l from the environment, as with casync."""
    told = {"CASYNC_VERBOSE": "1" if console.verbose else None}
    if level_given:
        told["CASYNC_LOG_LEVEL"] = str(console.level)
    before = {name: os.environ.get(name) for name in told}
    _set_environment(told)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _session(request: Request, console: Console) -> Session:
    from casync_py.cli.output import Output
    from casync_py.cli.session import Session
    from casync_py.cli.settings import settings_of
    from casync_py.monitor import Monitor

    values = request.values()
    monitor = Monitor(
        on_entry=console.entry if console.verbose else None,
        on_notice=console.notice,
        on_detail=console.info if console.verbose else None,
    )
    return Session(
        request.verb,
        request.padded_arguments(),
        settings_of(values, os.environ),
        monitor,
        console,
        Output(),
        "json" in values,
        values,
    )


def _reserve_standard_descriptors() -> None:
    """Occupy standard descriptors that are closed, or the next file that is opened would take messages for content.

    They are opened the wrong way round, so that using them is an error.
    """
    for fd, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, mode)


def _raise_descriptor_limit() -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
