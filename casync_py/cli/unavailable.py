"""casync's verbs and options that this version does not have: refused by name where casync would do something.

What becomes available loses its row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from casync_py.cli.values import is_off
from casync_py.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from casync_py.cli.casync_argv import Given

LATER_VERBS = ("mount", "mkdev", "udev", "gc")

LATER_OPTIONS = (
    "seed",
    "cache",
    "cache-auto",
    "rate-limit-bps",
    "reflink",
    "hardlink",
    "seed-output",
    "mkdir",
    "uid-shift",
    "uid-range",
)


def refuse_later_verb(verb: str) -> None:
    """Refuse a verb that casync has and this version has not. Raises UsageError."""
    if verb in LATER_VERBS:
        raise UsageError(f"{verb} comes with a later version of casync-py")


def refuse_later_options(verb: str, options: Iterable[Given]) -> None:
    """Refuse options that mean something to the verb and are not there yet, unless they are set to no.

    Raises:
        UsageError: names the first of them.
    """
    for option, value in options:
        if option.name in LATER_OPTIONS and verb in option.verbs and not is_off(option, value):
            raise UsageError(f"--{option.name} is not available yet")
