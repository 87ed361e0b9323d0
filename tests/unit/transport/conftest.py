"""Every test here leaves no descriptor, no child and no thread behind."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    descriptors, threads = _descriptors(), set(threading.enumerate())
    yield
    assert _descriptors() == descriptors
    assert set(threading.enumerate()) <= threads
    with pytest.raises(ChildProcessError):  # no child, not even a zombie
        os.waitpid(-1, os.WNOHANG)


def _descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that listed the directory
            continue
    return found
