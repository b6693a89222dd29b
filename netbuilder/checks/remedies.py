"""Fixes for single findings: `netbuilder check --fix` edits the text in place, so everything else stays.

A fix is a function in `FIXES`, by the code of the finding. It gets the layer, its place in the text, and the
finding, and returns the edits and a description of the remedy, or None if it cannot help. What the layer
computes stays the same, except where the finding reports it as wrong; `netbuilder.checks.fixes` applies the
fixes and verifies both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from netbuilder.checks import Finding
from netbuilder.checks.fields import lone_pairs, readers
from netbuilder.layers import RULES, known
from netbuilder.layers.arithmetic import pool_extent, pool_window
from netbuilder.net import Layer
from netbuilder.prototxt.spans import Span, spans
from netbuilder.schema.fields import has_field

__all__ = ["FIXES", "NEW_TOP", "Edit", "File", "Place", "string"]


class Edit(NamedTuple):
    """text[start:end] becomes `new`."""

    start: int
    end: int
    new: str


class File:
    """The text of a net and its fields, found once for all fixes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.layers = tuple(s for s in spans(text) if s.name == "layer")

    @cached_property
    def tops(self) -> frozenset[str]:
        """The names of all blobs that layers give, whatever the phase."""
        return frozenset(string(self.text, t) for s in self.layers for t in s.all("top"))


@dataclass(frozen=True)
class Place:
    """A layer in its file; `span` is its `layer { }`. `tested`: it is for TEST only."""

    file: File
    span: Span
    layer: Layer
    tested: bool

    @property
    def text(self) -> str:
        """The text of the whole file."""
        return self.file.text

    def insert(self, field: str, *path: str, after: str = "") -> Edit:
        """Put a field into the message at the path, made if it is missing, in its neighbours' layout."""
        where = self.span
        for i, name in enumerate(path):
            inner = where.find(name)
            if inner is None:
                for missing in reversed(path[i:]):
                    field = f"{missing} {{ {field} }}"
                break
            where = inner
        before = [f for f in where.fields or () if f.name == after] or list(where.fields or ())
        if not before:
            return Edit(where.value + 1, where.end - 1, f" {field} ")
        last = before[-1]
        margin = self.text[self.text.rfind("\n", 0, last.start) + 1 : last.start]
        stop = self.text.find("\n", last.end)
        rest = self.text[last.end : stop].strip() if stop >= 0 else "?"
        if margin.strip() or (rest and rest[0] not in "#,;"):
            return Edit(last.end, last.end, f" {field}")
        return Edit(stop, stop, f"\n{margin}{field}")

    def replace(self, span: Span, new: str) -> Edit:
        """Another value for a field."""
        return Edit(span.value, span.end, new)

    def remove(self, span: Span) -> Edit:
        """Take a field out, with its line if nothing else is on it."""
        text = self.text
        start, end = span.start, span.end
        while text[end : end + 1] in (",", ";") and text[end : end + 1]:
            end += 1
        begin = text.rfind("\n", 0, start) + 1
        stop = text.find("\n", end)
        stop = len(text) if stop < 0 else stop
        if not text[begin:start].strip() and not text[end:stop].strip():
            return Edit(begin, min(stop + 1, len(text)), "")
        while text[end : end + 1] == " ":
            end += 1
        return Edit(start, end, "")


Fix = Callable[[Place, Finding], "tuple[list[Edit], str] | None"]


# -- the fixes -----------------------------------------------------------------------------------------------


