"""Both engines learn from the same files: a ResNet-8, and images of ten classes that one can tell apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from tests.databases import write_lmdb

CLASSES, SIZE = 10, 16


def images(count: int, seed: int) -> tuple[list[Any], list[int]]:
    """Noise over a pattern of 4x4 patches for each class, moved by up to two pixels."""
    patterns = np.random.default_rng(0).integers(0, 256, (CLASSES, 3, 4, 4)).repeat(4, 2).repeat(4, 3)
    draw = np.random.default_rng(seed)
    labels = [int(label) for label in draw.integers(CLASSES, size=count)]
    made: list[Any] = []
    for label in labels:
        moved = np.roll(patterns[label], draw.integers(-2, 3, 2), (1, 2))
        made.append(np.clip(moved * 0.5 + draw.normal(60, 30, moved.shape), 0, 255).astype(np.uint8))
    return made, labels


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, count, seed in (("train", 640, 1), ("test", 200, 2)):
        write_lmdb(name, *images(count, seed))
    words = (
        "build cifar_resnet_20 --set depth=8 --set defaults.BatchNorm.moving_average_fraction=0.9 --data lmdb"
    )
    sources = "--train_source train --test_source test --batch 32 --test_batch 50 -o net"
    assert main([*words.split(), "--set", f"input_size={SIZE}x{SIZE}", *sources.split()]) == 0
    (tmp_path / "solver.prototxt").write_text(
        'net: "net/train_val.prototxt" base_lr: 0.05 lr_policy: "cosine" momentum: 0.9 weight_decay: 0.0005 '
        "max_iter: 60 test_iter: 4 test_interval: 60 test_initialization: false display: 20 average_loss: 10 "
        'random_seed: 1 snapshot_prefix: "out/x"'
    )
    return tmp_path


@pytest.mark.parametrize("engine", ["torch", "caffe"])
def test_a_resnet_8_learns(files: Path, engine: str, real_caffe: Caffe) -> None:
    """1,920 images, and then at least 60 % of the 200 test images are classified correctly.

    Chance has 10 % of ten classes, with a deviation of 2.1 %: the bar is 23 deviations above it.
    """
    assert main(["train", "solver.prototxt", "--engine", engine, "--no-draw"]) == 0
    data = json.loads(Path("out/x_run.json").read_text())
    (accuracy,) = data["tests"][-1]["outputs"]["accuracy"]
    assert accuracy >= 0.6
    assert data["train"][-1]["loss"] < data["train"][0]["loss"] / 2
