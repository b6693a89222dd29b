"""tools/gpu_check.py on the CPU: its checks, its table, and that a missed bar is an error."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parents[3] / "tools" / "gpu_check.py"
FEW = ["--device", "cpu", "--cases", "12", "--nets", "0", "--no-speed"]


@pytest.fixture(scope="module")
def gpu_check() -> Any:
    spec = importlib.util.spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules["gpu_check"] = loaded  # its dataclasses look for their module
    spec.loader.exec_module(loaded)
    return loaded


def test_what_holds_is_a_table_and_no_error(gpu_check: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main(FEW) == 0
    told = capsys.readouterr().out
    assert "| 12 numeric cases, forward and gradients |" in told
    assert "(no TF32)" in told
    assert told.count("| ok |") == 2
    assert "FAILS" not in told


def test_a_missed_bar_is_an_error(
    gpu_check: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_check, "CASE", 0.0)
    assert gpu_check.main(FEW) == 1
    told = capsys.readouterr().out
    assert told.count("FAILS") == 1
    assert " fail: " in told  # and which


def test_a_bar_may_be_the_least_and_a_figure_that_is_no_number_fails(gpu_check: Any) -> None:
    assert gpu_check.Row("speed", 0.99, 0.98, True).holds
    assert not gpu_check.Row("speed", 0.97, 0.98, True).holds
    assert not gpu_check.Row("error", float("nan"), 1e-5).holds
    assert not gpu_check.Row("speed", float("nan"), 0.98, True).holds


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so(gpu_check: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_check.main([]) == 2
    assert "finds no GPU; --device cpu runs" in capsys.readouterr().err
