"""The nginx that other tests use serves what it should, takes files where it should, and is gone afterwards."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from casync_py.testing.nginx import Nginx

pytestmark = pytest.mark.peer("curl")


def curl(*arguments: str) -> str:
    return subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, check=True).stdout


def test_gives_takes_and_goes(start_nginx: Callable[..., Nginx], tmp_path: Path) -> None:
    (tmp_path / "there").write_text("content")
    with start_nginx(tmp_path, writable=True) as nginx:
        assert curl(f"{nginx.url}/there") == "content"
        curl("-T", str(tmp_path / "there"), f"{nginx.url}/new/folder/copy")
    assert nginx.requests() == ["GET /there 200 HTTP/1.1", "PUT /new/folder/copy 201 HTTP/1.1"]
    assert (tmp_path / "new/folder/copy").read_text() == "content"
    with pytest.raises(ProcessLookupError):
        os.kill(nginx.pid, 0)


def test_takes_nothing_unless_told(start_nginx: Callable[..., Nginx], tmp_path: Path) -> None:
    (tmp_path / "there").write_text("content")
    nginx = start_nginx(tmp_path)
    assert curl("-o", "/dev/null", "-w", "%{http_code}", "-T", str(tmp_path / "there"), f"{nginx.url}/new") == "405"


def test_that_does_not_start_says_why(start_nginx: Callable[..., Nginx], tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no_such_directive"):
        start_nginx(tmp_path, server="no_such_directive on;")
