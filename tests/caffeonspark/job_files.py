"""Edited copies of the example jobs, and helpers that the tests of CaffeOnSpark's rules share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from netbuilder.caffeonspark import Cluster, Data, Job, Validated, validate
from netbuilder.checks import Finding

__all__ = ["EXAMPLES", "IMAGENET", "RESUMABLE", "Edit", "example", "found", "job", "make", "validated"]

EXAMPLES = Path(__file__).parent / "examples"
# The setting of the examples: 16 machines with one device each, and ImageNet.
IMAGENET = Job(cluster=Cluster(executors=16), data=Data(train_images=1281167, test_images=50000))

# 59 snapshots until iteration 600000, at 1 to 59 iterations after a test: 59 * 16 <= 1024 + 3 * 16.
RESUMABLE = "snapshot: 10001"

# (file, old, new): replaces the first occurrence of `old` in "solver" or "net", which must contain it.
Edit = tuple[str, str, str]


def example(kind: str) -> tuple[str, str]:
    """The texts of an example's solver and net."""
    names = (f"solver_{kind}.prototxt", f"resnet50_{kind}.prototxt")
    solver, net = ((EXAMPLES / name).read_text(encoding="utf-8") for name in names)
    return solver, net


def make(folder: Path, kind: str = "cos_lmdb", edits: Iterable[Edit] = ()) -> Path:
    """Write solver.prototxt and its net with the edits applied; returns the path of the solver.

    The snapshots are other ones than in the examples, whose driver accepts them, but cannot resume them.
    """
    texts = dict(zip(("solver", "net"), example(kind), strict=True))
    texts["solver"] = texts["solver"].replace("snapshot: 5000", RESUMABLE)
    for which, old, new in edits:
        assert old in texts[which], f"the {which} has no {old!r}"
        texts[which] = texts[which].replace(old, new, 1)
    folder.mkdir(exist_ok=True)
    (folder / "solver.prototxt").write_text(texts["solver"], encoding="utf-8")
    (folder / f"resnet50_{kind}.prototxt").write_text(texts["net"], encoding="utf-8")
    return folder / "solver.prototxt"


def job(**changed: Any) -> Job:
    """IMAGENET with changed values of its cluster, data or run."""
    parts: dict[str, Any] = {}
    for name in ("cluster", "data", "run"):
        old = getattr(IMAGENET, name)
        own = {f.name: changed.pop(f.name) for f in dataclasses.fields(old) if f.name in changed}
        parts[name] = dataclasses.replace(old, **own)
    return Job(**parts, **changed)


def validated(folder: Path, kind: str = "cos_lmdb", edits: Iterable[Edit] = (), **changed: Any) -> Validated:
    """An edited example, validated as IMAGENET with changed values."""
    return validate(make(folder, kind, edits), job(**changed))


def found(result: Validated, code: str) -> list[Finding]:
    """The findings with a code."""
    return [f for f in result.findings if f.code == code]
