"""Counts as plain data, for JSON. The form is a contract: `count.schema.json` beside this file holds it.

docs/counting.md says what each key means.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.measure.counts import LAYER_FIGURES, Counts, LayerCounts, totals
from netbuilder.net import Blob, Layer, Net, Param
from netbuilder.report.formats import known
from netbuilder.report.table import block_figures

if TYPE_CHECKING:
    from netbuilder.measure.blocks import Block
    from netbuilder.measure.geometry import ReceptiveField
    from netbuilder.measure.memory import LayerMemory
    from netbuilder.weights.model import Model

__all__ = ["FORMAT_VERSION", "SCHEMA", "as_data", "model_as_data", "several_as_data"]

FORMAT_VERSION = 1
SCHEMA = Path(__file__).with_name("count.schema.json")


def as_data(
    net: Net,
    counts: Counts,
    *,
    fields: Mapping[Blob, ReceptiveField] | None = None,
    blocks: Iterable[Block] | None = None,
    memory: Sequence[LayerMemory] | None = None,
) -> dict[str, Any]:
    """A net's figures as dicts, lists and numbers; what is not known is None.

    `fields` adds each layer's receptive field, `blocks` the sums over blocks, `memory` that of each layer.
    """
    data: dict[str, Any] = {
        "version": FORMAT_VERSION,
        "name": net.name,
        "phase": net.phase,
        "batch": counts.batch,
        "totals": totals(counts),
        "layers": [_layer(row) for row in counts.layers],
        "complete": not counts.uncounted,
        "uncounted": [
            {"name": layer.name, "type": layer.type, "reason": layer.unknown} for layer in counts.uncounted
        ],
    }
    if fields is not None:
        for row, found in zip(counts.layers, data["layers"], strict=True):
            tops = row.layer.tops
            found["receptive_field"] = _field(fields.get(tops[0]) if tops else None)
    if memory is not None:
        for used, found in zip(memory, data["layers"], strict=True):
            found["memory"] = {
                "input_bytes": used.inputs,
                "output_bytes": used.outputs,
                "weight_bytes": used.weights,
                "working_bytes": used.working,
                "alive_bytes": used.alive,
            }
        data["peak_layer"] = max(memory, key=lambda used: used.alive).layer.name if memory else None
    if blocks is not None:
        by_layer = {row.layer: row for row in counts.layers}
        data["blocks"] = [
            _block(block, [by_layer[layer] for layer in block.layers], counts.batch) for block in blocks
        ]
    return data


def several_as_data(nets: Iterable[tuple[str, dict[str, Any]]], errors: Mapping[str, str]) -> dict[str, Any]:
    """Several nets, each with its file and as from `as_data`; files that could not be read, and why not."""
    return {
        "version": FORMAT_VERSION,
        "nets": [{"file": file, **data} for file, data in nets],
        "errors": [{"file": file, "error": text} for file, text in errors.items()],
    }


def model_as_data(model: Model) -> dict[str, Any]:
    """What a trained model stores."""
    return {
        "version": FORMAT_VERSION,
        "name": model.name,
        "totals": {"stored_params": model.stored_params},
        "layers": [
            {"name": x.name, "type": x.type, "params": [{"shape": list(s)} for s in x.blobs]}
            for x in model.layers
        ],
    }


def _layer(row: LayerCounts) -> dict[str, Any]:
    layer = row.layer
    return {
        "name": layer.name,
        "type": layer.type,
        "bottoms": [_blob(b) for b in layer.bottoms],
        "tops": [_blob(b) for b in layer.tops],
        "params": [_param(p) for p in layer.params],
        "kernel": _kernel(layer),
        **{name: row.figure(name) for name in LAYER_FIGURES},
        **({"fixed_macs": row.fixed_macs} if row.fixed_macs else {}),
    }


def _param(param: Param) -> dict[str, Any]:
    shared = {"shared_with": param.shared_with} if param.shared_with else {}
    return {"shape": list(param.shape), "learnable": param.learnable, **shared}


def _block(block: Block, rows: list[LayerCounts], batch: int) -> dict[str, Any]:
    fixed = ("fixed_macs",) if any(row.fixed_macs for row in rows) else ()
    names = (*LAYER_FIGURES, *fixed)
    uncounted = [layer.name for layer in block.layers if layer.unknown]
    return {
        "name": block.name,
        "layers": [layer.name for layer in block.layers],
        **dict(zip(names, map(known, block_figures(rows, batch, names)), strict=True)),
        **({"uncounted": uncounted} if uncounted else {}),
    }


def _blob(blob: Blob) -> dict[str, Any]:
    return {"name": blob.name, "shape": None if blob.shape is None else list(blob.shape)}


def _kernel(layer: Layer) -> dict[str, Any] | None:
    from netbuilder.measure.geometry import group, window

    w = window(layer)
    if w is None:
        return None
    return {
        "size": list(w.kernel),
        "stride": list(w.stride),
        "pad": list(w.pad),
        "dilation": list(w.dilation),
        "group": group(layer),
    }


def _field(field: ReceptiveField | None) -> dict[str, Any] | None:
    if field is None:
        return None
    return {"size": list(field.size), "jump": list(field.jump), "whole": list(field.whole)}
