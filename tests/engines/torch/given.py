"""Parameters given to a module, in Caffe's shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from netbuilder.engines.torch.network import NetModule

__all__ = ["give"]


def give(m: NetModule, params: Mapping[str, Sequence[Any]]) -> None:
    """Copy arrays into the parameter blobs of these layers."""
    blobs = m.params  # gathered from all operators at each call
    with torch.no_grad():
        for layer, arrays in params.items():
            for blob, array in zip(blobs[layer], arrays, strict=True):
                blob.copy_(torch.as_tensor(array).view(blob.shape))
