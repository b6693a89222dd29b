"""AutoAugment and RandAugment: draws against the papers' tables, operations against their arithmetic."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from netbuilder.data.policies import POLICIES, Change, Policy, applied

GREY = 128


def image(height: int = 6, width: int = 8) -> np.ndarray:
    """Bytes (3, height, width), each value once where there is room."""
    count = 3 * height * width
    return np.random.default_rng(0).permutation(count).astype(np.uint8).reshape(3, height, width)


def changed(planes: np.ndarray, operation: str, amount: float = 0) -> np.ndarray:
    return applied(planes, [Change(operation, amount)], rgb=True)


# -- what is drawn -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_has_25_pairs_of_which_each_image_gets_one(name: str) -> None:
    lines = [pair for line in POLICIES[name].strip().splitlines() for pair in line.split("|")]
    assert len(lines) == 25
    assert all(len(pair.split(",")) == 2 for pair in lines)
    drawn = Policy(name).draw(20_000, np.random.default_rng(1))
    assert max(map(len, drawn)) == 2
    # The mean number of operations is that of the probabilities.
    shares = [float(operation.split()[1]) for pair in lines for operation in pair.split(",")]
    assert np.mean([len(row) for row in drawn]) == pytest.approx(sum(shares) / 25, rel=0.02)


def test_the_magnitudes_are_those_of_the_paper() -> None:
    drawn = Counter(
        change for row in Policy("imagenet").draw(20_000, np.random.default_rng(2)) for change in row
    )
    amounts = {name: {c.amount for c in drawn if c.operation == name} for name, _ in drawn}
    assert sorted(amounts["rotate"]) == pytest.approx([-30, -80 / 3, -10, 10, 80 / 3, 30])  # of 9, 8 and 3
    assert amounts["posterize"] == {5, 4, 6}  # bits that stay, for 5 to 8: 8 - round(4 * level / 9)
    assert amounts["solarize"] == {256 * (1 - level / 9) for level in (3, 4, 5, 7, 8)}
    assert amounts["shear_x"] == {0.3 * 5 / 9, -0.3 * 5 / 9}
    assert sorted(amounts["contrast"]) == pytest.approx([-0.8, 0.8])
    assert drawn[Change("shear_x", 0.3 * 5 / 9)] == pytest.approx(20_000 / 25 * 0.6 / 2, rel=0.2)


def test_randaugment_draws_each_of_14_operations_alike() -> None:
    drawn = Policy(rand=(2, 15)).draw(14_000, np.random.default_rng(3))
    assert {len(row) for row in drawn} == {2}
    for place in (0, 1):
        counts = Counter(row[place].operation for row in drawn)
        assert len(counts) == 14
        assert all(850 < count < 1150 for count in counts.values())
    amounts = {change for row in drawn for change in row}
    assert {c.amount for c in amounts if c.operation == "rotate"} == {15, -15}
    assert {c.amount for c in amounts if c.operation == "translate_x"} == {75 / 331, -75 / 331}
    assert {c.amount for c in amounts if c.operation == "posterize"} == {6}


def test_magnitude_0_changes_nothing() -> None:
    planes = image()
    for change in {c for row in Policy(rand=(3, 0)).draw(500, np.random.default_rng(4)) for c in row}:
        if change.operation not in ("autocontrast", "equalize"):  # which have no magnitude
            np.testing.assert_array_equal(applied(planes, [change], rgb=True), planes, str(change))


# -- the operations ------------------------------------------------------------------------------------------


def test_values_are_mapped() -> None:
    x = image()
    np.testing.assert_array_equal(changed(x, "invert"), 255 - x)
    np.testing.assert_array_equal(changed(x, "solarize", 100), np.where(x < 100, x, 255 - x))
    np.testing.assert_array_equal(changed(x, "posterize", 3), x & 0b1110_0000)
    np.testing.assert_array_equal(changed(x, "brightness", -0.4), (x * 0.6).astype(np.uint8))
    low, high = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
    stretched = (x.astype(float) - low) * 255 / (high - low)
    assert np.abs(changed(x, "autocontrast") - stretched).max() <= 1
    dark = (np.random.default_rng(5).random((3, 64, 64)) ** 3 * 200).astype(np.uint8)
    shares = np.quantile(changed(dark, "equalize"), (0.3, 0.5, 0.7, 0.9))
    np.testing.assert_allclose(shares, np.array((0.3, 0.5, 0.7, 0.9)) * 255, atol=12)  # now evenly spread


def test_colours_and_contrast_go_towards_and_away_from_grey() -> None:
    x = image().astype(float)
    grey = np.round(np.tensordot((0.299, 0.587, 0.114), x, 1))[None]
    for amount in (-0.9, 0.5):
        blended = np.clip(grey + (x - grey) * (1 + amount), 0, 255)
        assert np.abs(changed(image(), "color", amount) - blended).max() <= 2
        blended = np.clip(grey.mean() + (x - grey.mean()) * (1 + amount), 0, 255)
        assert np.abs(changed(image(), "contrast", amount) - blended).max() <= 2


def test_sharpness_blends_with_the_smoothed_image() -> None:
    x = image().astype(float)
    inner = sum(
        x[:, 1 + dy : 5 + dy, 1 + dx : 7 + dx] * (5 if dx == dy == 0 else 1)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    )
    smooth = x.copy()
    smooth[:, 1:-1, 1:-1] = inner / 13
    blended = np.clip(smooth + (x - smooth) * 0.5, 0, 255)
    assert np.abs(changed(image(), "sharpness", -0.5) - blended).max() <= 1


def test_images_move_and_what_comes_in_is_grey() -> None:
    x = image()
    left = changed(x, "translate_x", 0.25)  # a quarter of 8
    np.testing.assert_array_equal(left[:, :, :6], x[:, :, 2:])
    assert (left[:, :, 6:] == GREY).all()
    down = changed(x, "translate_y", -0.5)
    np.testing.assert_array_equal(down[:, 3:], x[:, :3])
    assert (down[:, :3] == GREY).all()
    np.testing.assert_array_equal(changed(x, "rotate", 180), x[:, ::-1, ::-1])
    square = image(8, 8)
    sheared = changed(square, "shear_x", 1)
    for row in range(8):  # the middle of a pixel comes from 0.5 + row + 0.5 to the right
        np.testing.assert_array_equal(sheared[:, row, : 7 - row], square[:, row, row + 1 :])
        assert (sheared[:, row, 7 - row :] == GREY).all()
    turned = changed(square.transpose(0, 2, 1).copy(), "shear_y", 1)
    np.testing.assert_array_equal(turned.transpose(0, 2, 1), sheared)


def test_stored_channels_are_told_apart() -> None:
    x = image()
    for operation, amount in (("color", 0.7), ("contrast", 0.6)):
        own = applied(x, [Change(operation, amount)], rgb=False)
        np.testing.assert_array_equal(own[::-1], changed(x[::-1].copy(), operation, amount))


def test_only_bytes_of_three_channels_are_changed() -> None:
    with pytest.raises(ValueError, match="bytes, not of 1 channels"):
        applied(image()[:1], [], rgb=True)
    with pytest.raises(ValueError, match="bytes, not of numbers"):
        applied(image().astype(np.float32), [], rgb=True)
