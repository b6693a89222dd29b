"""Checks of how layers are put together: names, blobs, and what is written over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from netbuilder.checks.backward import Step, aborts, lacking
from netbuilder.checks.finding import Finding, found
from netbuilder.checks.graph import Graph
from netbuilder.errors import ShapeError, shape_text
from netbuilder.graph import has_loss
from netbuilder.layers import (
    RULES,
    Facts,
    Shape,
    Traits,
    UnknownShape,
    canonical_axis,
    elements,
    known,
    of_layer,
)
from netbuilder.layers.normalization import AFFINE
from netbuilder.layers.traits import Diff, GradientReads, Keeps, Shares, Spoils
from netbuilder.net import PHASES, Blob, Layer

__all__ = ["CHECKS", "OF_KINDS"]

_OWN_TOP = "give the top a name of its own"
_OR_FREEZE = ", or set lr_mult: 0 for all that is learnt before this layer"
_NO_TRAITS = Traits()  # of a type without a rule: all unknown


def _traits(layer: Layer) -> Traits:
    rule = RULES.get(layer.type)
    return rule.traits if rule else _NO_TRAITS


def _duplicate_names(graph: Graph) -> Iterator[Finding]:
    seen: set[str] = set()
    for layer in graph.net.layers:
        if layer.name in seen and layer.params:
            yield found(
                "duplicate-name", layer, "weights are stored by name, and another layer has this one",
                "rename one of the two",
            )  # fmt: skip
        seen.add(layer.name)


def _empty_blobs(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        for top in layer.tops:
            if top.shape is not None and 0 in top.shape:
                yield found(
                    "empty-blob", layer, f"its top {shape_text(top.shape)} is empty",
                    "give the net a larger input: the image does not reach this layer",
                )  # fmt: skip


def _in_place(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        if not layer.in_place:
            continue
        spoils = of_layer(_traits(layer).spoils, layer.proto, Spoils.NOTHING)
        if spoils is Spoils.VALUES:
            yield found(
                "in-place",
                layer,
                f"{layer.type} computes wrong values in place; Caffe does not say",
                _OWN_TOP,
            )
        elif resized := _resized(layer):
            yield found(
                "in-place", layer,
                f"it changes the size of '{resized.name}', which it reads: its values are wrong, or Caffe "
                "aborts",
                _OWN_TOP,
            )  # fmt: skip
        elif spoils is Spoils.GRADIENT and layer in graph.backward:
            yield found(
                "in-place-gradient", layer,
                f"{layer.type} computes a wrong gradient in place; Caffe does not say",
                _OWN_TOP,
            )  # fmt: skip


def _resized(layer: Layer) -> Blob | None:
    """A blob to which a layer in place gives another number of elements."""
    for bottom, top in zip(layer.bottoms, layer.tops, strict=False):
        unknown = bottom.shape is None or top.shape is None
        if bottom.name == top.name and not unknown:
            return top if elements(bottom.known_shape) != elements(top.known_shape) else None
    return None


def _in_place_chains(graph: Graph) -> Iterator[Finding]:
    """Values that are overwritten before the backward pass reads them."""
    met: dict[tuple[object, Blob], Layer | None] = {}
    for layer in graph.layers:
        if layer not in graph.backward:
            continue
        for over in (_overwriter(graph, layer, top, reads, met) for top, reads in _reads(layer)):
            if over is None:
                continue
            yield found(
                "in-place-chain", over,
                f"it writes over the values of '{layer.name}', whose gradient ({layer.type}) then is "
                "wrong; Caffe does not say",
                _OWN_TOP,
            )  # fmt: skip


def _overwriter(
    graph: Graph, layer: Layer, top: Blob, reads: GradientReads, met: dict[tuple[object, Blob], Layer | None]
) -> Layer | None:
    """A layer that overwrites what a gradient reads, also by way of a blob that shares its memory.

    `met` has the answers so far, by what the gradient reads and the blob where the search began: the blobs of
    a long chain in place have the same one.
    """
    kind = reads, of_layer(_traits(layer).positive, layer.proto, False)
    there, on_the_way, over = [top], [], None
    while there and over is None:
        blob = there.pop()
        if not there:
            if (kind, blob) in met:
                over = met[kind, blob]
                break
            on_the_way.append(blob)
        for reader in graph.readers.get(blob, ()):
            if not _writes_over(reader, blob.name):
                there += reader.tops if _shares(reader) else ()
            elif _harmless(reader, layer, reads):
                there += [top for top in reader.tops if top.name == blob.name]
            else:
                over = reader
                break
    met.update(((kind, blob), over) for blob in on_the_way)
    return over


def _shares(layer: Layer) -> bool:
    """Whether the tops of a layer lie in the memory of its bottom."""
    shares = known(_traits(layer).shares, Shares.NEVER)
    alone = len(layer.bottoms) == len(layer.tops) == 1
    return shares is Shares.ALWAYS or (shares is Shares.ALONE and alone)


def _shared_memory(graph: Graph) -> Iterator[Finding]:
    """Values that a layer in place changes for another reader, by way of a blob that shares their memory."""
    if not any(map(_shares, graph.samples)):
        return
    place = graph.places
    for layer in graph.layers:
        for root in [] if layer.in_place or _shares(layer) else layer.tops:
            family = _same_memory(graph, root)
            if not any(_forks(graph, blob) for blob in family):
                continue  # each is read once, and then overwritten or passed on
            for over in {r: None for b in family for r in graph.readers.get(b, ()) if _changes(graph, r, b)}:
                meant = set(_same_memory(graph, over.tops[0]))
                late = [
                    r.name
                    for b in family if b not in meant
                    for r in graph.readers.get(b, ()) if place[r] > place[over] and not _shares(r)
                ]  # fmt: skip
                if late:
                    yield found(
                        "in-place-shared", over,
                        f"it writes over '{root.name}' too, whose memory its bottom shares, and '{late[0]}' "
                        "then reads the wrong values; Caffe does not say",
                        _OWN_TOP,
                    )  # fmt: skip


def _forks(graph: Graph, blob: Blob) -> bool:
    """Whether a blob is read twice, or passed on under two names."""
    readers = graph.readers.get(blob, ())
    return len(readers) > 1 or any(len(reader.tops) > 1 for reader in readers)


def _overwritten_parameters(graph: Graph) -> Iterator[Finding]:
    """What a Parameter holds, which lies in the memory of its top."""
    for layer in graph.layers:
        if layer.bottoms or not layer.params:
            continue
        for blob in _same_memory(graph, layer.tops[0]):
            for over in graph.readers.get(blob, ()):
                if _changes(graph, over, blob):
                    yield found(
                        "in-place-shared", over,
                        f"it writes over the parameter of '{layer.name}', and each pass starts from the "
                        "result of the last; Caffe does not say",
                        _OWN_TOP,
                    )  # fmt: skip


def _same_memory(graph: Graph, blob: Blob) -> list[Blob]:
    """The blob, and those made of it by reference or in place."""
    there = [blob]
    for one in there:
        for reader in graph.readers.get(one, ()):
            there += reader.tops if _shares(reader) else [t for t in reader.tops if t.name == one.name]
    return there


def _changes(graph: Graph, layer: Layer, blob: Blob) -> bool:
    """Whether a layer writes other values over a blob."""
    phase = PHASES[layer.proto.phase] if layer.proto.HasField("phase") else graph.net.phase
    copies = _shares(layer) or (layer.type == "Dropout" and phase == "TEST")
    return _writes_over(layer, blob.name) and not copies


def _reads(layer: Layer) -> list[tuple[Blob, GradientReads]]:
    """What the gradient of this layer reads from its own tops."""
    traits = _traits(layer)
    reads = of_layer(traits.gradient_reads, layer.proto, GradientReads.NOTHING)
    first = reads is not GradientReads.NOTHING and (reads is not GradientReads.SIGN or layer.in_place)
    found = [(layer.tops[0], reads)] if first else []
    further = known(traits.reads_tops, None)
    if further is not None and all(bottom.shape is not None for bottom in layer.bottoms):
        by_place = further(layer.proto, [bottom.known_shape for bottom in layer.bottoms])
        found += [(layer.tops[i], reads) for i, reads in by_place.items()]
    return found


def _writes_over(layer: Layer, name: str) -> bool:
    return any(b.name == name == t.name for b, t in zip(layer.bottoms, layer.tops, strict=False))


def _harmless(over: Layer, before: Layer, reads: GradientReads) -> bool:
    """Whether the gradient of a layer stays right when a later layer writes over its top."""
    keeps = known(_traits(over).keeps, Keeps.NOTHING)
    if reads is GradientReads.SIGN:
        return keeps is not Keeps.NOTHING
    if of_layer(_traits(before).positive, before.proto, False):
        return keeps is Keeps.POSITIVE
    # No gradient passes through what a ReLU changes.
    relu = over.type == "ReLU" and over.proto.relu_param.negative_slope == 0
    return relu and reads is not GradientReads.ALL


def _no_forward(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        stops = known(_traits(layer).no_forward, None)
        shapes = [bottom.shape for bottom in layer.bottoms if bottom.shape is not None]
        if stops is None or layer.unknown or len(shapes) < len(layer.bottoms):
            continue
        phase = PHASES[layer.proto.phase] if layer.proto.HasField("phase") else graph.net.phase
        if reason := stops(layer.proto, shapes, phase):
            yield found(
                "no-forward", layer, f"{reason}: Caffe builds the net, and aborts in its first forward pass",
                "mend the field or the bottom that is named, or leave the layer out",
            )  # fmt: skip


def _fed_labels(graph: Graph) -> Iterator[Finding]:
    """Layers that do not take the labels of a MemoryData in the shape that they have once images are set.

    Source: memory_data_layer.cpp, DataLayerSetUp and Forward_cpu; layer.hpp, Forward, which calls Reshape.
    """
    shapes: dict[Blob, Shape] = {}
    for layer in graph.layers if any(layer.type == "MemoryData" for layer in graph.samples) else ():
        if layer.type == "MemoryData" and len(layer.tops) == 2:
            shapes[layer.tops[1]] = (layer.proto.memory_data_param.batch_size, 1, 1, 1)
        rule = RULES.get(layer.type)
        bottoms = [shapes.get(bottom, bottom.shape) for bottom in layer.bottoms]
        if rule is None or layer.unknown or None in bottoms or shapes.keys().isdisjoint(layer.bottoms):
            continue
        try:
            facts = rule.infer(layer.proto, [shape for shape in bottoms if shape is not None])
        except (ShapeError, UnknownShape) as error:
            reason = error.text if isinstance(error, ShapeError) else ""
        else:
            new = zip(layer.tops, facts.tops, strict=False)
            shapes.update((top, shape) for top, shape in new if shape != top.shape)
            reason = _other_params(layer, facts, bottoms)
        if reason:
            yield found(
                "no-forward", layer,
                "Caffe builds the net, and aborts in its first forward pass, where a MemoryData gives labels "
                f"of shape (n,1,1,1), and not (n) as before: {reason}",
                "bring the labels to (n) by a Reshape",
            )  # fmt: skip
            return


def _other_params(layer: Layer, facts: Facts, bottoms: Sequence[Shape | None]) -> str:
    """Why a layer whose bottoms have other shapes does not fit its parameters any more.

    Scale and Bias compare the axes from theirs on. Source: scale_layer.cpp and bias_layer.cpp, Reshape.
    """
    if layer.type in AFFINE and layer.params and bottoms[0] is not None:
        p = layer.proto.scale_param if layer.type == "Scale" else layer.proto.bias_param
        shape, axis = layer.params[0].shape, canonical_axis(p.axis, bottoms[0])
        seen = bottoms[0][axis : axis + len(shape)]
        return (
            "" if seen == shape else f"its parameter {shape_text(shape)} would have to be {shape_text(seen)}"
        )
    for param, fact in zip(layer.params, facts.params, strict=False):
        if param.shape != fact.shape:
            return f"its parameter {shape_text(param.shape)} would have to be {shape_text(fact.shape)}"
    return ""


def _no_backward(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        step = graph.steps.get(layer)
        if step is None or not aborts(step):
            continue
        text = f"{layer.type} has no gradient"
        if _traits(layer).no_backward is not True:
            names = [f"'{layer.bottoms[i].name}'" for i in lacking(step)]
            text += f" for its bottom{'s' * (len(names) > 1)} {' and '.join(names)}"
        yield found(
            "no-backward", layer, f"{text}: Caffe aborts in the first backward pass", _remedy(graph, step)
        )  # fmt: skip


def _remedy(graph: Graph, step: Step) -> str:
    """How to keep the backward pass from a layer, or from some of its bottoms."""
    layer = step.layer
    assert layer is not None
    if graph.net.proto.force_backward and not aborts(graph.unforced[layer]):
        return "take force_backward: true out of the net: it asks for the gradients of all layers"
    if _traits(layer).no_backward is not True:
        flags = [need and i not in lacking(step) for i, need in enumerate(step.needs)]
        fix = " ".join(f"propagate_down: {str(flag).lower()}" for flag in flags)
        return f"write {fix} here" + ("" if layer.proto.propagate_down else _OR_FREEZE)
    if any(top.in_loss for top in layer.tops):
        return "set lr_mult: 0 for all that is learnt before it, or give its top no loss_weight"
    reading = {reader for top in layer.tops for reader in graph.readers.get(top, ())}
    asking = [
        reader for reader in sorted(reading, key=graph.places.__getitem__) if _asks(graph, reader, layer)
    ]
    readers = [f"'{reader.name}'" for reader in asking]
    return f"write propagate_down: false for its top in {' and '.join(readers)}{_OR_FREEZE}"


def _asks(graph: Graph, reader: Layer, layer: Layer) -> bool:
    """Whether a reader computes a gradient for a top of a layer."""
    step = graph.steps[reader]
    pairs = zip(reader.bottoms, step.needs, strict=True)
    return step.runs and any(need and blob.layer is layer for blob, need in pairs)


def _lost_gradients(graph: Graph) -> Iterator[Finding]:
    """Gradients that are in another blob's memory when the layer that made the blob looks for them."""
    for layer in graph.layers:
        if layer not in graph.backward or _diff(layer) is not Diff.REPLACES:
            continue
        bottom = layer.bottoms[0]
        if len(graph.readers[bottom]) > 1 or bottom.in_loss:
            continue  # Caffe inserts a Split, which copies
        while (written := _written_over(bottom)) is not None:
            bottom = written
        giver = bottom.layer
        if giver in graph.backward and _diff(giver) is Diff.LENT:
            yield found(
                "gradient-lost", layer,
                f"its backward pass gives '{bottom.name}' another memory for the gradient, and {giver.type} "
                f"'{giver.name}' looks for it in the old one: all that is learnt before gets a gradient of 0",
                _without_replacing(layer),
            )  # fmt: skip


