"""Counts as plain data, for JSON. The form is a contract: see docs/counting.md."""

from __future__ import annotations

from typing import Any

from netbuilder.counts import Counts, totals
from netbuilder.net import Blob, Net

__all__ = ["as_data"]

FORMAT_VERSION = 1


def as_data(net: Net, counts: Counts) -> dict[str, Any]:
    """A net's figures as dicts, lists and numbers; a shape that is not known is null."""
    return {
        "version": FORMAT_VERSION,
        "name": net.name,
        "phase": net.phase,
        "batch": counts.batch,
        "totals": totals(counts),
        "layers": [
            {
                "name": row.layer.name,
                "type": row.layer.type,
                "bottoms": [_blob(b) for b in row.layer.bottoms],
                "tops": [_blob(b) for b in row.layer.tops],
                "params": [{"shape": list(p.shape), "learnable": p.learnable} for p in row.layer.params],
                "macs": None if row.layer.unknown else row.macs,
                "flops": None if row.layer.unknown else row.flops,
                "total_flops": None if row.layer.unknown else row.total_flops,
            }
            for row in counts.layers
        ],
        "uncounted": [
            {"name": layer.name, "type": layer.type, "reason": layer.unknown} for layer in counts.uncounted
        ],
    }


def _blob(blob: Blob) -> dict[str, Any]:
    return {"name": blob.name, "shape": None if blob.shape is None else list(blob.shape)}
