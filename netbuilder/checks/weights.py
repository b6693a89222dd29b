"""Whether a trained model fits a net, as Caffe loads it: by layer name, ignoring names that it does not find.

Source: net.cpp, CopyTrainedLayersFrom.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from netbuilder.checks import CODES, Finding, found
from netbuilder.errors import did_you_mean, shape_text
from netbuilder.layers import Shape
from netbuilder.net import Layer, Net
from netbuilder.weights.fill import is_fixed
from netbuilder.weights.model import Model, ModelLayer

__all__ = ["crashes", "fits", "unused"]

_COMPARED = 2000  # names; searching more for a near miss takes too long


def fits(net: Net, model: Model) -> list[Finding]:
    """Layers that find no parameters in the model, and those on which Caffe aborts."""
    stored = {layer.name: layer for layer in model.layers}
    names = {layer.name for layer in net}
    free = [layer for layer in model.layers if layer.blobs and layer.name not in names]
    findings, seen = [], set()
    for layer in net:
        if layer.unknown and not layer.params:
            continue
        source = stored.get(layer.name)
        if layer.name in seen:
            if layer.params:
                findings.append(
                    found(
                        "weights-missing", layer,
                        "another layer of this name comes first, and takes the weights",
                        "rename one of the two",
                    )
                )  # fmt: skip
            continue
        seen.add(layer.name)
        if source is None:
            if layer.params:
                findings.append(_missing(layer, free))
        elif not _same(source.blobs, [p.shape for p in layer.params]):
            own, its = _text(p.shape for p in layer.params), _text(source.blobs)
            findings.append(
                found(
                    "weights-shape", layer,
                    f"its parameters are {own}, those of the model {its}: Caffe aborts",
                    "rename the layer to train it from the start, or give it the model's shape",
                )
            )  # fmt: skip
    return findings


def crashes(net: Net, model: Model, target: str) -> list[Finding]:
    """Layers without parameters in the model, for a consumer that fills none itself."""
    stored = {layer.name for layer in model.layers}
    return [
        found(
            "weights-missing", layer,
            f"{target}: the model has no parameters for this layer, and it fills none: it crashes",
            "write a model that has its fixed filters: netbuilder check NET --weights MODEL --fill FILE"
            if is_fixed(layer) else "name it like the layer of the model whose weights it should get",
            target=target,
        )
        for layer in net if layer.params and layer.name not in stored
    ]  # fmt: skip


def unused(nets: Iterable[Net], model: Model, file: str) -> list[Finding]:
    """Layers of the model whose parameters no layer of any of the nets takes."""
    names = {layer.name for net in nets for layer in net}
    severity = CODES["weights-unused"].severity
    return [
        Finding(
            severity, "weights-unused", layer.name,
            f"no layer has this name: {layer.params:,} parameters of the model are not used", file=file,
        )
        for layer in model.layers if layer.blobs and layer.name not in names
    ]  # fmt: skip


def _missing(layer: Layer, free: Sequence[ModelLayer]) -> Finding:
    if len(free) > _COMPARED:
        free = ()
    alike = [x.name for x in free if _same(x.blobs, [p.shape for p in layer.params])]
    hint = did_you_mean(layer.name, alike) or did_you_mean(layer.name, [x.name for x in free])
    return found(
        "weights-missing", layer,
        "the model has no layer of this name: its parameters stay as they are filled",
        hint or "name it like the layer of the model whose weights it should get",
    )  # fmt: skip


def _same(stored: Sequence[Shape], wanted: Sequence[Shape]) -> bool:
    return len(stored) == len(wanted) and all(map(_equal, stored, wanted))


def _equal(stored: Shape, wanted: Shape) -> bool:
    """Equal shapes; files from before 2015 pad to 4 axes with leading ones (`Blob::ShapeEquals`)."""
    return stored == wanted or (
        len(stored) == 4 > len(wanted) and stored == (1,) * (4 - len(wanted)) + wanted
    )


def _text(shapes: Iterable[Shape]) -> str:
    return " ".join(shape_text(s) for s in shapes) or "none"
