"""Defaults are casync's, and values cannot be changed behind anyone's back."""

from __future__ import annotations

import dataclasses
import os

import pytest

from casync_py.compression import DEFAULT_COMPRESSION
from casync_py.digest import SHA512_256
from casync_py.options import Resources, Settings, StoreOptions


def test_defaults() -> None:
    settings = Settings()
    assert settings.digest is SHA512_256
    assert settings.store_options == StoreOptions(DEFAULT_COMPRESSION, ".cacnk")
    assert settings.chunk_size == (0, 0, 0)
    assert (settings.delete, settings.punch_holes, settings.exclude_nodump, settings.exclude_file) == (True,) * 4
    assert (settings.exclude_submounts, settings.undo_immutable, settings.sync) == (False,) * 3
    assert settings.archive_digest


def test_jobs_are_the_processors_that_the_process_may_use() -> None:
    assert Resources().jobs == len(os.sched_getaffinity(0))
    assert 32 << 20 <= Resources().memory <= 128 << 20  # the whole process stays below 200 MiB


@pytest.mark.parametrize("value", [Settings(), StoreOptions(), Resources()])
def test_values_are_frozen(value: Settings | StoreOptions | Resources) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, dataclasses.fields(value)[0].name, None)
    assert dataclasses.replace(value) == value
