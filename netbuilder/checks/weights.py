"""What Caffe takes of a trained model for a net: by layer name, ignoring names that it does not find.

Source: net.cpp, CopyTrainedLayersFrom; blob.cpp, ShapeEquals.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from netbuilder.checks import CODES, Finding, found
from netbuilder.errors import ConfigError, did_you_mean, printable, shape_text
from netbuilder.layers import Shape
from netbuilder.net import Layer, Net
from netbuilder.weights.fill import is_fixed
from netbuilder.weights.model import Model, ModelLayer, joined, read_model

__all__ = ["Fit", "crashes", "fit", "fit_files", "fits", "replaced", "require_all", "require_any", "unused"]

_OF_START = ("zero-weights", "frozen-zero", "zero-scale")
_COMPARED = 2000  # names; searching more for a near miss takes too long
_LISTED = 20  # names in a line of text


@dataclass(frozen=True)
class Fit:
    """Layers with parameters: `taken` from the model, `new` in the net, `unused` in the model, `refused`."""

    taken: tuple[str, ...]
    new: tuple[str, ...]
    unused: tuple[str, ...]
    refused: tuple[str, ...]

    def lines(self) -> list[str]:
        """The fit as text; long lists are cut."""
        rows = [
            ("taken from the model", self.taken),
            ("new, left as filled", self.new),
            ("unused in the model", self.unused),
        ]
        rows += [("refused by Caffe", self.refused)] if self.refused else []
        return [printable(f"{what}: {_counted(names)}") for what, names in rows]

    def as_data(self, files: Sequence[str]) -> dict[str, Any]:
        """The fit of these files as JSON output has it."""
        return {"files": list(files), **{what: list(names) for what, names in asdict(self).items()}}


def fit(nets: Iterable[Net], model: Model) -> Fit:
    """What Caffe takes of a model for the nets of one file."""
    copies = [_copy(net, model) for net in nets]

    def names(which: str) -> dict[str, None]:
        return dict.fromkeys(layer.name for copy in copies for layer in getattr(copy, which))

    used = {layer.name for copy in copies for layer in copy.net}
    return Fit(
        taken=tuple(names("taken")),
        new=tuple(names("new")),
        unused=tuple(dict.fromkeys(x.name for x in model.layers if x.blobs and x.name not in used)),
        refused=tuple(names("refused")),
    )


def fit_files(nets: Sequence[Net], files: Sequence[str]) -> Fit:
    """What Caffe takes of several models, loaded in turn. Raises ConfigError if it takes nothing of one."""
    models = [read_model(file) for file in files]
    for file, model in zip(files, models, strict=True):
        require_any(nets, model, file)
    return fit(nets, joined(models))


def require_any(nets: Sequence[Net], model: Model, file: str) -> None:
    """Raise ConfigError if Caffe takes nothing of a model although the nets have parameters."""
    told = fit(nets, model)
    if told.new and not told.taken and not told.refused:
        layer = next(layer for net in nets for layer in net if layer.name == told.new[0])
        raise ConfigError(
            f"no layer of the net takes its weights from '{file}': all {len(told.new)} with parameters "
            f"stay as they are filled",
            key="weights",
            hint=f"Caffe matches layers by name: the net has {_quoted(told.new)}, the model has "
            f"{_quoted(told.unused)}; {_rename(layer, [x for x in model.layers if x.blobs])}",
        )


def require_all(net: Net, file: str) -> None:
    """Raise ConfigError unless the model has the weights of all layers that are not filters of their own."""
    told = fit_files([net], [file])
    lacking = [name for name in told.new if not is_fixed(net[name])]
    for names, what in ((told.refused, "weights of another shape for"), (lacking, "no weights for")):
        if names:
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise ConfigError(
                f"'{file}' has {what} layer '{names[0]}'{others}", key="weights",
                hint="give the model that was trained with this net; `netbuilder check NET --weights MODEL` "
                "lists what fits",
            )  # fmt: skip


def fits(net: Net, model: Model) -> list[Finding]:
    """Layers that find no parameters in the model, and those on which Caffe aborts."""
    copy = _copy(net, model)
    names = {layer.name for layer in net}
    free = [layer for layer in model.layers if layer.blobs and layer.name not in names]
    findings = []
    for layer in net:
        if layer in copy.refused:
            own, its = _text(p.shape for p in layer.params), _text(copy.refused[layer].blobs)
            findings.append(
                found(
                    "weights-shape", layer,
                    f"its parameters are {own}, those of the model {its}: Caffe aborts{copy.why(layer)}",
                    "rename the layer to train it from the start, or give it the model's shape",
                )
            )  # fmt: skip
        elif layer in copy.new and copy.takers.get(layer.name, layer) is not layer:
            place = "first" if copy.takers[layer.name] is copy.first[layer.name] else "last"
            findings.append(
                found(
                    "weights-missing", layer,
                    f"another layer of this name comes {place}, and takes the weights",
                    "rename one of the two",
                )
            )  # fmt: skip
        elif layer in copy.new:
            findings.append(_missing(layer, free))
    return findings


def replaced(findings: Iterable[Finding], model: Model) -> list[Finding]:
    """The findings, without those about start values in the place of which the model's parameters come."""
    brought = {layer.name for layer in model.layers if layer.blobs}
    return [f for f in findings if f.code not in _OF_START or f.layer not in brought]


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


