"""The extras of `Feed`: exact values where the draw is fixed or can be recovered, else the distribution."""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from netbuilder.data.framing import Framing
from netbuilder.engines.torch import module
from netbuilder.engines.torch.feed import Extras, Feed
from netbuilder.engines.torch.feed.extras import cut_out, recoloured
from netbuilder.engines.torch.transform import cut
from netbuilder.errors import ConfigError, EngineError
from tests.databases import noise, write_lmdb

MANY = 1 << 40

CLASSIFIER = """
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def net_of(folder: Path, batch: int, transform: str = "", more: str = "") -> Path:
    path = folder / "net.prototxt"
    path.write_text(
        f'layer {{ name: "d" type: "Data" top: "data" top: "label" data_param {{ source: "db" backend: LMDB '
        f"batch_size: {batch} }} transform_param {{ {transform} }} }} {more}"
    )
    return path


def feed(folder: Path, batch: int, transform: str = "", more: str = "", **options: Any) -> Feed:
    extras = {name: options.pop(name) for name in Extras.names() if name in options}
    net = module(net_of(folder, batch, transform, more), phase="TRAIN")
    return Feed(net, **{"device": "cpu", "seed": 3, "extras": Extras(**extras), **options})


def test_nothing_is_on_by_default(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(5, 3, 4, 4), range(5))
    net = module(net_of(tmp_path, 5, "mirror: true"), phase="TRAIN")
    plain, extra = (next(Feed(net, device="cpu", seed=1, extras=e)) for e in (None, Extras()))
    assert torch.equal(plain["data"], extra["data"])
    assert Extras().lines() == []
    assert Extras(cutout=8, mixup=0.2).lines() == ["cutout: 8", "mixup: 0.2"]


def test_a_moved_image_is_a_crop_of_the_reflected_one(tmp_path: Path) -> None:
    image = noise(1, 2, 5, 6)[0]
    write_lmdb(tmp_path / "db", [image], [0])
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="reflect").astype(np.float32)
    for transform, h, w in (("", 5, 6), ("crop_size: 4", 4, 4)):
        places = [padded[:, y : y + h, x : x + w] for y in range(10 - h) for x in range(11 - w)]
        expected = {p.tobytes() for p in places}
        for hold in (0, MANY):
            data = next(feed(tmp_path, 3000, transform, move=2, hold=hold))["data"].numpy()
            seen = Counter(d.tobytes() for d in data)
            assert set(seen) == expected
            assert max(seen.values()) < 3 * 3000 / len(expected)


def test_every_second_epoch_an_image_is_mirrored(tmp_path: Path) -> None:
    pixels = noise(64, 1, 3, 4)
    write_lmdb(tmp_path / "db", pixels, range(64))
    own = feed(tmp_path, 64, "mirror: true", alternate_mirror=True, shuffle=True)
    sides = []
    for batch in islice(own, 4):
        mirrored = np.zeros(64, bool)
        for crop, label in zip(batch["data"].numpy(), batch["label"].int().tolist(), strict=True):
            straight = np.array_equal(crop, pixels[label].astype(np.float32))
            assert straight or np.array_equal(crop, pixels[label][:, :, ::-1].astype(np.float32))
            mirrored[label] = not straight
        sides.append(mirrored)
    assert 16 < sides[0].sum() < 48
    assert (sides[0] != sides[1]).all()
    assert (sides[0] == sides[2]).all()
    assert (sides[1] == sides[3]).all()
    with pytest.raises(EngineError, match="alternate_mirror needs transform_param"):
        feed(tmp_path, 4, alternate_mirror=True)


def test_a_shuffled_database_has_another_order_each_epoch_and_each_record_once(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(11, 1, 2, 2), range(11))
    for hold in (0, MANY):
        own = feed(tmp_path, 11, shuffle=True, hold=hold)
        rounds = [tuple(batch["label"].tolist()) for batch in islice(own, 3)]
        assert len(set(rounds)) == 3
        assert all(sorted(r) == list(range(11)) for r in rounds)


# -- resized crops -----------------------------------------------------------------------------------------


def test_boxes_have_torchvisions_distribution() -> None:
    """torchvision: area uniform in its range, log of the ratio uniform, both of what fits; then any place."""
    framing = Framing(crop=8, random=True, area=(0.08, 1.0))
    rng = np.random.default_rng(0)
    draws = rng.random((20_000, framing.draws)).tolist()
    boxes = [framing._box(100, 120, row) for row in draws]
    theirs = []
    for _ in range(20_000):  # RandomResizedCrop.get_params
        for _ in range(10):
            area = 12_000 * rng.uniform(0.08, 1.0)
            ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= 120 and 0 < h <= 100:
                theirs.append((int(rng.integers(0, 100 - h + 1)), int(rng.integers(0, 120 - w + 1)), h, w))
                break
    for ours, other in zip(np.array(boxes).T, np.array(theirs).T, strict=True):
        both = [np.quantile(values, (0.1, 0.25, 0.5, 0.75, 0.9)) for values in (ours, other)]
        np.testing.assert_allclose(both[0], both[1], rtol=0.04, atol=1.1)
    for top, left, h, w in boxes:
        assert 0 <= top <= 100 - h
        assert 0 <= left <= 120 - w


def test_a_box_is_resized_as_opencv_resizes_it() -> None:
    images = noise(6, 3, 30, 40)
    framing = Framing(crop=16, random=True, mirror=True, area=(0.1, 1.0))
    draws = np.random.default_rng(1).random((6, framing.draws))
    found = cut(torch.from_numpy(images), None, framing(30, 40, draws)).numpy()
    for image, row, ours in zip(images, draws, found, strict=True):
        top, left, h, w = framing._box(30, 40, row.tolist())
        box = np.ascontiguousarray(image[:, top : top + h, left : left + w].transpose(1, 2, 0))
        theirs = cv2.resize(box, (16, 16), interpolation=cv2.INTER_LINEAR).transpose(2, 0, 1)
        theirs = theirs[:, :, ::-1] if row[0] < 0.5 else theirs
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1  # OpenCV has weights of 11 bits


def test_a_box_of_the_whole_image_is_the_image() -> None:
    image = torch.from_numpy(noise(1, 3, 9, 9))
    framing = Framing(crop=9, random=True, area=(1.0, 1.0), shape=(1.0, 1.0))
    assert torch.equal(cut(image, None, framing(9, 9, np.zeros((1, framing.draws)))), image)


def test_boxes_are_cut_alike_on_the_device_and_by_a_reader(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(9, 3, 20, 25), range(9))
    options: dict[str, Any] = {"resized_crop": (0.1, 1.0)}
    held, streamed = (feed(tmp_path, 7, "crop_size: 12 mirror: true", hold=h, **options) for h in (MANY, 0))
    for a, b in islice(zip(held, streamed, strict=True), 3):
        assert (a["data"] - b["data"]).abs().max() <= 1
        assert (a["data"] != b["data"]).float().mean() < 1e-3
    held.close()
    streamed.close()


# -- colours -----------------------------------------------------------------------------------------------


class Fixed:
    """Draws that are given, in place of a generator."""

    def __init__(self, value: float) -> None:
        self.value = value

    def random(self, shape: tuple[int, ...]) -> Any:
        return np.full(shape, self.value)

    def normal(self, mean: float, deviation: float, shape: tuple[int, ...]) -> Any:
        return np.full(shape, deviation * self.value)


def test_colours_change_by_the_published_formulas() -> None:
    data = torch.from_numpy(noise(2, 3, 4, 5)).float()
    blue, green, red = data.unbind(1)
    own = 0.114 * blue + 0.587 * green + 0.299 * red
    rng: Any = Fixed(0.75)  # a factor of 1 + strength / 2
    bright = recoloured(data.clone(), Extras(brightness=0.4), rng)
    torch.testing.assert_close(bright, (data * 1.2).clamp(0, 255))
    contrast = recoloured(data.clone(), Extras(contrast=0.4), rng)
    mean = own.mean((1, 2))[:, None, None, None]
    torch.testing.assert_close(contrast, ((data - mean) * 1.2 + mean).clamp(0, 255))
    saturated = recoloured(data.clone(), Extras(saturation=0.4), rng)
    torch.testing.assert_close(saturated, (data * 1.2 - own[:, None] * 0.2).clamp(0, 255))
    lit = recoloured(data.clone(), Extras(lighting=0.1), rng) - data
    # Red of the first vector -0.5675, ...: the sum over vectors, each with its value and the draw 0.075.
    vectors = torch.tensor(
        [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
    )
    red, green, blue = (vectors * torch.tensor([0.2175, 0.0188, 0.0045])).sum(1) * 0.075 * 255
    for channel, shift in enumerate((blue, green, red)):
        torch.testing.assert_close(lit[:, channel], shift.expand(2, 4, 5), atol=1e-4, rtol=1e-4)
    swapped = recoloured(data.flip(1), Extras(saturation=0.4, rgb=True), rng)
    torch.testing.assert_close(swapped.flip(1), saturated)


def test_factors_are_uniform_and_each_image_has_its_own(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", [np.full((3, 2, 2), 100, np.uint8)], [0])
    data = next(feed(tmp_path, 4000, brightness=0.4))["data"]
    factors = (data[:, 0, 0, 0] / 100).sort().values
    expected = torch.linspace(0.6, 1.4, 4000)
    assert float((factors - expected).abs().max()) < 0.03  # Kolmogorov and Smirnov: 0.8 * 2 / sqrt(4000)
    (tmp_path / "grey").mkdir()
    write_lmdb(tmp_path / "grey/db", noise(1, 1, 2, 2), [0])
    own = feed(tmp_path / "grey", 1, brightness=0.4)
    with pytest.raises(EngineError, match="colours change only in images of 3 channels, not of 1"):
        next(own)


# -- cutout ------------------------------------------------------------------------------------------------


def test_a_square_inside_the_image_is_cut_out() -> None:
    data = cut_out(torch.ones(2000, 2, 6, 7), 3, False, np.random.default_rng(0))
    assert torch.equal(data[:, 0], data[:, 1])
    assert ((data[:, 0] == 0).sum((1, 2)) == 9).all()
    corners = Counter(tuple((d == 0).nonzero()[0].tolist()) for d in data[:, 0])
    assert set(corners) == {(y, x) for y in range(4) for x in range(5)}
    assert sum((n - 100) ** 2 / 100 for n in corners.values()) < 50  # chi squared, 19 degrees: 99.99 %


def test_a_square_may_lie_over_the_border() -> None:
    data = cut_out(torch.ones(3000, 1, 5, 5), 3, True, np.random.default_rng(0))
    holes = Counter(tuple((d == 0).flatten().int().tolist()) for d in data[:, 0])
    expected = set()
    for y in range(5):
        for x in range(5):
            hole = np.zeros((5, 5), int)
            hole[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = 1
            expected.add(tuple(hole.flatten().tolist()))
    assert set(holes) == expected


def test_the_hole_has_the_value_of_the_mean(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", np.full((1, 1, 4, 4), 9, np.uint8), [0])
    data = next(feed(tmp_path, 5, "mean_value: 5", cutout=2))["data"]
    assert sorted(data[0].flatten().tolist()) == [0] * 4 + [4] * 12


# -- labels ------------------------------------------------------------------------------------------------


def test_mixed_images_have_the_mixed_loss_and_gradient(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(6, 1, 2, 2), [0, 1, 2, 3, 0, 1])
    net = module(net_of(tmp_path, 6, "scale: 0.01", CLASSIFIER), phase="TRAIN", seed=0)
    own = Feed(net, device="cpu", seed=1, extras=Extras(mixup=0.7))
    pixels = torch.from_numpy(noise(6, 1, 2, 2)).float() * 0.01
    for batch in islice(own, 3):
        mix = batch.mix
        assert mix is not None
        share = float(mix.share)
        # Which image each one was mixed with follows from the data.
        for i, mixed in enumerate(batch["data"]):
            pairs = [share * pixels[i] + (1 - share) * pixels[j] for j in range(6)]
            near = [j for j, pair in enumerate(pairs) if torch.allclose(pair, mixed, atol=1e-5)]
            assert any(float(mix.other[i]) == [0, 1, 2, 3, 0, 1][j] for j in near)
        net.zero_grad()
        out = net(**batch, keep=["fc"])
        out.loss.backward()
        weights = net.params["fc"][0].detach().clone().requires_grad_(True)
        scores = batch["data"].flatten(1) @ weights.T
        targets = share * torch.eye(4)[batch["label"].long()] + (1 - share) * torch.eye(4)[mix.other.long()]
        loss = -(targets * torch.log_softmax(scores, 1)).sum(1).mean()
        loss.backward()
        assert float(out.loss.detach()) == pytest.approx(float(loss.detach()), rel=1e-5)
        torch.testing.assert_close(net.params["fc"][0].grad, weights.grad, rtol=1e-4, atol=1e-6)


def test_shares_are_of_a_beta_distribution_and_each_image_is_mixed_in_once(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(4, 1, 1, 1), range(4))
    own = feed(tmp_path, 4, more=CLASSIFIER, mixup=0.2)
    shares = []
    for batch in islice(own, 1500):
        assert batch.mix is not None
        assert sorted(batch.mix.other.tolist()) == [0, 1, 2, 3]
        shares.append(float(batch.mix.share))
    expected = np.sort(np.random.default_rng(0).beta(0.2, 0.2, 100_000))
    for q in (0.2, 0.35, 0.5, 0.65, 0.8):
        assert abs(np.mean(np.array(shares) <= np.quantile(expected, q)) - q) < 0.05


@pytest.mark.parametrize("normalization", ["VALID", "BATCH_SIZE", "NONE"])
def test_smoothed_labels_have_pytorchs_loss(tmp_path: Path, normalization: str) -> None:
    write_lmdb(tmp_path / "db", noise(5, 1, 2, 2), [0, 1, 2, 3, 0])
    more = CLASSIFIER.replace(
        'top: "loss" }', f'top: "loss" loss_param {{ normalization: {normalization} }} }}'
    )
    net = module(net_of(tmp_path, 5, "scale: 0.01", more), phase="TRAIN", seed=0)
    batch = next(Feed(net, device="cpu", seed=1, extras=Extras(label_smoothing=0.1)))
    out = net(**batch, keep=["fc"])
    expected = torch.nn.functional.cross_entropy(
        out["fc"],
        batch["label"].long(),
        label_smoothing=0.1,
        reduction="sum" if normalization == "NONE" else "mean",
    )
    assert float(out.loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_losses_that_cannot_be_soft_are_refused(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(2, 1, 1, 4), [0, 1])
    hinge = CLASSIFIER.replace("SoftmaxWithLoss", "HingeLoss")
    with pytest.raises(
        EngineError, match="need a SoftmaxWithLoss, and HingeLoss 'loss' reads the label 'label'"
    ):
        feed(tmp_path, 2, more=hinge, mixup=0.2)
    ignoring = CLASSIFIER.replace('top: "loss" }', 'top: "loss" loss_param { ignore_label: 3 } }')
    with pytest.raises(EngineError, match="cannot ignore labels as SoftmaxWithLoss 'loss' does"):
        feed(tmp_path, 2, more=ignoring, label_smoothing=0.1)
    with pytest.raises(EngineError, match="need a loss that reads the label of 'd': there is none"):
        feed(tmp_path, 2, mixup=0.2)


# -- policies: their operations are tested in tests/data/test_policies.py ------------------------------------


@pytest.mark.parametrize("options", [{"autoaugment": "imagenet"}, {"randaugment": (2, 9)}])
def test_a_policy_changes_the_cut_image_wherever_it_is_read(tmp_path: Path, options: dict[str, Any]) -> None:
    pixels = noise(8, 3, 12, 12)
    write_lmdb(tmp_path / "db", pixels, range(8))
    transform = "crop_size: 10 mirror: true"
    places: list[dict[str, Any]] = [{"hold": MANY}, {"hold": 0}, {"hold": 0, "workers": 1}]
    held, here, apart = (next(feed(tmp_path, 8, transform, **options, **at))["data"] for at in places)
    assert torch.equal(held, here)
    assert torch.equal(held, apart)
    assert held.shape == (8, 3, 10, 10)
    plain = next(feed(tmp_path, 8, transform))["data"]
    assert sum(not torch.equal(a, b) for a, b in zip(held, plain, strict=True)) >= 4


def test_a_policy_needs_bytes_of_three_channels(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(2, 1, 4, 4), [0, 1])
    for hold in (0, MANY):
        with pytest.raises(EngineError, match="images of 3 channels of bytes, not of 1 channels"):
            next(feed(tmp_path, 2, randaugment=(1, 9), hold=hold))


# -- the extras as they are given --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"cutuot": 8}, "did you mean 'cutout'?"),
        ({"cutout": -1}, "cutout cannot be negative, got -1"),
        ({"brightness": 1.5}, "brightness must be between 0 and 1, got 1.5"),
        ({"label_smoothing": 1}, "label_smoothing must be at least 0 and below 1, got 1"),
        ({"resized_crop": [0.5, 0.2]}, "resized_crop takes the least and the most, as in [0.08, 1]"),
        ({"resized_crop": [0.08, 1], "move": 4}, "resized_crop and move both place the image"),
        ({"move": "four"}, "move takes a whole number, got 'four'"),
        ({"move": 1.5}, "move takes a whole number, got 1.5"),
        ({"mixup": float("nan")}, "mixup takes a number, got nan"),
        ({"rgb": "no"}, "rgb takes true or false, got 'no'"),
        ({"resized_crop": 0.5}, "resized_crop takes two numbers, as in [1, 2], got 0.5"),
        ({"resized_crop": ["a", 1]}, "resized_crop takes two numbers, as in [1, 2], got ['a', 1]"),
        ({"autoaugment": True}, "autoaugment takes a name, got True"),
        ({"autoaugment": "imagnet"}, "did you mean 'imagenet'?"),
        ({"randaugment": [0, 9]}, "a number of operations and a magnitude of 0 to 30, got [0, 9]"),
        ({"randaugment": [2, 31]}, "a number of operations and a magnitude of 0 to 30, got [2, 31]"),
        ({"autoaugment": "svhn", "randaugment": [2, 9]}, "autoaugment and randaugment do the same"),
    ],
)
def test_extras_that_make_no_sense_are_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Extras.of(given)
    assert why in str(caught.value)


def test_extras_are_of_a_mapping_and_for_training(tmp_path: Path) -> None:
    assert Extras.of({"resized_crop": [0.08, 1], "cutout": 8}) == Extras(resized_crop=(0.08, 1), cutout=8)
    write_lmdb(tmp_path / "db", noise(2, 1, 4, 4), [0, 1])
    net = module(net_of(tmp_path, 2))
    with pytest.raises(EngineError, match="extras change the images of Data and ImageData layers in TRAIN"):
        Feed(net, device="cpu", seed=0, extras=Extras(cutout=2))


def test_everything_together_resumes_bit_by_bit(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(9, 3, 8, 8), [i % 4 for i in range(9)])
    options: dict[str, Any] = {
        "shuffle": True, "move": 2, "alternate_mirror": True, "brightness": 0.3, "contrast": 0.3,
        "saturation": 0.3, "lighting": 0.1, "autoaugment": "cifar10", "cutout": 2, "mixup": 0.4,
        "label_smoothing": 0.1,
    }  # fmt: skip
    transform = "crop_size: 6 mirror: true mean_value: 9"
    batches = list(islice(feed(tmp_path, 4, transform, CLASSIFIER, **options), 6))
    first = feed(tmp_path, 4, transform, CLASSIFIER, **options)
    for _ in range(3):
        next(first)
    later = feed(tmp_path, 4, transform, CLASSIFIER, **options)
    later.load_state_dict(first.state_dict())
    for expected in batches[3:]:
        found = next(later)
        assert torch.equal(expected["data"], found["data"])
        assert expected.mix is not None
        assert found.mix is not None
        assert torch.equal(expected.mix.other, found.mix.other)
        assert float(expected.mix.share) == float(found.mix.share)
