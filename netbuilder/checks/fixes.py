"""Mends what is mechanical: `netbuilder check --fix` edits the text in place, so that all else stays.

A fix is a function in `FIXES`, by the code of the finding. It gets the text of the layer, the layer, and the
finding, and says which stretches of the text become what. What the layer computes stays the same, except
where the finding says that it is wrong; `mend` checks both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from netbuilder._version import __version__
from netbuilder.checks import Finding
from netbuilder.checks.examine import Examined, Wanted, examine_text
from netbuilder.checks.fields import lone_pairs
from netbuilder.layers import RULES, known
from netbuilder.layers.arithmetic import pool_extent, pool_window
from netbuilder.net import Layer, Net
from netbuilder.prototxt.spans import Span, spans
from netbuilder.schema.fields import has_field
from netbuilder.storage.files import MARK

__all__ = ["FIXES", "Edit", "Mended", "header", "mend"]


class Edit(NamedTuple):
    """text[start:end] becomes `new`."""

    start: int
    end: int
    new: str


@dataclass(frozen=True)
class Mended:
    """A mended text, what was done, finding by finding, and what is left to say of it."""

    text: str
    done: tuple[tuple[Finding, str], ...]
    examined: Examined

    def by_remedy(self) -> dict[str, list[Finding]]:
        """The findings that were mended alike, by what was done and their code."""
        alike: dict[str, list[Finding]] = {}
        for finding, told in self.done:
            alike.setdefault(f"{told} [{finding.code}]", []).append(finding)
        return alike


@dataclass(frozen=True)
class _Layer:
    """A layer in the text: `span` is its `layer { }`, `file` has all. `tested`: it is for TEST only."""

    text: str
    span: Span
    layer: Layer
    file: tuple[Span, ...]
    tested: bool

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


Fix = Callable[[_Layer, Finding], "tuple[list[Edit], str] | None"]


# -- the fixes -----------------------------------------------------------------------------------------------


def _lone_pair(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    lone = [(there, missing) for there, missing in lone_pairs(at.layer) if there.startswith("pad")]
    edits = [at.insert(f"{missing}: 0", "convolution_param", after=there) for there, missing in lone]
    return edits, f"wrote {lone[0][1]}: 0, which is what Caffe takes" if lone else ""


def _statistics(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    given = len(at.layer.proto.param)
    after = "param" if given else "top"
    one = "param { lr_mult: 0 decay_mult: 0 }"
    edit = at.insert(one, after=after)
    joined = edit.new * (3 - given)
    return [edit._replace(new=joined)], f"wrote {one} {3 - given} times"


def _weight_filler(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    name = known(RULES[at.layer.type].traits.weight_filler, "")
    old = at.span.find(name, "weight_filler")
    if old is not None and old.find("value") is not None:
        return None  # somebody wants zeros
    new = '{ type: "msra" }'
    edit = at.insert(f"weight_filler {new}", name) if old is None else at.replace(old, new)
    return [edit], f"wrote weight_filler {new}: the weights now start at random"


def _scale_filler(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    return [at.insert("value: 1", "scale_param", "filler")], "wrote value: 1 into its filler"


def _uneven_window(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
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


def _drop(*path: str, told: str = "") -> Fix:
    def fix(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
        return [at.remove(s) for s in at.span.all(*path)], told or f"left {path[-1]} out"

    return fix


def _ignored_param(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    name = finding.field
    return [at.remove(s) for s in at.span.all(name)], f"left {name} out, which had no effect"


def _ignored_field(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    message, name = finding.field.split(".")
    if has_field(at.layer.proto.transform_param, name):
        return None  # moved to transform_param it would have an effect
    return [at.remove(s) for s in at.span.all(message, name)], f"left {name} out, which had no effect"


def _engine(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    found = [e for s in at.span.fields or () for e in s.all("engine")]
    return [at.remove(e) for e in found], "left engine out: Caffe takes cuDNN where it has it"


def _round_mode(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
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


def _backend(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    return [at.insert("backend: LMDB", "data_param")], "wrote backend: LMDB"


def _mirror(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    if not at.tested:
        return None
    old = at.span.find("transform_param", "mirror")
    return ([at.replace(old, "false")], "wrote mirror: false") if old else None


def _global_stats(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    old = at.span.find("batch_norm_param", "use_global_stats")
    if not at.tested:
        return None if old is None else ([at.remove(old)], "left use_global_stats out")
    edit = at.insert("use_global_stats: true", "batch_norm_param") if old is None else at.replace(old, "true")
    return [edit], "wrote use_global_stats: true"


def _slice_points(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    shape, p = at.layer.bottoms[0].shape, at.layer.proto.slice_param
    if shape is None:
        return None
    axis = p.slice_dim if p.HasField("slice_dim") else p.axis
    size, pieces = shape[axis], len(at.layer.tops)
    points = [f"slice_point: {size // pieces * (i + 1)}" for i in range(pieces - 1)]
    return [at.insert(" ".join(points), "slice_param")], f"wrote {' '.join(points)}"


def _alpha(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    return [at.insert("alpha: 1", "lrn_param")], "wrote alpha: 1, Caffe's default"


def _crop_offset(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    return [at.insert("offset: 0", "crop_param")], "wrote offset: 0, Caffe's default"


def _new_top(at: _Layer, finding: Finding) -> tuple[list[Edit], str] | None:
    """A name of its own for what is written in place, and for all who read it afterwards."""
    proto = at.layer.proto
    if proto.include or proto.exclude:
        return None  # in the other phase, others read what is before it
    old = next((t for b, t in zip(proto.bottom, proto.top, strict=False) if b == t), "")
    layers = [s for s in at.file if s.name == "layer"]
    tops = {_string(at.text, t) for s in layers for t in s.all("top")}
    new = at.layer.name
    if not old or not new or new in tops or '"' in new or "\\" in new:
        return None
    mine = next(t for t in at.span.all("top") if _string(at.text, t) == old)
    edits = [at.replace(mine, f'"{new}"')]
    for other in layers[layers.index(at.span) + 1 :]:
        renamed = [s for name in ("bottom", "top") for s in other.all(name) if _string(at.text, s) == old]
        edits += [at.replace(s, f'"{new}"') for s in renamed]
    return edits, f"called its top '{new}', and so do the layers after it"


def _string(text: str, span: Span) -> str:
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
# After these the net computes, or costs, something else than before: that is what they are for.
_CHANGES = {
    "batchnorm-batch-stats",
    "in-place",
    "in-place-chain",
    "in-place-shared",
    "in-place-gradient",
    "in-place-refused",
    "input-overwritten",
}


# -- mending a file ------------------------------------------------------------------------------------------


def mend(examined: Examined, wanted: Wanted) -> Mended:
    """Mend what can be mended, code by code; a fix that fails verification is discarded.

    After each, the text is examined again: the findings must be gone and none have come, and parameters,
    operations and shapes must be as they were, except where the finding says that they are wrong.
    """
    done: list[tuple[Finding, str]] = []
    originals = {_key(f): f for f in reversed(examined.findings)}
    for code in dict.fromkeys(f.code for f in examined.findings if f.code in FIXES):
        attempts = _attempts(examined, code, wanted)
        if not attempts:
            continue
        edits = {edit for attempt in attempts for edit in attempt.edits}
        groups = [[a] for a in attempts] if code in _CHANGES or _overlap(edits) else [attempts]
        while groups:
            group = groups.pop(0)
            text = _edited(examined.text, {edit for attempt in group for edit in attempt.edits})
            after = examine_text(text, examined.path, wanted)
            if _better(examined, after, [attempt.finding for attempt in group]):
                done += [(originals.get(_key(a.finding), a.finding), a.told) for a in group]
                examined = after
            elif len(group) > 1:
                groups = [[attempt] for attempt in group]
                continue
            # The text may have moved: find the places of the others again.
            again = {_key(a.finding): a for a in _attempts(examined, code, wanted)}
            groups = [[again[_key(g[0].finding)]] for g in groups if _key(g[0].finding) in again]
    return Mended(examined.text, tuple(done), examined)


class _Attempt(NamedTuple):
    finding: Finding
    edits: list[Edit]
    told: str


def _attempts(examined: Examined, code: str, wanted: Wanted) -> list[_Attempt]:
    """What could be done about the findings of a code."""
    fields = spans(examined.text) if examined.nets else ()
    starts = {s.start: s for s in fields if s.name == "layer"}
    lines = [0, *(m.end() for m in re.finditer("\n", examined.text))]
    deploy = not wanted.phases and "TRAIN" not in examined.nets
    layers = {
        (x.origin.line, x.origin.column, x.name): x for net in reversed(examined.nets.values()) for x in net
    }
    found = []
    for finding in examined.findings:
        if finding.code != code or not finding.line:
            continue
        span = starts.get(lines[finding.line - 1] + finding.column - 1)
        layer = layers.get((finding.line, finding.column, finding.layer))
        if span is None or layer is None:
            continue
        rules = layer.proto.include
        tested = deploy or (bool(rules) and all(r.HasField("phase") and r.phase == 1 for r in rules))
        result = FIXES[code](_Layer(examined.text, span, layer, fields, tested), finding)
        if result and result[0]:
            found.append(_Attempt(finding, *result))
    return found


def _overlap(edits: set[Edit]) -> bool:
    ordered = sorted(edits)
    return any(b.start < a.end or b.start == a.start for a, b in pairwise(ordered))


def _edited(text: str, edits: set[Edit]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _better(before: Examined, after: Examined, mended: Sequence[Finding]) -> bool:
    """Whether these findings are gone, no other has come, and the net is otherwise the same."""
    old, new = (Counter(map(_key, e.findings)) for e in (before, after))
    keys = {_key(f) for f in mended}
    if list(before.nets) != list(after.nets) or any(new[key] >= old[key] for key in keys):
        return False
    code = mended[0].code
    # What was refused hid what comes after it.
    if code != "in-place-refused" and any(n > old[key] for key, n in new.items()):
        return False
    return all(_same(before.nets[p], after.nets[p], shapes=code not in _CHANGES) for p in before.nets)


def _key(finding: Finding) -> tuple[str, ...]:
    """What stays of a finding while its place moves."""
    return finding.code, finding.target, finding.layer, finding.text


def _same(before: Net, after: Net, *, shapes: bool) -> bool:
    """Whether two nets have the same layers, and as far as they are known the same parameters and shapes."""
    if [(x.name, x.type) for x in before] != [(x.name, x.type) for x in after]:
        return False
    known = [(x, y) for x, y in zip(before, after, strict=True) if not x.unknown]
    if any(x.params != y.params for x, y in known):
        return False
    return not shapes or all(
        x.macs == y.macs and [t.shape for t in x.tops] == [t.shape for t in y.tops] for x, y in known
    )


def header(path: str, mended: Mended) -> str:
    """The lines that stand above a mended file: who wrote it, from what, and what was done."""
    lines = [f"{MARK} {__version__}: {Path(path).name}, mended by `netbuilder check --fix`:"]
    for told, findings in mended.by_remedy().items():
        more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
        lines.append(f"#   {findings[0].layer}{more}: {told}")
    return "\n".join(lines) + "\n"
