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


_CLASS = re.compile(rb"\[:([a-y]*):\]")  # glibc's loop stops at z, which no class has
_EQUIVALENCE = re.compile(rb"\[=(.)=\]", re.DOTALL)


def _bracket(pattern: bytes, start: int) -> tuple[bytes, int]:
    """Translate the bracket expression after the `[` before `start`; returns where the pattern goes on.

    Of malformed ones the plain cases are answered as glibc answers them: a bracket that is not closed is a byte like
    any other; with half a range, an unknown class or an element that is none, the whole pattern matches nothing.
    """
    at = start
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    first = at
    members: set[int] = set()
    while at < len(pattern):
        if pattern[at] == _CLOSE and at > first:
            members = set(range(256)) - members if negated else members
            chosen = b"".join(rb"\x%02x" % member for member in sorted(members))
            return (b"[" + chosen + b"]" if chosen else _NOTHING), at + 1
        if found := _CLASS.match(pattern, at):
            if found[1] not in _CLASSES:
                return _NOTHING, len(pattern)
            members |= _CLASSES[found[1]]
            at = found.end()
        elif found := _EQUIVALENCE.match(pattern, at):
            members.add(found[1][0])
            at = found.end()
        else:
            low, at = _element(pattern, at)
            high = low
            if pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] != b"]":
                high, at = _element(pattern, at + 1)
            if low < 0 or high < 0:
                return _NOTHING, len(pattern)
            members.update(range(low, high + 1))
    return rb"\[", start


def _element(pattern: bytes, at: int) -> tuple[int, int]:
    """One byte of a bracket expression, -1 for one that is none, and where the next begins."""
    if pattern.startswith(b"[.", at):
        end = pattern.find(b".]", at + 2)
        return (pattern[at + 2] if end == at + 3 else -1), end + 2
    at += pattern.startswith(b"\\", at)
    return (pattern[at] if at < len(pattern) else -1), at + 1