def _lone_pair(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    lone = [(there, missing) for there, missing in lone_pairs(at.layer) if there.startswith("pad")]
    edits = [at.insert(f"{missing}: 0", "convolution_param", after=there) for there, missing in lone]
    return edits, f"wrote {lone[0][1]}: 0, which is what Caffe takes" if lone else ""


def _statistics(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    given = len(at.layer.proto.param)
    after = "param" if given else "top"
    one = "param { lr_mult: 0 decay_mult: 0 }"
    edit = at.insert(one, after=after)
    joined = edit.new * (3 - given)
    return [edit._replace(new=joined)], f"wrote {one} {3 - given} times"


def _weight_filler(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    name = known(RULES[at.layer.type].traits.weight_filler, "")
    old = at.span.find(name, "weight_filler")
    if old is not None and old.find("value") is not None:
        return None  # somebody wants zeros
    new = '{ type: "msra" }'
    edit = at.insert(f"weight_filler {new}", name) if old is None else at.replace(old, new)
    return [edit], f"wrote weight_filler {new}: the weights now start at random"


def _scale_filler(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    return [at.insert("value: 1", "scale_param", "filler")], "wrote value: 1 into its filler"


def _uneven_window(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    p = at.layer.proto.convolution_param
    if len(set(p.dilation)) > 1:
        return None  # there are no dilation_h and dilation_w
    edits, names = [], []
    for name, stem in (("kernel_size", "kernel"), ("stride", "stride"), ("pad", "pad")):
        values = list(getattr(p, name))
        if len(set(values)) < 2:
            continue
        if len(values) != 2:
            return None
        given = list(at.span.all("convolution_param", name))
        pair = [f"{stem}_h: {values[0]}", f"{stem}_w: {values[1]}"]
        if len(given) == 2:
            edits += [Edit(s.start, s.end, new) for s, new in zip(given, pair, strict=True)]
        else:
            edits.append(Edit(given[0].start, given[0].end, " ".join(pair)))
        names.append(name)
    return edits, f"wrote {' and '.join(names)} as _h and _w"


def _drop(*path: str) -> Fix:
    def fix(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
        return [at.remove(s) for s in at.span.all(*path)], f"left {path[-1]} out"

    return fix


def _ignored_param(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    name = finding.field
    if readers(at.layer.type, name):
        return None  # a fork would compute something else without it
    return [at.remove(s) for s in at.span.all(name)], f"left {name} out, which had no effect"


def _ignored_field(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    message, name = finding.field.split(".")
    if has_field(at.layer.proto.transform_param, name):
        return None  # moved to transform_param it would have an effect
    return [at.remove(s) for s in at.span.all(message, name)], f"left {name} out, which had no effect"


def _engine(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    found = [e for s in at.span.fields or () for e in s.all("engine")]
    return [at.remove(e) for e in found], "left engine out: Caffe takes cuDNN where it has it"


def _round_mode(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    shape = at.layer.bottoms[0].shape
    if shape is None:
        return None
    p = at.layer.proto.pooling_param
    k, s, pad, _ = pool_window(p, shape[2:])
    clip = pad != (0, 0)
    sizes = [
        tuple(pool_extent(shape[2 + i], k[i], s[i], pad[i], floor=floor, clip=clip) for i in (0, 1))
        for floor in (True, False)
    ]
    if p.round_mode == 1 and sizes[0] != sizes[1]:
        return None  # it matters here
    removed = [at.remove(s) for s in at.span.all("pooling_param", "round_mode")]
    return removed, "left round_mode out: sizes are the same without it"


def _backend(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    return [at.insert("backend: LMDB", "data_param")], "wrote backend: LMDB"


def _mirror(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    if not at.tested:
        return None
    old = at.span.find("transform_param", "mirror")
    return ([at.replace(old, "false")], "wrote mirror: false") if old else None


def _global_stats(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    old = at.span.find("batch_norm_param", "use_global_stats")
    if not at.tested:
        return None if old is None else ([at.remove(old)], "left use_global_stats out")
    edit = at.insert("use_global_stats: true", "batch_norm_param") if old is None else at.replace(old, "true")
    return [edit], "wrote use_global_stats: true"


def _slice_points(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    shape, p = at.layer.bottoms[0].shape, at.layer.proto.slice_param
    if shape is None:
        return None
    axis = p.slice_dim if p.HasField("slice_dim") else p.axis
    size, pieces = shape[axis], len(at.layer.tops)
    points = [f"slice_point: {size // pieces * (i + 1)}" for i in range(pieces - 1)]
    return [at.insert(" ".join(points), "slice_param")], f"wrote {' '.join(points)}"


def _alpha(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    return [at.insert("alpha: 1", "lrn_param")], "wrote alpha: 1, Caffe's default"


def _crop_offset(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    return [at.insert("offset: 0", "crop_param")], "wrote offset: 0, Caffe's default"


def _new_top(at: Place, finding: Finding) -> tuple[list[Edit], str] | None:
    """A name of its own for what is written in place; `fixes` renames it for the layers after it."""
    proto = at.layer.proto
    if proto.include or proto.exclude:
        return None  # in the other phase, others read what is before it
    old = next((t for b, t in zip(proto.bottom, proto.top, strict=False) if b == t), "")
    new = at.layer.name
    if not old or not new or new in at.file.tops or '"' in new or "\\" in new:
        return None
    mine = next(t for t in at.span.all("top") if string(at.text, t) == old)
    return [at.replace(mine, f'"{new}"')], f"called its top '{new}', and so do the layers after it"


def string(text: str, span: Span) -> str:
    """The value of a field in quotes."""
    return text[span.value + 1 : span.end - 1]


FIXES: dict[str, Fix] = {
    "batch-stats": _global_stats,
    "batchnorm-batch-stats": _drop("batch_norm_param", "use_global_stats"),
    "batchnorm-trained": _statistics,
    "crop-offset": _crop_offset,
    "engine-cudnn": _engine,
    "ignored-field": _ignored_field,
    "ignored-param": _ignored_param,
    "in-place": _new_top,
    "in-place-chain": _new_top,
    "in-place-shared": _new_top,
    "in-place-gradient": _new_top,
    "in-place-refused": _new_top,
    "input-overwritten": _new_top,
    "leveldb-default": _backend,
    "lone-pair": _lone_pair,
    "lrn-alpha": _alpha,
    "mirror-in-test": _mirror,
    "round-mode": _round_mode,
    "slice-equal": _slice_points,
    "slice-unread": _slice_points,
    "statistics-trained": _statistics,
    "uneven-window": _uneven_window,
    "zero-scale": _scale_filler,
    "zero-weights": _weight_filler,
}
# The codes whose fix gives a top another name.
NEW_TOP = frozenset(code for code, fix in FIXES.items() if fix is _new_top)
