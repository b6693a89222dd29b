"""The net that is handed over: Input layers for its data, probabilities for its losses, no training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.graph import has_loss
from netbuilder.layers import RULES, Shape, is_source, source_of
from netbuilder.layers.traits import Tops, known
from netbuilder.measure.counts import batch_size
from netbuilder.net import PHASES, Blob, Layer, Net
from netbuilder.schema import LayerParameter

__all__ = ["Deployed", "deployed"]

# Fields of a layer that speak of phases and of training alone.
_OF_TRAINING = ("include", "exclude", "loss_weight", "propagate_down")


class Deployed(NamedTuple):
    """The net, and what became of the file's layers.

    `inputs` and `outputs` are blob names. `removed` maps the names of layers to the reason. `made` has the
    names of the probability layers that stand for losses. `assumed` says what no file gives.
    """

    net: Net
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    removed: dict[str, str]
    made: tuple[str, ...]
    assumed: tuple[str, ...]


def deployed(
    net: Net,
    train: Net | None = None,
    *,
    batch: int | None = None,
    labels: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> Deployed:
    """The TEST net `net` without its data layers, labels, losses and metrics.

    A layer is dropped if it is a loss, a metric or Silence, if it depends on labels, or if no output needs
    it. Labels are the second tops of data layers for images, those in `labels`, and all tops of data layers
    that only losses and metrics read as something other than what the net has learnt. A loss that applies
    Softmax or Sigmoid to scores (SoftmaxWithLoss, SigmoidCrossEntropyLoss) leaves that layer in its place;
    where the TEST net has no loss for a blob, that of `train`, the TRAIN net of the same file, counts.
    `outputs` names the blobs to keep, by default all that are left. Everything else stays as it is, names
    too, so that a model of the original fits.

    `batch` replaces the batch; by default it is 1 for data layers of images, and that of the file otherwise.
    Raises ConfigError if nothing is left, for names that the net lacks, and for an input without a shape;
    whatever `Net.append` raises.
    """
    parts = _Parts(net, labels)
    heads = list(_heads(parts, train))
    wanted = _wanted(parts, heads, outputs)
    needed = _needed(parts, wanted)
    new = Net(net.name, "TEST", dialect=net.dialect.name)
    new.proto.CopyFrom(net.proto)
    new.proto.ClearField("force_backward")
    new.proto.ClearField("debug_info")
    inputs: list[str] = []
    assumed: list[str] = []
    old = batch_size(net)
    for layer in net:
        if layer not in needed:
            continue
        with new.scope("", layer.comment):
            if is_source(layer.proto):
                for top in layer.tops:
                    if top in needed.blobs:
                        inputs.append(top.name)
                        new.append(_input(top, old, batch, assumed), origin=layer.origin)
                continue
            unknown = "" if layer.type in RULES else layer.unknown
            new.append(_bare(layer.proto), origin=layer.origin, unknown=unknown)
    made = [head for head in heads if head.top in wanted]
    for head in made:
        new.append(head.proto, origin=head.loss.origin)
    removed = {layer.name: parts.why(layer) for layer in net if layer not in needed}
    return Deployed(
        new,
        tuple(inputs),
        tuple(blob.name for blob in new.outputs),
        removed,
        tuple(head.top for head in made),
        tuple(assumed),
    )


class _Parts:
    """Which blobs of a net are learnt, which depend on labels, and which layers stay."""

    def __init__(self, net: Net, labels: Sequence[str]) -> None:
        self.net = net
        names = [top.name for layer in net if is_source(layer.proto) for top in layer.tops]
        for name in labels:
            if name not in names:
                raise ConfigError(
                    f"'{name}' is no top of a data layer", key="label", hint=did_you_mean(name, names)
                )
        self.learnt = set(_downstream(net, (top for layer in net if _learns(layer) for top in layer.tops)))
        if not self.learnt:  # nothing is learnt: whatever a layer computes
            self.learnt = {top for layer in net if not is_source(layer.proto) for top in layer.tops}
        self.labelled = set(_downstream(net, self._labels(labels)))
        self.kept = dict.fromkeys(layer for layer in net if not self._dropped(layer))  # in order

    def _labels(self, given: Sequence[str]) -> Iterator[Blob]:
        inside = _upstream(self.net, self._predictions())
        for layer in self.net:
            source = source_of(layer.type) if is_source(layer.proto) else None
            images = source is not None and source.tops is not Tops.ANY
            for i, top in enumerate(layer.tops if is_source(layer.proto) else ()):
                if top.name in given or (images and i) or top not in inside:
                    yield top

    def _predictions(self) -> Iterator[Blob]:
        """The blobs that losses and metrics read as predictions, and the other outputs of the net."""
        for layer in self.net:
            if _is_judge(layer):
                learnt = [blob for blob in layer.bottoms if blob in self.learnt]
                yield from learnt or layer.bottoms[:1]
        yield from (blob for blob in self.net.outputs if not _is_judge(blob.layer))

    def _dropped(self, layer: Layer) -> bool:
        if is_source(layer.proto):
            return not any(top not in self.labelled for top in layer.tops)
        return (
            _is_judge(layer)
            or layer.type == "Silence"
            or any(blob in self.labelled for blob in layer.bottoms)
        )

    def why(self, layer: Layer) -> str:
        """Why a layer is not in the net."""
        if has_loss(layer):
            return "loss"
        if _is_judge(layer):
            return "metric"
        if layer.type == "Silence":
            return "silence"
        if is_source(layer.proto):
            return "labels" if self._dropped(layer) else "data"
        return "labels" if self._dropped(layer) else "no output needs it"

    def read(self) -> set[Blob]:
        """The blobs that a layer which stays reads."""
        return {blob for layer in self.kept for blob in layer.bottoms}


class _Head(NamedTuple):
    """A layer of probabilities in place of a loss: its top, what it reads, its fields."""

    top: str
    scores: Blob
    loss: Layer
    proto: LayerParameter


def _heads(parts: _Parts, train: Net | None) -> Iterator[_Head]:
    """The probabilities of the losses, in the order of the net."""
    read, blobs = parts.read(), parts.net.blobs
    found: dict[Blob, Layer] = {}
    for layer in parts.net:
        if _applies(layer) and layer.bottoms[0] not in parts.labelled:
            found.setdefault(layer.bottoms[0], layer)
    for layer in train or ():
        scores = blobs.get(layer.bottoms[0].name) if _applies(layer) else None
        if scores and scores not in parts.labelled and scores in parts.learnt and scores not in read:
            found.setdefault(scores, layer)
    present = {(layer.type, blob) for layer in parts.kept for blob in layer.bottoms}
    taken = {layer.name for layer in parts.net} | set(blobs)
    heads = {scores: loss for scores, loss in found.items() if (_applies(loss), scores) not in present}
    for scores, loss in heads.items():
        top = "prob" if len(heads) == 1 and "prob" not in taken else f"{scores.name}_prob"
        while top in taken:
            top += "_"
        taken.add(top)
        proto = LayerParameter(name=top, type=_applies(loss), bottom=[scores.name], top=[top])
        if loss.type == "InfogainLoss":
            proto.softmax_param.axis = loss.proto.infogain_loss_param.axis
        elif proto.type == "Softmax" and loss.proto.HasField("softmax_param"):
            proto.softmax_param.CopyFrom(loss.proto.softmax_param)
        yield _Head(top, scores, loss, proto)


def _wanted(parts: _Parts, heads: Sequence[_Head], names: Sequence[str]) -> dict[str, Blob]:
    """The blobs that must be computed, by the names of the outputs."""
    read = parts.read() | {head.scores for head in heads}
    originals = set(parts.net.outputs)
    ends = {
        top.name: top
        for layer in parts.kept
        if not is_source(layer.proto)
        for top in layer.tops
        if top not in read and (top in parts.learnt or top in originals) and not _overwritten(parts, top)
    }
    found = ends | {head.top: head.scores for head in heads}
    if names:
        computed = {top.name: top for layer in parts.kept if layer.bottoms for top in layer.tops}
        known_names = {**computed, **found}
        for name in names:
            if name not in known_names:
                raise ConfigError(
                    f"the net computes no '{name}' without labels", key="outputs",
                    hint=did_you_mean(name, known_names) or f"there are: {', '.join(found)}",
                )  # fmt: skip
        found = {name: known_names[name] for name in names}
    if not found:
        raise ConfigError(
            f"nothing of {parts.net.name or 'the net'} is left without its labels",
            hint="name the labels by --label, or the blobs to keep by --outputs",
        )
    return found


def _overwritten(parts: _Parts, blob: Blob) -> bool:
    return parts.net.blobs[blob.name] is not blob


class _Needed(set[Layer]):
    """The layers that the outputs need, with their blobs."""

    blobs: set[Blob]


def _needed(parts: _Parts, wanted: Mapping[str, Blob]) -> _Needed:
    needed = _Needed()
    needed.blobs = set(wanted.values())
    for layer in reversed(parts.net.layers):
        if layer in parts.kept and any(top in needed.blobs for top in layer.tops):
            needed.add(layer)
            needed.blobs.update(layer.bottoms)
    return needed


def _downstream(net: Net, blobs: Iterable[Blob]) -> set[Blob]:
    """These blobs, and all that depend on them."""
    found = set(blobs)
    for layer in net:
        if any(blob in found for blob in layer.bottoms):
            found.update(layer.tops)
    return found


def _upstream(net: Net, blobs: Iterable[Blob]) -> set[Blob]:
    """These blobs, and all that they depend on."""
    found = set(blobs)
    for layer in reversed(net.layers):
        if any(blob in found for blob in layer.tops):
            found.update(layer.bottoms)
    return found


def _learns(layer: Layer) -> bool:
    """Whether a layer has parameters; one of an unknown type may have."""
    return bool(layer.params) or (layer.type not in RULES and bool(layer.bottoms))


def _is_judge(layer: Layer) -> bool:
    """Whether a layer is a loss or a metric."""
    rule = RULES.get(layer.type)
    return bool(layer.bottoms) and (
        has_loss(layer) or (rule is not None and known(rule.traits.metric, False))
    )


def _applies(layer: Layer) -> str:
    """The layer type that a loss applies to its scores itself, "" if none."""
    rule = RULES.get(layer.type)
    return known(rule.traits.applies, "") if rule and layer.bottoms and has_loss(layer) else ""


def _bare(proto: LayerParameter) -> LayerParameter:
    copy = type(proto)()
    copy.CopyFrom(proto)
    for field in _OF_TRAINING:
        copy.ClearField(field)
    if PHASES[copy.phase] == "TEST":  # one that says TRAIN computes so in the TEST net, too
        copy.ClearField("phase")
    return copy


def _input(top: Blob, old: int, batch: int | None, assumed: list[str]) -> LayerParameter:
    """The Input layer for a top of a data layer."""
    shape = top.shape or _of_transform(top, assumed)
    source = source_of(top.layer.type)
    images = source is not None and source.images
    if batch is not None and (images or (shape and shape[0] == old)):
        shape = (batch, *shape[1:])
    elif batch is None and images:
        shape = (1, *shape[1:])
    proto = LayerParameter(name=top.name, type="Input", top=[top.name])
    proto.input_param.shape.add(dim=shape)
    return proto


def _of_transform(top: Blob, assumed: list[str]) -> Shape:
    """The shape of one image by the fields of a data layer whose data is not at hand. Raises ConfigError."""
    transform = top.layer.proto.transform_param
    size, means = transform.crop_size, len(transform.mean_value)
    if not size or top is not top.layer.tops[0]:
        raise ConfigError(
            f"the shape of '{top.name}' of {top.layer.type} '{top.layer.name}' is in its data, which is not "
            "at hand",
            path=str(top.layer.origin),
            hint=f"give the shape, as in --input {top.name}=1,3,224,224",
        )
    channels = 1 if transform.force_gray else 3
    if means > 1:
        channels = means
    elif not transform.force_gray and not transform.force_color:
        assumed.append(
            f"'{top.name}' has 3 channels: its data is not at hand (--input {top.name}=1,1,{size},{size})"
        )
    return 1, channels, size, size
