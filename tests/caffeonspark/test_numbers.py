"""How much data a job takes: by the arithmetic of CaffeOnSpark's two loops."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netbuilder.caffeonspark.arithmetic import Numbers, arithmetic
from netbuilder.solvers import Recipe
from tests.caffeonspark.job_files import RESUMABLE, Edit, found, job, validated

MANY: list[Edit] = [
    ("solver", "test_interval: 5000", "test_interval: 5005"),
    ("solver", RESUMABLE, "snapshot: 10011"),
]


def test_5005_iterations_between_tests_are_too_many_for_imagenet_and_5000_are_not(tmp_path: Path) -> None:
    # 5005 * 16 * 16 = 1,281,280 > 1,281,167 images >= 1,280,000 = 5000 * 16 * 16
    many = validated(tmp_path, edits=MANY)
    assert [f.code for f in many.findings] == ["train-images"]
    assert not many.fits
    assert validated(tmp_path).fits


@pytest.mark.parametrize(
    ("interval", "fits"), [(5004, True), (5005, False)]
)  # 5004 * 256 = 1,281,024; one more iteration needs 256 images, more than remain
def test_the_fix_is_the_largest_interval_that_fits(interval: int, fits: bool, tmp_path: Path) -> None:
    edits = [("solver", "test_interval: 5000", f"test_interval: {interval}")]
    assert validated(tmp_path, edits=edits).fits == fits


def test_devices_multiply_the_training_images_like_executors(tmp_path: Path) -> None:
    result = validated(tmp_path, executors=8, devices=2)
    assert result.fits
    assert ("global batch", "16 a device * 2 devices * 8 executors", "256") in result.arithmetic
    assert not validated(tmp_path, executors=16, devices=2).fits


def test_a_test_uses_the_same_images_on_any_number_of_executors(tmp_path: Path) -> None:
    # All executors test the same block, so 2000 * 25 = 50,000 images suffice for 16 executors as for 1.
    for executors in (1, 16):
        assert found(validated(tmp_path, executors=executors), "test-images") == []


def test_the_table_of_the_example(tmp_path: Path) -> None:
    assert validated(tmp_path).arithmetic == (
        ("loop", "test_interval 5000 and test_iter 2000, both above 0", "training with tests"),
        ("global batch", "16 a device * 1 device * 16 executors", "256"),
        ("an epoch", "1281167 images / 256", "5004.6 iterations"),  # 5004.559
        ("max_iter", "600000 * 256 / 1281167 images", "119.9 epochs"),  # 119.891
        ("a part", "test_interval 5000 * 16 a device * 1 device", "80000 images"),
        ("between two tests", "a part for each of 16 executors", "1280000 images"),
        ("rounds in the data", "1281167 images / 1280000, rounded down", "1"),
        ("training images used", "1 * 1280000 of 1281167", "1280000"),
        ("a test", "test_iter 2000 * 25, of 50000", "50000 images"),
    )


def test_without_sizes_the_table_shows_what_is_known(tmp_path: Path) -> None:
    result = validated(tmp_path, train_images=None, test_images=None)
    assert [what for what, _, _ in result.arithmetic] == [
        "loop", "global batch", "a part", "between two tests", "a test",
    ]  # fmt: skip
    assert [f.text for f in result.findings] == [
        "train_images and test_images not given: cannot check that the data suffices"
    ]


def test_the_partitions_of_a_sequence_file_are_unknown(tmp_path: Path) -> None:
    result = validated(tmp_path, "cos_seq", [("solver", "test_iter: 2000", "test_iter: 0")])
    assert result.arithmetic[-1] == (
        "partitions", "set by the data set; at least 16, of equal size", "unknown",
    )  # fmt: skip


@pytest.mark.parametrize(("partitions", "used"), [(16, 16), (40, 32), (33, 32)])
def test_partitions_are_rounded_down_to_a_multiple_of_the_executors(
    partitions: int, used: int, tmp_path: Path
) -> None:
    result = validated(
        tmp_path, edits=[("solver", "test_iter: 2000", "test_iter: 0")], lmdb_partitions=partitions
    )
    assert result.fits
    assert result.arithmetic[-1][2] == str(used)


def test_untested_images_are_reported(tmp_path: Path) -> None:
    result = validated(tmp_path, test_images=50010)
    assert [str(f) for f in result.findings] == [
        "info: a test uses 50000 of 50010 images: the rest do not fill a batch and are dropped [test-part]\n"
        "  fix: use a test batch that divides 50010"
    ]


@given(
    executors=st.integers(1, 20),
    devices=st.integers(1, 8),
    batch=st.integers(1, 64),
    interval=st.integers(1, 500),
    images=st.integers(1, 10**6),
)
def test_the_images_used_match_a_simulation_of_the_parts(
    executors: int, devices: int, batch: int, interval: int, images: int
) -> None:
    """Equal parts are cut from the front and distributed in whole rounds; the rest is unused."""
    part, rounds, left = interval * batch * devices, 0, images
    while left >= part * executors:
        left -= part * executors
        rounds += 1
    if not rounds:
        return  # the job is refused
    numbers = Numbers("interleaved", batch, 1, interval, 1, 1000, False)
    rows = {
        what: value
        for what, _, value in arithmetic(
            numbers, job(executors=executors, devices=devices, train_images=images)
        )
    }
    assert rows["rounds in the data"] == str(rounds)
    assert rows["training images used"] == str(images - left)
    assert rows["global batch"] == str(batch * devices * executors)


# -- the learning rate ---------------------------------------------------------------------------------------


def recipe(**changed: object) -> Recipe:
    values = {"source": "a test", "images": 1281167, "batch": 256, "base_lr": 0.1, "epochs": 90}
    return Recipe(**{**values, **changed})  # type: ignore[arg-type]


def test_the_recipes_rate_at_its_own_batch_is_accepted(tmp_path: Path) -> None:
    assert validated(tmp_path, recipe=recipe()).findings == ()


def test_the_rate_is_scaled_with_the_global_batch(tmp_path: Path) -> None:
    edits = [("solver", "base_lr: 0.1", "base_lr: 0.05")]  # 8 executors * 16 = 128, half of 256
    assert validated(tmp_path, edits=edits, executors=8, recipe=recipe()).findings == ()
    (finding,) = validated(tmp_path, executors=8, recipe=recipe()).findings
    assert finding.text.startswith(
        "base_lr is 0.1; the recipe's 0.1 for a batch of 256 scales to 0.05 for 128"
    )


def test_the_rate_of_a_method_that_divides_by_the_gradient_is_not_scaled(tmp_path: Path) -> None:
    assert validated(tmp_path, executors=8, recipe=recipe(type="Adam")).findings == ()


def test_without_a_recipe_the_rate_is_not_checked(tmp_path: Path) -> None:
    assert validated(tmp_path, executors=8).findings == ()
