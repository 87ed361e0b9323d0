"""`.caexclude` files: the same names are left out as casync leaves out, and what it refuses is refused."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from casync_py.archive.nodes import Entry
from casync_py.archive.scan import scan
from casync_py.format.flags import WITH_MASK, Feature, normalize

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.peer("casync")

FEATURES = normalize(WITH_MASK | Feature.EXCLUDE_FILE | Feature.EXCLUDE_NODUMP | Feature.SHA512_256)
NAMES = [
    "a", "b", "c", "A", " a", "a ", "!a", "#a", ".h", ".ha", "a\r", "é", "x[y", "a\\b", "ab", "d/", "d/a", "d/b",
    "d/.h", "d/e/", "d/e/a", "d/e/f/", "d/e/f/a", "e", "f/", "f/d/", "f/d/a", "empty/",
]  # fmt: skip

# Each case: exclusion files by directory.
RULES: list[dict[str, bytes]] = [
    *(
        {"": content}
        for content in (
            b"", b"a", b"a\n", b" \ta \t\n", b"a\r\nb\r\n", b"\va\n", b"a\0b\n", b"  #a\n", b"\\#a\n", b"a #c\n",
            b"#\n\n \n",
            b"!a\na\n", b"! a\n*a\n", b"\\!a\n", b"!!a\n?a\n", b"!#a\n?a\n", b"a*\n!ab\n",
            b"?\n", b"??\n", b"*\n", b".*\n", b"[.]h\n", b"?h\n", b"*h\n", b"x[y\n", b"x\\[y\n", b"a\\\\b\n", b"a\\\n",
            b"[[:upper:]]\n", b"[!a-z]\n", b"[^a-z]*\n", b"[]a]\n",
            b"/a\n", b"a/\n", b"d/\n", b"/d/\n", b"//d//a\n", b"d/e/a", b"d/*/a\n", b"**/a\n", b"d/**\n", b"d/a/\n",
            b"*/a\n", b"*/*/a\n", b"/ a\n", b"\\d/a\n", b"d/*\n!d/e\n", b"d\n!d/a\n", b"a\n!d/a\n", b"a\n!/a\n",
            b"*/\n", b"*/e/\n", b".caexclude\na\n", b"*a\n" * 200,
        )
    ),
    {"": b"a\n", "d": b"!a\n"},
    {"": b"a\n", "d/e": b"!a\n"},
    {"": b"!a\n", "d": b"a\n"},
    {"": b"d/a\nb", "d": b"e\n"},
    {"": b"d/e/*\n", "d": b"e/f\n", "d/e": b"!f\n"},
    {"": b"/d\n", "f": b"/d/a\n"},
    {"d": b"/a\n", "f": b"a\n"},
    {"": b"*/\n", "d": b"nonsense/./here\n"},
]  # fmt: skip

REFUSED = [
    b"!\n",
    b"/\n",
    b".\n",
    b"..\n",
    b"./a\n",
    b"d/.\n",
    b"d/../a\n",
    b"!/\n",
    b"! \n",
    b"x" * 65536,
    b"a\n" + b"y" * 70000,
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("exclude") / "tree"
    top.mkdir()
    for name in NAMES:
        path = top / name
        path.mkdir() if name.endswith("/") else path.write_bytes(b"")
    return top


def set_rules(tree: Path, rules: dict[str, bytes]) -> None:
    for old in tree.rglob(".caexclude"):
        old.unlink()
    for directory, content in rules.items():
        (tree / directory / ".caexclude").write_bytes(content)


def ours(tree: Path, features: int = FEATURES) -> list[bytes]:
    return [item.path for item in scan(os.fsencode(tree), features) if isinstance(item, Entry)]


def theirs(tree: Path, *options: str) -> list[bytes] | None:
    """Paths of what casync takes, None where it refuses; it decodes nothing of `list`'s escapes but what NAMES need."""
    done = subprocess.run(["casync", "list", *options, tree], stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        return None
    paths = [line.split(b" ", 1)[1] for line in done.stdout.splitlines()]
    return [path.decode("unicode_escape").encode("latin-1") if path != b"." else b"" for path in paths]


@pytest.mark.parametrize("rules", RULES, ids=repr)
def test_same_names(tree: Path, rules: dict[str, bytes]) -> None:
    set_rules(tree, rules)
    assert ours(tree) == theirs(tree)


@pytest.mark.parametrize("content", REFUSED, ids=lambda content: repr(content[:10]))
def test_both_refuse(tree: Path, content: bytes) -> None:
    set_rules(tree, {"d": content})
    assert theirs(tree) is None
    with pytest.raises(OSError, match=r"Line [12] ") as caught:
        ours(tree)
    assert caught.value.filename == str(tree / "d/.caexclude")


def test_longest_line(tree: Path) -> None:
    set_rules(tree, {"": b"y" * 65535 + b"\na"})
    assert ours(tree) == theirs(tree)
    assert b"a" not in ours(tree)


@pytest.mark.parametrize("kind", ["directory", "dangling", "to-directory"])
def test_unreadable_files_are_errors(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ".caexclude"
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("nowhere" if kind == "dangling" else ".")
    assert theirs(tmp_path) is None
    with pytest.raises(OSError, match=r"No such file|Is a directory") as caught:
        ours(tmp_path)
    assert caught.value.filename == str(path)


def test_a_link_is_followed_and_a_fifo_is_empty(tmp_path: Path) -> None:
    (tmp_path / "patterns").write_bytes(b"a\n")
    tree = tmp_path / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "a").touch()
    (tree / "below/a").touch()
    (tree / ".caexclude").symlink_to("../patterns")
    os.mkfifo(tree / "below/.caexclude")
    assert ours(tree) == theirs(tree) == [b"", b".caexclude", b"below", b"below/.caexclude"]


def test_a_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".caexclude").symlink_to("/dev/null")
    with pytest.raises(OSError, match="Invalid argument"):
        ours(tmp_path)


def test_without_the_flag_files_are_like_others(tree: Path) -> None:
    """casync 2 heeds them even then (spec 9.1), its head does not."""
    set_rules(tree, {"": b"a\n./\n"})
    assert b"a" in ours(tree, FEATURES & ~Feature.EXCLUDE_FILE)
