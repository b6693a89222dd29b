"""A small run of `tools/kill_check.py`: commands killed at random moments, and run again."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from tests.kills import CASES, kill, undisturbed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
# Trainings are killed in tests/engines/torch/test_resumed_records.py.
KILLS = {"data lmdb": 2, "sweep": 2, "build": 2, "caffeonspark": 2, "weights": 2}


@pytest.mark.parametrize("name", KILLS)
def test_a_killed_command_leaves_nothing_half_and_is_made_good_by_the_next_run(
    name: str, tmp_path: Path
) -> None:
    whole = undisturbed(CASES[name], tmp_path / "run")
    for number in range(KILLS[name]):
        assert kill(CASES[name], whole, random.Random(f"{name} {number}")) == []
