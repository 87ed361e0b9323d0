"""Words for the shell of another machine, whichever it is: sshd hands the command to the user's login shell.

What is written here means the same to sh, bash, dash, zsh, ksh, csh, tcsh and fish (tests/unit/remotes/ssh runs those
that are installed). Single quotes hold everything but the quote itself, the backslash (fish) and the exclamation mark
(csh), which stand outside with a backslash before them. Nothing makes a line break safe in csh, which would run what
follows it as a command; it is refused.
"""

from __future__ import annotations

import re
import string

from casync_py.errors import UsageError

# `=` is not among them: zsh replaces the word `=ls` by the path of ls.
_PLAIN = frozenset(string.ascii_letters + string.digits + "/._-+:@,")
_OUTSIDE = re.compile(r"(['\\!])")
_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*=)(.*)", re.DOTALL)
_REFUSED = frozenset("\n\r\0")


def quoted(word: str) -> str:
    """One word as text that a remote shell reads as that word.

    Raises:
        UsageError: it has a line break or NUL in it.
    """
    if _REFUSED & set(word):
        raise UsageError(f"{word!r}: A line break cannot be in a name on another machine")
    return "".join(map(_part, _OUTSIDE.split(word))) or "''"


def _part(part: str) -> str:
    if _OUTSIDE.fullmatch(part):
        return "\\" + part
    return part if _PLAIN.issuperset(part) else f"'{part}'"


def quoted_program(words: list[str]) -> list[str]:
    """The words of $CASYNC_REMOTE_PATH: as `quoted`, but `NAME=VALUE` in front and `~/` keep their meaning."""
    found: list[str] = []
    in_front = True
    for word in words:
        assignment = _ASSIGNMENT.fullmatch(word) if in_front else None
        in_front = assignment is not None
        if assignment:
            found.append(assignment[1] + quoted(assignment[2]))
        elif word.startswith("~/") and len(word) > 2:
            found.append("~/" + quoted(word[2:]))
        else:
            found.append(quoted(word))
    return found
