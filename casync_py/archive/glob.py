r"""fnmatch(3) with FNM_PERIOD in the C locale, as casync matches names, as regular expressions over bytes.

`*`, `?` and `[...]` do not match a leading dot, a backslash takes the next byte as it is, brackets know ranges, `!`,
`^`, classes (`[:alpha:]`), and `[.x.]` and `[=x=]` for single bytes. Python's own fnmatch knows neither a backslash nor
classes, and its stars take leading dots.
"""

from __future__ import annotations

import re
import string

_CLASSES: dict[bytes, frozenset[int]] = {
    b"alnum": frozenset((string.ascii_letters + string.digits).encode()),
    b"alpha": frozenset(string.ascii_letters.encode()),
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset((*range(32), 127)),
    b"digit": frozenset(string.digits.encode()),
    b"graph": frozenset(range(33, 127)),
    b"lower": frozenset(string.ascii_lowercase.encode()),
    b"print": frozenset(range(32, 127)),
    b"punct": frozenset(string.punctuation.encode()),
    b"space": frozenset(string.whitespace.encode()),
    b"upper": frozenset(string.ascii_uppercase.encode()),
    b"xdigit": frozenset(string.hexdigits.encode()),
}
_NOTHING = b"(?!)"
_STAR, _QUESTION, _OPEN, _CLOSE, _BACKSLASH, _MINUS = b"*?[]\\-"


def compile_glob(pattern: bytes) -> re.Pattern[bytes]:
    """A regular expression whose `fullmatch` does what fnmatch(3) does with `pattern`."""
    segments: list[list[bytes]] = [[]]  # between stars
    at = 0
    while at < len(pattern):
        byte = pattern[at]
        at += 1
        if byte == _STAR:
            segments.append([])
        elif byte == _QUESTION:
            segments[-1].append(b".")
        elif byte == _OPEN:
            matched, at = _bracket(pattern, at)
            segments[-1].append(matched)
        else:
            if byte == _BACKSLASH:
                if at == len(pattern):
                    return re.compile(_NOTHING)
                byte = pattern[at]
                at += 1
            segments[-1].append(re.escape(bytes((byte,))))
    first, *rest = (b"".join(segment) for segment in segments)
    expression = first
    if rest:
        # What lies between two stars may be taken where it first occurs; atomic groups keep that linear.
        expression += b"".join(b"(?>.*?%s)" % segment for segment in rest[:-1] if segment) + b".*" + rest[-1]
    no_leading_dot = rb"(?!\.)" if pattern[:1] in (b"*", b"?", b"[") else b""
    return re.compile(no_leading_dot + expression, re.DOTALL)


def _bracket(pattern: bytes, start: int) -> tuple[bytes, int]:
    """Translate the bracket expression after the `[` before `start`; returns where the pattern goes on."""
    at = start
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    first = at
    members: set[int] = set()
    while True:
        if at >= len(pattern):
            return rb"\[", start  # not closed: a plain bracket
        if pattern[at] == _CLOSE and at > first:
            break
        if pattern[at : at + 2] == b"[:" and (end := pattern.find(b":]", at + 2)) >= 0:
            name = pattern[at + 2 : end]
            if name not in _CLASSES:
                return _NOTHING, len(pattern)
            members |= _CLASSES[name]
            at = end + 2
            continue
        low, at = _member(pattern, at)
        high = low
        if pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] not in (b"", b"]"):
            high, at = _member(pattern, at + 1)
        if low < 0 or high < 0:
            return _NOTHING, len(pattern)
        members.update(range(low, high + 1))
    if negated:
        members = set(range(256)) - members
    if not members:
        return _NOTHING, at + 1
    return b"[" + b"".join(rb"\x%02x" % member for member in sorted(members)) + b"]", at + 1


def _member(pattern: bytes, at: int) -> tuple[int, int]:
    """One byte of a bracket expression, -1 for one that is none, and where the next begins."""
    if pattern[at : at + 2] in (b"[.", b"[="):
        closing = pattern[at + 1 : at + 2] + b"]"
        end = pattern.find(closing, at + 2)
        if end >= 0:
            return (pattern[at + 2] if end == at + 3 else -1), end + 2
    if pattern[at] == _BACKSLASH:
        at += 1
        if at >= len(pattern):
            return -1, at
    return pattern[at], at + 1