# -- as Caffe copies -----------------------------------------------------------------------------------------


@dataclass
class _Copy:
    """The layers of a net after a model is copied into it; `takers` are the layers that a name means."""

    net: Net
    first: dict[str, Layer] = field(default_factory=dict)
    takers: dict[str, Layer] = field(default_factory=dict)
    refused: dict[Layer, ModelLayer] = field(default_factory=dict)
    taken: list[Layer] = field(default_factory=list)
    new: list[Layer] = field(default_factory=list)

    def why(self, layer: Layer) -> str:
        """Why shapes that look equal are refused."""
        source = self.refused[layer]
        own = [p.shape for p in layer.params]
        padded = [i for i, (a, b) in enumerate(zip(source.blobs, own, strict=False)) if a == _padded(b)]
        if len(own) == len(source.blobs) and any(own[i] != source.blobs[i] for i in padded):
            return ", for it fills up with ones only where a blob gives num, channels, height and width"
        return ""


def _copy(net: Net, model: Model) -> _Copy:
    """Copy a model into a net, as Caffe does: one layer of the model after the other, each by its name."""
    copy = _Copy(net)
    for layer in net:
        copy.first.setdefault(layer.name, layer)
    last = {layer.name: layer for layer in net}
    filled: set[Hashable] = set()
    for source in model.layers:
        # Of several layers of one name, HDF5 models go into the last, others into the first.
        target = (copy.first if source.numbers is None else last).get(source.name)
        if target is None:
            continue
        copy.takers[source.name] = target
        if target.unknown and not target.params:
            if source.blobs:
                filled.add(target)
        elif not _accepted(source, target):
            copy.refused.setdefault(target, source)
        else:
            given = range(len(source.blobs)) if source.numbers is None else source.numbers
            filled.update(_key(target, i) for i in given)
    for layer in net:
        if layer in copy.refused:
            continue
        keys = [_key(layer, i) for i in range(len(layer.params))]
        if layer in filled or (keys and filled.issuperset(keys)):
            copy.taken.append(layer)
        elif keys:
            copy.new.append(layer)
    return copy


def _key(layer: Layer, i: int) -> Hashable:
    """What identifies a parameter: its name, by which layers share it, or its place."""
    specs = layer.proto.param
    return specs[i].name if i < len(specs) and specs[i].name else (layer, i)


def _accepted(source: ModelLayer, target: Layer) -> bool:
    """Whether Caffe copies the blobs of a layer, or aborts."""
    wanted = [p.shape for p in target.params]
    if source.numbers is None:
        return len(source.blobs) == len(wanted) and all(
            stored == (_padded(shape) if i in source.legacy else shape)
            for i, (stored, shape) in enumerate(zip(source.blobs, wanted, strict=True))
        )
    stored = dict(zip(source.numbers, source.blobs, strict=True))
    return len(source.blobs) <= len(wanted) and all(
        stored[i] == param.shape if i in stored else param.shared_with is not None
        for i, param in enumerate(target.params)
    )


def _padded(shape: Shape) -> Shape:
    """A shape as num, channels, height and width; files from before 2015 have no others."""
    return (1,) * (4 - len(shape)) + shape


# -- text ----------------------------------------------------------------------------------------------------


def _missing(layer: Layer, free: Sequence[ModelLayer]) -> Finding:
    return found(
        "weights-missing", layer,
        "the model has no layer of this name: its parameters stay as they are filled",
        _rename(layer, free),
    )  # fmt: skip


def _rename(layer: Layer, free: Sequence[ModelLayer]) -> str:
    """The layer of the model that a layer should be named like."""
    if len(free) > _COMPARED:
        free = ()
    alike = [x.name for x in free if _accepted(x, layer)]
    hint = did_you_mean(layer.name, alike) or did_you_mean(layer.name, [x.name for x in free])
    return hint or "name it like the layer of the model whose weights it should get"


def _counted(names: Sequence[str]) -> str:
    if not names:
        return "none"
    more = f", and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{len(names)} layer{'s'[: len(names) != 1]}: {', '.join(names[:_LISTED])}{more}"


def _quoted(names: Sequence[str]) -> str:
    return (
        ", ".join(f"'{name}'" for name in names[:3]) + (", ..." if len(names) > 3 else "") or "no parameters"
    )


def _text(shapes: Iterable[Shape]) -> str:
    return " ".join(shape_text(s) for s in shapes) or "none"
