"""What is quoted arrives as it was, in each shell that is installed."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casync_py.errors import UsageError
from casync_py.remotes.ssh.quoting import quoted, quoted_program

SHELLS = [["sh"], ["bash"], ["dash"], ["zsh"], ["ksh"], ["mksh"], ["busybox", "sh"], ["csh"], ["tcsh"], ["fish"]]
WORDS = [
    *("plain", "/srv/a.b-c_d+e", "", "a b", "it's", "''", "a\\b", "\\", "\\\\", "a\\", "!", "a!b", "!!", "$HOME"),
    *("`id`", "$(id)", "$1", '"', 'a"b', "*", "?", "[a]", "{a,b}", "~", "~root", "~/x", "#", "%1", "^a^b", "a;b"),
    *("a&b", "|", "<x", ">y", "(x)", "\t", "-x", "--peer=1", "=ls", "a=b", "\\n", "@home", "\x01", "\x7f", "\u00e9"),
    "'\\''!'\"",
]


@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_words_survive_the_shell(shell: list[str]) -> None:
    if shutil.which(shell[0]) is None:
        pytest.skip(f"{shell[0]} is not installed")
    line = " ".join(map(quoted, ["printf", "%s|", *WORDS]))
    done = subprocess.run([*shell, "-c", line], capture_output=True)
    assert done.stdout.decode() == "".join(f"{word}|" for word in WORDS), done.stderr


@given(st.lists(st.text(st.characters(exclude_characters="\n\r\0", codec="utf-8"))))
def test_as_sh_reads_them(words: list[str]) -> None:
    assert shlex.split(" ".join(map(quoted, words))) == words


@pytest.mark.parametrize("word", ["a\nb", "\r", "a\0", "x\ntouch y\n"])
def test_a_line_break_is_refused(word: str) -> None:
    """csh ends the quoted word there and runs the next line."""
    with pytest.raises(UsageError, match="line break"):
        quoted(word)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["casync"], "casync"),
        (["~/bin/casync-py"], "~/bin/casync-py"),
        (["~/my bin/casync"], "~/'my bin/casync'"),
        (["~/"], "'~/'"),
        (["A=1 2", "B=", "sudo", "C=1"], "A='1 2' B='' sudo 'C=1'"),
        (["a;b"], "'a;b'"),
    ],
)
def test_the_words_of_a_program(words: list[str], line: str) -> None:
    assert " ".join(quoted_program(words)) == line
