"""What a training has done so far, in files that survive its end: CSV as it goes, JSON, a picture.

Beside the snapshots, named by their prefix: `_train.csv` (a row every `display` iterations), `_test.csv` (a
row for each output of each test), `_run.json`, `_curves.png`, and `_caffe.log`, Caffe's own words.
"""

from __future__ import annotations

import collections
import math
import os
import time
from pathlib import Path
from typing import IO, Any

from netbuilder.engines.caffe.log import Event
from netbuilder.engines.caffe.training import states

__all__ = ["Record", "draw"]


class Record:
    """Takes the events of a training; a context manager. `begin` > 0 goes on with the files that are there.

    `row` is the last row of losses, `tests` all results, `train` all rows.
    """

    def __init__(self, prefix: str, begin: int, display: int, average: int) -> None:
        self.prefix, self.begin = prefix, begin
        self.display = display or 100
        self.train: list[dict[str, Any]] = []
        self.tests: list[dict[str, Any]] = []
        self.loss = float("nan")
        self.rate = 0.0
        self._losses: collections.deque[float] = collections.deque(maxlen=average)
        self._outputs: dict[str, float] = {}
        self._start = time.monotonic()
        self._before = 0.0
        mode = "ab" if begin else "wb"
        Path(prefix).parent.mkdir(parents=True, exist_ok=True)
        if begin:
            self._read()
        self.log: IO[bytes] = open(self.path("_caffe.log"), mode, buffering=0)  # noqa: SIM115
        self._train_csv = self._rewritten("_train.csv", _TRAIN_HEAD, map(_train_line, self.train))
        lines = (line for test in self.tests for line in _test_lines(test))
        self._test_csv = self._rewritten("_test.csv", _TEST_HEAD, lines)

    def path(self, ending: str) -> str:
        """The path of one of the files."""
        return f"{self.prefix}{ending}"

    def __enter__(self) -> Record:
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self.log, self._train_csv, self._test_csv):
            file.close()

    @property
    def seconds(self) -> float:
        """Since the training began, without the time between a stop and the next start."""
        return self._before + time.monotonic() - self._start

    def take(self, event: Event, last: int) -> dict[str, Any] | None:
        """Write an event down; returns the row if one was finished. `last` is the last iteration."""
        if event.kind == "loss":
            self._losses.append(event.value)
            self.loss = sum(self._losses) / len(self._losses)
            self._outputs = {}
        elif event.kind == "output":
            self._outputs.setdefault(event.name, event.value)
        elif event.kind == "rate":
            self.rate = event.value
            if event.iteration % self.display == 0 or event.iteration == last:
                row: dict[str, Any] = {"iteration": event.iteration, "loss": self.loss, "lr": event.value}
                row |= {"seconds": round(self.seconds, 3), "outputs": self._outputs}
                self.train.append(row)
                self._train_csv.write(_train_line(row))
                self._train_csv.flush()
                return row
        elif event.told and "test" in event.told:
            told = event.told
            result = {"iteration": told["test"], "net": told["net"], "loss": told["loss"]}
            result |= {"passes": told["passes"], "outputs": told["outputs"]}
            self.tests.append(result)
            self._test_csv.write("".join(_test_lines(result)))
            self._test_csv.flush()
            return result
        return None

    def write(self, **more: Any) -> dict[str, Any]:
        """Write the JSON file, whole; returns what is in it. What is no finite number is null."""
        import json

        data: dict[str, Any] = {
            "version": 1,
            **more,
            "seconds": round(self.seconds, 3),
            "train": _finite(self.train),
            "tests": _finite(self.tests),
            "snapshots": [str(state) for state in states(self.prefix)],
        }
        path = self.path("_run.json")
        with open(f"{path}.partial", "w", encoding="utf-8") as file:
            json.dump(data, file, indent=1)
        os.replace(f"{path}.partial", path)
        return data

    def _read(self) -> None:
        """The rows before the iteration that is gone on from, as a run that was killed left them."""
        import csv

        rows: list[dict[str, str]] = []
        if os.path.exists(self.path("_train.csv")):
            with open(self.path("_train.csv"), newline="", encoding="utf-8") as file:
                rows = [r for r in csv.DictReader(file) if r["seconds"] and int(r["iteration"]) < self.begin]
        for r in rows:
            pairs = (word.partition("=") for word in (r["outputs"] or "").split())
            outputs = {name: float(value) for name, _, value in pairs}
            self.train.append(
                {"iteration": int(r["iteration"]), "loss": float(r["loss"]), "lr": float(r["lr"]),
                 "seconds": float(r["seconds"]), "outputs": outputs}
            )  # fmt: skip
            self._before = float(r["seconds"])
        if os.path.exists(self.path("_test.csv")):
            with open(self.path("_test.csv"), newline="", encoding="utf-8") as file:
                for r in csv.DictReader(file):
                    if r["value"] and int(r["iteration"]) < self.begin:
                        self._add_test(r)

    def _add_test(self, r: dict[str, str]) -> None:
        key = int(r["iteration"]), int(r["net"])
        if not self.tests or (self.tests[-1]["iteration"], self.tests[-1]["net"]) != key:
            self.tests.append(
                {"iteration": key[0], "net": key[1], "loss": None, "passes": int(r["passes"]), "outputs": {}}
            )
        self.tests[-1]["outputs"].setdefault(r["output"], []).append(float(r["value"]))

    def _rewritten(self, ending: str, head: str, lines: Any) -> IO[str]:
        """A CSV file with these lines, open to be added to."""
        path = self.path(ending)
        with open(f"{path}.partial", "w", encoding="utf-8") as file:
            file.write(head)
            file.writelines(lines)
        os.replace(f"{path}.partial", path)
        return open(path, "a", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None


_TRAIN_HEAD = "iteration,loss,lr,outputs,seconds\n"
_TEST_HEAD = "iteration,net,passes,output,value\n"


def _train_line(row: dict[str, Any]) -> str:
    outputs = " ".join(f"{name}={value!r}" for name, value in row["outputs"].items())
    return f"{row['iteration']},{row['loss']!r},{row['lr']!r},{outputs},{row['seconds']}\n"


def _test_lines(test: dict[str, Any]) -> list[str]:
    return [
        f"{test['iteration']},{test['net']},{test['passes']},{name},{value!r}\n"
        for name, values in test["outputs"].items()
        for value in values
    ]


def draw(train: list[dict[str, Any]], tests: list[dict[str, Any]], path: str, title: str) -> bool:
    """Draw loss, rate and the outputs of the tests over the iterations; False if matplotlib is missing."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    names = sorted({name for test in tests for name, values in test["outputs"].items() if len(values) == 1})
    losses = [n for n in names if "loss" in n.lower()]
    others = [n for n in names if n not in losses]
    figure, axes = pyplot.subplots(2 + bool(others), 1, sharex=True, figsize=(8, 7), squeeze=False)
    panels = [axis for row in axes for axis in row]
    panels[0].plot([r["iteration"] for r in train], [r["loss"] for r in train], label="train", linewidth=1)
    panels[0].set_ylabel("loss")
    panels[-1].plot([r["iteration"] for r in train], [r["lr"] for r in train], linewidth=1)
    panels[-1].set_ylabel("learning rate")
    panels[-1].set_xlabel("iteration")
    for axis, chosen in ((panels[0], losses), (panels[1], others)):
        for name in chosen:
            points = [(t["iteration"], t["outputs"][name][0]) for t in tests if name in t["outputs"]]
            axis.plot(*zip(*points, strict=True), marker="o", markersize=3, label=f"test {name}")
        if chosen or axis is panels[0]:
            axis.legend()
    if others:
        panels[1].set_ylabel("test")
    panels[0].set_title(title)
    figure.tight_layout()
    figure.savefig(f"{path}.partial", format="png", dpi=100, metadata={"Software": "netbuilder"})
    pyplot.close(figure)
    os.replace(f"{path}.partial", path)
    return True
