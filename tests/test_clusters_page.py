"""The numbers on docs/clusters.md are those of our own arithmetic."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.config import load
from netbuilder.measure.counts import count
from netbuilder.schema import SolverParameter
from netbuilder.training.sharing import arithmetic

PAGE = (Path(__file__).parents[1] / "docs/clusters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```text\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
IMAGES, TEST_PASSES, EPOCHS, PIXELS = 1_281_167, 1000, 90, 3 * 256 * 256


def test_the_arithmetic_of_8_ranks() -> None:
    solver = SolverParameter(base_lr=0.1, max_iter=450450, momentum=0.9)
    assert BLOCKS[0].splitlines() == arithmetic(solver, batch=32, ranks=8, images=IMAGES)


def test_the_solver_of_128_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    found = re.search(r"`netbuilder (solver resnet [^`]*)`", PAGE)
    assert found
    assert main([*found[1].split(), "-o", "solver.prototxt"]) == 0
    assert capsys.readouterr().out == BLOCKS[1]


def test_the_table_of_16_machines() -> None:
    net = load("resnet_50").stitch("train")
    counts = count(net)
    learnt = 4 * counts.learnable_params
    snapshot = 8 * sum(math.prod(param.shape) for layer in net for param in layer.params)

    def column(ranks: int) -> list[str]:
        whole, share = 32 * ranks, math.ceil(IMAGES / ranks)
        return [
            f"{whole:,}",
            f"{math.ceil(IMAGES / whole):,}",
            f"{0.1 * whole / 256:g}",
            f"{share:,}",
            f"{math.ceil(TEST_PASSES / ranks)}",
            f"{share * PIXELS / 1e9:.1f} GB",
            f"{8 * 1000 * PIXELS / 1e9:.1f} GB/s",
            f"{ranks * 1000 * PIXELS / 1e9:.1f} GB/s",
            f"{2 * learnt * (ranks - 1) / ranks / 1e6:.0f} MB",
            f"{snapshot / 1e6:.0f} MB",
            f"{EPOCHS * snapshot / 1e9:.1f} GB",
        ]

    rows = re.findall(r"^\| (.+) \| (.+) \| (.+) \|$", PAGE[PAGE.index("128 GPUs |") :], re.MULTILINE)
    assert [row[1] for row in rows] == column(8)
    assert [row[2] for row in rows] == column(128)
    assert f"A gradient is {learnt / 1e6:.0f} MB" in PAGE
    assert f"{IMAGES * PIXELS / 1e9:.0f} GB" in PAGE
