"""From which snapshots a training with tests can resume: as measured on CaffeOnSpark itself.

Run with one device an executor: at batch 16, 1,072 images left over before the next test ran and 1,088 hung;
iteration 160 with test_interval 160 hung twice; with test_iter 0 it ran.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbuilder.config.recipes import RECIPES, read_recipe
from netbuilder.errors import ConfigError
from netbuilder.solvers import plan
from netbuilder.solvers.spark_resume import first_hanging, left_over, queued, safe_snapshot
from tests.caffeonspark.job_files import found, validated

MEASURED = [(5000 + 67, 1072, True), (5000 + 68, 1088, False), (5000, 80000, False), (10000, 80000, False)]


@pytest.mark.parametrize(("iteration", "left", "runs"), MEASURED)
@pytest.mark.parametrize("ending", ["", ".h5"])
def test_a_given_snapshot_that_hangs_is_an_error(
    iteration: int, left: int, runs: bool, ending: str, tmp_path: Path
) -> None:
    name = f"hdfs:///m/r_iter_{iteration}"
    resumed: dict[str, Any] = {
        "snapshot": f"{name}.solverstate{ending}",
        "weights": f"{name}.caffemodel{ending}",
    }
    result = validated(tmp_path / "a", **resumed)
    assert result.fits == runs
    said = [f"leaves over {left} training images" in f.text for f in found(result, "resume-hangs")]
    assert said == ([] if runs else [True])
    without = validated(tmp_path / "b", edits=[("solver", "test_iter: 2000", "test_iter: 0")], **resumed)
    assert without.findings == ()


def test_iteration_160_of_160_hangs_as_measured() -> None:
    assert left_over(160, 160, 16) == 2560 > queued(16)
    assert first_hanging(160, 160, 320, 16) == 160


def test_devices_multiply_what_is_left_over_and_what_their_queues_hold(tmp_path: Path) -> None:
    # 2 devices of batch 16: (1024 + 96) / 32 = 35 iterations.
    for iteration, runs in ((35, True), (36, False)):
        result = validated(
            tmp_path, executors=8, devices=2, snapshot=f"m/x_iter_{iteration}.solverstate", weights="m/w"
        )
        assert bool(found(result, "resume-hangs")) != runs


def test_a_snapshot_of_an_unknown_iteration_is_not_judged(tmp_path: Path) -> None:
    assert found(validated(tmp_path, snapshot="m/latest", weights="m/w"), "resume-hangs") == []


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 3000), st.sampled_from([1, 16, 32, 128, 256]))
def test_no_snapshot_of_a_safe_interval_hangs(wanted: int, interval: int, last: int, batch: int) -> None:
    safe = safe_snapshot(wanted, interval, last, batch)
    assert safe >= min(wanted, last)
    for iteration in range(safe, last, safe):  # one at the end has nothing to resume
        assert (iteration % interval or interval) * batch <= 1024 + 3 * batch
    if safe != wanted:
        assert any((k % interval or interval) * batch > 1024 + 3 * batch for k in range(wanted, last, wanted))


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
@pytest.mark.parametrize(("batch", "devices"), [(16, 16), (32, 8), (64, 1), (100, 4), (256, 1)])
def test_no_recipe_writes_a_snapshot_that_hangs(recipe: str, batch: int, devices: int) -> None:
    solver = plan(
        read_recipe(recipe), net="n", batch=batch, devices=devices, test_batch=50, dialect="caffeonspark"
    ).solver
    assert 0 < solver.snapshot <= solver.max_iter
    for iteration in range(solver.snapshot, solver.max_iter, solver.snapshot):
        assert (iteration % solver.test_interval or solver.test_interval) * batch <= 1024 + 3 * batch


def test_the_last_snapshot_of_5005_iterations_that_can_be_resumed_is_the_67th() -> None:
    # test_interval 5004 is one less, so the k-th snapshot leaves over k iterations of 16 images.
    assert first_hanging(5005, 5004, 450450, 16) == 68 * 5005
    assert first_hanging(5005, 5004, 68 * 5005, 16) is None


def test_a_given_interval_that_hangs_is_refused_with_one_that_does_not() -> None:
    with pytest.raises(ConfigError) as caught:
        plan(
            read_recipe("resnet"), net="n", batch=16, devices=16, test_batch=50, dialect="caffeonspark",
            fields={"snapshot": 5004},
        )  # fmt: skip
    assert caught.value.text == (
        "snapshot 5004 with test_interval 5004: CaffeOnSpark waits for ever when it resumes iteration 5004"
    )
    assert caught.value.hint == (
        "leave it to netbuilder, which writes 10009; or train without tests, --test-images 0"
    )