def _diff(layer: Layer) -> Diff:
    return of_layer(_traits(layer).diff, layer.proto, Diff.OWN)


def _written_over(blob: Blob) -> Blob | None:
    """The version of a blob that the layer of this one writes over; None if it makes a new blob."""
    pairs = zip(blob.layer.bottoms, blob.layer.tops, strict=False)
    return next((b for b, t in pairs if t is blob and b.name == t.name), None)


def _without_replacing(layer: Layer) -> str:
    """A Reshape that does what a Flatten does: it shares the gradient from the start."""
    p = layer.proto.flatten_param
    axes = f"axis: {p.axis}" + (f" num_axes: {p.end_axis - p.axis + 1}" if p.end_axis != -1 else "")
    if p.end_axis != -1 and (p.axis < 0) != (p.end_axis < 0):
        return "use a Reshape in its place"
    if p.axis < 0:  # a Reshape counts from behind the last axis
        axes = axes.replace(f"axis: {p.axis}", f"axis: {p.axis - 1}", 1)
    return f'write type: "Reshape" reshape_param {{ {axes} shape {{ dim: -1 }} }}'


def _unused_blobs(graph: Graph) -> Iterator[Finding]:
    if not graph.trained:
        return
    for layer in graph.layers:
        if known(_traits(layer).metric, True) or has_loss(layer):
            continue
        for top in layer.tops:
            if top not in graph.readers and graph.net.blobs.get(top.name) is top:
                yield found(
                    "unused-blob", layer,
                    f"nobody reads its top '{top.name}': Caffe computes it, and prints it as an output of "
                    "the net",
                    "leave the layer out of this phase, or end the blob in a Silence layer",
                )  # fmt: skip


