"""What is named from outside is found below the roots or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from casync_py.errors import UsageError
from casync_py.remote.roots import Roots

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """`one` and `two` are served, `secret` is not."""
    for name in ("one/sub", "two", "secret"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("one/file", "one/sub/file", "two/file", "secret/file"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def roots(place: Path) -> Iterator[Roots]:
    before = len(os.listdir("/proc/self/fd"))
    roots = Roots([str(place / "one"), str(place / "two")])
    yield roots
    roots.close()
    roots.close()
    assert len(os.listdir("/proc/self/fd")) == before


def content(roots: Roots, path: object) -> str:
    return Path(roots.find(str(path))).read_text()


def test_below_the_roots(place: Path, roots: Roots) -> None:
    assert content(roots, place / "one/file") == "one/file"
    assert content(roots, f"{place}//two/./file") == "two/file"
    assert content(roots, "sub/file") == "one/sub/file"
    assert sorted(os.listdir(roots.find(str(place / "one")))) == ["file", "sub"]


def test_what_is_not_there_yet_can_be_made(place: Path, roots: Roots) -> None:
    Path(roots.find("sub/new")).write_text("x")
    assert (place / "one/sub/new").read_text() == "x"
    with pytest.raises(FileNotFoundError) as caught:
        roots.find("nothing/new")
    assert caught.value.filename == "nothing/new"


@pytest.mark.parametrize(
    "path", ["../secret/file", "sub/../file", "..", "{}/secret/file", "{}/one/../secret/file", "/etc/passwd", "{}/on"]
)
def test_outside(place: Path, roots: Roots, path: str) -> None:
    with pytest.raises(UsageError):
        roots.find(path.format(place))


@pytest.mark.parametrize("target", ["sub/file", "./sub/../sub/file", "{}/one/sub/file", "second"])
def test_links_that_stay_inside(place: Path, roots: Roots, target: str) -> None:
    (place / "one/link").symlink_to(target.format(place))
    (place / "one/second").symlink_to("sub/file")
    assert content(roots, "link") == "one/sub/file"


def test_a_link_to_another_root(place: Path, roots: Roots) -> None:
    (place / "one/sub/over").symlink_to(place / "two")
    assert content(roots, "sub/over/file") == "two/file"


@pytest.mark.parametrize("target", ["../secret", "{}/secret", "sub/../../secret", "/"])
def test_links_out(place: Path, roots: Roots, target: str) -> None:
    (place / "one/link").symlink_to(target.format(place))
    for path in ("link", "link/file"):
        with pytest.raises(UsageError):
            roots.find(path)


def test_links_in_a_circle(place: Path, roots: Roots) -> None:
    (place / "one/link").symlink_to("link")
    with pytest.raises(OSError, match="symbolic links"):
        roots.find("link")


def test_a_file_on_the_way(roots: Roots) -> None:
    with pytest.raises(NotADirectoryError):
        roots.find("file/x")


def test_a_link_that_will_be_replaced_is_not_followed(place: Path, roots: Roots) -> None:
    (place / "one/link").symlink_to("/etc/passwd")
    found = roots.find("link", follow=False)
    assert os.readlink(found) == "/etc/passwd"


def test_a_root_may_be_a_link(place: Path) -> None:
    (place / "alias").symlink_to("one")
    roots = Roots([str(place / "alias")])
    assert content(roots, place / "alias/file") == content(roots, place / "one/file") == "one/file"
    roots.close()


def test_what_changes_after_the_walk_does_not_lead_out(place: Path, roots: Roots) -> None:
    found = roots.find("sub/file")
    (place / "one/sub").rename(place / "one/away")
    (place / "one/sub").symlink_to("../secret")
    assert Path(found).read_text() == "one/sub/file"


def test_errors_name_what_was_asked_for(roots: Roots) -> None:
    found = roots.find("sub/new.castr")
    with pytest.raises(FileNotFoundError) as caught, roots.naming():
        os.listdir(f"{found}/abcd")
    assert caught.value.filename == "sub/new.castr/abcd"


def test_a_root_that_is_absent(place: Path) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        Roots([str(place), str(place / "nothing")])
    assert os.listdir("/proc/self/fd") == before
