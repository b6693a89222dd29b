"""A small run of `tools/fuzz_inputs.py`: damaged files of each kind are read or refused, and nothing else."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.fuzz.inputs import DRIVERS, damaged, read

FILES = 60  # of each kind


@pytest.mark.parametrize("kind", DRIVERS)
def test_a_damaged_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    driver = DRIVERS[kind]
    path = tmp_path / driver.name
    driver.make(path)
    good = path.read_bytes()
    assert read(driver, path) == "read" or kind in ("caffemodel", "config", "recipe")
    for seed in range(FILES):
        path.write_bytes(damaged(random.Random(f"{kind} {seed}"), good))
        begin = time.process_time()
        read(driver, path)
        assert time.process_time() - begin < 10, seed
