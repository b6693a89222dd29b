"""Pooling between layers; pooling of the whole image is in `legos.head`."""

from __future__ import annotations

from dataclasses import dataclass

from legos.base import Lego
from netbuilder.net import Blob, Net

__all__ = ["HalvingMaxPoolLego"]


@dataclass(frozen=True, kw_only=True)
class HalvingMaxPoolLego(Lego):
    """Maximum `pool_X` of each 2x2 square: (n, c, h, w) -> (n, c, h/2, w/2), for even h and w only.

    Raises ConfigError for odd ones: Caffe rounds up, but the references round down.
    """

    def build(self, net: Net, *bottoms: Blob) -> Blob:
        height, width = bottoms[0].known_shape[2:]
        if height % 2 or width % 2:
            raise self._refuse(
                f"needs an even height and width, got {height}x{width}: "
                "Caffe would round up, but the reference rounds down",
                "input_size",
            )
        return net.add("Pooling", *bottoms, name=f"pool_{self.name}", pool="MAX", kernel_size=2, stride=2)
