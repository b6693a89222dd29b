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
    assert read(driver, path) == "read" or kind in ("caffemodel", "config", "recipe", "archive")
    for seed in range(FILES):
        path.write_bytes(damaged(random.Random(f"{kind} {seed}"), good))
        begin = time.process_time()
        read(driver, path)
        assert time.process_time() - begin < 10, seed


# What such runs have found, each the smallest that shows it.
GZIP = b"\x1f\x8b\x08\x00" + bytes(6)
FOUND = {
    "a number too long for an integer": (
        "safetensors", (5009).to_bytes(8, "little") + b'{"a":' + b"9" * 5000 + b"}   ",
    ),
    "nesting without an end": ("run.json", b'{"a":' + b"[" * 100_000),
    "nesting in the file of a database": ("netbuilder.json", b"[" * 100_000),
    "nesting in times": ("times", b"[" * 100_000),
    "a time that no float holds": (
        "times",
        b'{"phase": "TEST", "layers": [{"name": "a", "backward_ms": 1, "forward_ms": 1%s}]}' % (b"0" * 400),
    ),
    "a pattern with one name twice": ("naming map", b"modules: {'a{s}b{s}': c}"),
    "a name that no group can have": ("naming map", b"modules: {'a{1}': c}"),
    "patterns that are none": ("naming map", b"modules: {a: c}\nneeds: 3"),
    "a rule without a layer": ("naming map", b"modules: {a: c}\nexpects: [{kernel: 3}]"),
    "a map of any place": ("naming map", b"modules: {a: c}\nalso: ../../../x"),
    "a date that no calendar has": ("naming map", b"modules: {a: 2001-99-99}"),
    "such a date in a config": ("config", b"network: 2001-99-99"),
    "such a date in a recipe": ("recipe", b"network: 2001-99-99"),
    "such a date in a sweep": ("sweep", b"network: 2001-99-99"),
    "lists in lists of a config": ("config", b"[" * 5000),
    "a stream that is not deflated": ("archive", GZIP + b"\xff" * 20),
    "a tally that lacks a number": ("journal", b"[0,1,1,[],{},[0],[[1.0]],[]]\n"),
    "a tally with a list for reasons": ("journal", b"[0,1,1,[],[],[0],[],[]]\n"),
}  # fmt: skip


@pytest.mark.parametrize("found", FOUND)
def test_what_was_found_stays_mended(found: str, tmp_path: Path) -> None:
    kind, content = FOUND[found]
    driver = DRIVERS[kind]
    path = tmp_path / driver.name
    driver.make(path)
    if kind == "journal":  # after its first line
        content = path.read_bytes().partition(b"\n")[0] + b"\n" + content
    path.write_bytes(content)
    read(driver, path)
