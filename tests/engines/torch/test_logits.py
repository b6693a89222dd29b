"""The official logits of the five reference nets, in PyTorch, also after a round trip through a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder import Net
from netbuilder.engines.torch import module
from tests.engines.torch.given import give
from tests.networks import test_assemble_in_caffe as assemble
from tests.networks import test_bl_logits as bl
from tests.networks import test_davidnet_reference as david

# The net, its parameters by layer, the images, the logits, and the blob that must equal them.
Reference = tuple[Net, dict[str, list[Any]], Any, Any, str]


def big_little(name: str, pooling: str = "crop") -> Reference:
    dialect = "caffe-master" if pooling == "floor" else "caffe-1.0"
    _, params, image, logits = bl.reference(name)
    return bl.stitch(name, pooling=pooling, dialect=dialect), params, image, logits, "fc1000"


def davidnet() -> Reference:
    params, images, logits = david.page()
    return david.stitch("davidnet", "deploy"), params, images, logits, "logits"


def assembled() -> Reference:
    params, images, logits = assemble.reference()
    return assemble.stitch("deploy", classes=1001), params, images, logits, "fc1001"


REFERENCES: dict[str, Callable[[], Reference]] = {
    **{name: partial(big_little, name) for name in bl.NETS},
    f"{bl.NETS[0]}, floor": partial(big_little, bl.NETS[0], "floor"),
    "davidnet": davidnet,
    "assemble_resnet50": assembled,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_the_logits_are_the_official_ones(name: str, tmp_path: Path) -> None:
    net, params, images, logits, blob = REFERENCES[name]()
    m = module(net)
    give(m, params)
    with torch.no_grad():
        assert abs(m(torch.from_numpy(images), keep=(blob,))[blob].numpy() - logits).max() <= 1e-5
    plain = module(net, passes=())
    give(plain, params)
    with torch.no_grad():
        before = plain(torch.from_numpy(images), keep=(blob,))[blob].numpy()
    assert abs(before - logits).max() <= 1e-5
    m.save_caffemodel(tmp_path / "m.caffemodel")
    give(plain, {layer: [torch.zeros_like(b) for b in blobs] for layer, blobs in plain.params.items()})
    fit = plain.load_caffemodel(tmp_path / "m.caffemodel")
    assert (fit.new, fit.unused) == ((), ())
    with torch.no_grad():
        assert (plain(torch.from_numpy(images), keep=(blob,))[blob].numpy() == before).all()


def test_a_mean_that_is_not_divided_by_its_factor_would_be_seen() -> None:
    """The negative control: BatchNorm's blobs are sums, and the third says of how many."""
    net, params, images, logits, blob = davidnet()
    m = module(net)
    wrong = {n: [*v[:2], v[2] * 0.5] if n.startswith("bn_") else v for n, v in params.items()}
    give(m, wrong)
    with torch.no_grad():
        assert abs(m(torch.from_numpy(images), keep=(blob,))[blob].numpy() - logits).max() > 1e-2
    right = {n: [np.multiply(b, 0.5) for b in v] if n.startswith("bn_") else v for n, v in params.items()}
    give(m, right)
    with torch.no_grad():
        assert abs(m(torch.from_numpy(images), keep=(blob,))[blob].numpy() - logits).max() <= 1e-5
