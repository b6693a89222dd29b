"""Fillers as distributions, by Caffe's formulas, and the values that real Caffe's bilinear filler has."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from netbuilder.engines.caffe import Caffe
from netbuilder.engines.torch.fillers import draw, fill
from netbuilder.schema import FillerParameter, message

SHAPE = (60, 40, 3, 3)
FAN_IN, FAN_OUT = 40 * 9, 60 * 9


def drawn(shape: tuple[int, ...] = SHAPE, seed: int = 0, **fields: object) -> torch.Tensor:
    filler = FillerParameter(**fields)  # type: ignore[arg-type]
    return draw(shape, filler, torch.Generator().manual_seed(seed))


def assert_uniform(blob: torch.Tensor, low: float, high: float) -> None:
    """Bounds, and the decile shares, within five standard deviations."""
    assert low <= float(blob.min())
    assert float(blob.max()) <= high
    n = blob.numel()
    shares = torch.histc(blob, 10, low, high) / n
    assert float((shares - 0.1).abs().max()) < 5 * math.sqrt(0.09 / n)


def assert_normal(blob: torch.Tensor, mean: float, std: float) -> None:
    """Mean, deviation, and the share within one deviation, within five standard deviations of each."""
    n = blob.numel()
    assert float(blob.mean()) == pytest.approx(mean, abs=5 * std / math.sqrt(n))
    assert float(blob.std()) == pytest.approx(std, abs=5 * std / math.sqrt(2 * n))
    assert float(((blob - mean).abs() < std).float().mean()) == pytest.approx(
        0.6827, abs=5 * 0.5 / math.sqrt(n)
    )


def test_constant() -> None:
    assert (drawn(type="constant", value=1.5) == 1.5).all()
    assert (drawn() == 0).all()


def test_uniform() -> None:
    assert_uniform(drawn(type="uniform", min=-0.5, max=2), -0.5, 2)


def test_a_uniform_with_an_infinite_bound_draws_up_to_the_largest_number(real_caffe: Caffe) -> None:
    text = (
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 4000 } '
        'data_filler { type: "uniform" min: 0 max: inf } } }'
    )
    theirs = torch.from_numpy(real_caffe.run(text, outputs=["d"]).outputs["d"]).double()
    most = float(torch.finfo(torch.float32).max)
    assert_uniform(theirs / most, 0, 1)
    assert_uniform(drawn(type="uniform", min=0, max=math.inf).double() / most, 0, 1)
    assert_uniform(drawn(type="uniform", min=-most, max=most).double() / most, -1, 1)


def test_gaussian() -> None:
    assert_normal(drawn(type="gaussian", mean=3, std=0.2), 3, 0.2)


def test_a_sparse_gaussian_keeps_a_number_of_inputs_on_average() -> None:
    blob = drawn(type="gaussian", std=2, sparse=15)
    kept = blob != 0
    assert float(kept.float().mean()) == pytest.approx(0.25, abs=5 * math.sqrt(0.1875 / blob.numel()))
    assert_normal(blob[kept], 0, 2)


@pytest.mark.parametrize(
    ("norm", "fan"), [(0, FAN_IN), (1, FAN_OUT), (2, (FAN_IN + FAN_OUT) / 2)], ids=["in", "out", "average"]
)
def test_xavier_and_msra(norm: int, fan: float) -> None:
    bound = math.sqrt(3 / fan)
    blob = drawn(type="xavier", variance_norm=norm)
    assert_uniform(blob, -bound, bound)
    assert_normal(drawn(type="msra", variance_norm=norm), 0, math.sqrt(2 / fan))


def test_the_fan_of_one_axis_is_one_and_all_of_it() -> None:
    assert_uniform(drawn((5000,), type="xavier"), -math.sqrt(3), math.sqrt(3))
    assert_uniform(drawn((5000,), type="xavier", variance_norm=1), -math.sqrt(3 / 5000), math.sqrt(3 / 5000))


def test_a_positive_unitball_sums_to_one_in_each_row() -> None:
    blob = drawn(type="positive_unitball").flatten(1)
    assert float(blob.min()) >= 0
    assert torch.allclose(blob.sum(1), torch.ones(60))
    mean = 1 / FAN_IN  # of uniform numbers, which their sum divides
    assert float(blob.std()) == pytest.approx(mean / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize("size", range(1, 9))
def test_bilinear_is_caffes(real_caffe: Caffe, size: int) -> None:
    text = f"""layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: [1, 2, 9, 9] }} }} }}
    layer {{ name: "c" type: "Deconvolution" bottom: "x" top: "c" convolution_param {{ num_output: 2 group: 2
      bias_term: false kernel_size: {size} weight_filler {{ type: "bilinear" }} }} }}"""
    (theirs,) = real_caffe.run(text, fetch_params=True).params["c"]
    ours = drawn((2, 1, size, size), type="bilinear").numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)


def test_a_seed_fixes_every_filler() -> None:
    for type in ("uniform", "gaussian", "xavier", "msra", "positive_unitball"):
        assert torch.equal(drawn(seed=1, type=type), drawn(seed=1, type=type))
        assert not torch.equal(drawn(seed=1, type=type), drawn(seed=2, type=type))


def test_values_in_the_file_come_before_the_filler() -> None:
    blob, generator = torch.zeros(2, 2), torch.Generator()
    given = message("BlobProto")(data=[1, 2, 3, 4])
    fill(blob, FillerParameter(type="gaussian"), given, 9, generator)
    assert blob.tolist() == [[1, 2], [3, 4]]
    fill(blob, None, None, 9, generator)
    assert blob.tolist() == [[9, 9], [9, 9]]
