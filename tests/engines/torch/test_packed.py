"""Convolutions with packed weights: when they are used, and that they compute the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from netbuilder.engines.torch.network import NetModule
from netbuilder.engines.torch.passes import DEFAULT
from tests.engines.torch.passing import bn, conv, relu
from tests.engines.torch.test_module import source
from tests.engines.torch.test_passes import OUT, inputs, made


def packs(passes: Sequence[str] = DEFAULT) -> tuple[NetModule, NetModule]:
    """A net of convolutions alone and folded, grouped, of one pixel; and without packed weights."""
    text = (
        source(data=(4, 3, 7, 6))
        + conv("c1", "data")
        + bn("b1", "c1")
        + relu("r1", "b1")
        + conv("c2", "b1", "num_output: 4 kernel_size: 1 bias_term: false")
        + conv("c3", "c2", "num_output: 6 kernel_size: 3 stride: 2 pad: 2 dilation: 2 group: 2")
        + conv("c4", "c3", "num_output: 6 kernel_size: 2 group: 6")
        + relu("r4", "c4")
    )
    without = [name for name in passes if name != "packed"]
    return made(text, passes, "TEST"), made(text, without, "TEST")


PACKED = torch.ops.mkldnn._convolution_pointwise


def used(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the bottoms of convolutions that run with packed weights from now on."""
    seen: list[tuple[int, ...]] = []

    def note(x: Tensor, *rest: Any) -> Any:
        seen.append(tuple(x.shape))
        return PACKED(x, *rest)

    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", note)
    return seen


def test_packed_weights_serve_images_of_other_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, plain = packs()
    seen = used(monkeypatch)
    with torch.no_grad():
        for n, shape in enumerate([(4, 3, 7, 6), (1, 3, 7, 6), (2, 3, 40, 31), (4, 3, 7, 6)], 1):
            x = torch.randn(shape, generator=torch.Generator().manual_seed(n))
            for found, wanted in zip(packed(x).values(), plain(x).values(), strict=True):
                assert float((found - wanted).abs().max()) <= OUT * float(wanted.abs().max())
            assert len(seen) == 4 * n
            assert seen[-4] == shape


def test_weights_are_packed_for_float32_on_the_cpu_without_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    packed, plain = packs()
    seen = used(monkeypatch)
    x = inputs()["data"]

    def same() -> bool:
        return all(map(torch.equal, packed(x).values(), plain(x).values()))

    assert same()  # a gradient of the weights may be asked for
    with torch.no_grad():
        with torch.autocast("cpu", torch.bfloat16):
            assert same()
        with torch.backends.mkldnn.flags(enabled=False):
            assert same()
        by_image = [torch.vmap(lambda one, m=m: (*m(one[None]).values(),))(x) for m in packs(("packed",))]
        assert all(map(torch.equal, *by_image))
        empty = torch.empty(0, 3, 7, 6)
        assert [v.shape for v in packed(empty).values()] == [v.shape for v in plain(empty).values()]
        for m in (packed, plain):
            m.double()
        x = x.double()
        assert same()
    assert seen == []


def test_a_weight_that_is_not_a_number_is_seen() -> None:
    packed, _ = packs()
    with torch.no_grad():
        packed.params["c4"][0][0] = torch.nan
        (top,) = packed(inputs()["data"]).values()
    assert top[:, 0].isnan().all()
    assert not top[:, 1:].isnan().any()
