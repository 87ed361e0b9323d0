"""What the README shows works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from casync_py.testing.compare import tree_differences

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> str:
    return "\n".join(re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with the quick start's `tree` and `disk.img`."""
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "a").write_text("content\n" * 1000)
    (tmp_path / "tree" / "sub" / "link").symlink_to("../a")
    (tmp_path / "disk.img").write_bytes(os.urandom(200_000) + bytes(100_000))
    return tmp_path


def test_quick_start(folder: Path) -> None:
    programs = folder / "bin"
    programs.mkdir()
    (programs / "casync-py").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m casync_py "$@"\n')
    (programs / "casync-py").chmod(0o755)
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-eu", "-c", blocks("sh")], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tree_differences(folder / "tree", folder / "copy") == []
    assert (folder / "disk.copy").read_bytes() == (folder / "disk.img").read_bytes()


def test_library(folder: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", blocks("python")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tree_differences(folder / "tree", folder / "library-copy") == []


@pytest.mark.parametrize(
    "path", re.findall(r"`((?:tests|examples|docs|remotes|\.ci)/[\w./-]+)`|\]\(([\w./-]+)\)", README)
)
def test_paths_exist(path: tuple[str, str]) -> None:
    assert (ROOT / (path[0] or path[1])).exists()


def test_example_of_push_and_pull(folder: Path) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "examples/push_pull.py")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "is equal to what was pushed" in done.stdout


def test_example_of_a_server(folder: Path) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "examples/serve.py")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "is equal to what was made" in done.stdout


def test_example_of_the_library(folder: Path) -> None:
    command = [sys.executable, "-W", "error", str(ROOT / "examples/library.py"), str(folder / "tree")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "entries" in done.stdout