def _overwritten_input(graph: Graph) -> Iterator[Finding]:
    for layer in graph.layers:
        for bottom, top in zip(layer.bottoms, layer.tops, strict=False):
            if bottom.name == top.name and bottom.layer.type == "Input" and not graph.trained:
                yield found(
                    "input-overwritten", layer,
                    f"it writes over the input '{bottom.name}': run again without setting it, the net starts "
                    "from its own result",
                    _OWN_TOP,
                )  # fmt: skip


def _uncounted(graph: Graph) -> Iterator[Finding]:
    """Layers where unknown shapes begin; those that follow from them are not reported again."""
    for layer in graph.layers:
        if not layer.unknown:
            continue
        known = all(bottom.shape is not None for bottom in layer.bottoms)
        fork = layer.type not in graph.net.dialect.types and any(top.shape is None for top in layer.tops)
        if known and not fork:
            source = layer.tops and not layer.bottoms
            fix = f"give its shape: --input {layer.tops[0].name}=N,C,H,W" if source else ""
            yield found("uncounted", layer, f"not counted: {layer.unknown}", fix)


CHECKS: tuple[Callable[[Graph], Iterator[Finding]], ...] = (
    _duplicate_names,
    _empty_blobs,
    _in_place,
    _in_place_chains,
    _shared_memory,
    _overwritten_parameters,
    _no_forward,
    _fed_labels,
    _no_backward,
    _lost_gradients,
    _unused_blobs,
    _overwritten_input,
    _uncounted,
)
OF_KINDS = (_empty_blobs, _no_forward)
