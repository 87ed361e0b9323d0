"""What the verbs put on standard output: JSON with the facts of the plain lines, and nothing among an index's bytes."""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from casync_py import api
from casync_py.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[..., bytes]
    Objects = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CASYNC_STORE", raising=False)
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "file").write_bytes(b"content" * 100)
    (tmp_path / "d" / "sub" / "link").symlink_to(os.fsdecode(b"to \xff"))
    (tmp_path / "d" / "sub" / os.fsdecode(b"odd \xff\n")).touch()
    os.mkfifo(tmp_path / "d" / "fifo")
    return tmp_path / "d"


@pytest.fixture
def output(capfdbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Standard output of a command line that succeeds without a message."""

    def run(*words: str) -> bytes:
        assert main(words) == 0
        out, err = capfdbinary.readouterr()
        assert err == b""
        return out

    return run


@pytest.fixture
def objects(output: Run) -> Objects:
    """The objects that a command line prints with --json."""

    def run(*words: str) -> list[dict[str, Any]]:
        found = [json.loads(line) for line in output("--json", *words).splitlines()]
        assert {(each.pop("version"), each.pop("verb")) for each in found} == {(1, words[0])}
        return found

    return run


def _shown(members: dict[str, Any], name: str) -> bytes:
    """A text of a JSON object as the plain lines show it."""
    raw = bytes.fromhex(members[f"{name}_bytes"]) if f"{name}_bytes" in members else members[name].encode()
    return re.sub(rb"[\x00-\x20\x7f-\xff\\#]", lambda match: b"\\%03o" % match[0][0], raw)


def test_make_and_digest(tree: Path, output: Run, objects: Objects) -> None:
    [made] = objects("make", "t.caidx", "d")
    assert (made["kind"], made["output"], made["store"]) == ("archive-index", "t.caidx", "default.castr")
    assert (made["entries"], made["chunks_new"], made["chunks_reused"]) == (6, 1, 0)
    assert objects("digest", "t.caidx") == [{"digest": made["digest"]}]
    assert output("digest", "t.caidx") == output("make", "t.caidx", "d") == made["digest"].encode() + b"\n"
    [without] = objects("make", "--archive-digest=no", "t.caidx", "d")
    assert "digest" not in without
    assert (without["chunks_new"], without["chunks_reused"]) == (0, 1)
    assert output("make", "--archive-digest=no", "t.caidx", "d") == b""


def test_extract(tree: Path, output: Run, objects: Objects) -> None:
    output("make", "t.caidx", "d")
    assert output("extract", "t.caidx", "plain") == b""
    [found] = objects("extract", "t.caidx", "out")
    assert (found["kind"], found["output"], found["entries"]) == ("archive-index", "out", 6)
    assert (tree.parent / "out" / "file").read_bytes() == b"content" * 100


@pytest.mark.parametrize("source", ["d", "t.caidx", "t.catar"])
def test_list(tree: Path, output: Run, objects: Objects, source: str) -> None:
    output("make", "t.caidx", "d")
    output("make", "t.catar", "d")
    found = objects("list", source)
    lines = output("list", source).splitlines()
    assert [_shown(each, "path") for each in found] == [line.split(b" ", 1)[1] for line in lines]
    by_path = {each["path"]: each for each in found}
    assert by_path["file"] == {"path": "file", "type": "file", "mode": f"{_mode(tree / 'file'):04o}", "size": 700}
    assert by_path["fifo"]["type"] == "fifo"
    assert by_path["sub/link"]["target_bytes"] == b"to \xff".hex()
    shallow = objects("list", "--recursive=no", source)
    assert [each["path"] for each in shallow] == [".", "fifo", "file", "sub"]


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_list_of_a_directory_inside(tree: Path, output: Run, objects: Objects) -> None:
    output("make", "t.caidx", "d")
    (tree / "sub" / "deep").mkdir()
    (tree / "sub" / "deep" / "er").touch()
    output("make", "t.caidx", "d")
    for options in ((), ("--recursive=no",)):
        found = objects("list", *options, "t.caidx", "sub")
        lines = output("list", *options, "t.caidx", "sub").splitlines()
        assert [_shown(each, "path") for each in found] == [line.split(b" ", 1)[1] for line in lines]


@pytest.mark.parametrize("options", [(), ("--without=privileged", "--digest=sha256"), ("--without=all",)])
@pytest.mark.parametrize("source", ["d", "t.caidx"])
def test_mtree(tree: Path, output: Run, objects: Objects, source: str, options: tuple[str, ...]) -> None:
    output("make", *options, "t.caidx", "d")
    found = objects("mtree", *options, source)
    lines = output("mtree", *options, source).splitlines()
    assert len(found) == len(lines)
    for members, line in zip(found, lines, strict=True):
        path, *pairs = line.split(b" ")
        facts = dict(pair.split(b"=", 1) for pair in pairs)
        facts.pop(b"flags", None)  # mtree's words for six of the flags, on special files all of them
        members.pop("flags", None)
        names = {"link": "target", "uname": "user", "gname": "group"}
        assert _shown(members, "path") == path
        for key, value in facts.items():
            name = names.get(key.decode(), key.decode())
            shown = _shown(members, name) if isinstance(members[name], str) else str(members[name]).encode()
            assert shown == value
        assert {name for name in members if not name.endswith("_bytes")} == {
            "path",
            *(names.get(key.decode(), key.decode()) for key in facts),
        }


def test_stat(tree: Path, output: Run, objects: Objects) -> None:
    os.setxattr(tree / "file", "user.note", b"\xffvalue")
    output("make", "t.caidx", "d")
    [found] = objects("stat", "t.caidx", "file")
    lines = dict(line.strip().split(b": ", 1) for line in output("stat", "t.caidx", "file").splitlines())
    assert found["path"].encode() == lines[b"File"]
    assert found["offset"] == int(lines[b"Offset"])
    assert found["size"] == int(lines[b"Size"]) == 700
    assert found["sha512256digest"].encode() == lines[b"Digest"]
    assert found["hldigest"].encode() == lines[b"HLDigest"]
    assert found["xattrs"] == [{"name": "user.note", "value": "\ufffdvalue", "value_bytes": b"\xffvalue".hex()}]
    assert "offset" not in objects("stat", "d")[0]


def test_an_index_on_standard_output_is_nothing_but_the_index(tree: Path, output: Run) -> None:
    output("make", "t.caidx", "d")
    kept = (tree.parent / "t.caidx").read_bytes()
    for words in (("make", "--what=archive-index", "-", "d"), ("make", "-", "d", "--what=archive-index")):
        assert output(*words) == kept


def test_json_and_content_do_not_share_standard_output(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["make", "t.caibx", "d/file"]) == 0
    capfd.readouterr()
    make = (["make", "-", "d"], ["make"], ["make", "--what=blob-index", "-", "d/file"])
    for words in (*make, ["extract", "t.caibx", "-"], ["extract", "t.caibx"]):
        assert main(["--json", *words]) == 1
        assert capfd.readouterr() == ("", "casync-py: --json needs standard output for itself; name an OUTPUT\n")


def test_verbose_names_each_entry_once(tree: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for words, done in ((["make", "t.caidx", "d"], "Packed"), (["extract", "t.caidx", "out"], "Extracted")):
        assert main(["-v", *words]) == 0
        *lines, summary = capfd.readouterr().err.splitlines()
        assert sorted(lines) == sorted(
            f"{done} {path}" for path in ("./", "fifo", "file", "sub", "sub/link", "sub/odd \\377\\012")
        )
        assert summary.startswith(f"{done} 6 entries, ")


def test_the_documented_members_are_the_results_fields() -> None:
    text = (Path(__file__).parents[3] / "docs" / "command-line.md").read_text()
    for verb, result in (("make", api.MakeResult), ("extract", api.ExtractResult)):
        row = re.search(rf"^\| `{verb}` \| (`kind`[^;|]*)", text, re.MULTILINE)
        assert row is not None
        assert re.findall(r"`(\w+)`", row[1]) == [field.name for field in fields(result)]


def test_results_are_those_of_the_library(tree: Path, output: Run) -> None:
    assert output("list", "d") == b"".join(api.list_tree("d"))
    assert output("mtree", "d") == b"".join(api.mtree("d"))
    assert output("stat", "d") == b"".join(api.stat("d"))
    assert output("digest", "d").decode() == api.digest("d") + "\n"
