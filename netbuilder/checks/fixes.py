"""Apply the fixes of all findings to a text at once, and verify the result: `netbuilder check --fix`.

The edits of all fixes are made together and the new text is examined once, so that a file with many findings
costs little more than one with few. If the examination shows that a fix failed, it is left out and the others
are made again. Fixes that touch the same place wait for the next round.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from netbuilder._version import __version__
from netbuilder.checks import Finding
from netbuilder.checks.examine import Examined, Wanted, examine_text
from netbuilder.checks.remedies import FIXES, NEW_TOP, Edit, File, Place, string
from netbuilder.errors import printable
from netbuilder.net import Layer, Net
from netbuilder.storage.files import MARK

__all__ = ["FIXES", "Mended", "header", "mend"]

# How often a text is examined, at most, so that no file makes the time grow with its size.
_ROUNDS = 8
# What Caffe refuses hides what comes after it, so these fixes are made first, and may uncover findings.
_UNCOVERS = "in-place-refused"


@dataclass(frozen=True)
class Mended:
    """A fixed text, the findings that were fixed with their remedies, and the examination of the text."""

    text: str
    done: tuple[tuple[Finding, str], ...]
    examined: Examined

    def by_remedy(self) -> dict[str, list[Finding]]:
        """The findings that were fixed alike, by remedy and code."""
        alike: dict[str, list[Finding]] = {}
        for finding, remedy in self.done:
            alike.setdefault(f"{remedy} [{finding.code}]", []).append(finding)
        return alike

    def written(self, above: str, path: str) -> Examined:
        """The examination of the text with some lines of comments above it, in a file at `path`."""
        lines = above.count("\n")
        findings = (replace(f, file=path, line=f.line and f.line + lines) for f in self.examined.findings)
        return replace(self.examined, path=path, text=above + self.text, findings=tuple(findings))


def mend(examined: Examined, wanted: Wanted) -> Mended:
    """Fix what can be fixed; a fix that fails verification is left out.

    Afterwards the findings must be gone and no other may have come, and parameters, operations and shapes
    must be as they were.
    """
    done: list[tuple[Finding, str]] = []
    originals = {_key(f): f for f in reversed(examined.findings)}
    failed: set[tuple[str, ...]] = set()
    for _ in range(_ROUNDS):
        attempts = [a for a in _attempts(examined, wanted) if _key(a.finding) not in failed]
        group = _compatible([a for a in attempts if a.finding.code == _UNCOVERS] or attempts)
        if not group:
            break
        after = examine_text(_edited(examined.text, group), examined.path, wanted)
        blamed = _blamed(examined, after, group)
        if blamed:
            failed.update(_key(a.finding) for a in blamed)
            continue
        done += [(originals.get(_key(a.finding), a.finding), a.remedy) for a in group]
        examined = after
        if len(group) == len(attempts) and group[0].finding.code != _UNCOVERS:
            break
    return Mended(examined.text, tuple(done), examined)


def header(path: str, mended: Mended) -> str:
    """The lines above a fixed file: who wrote it, from what, and what was done."""
    lines = [f"{MARK} {__version__}: {printable(Path(path).name)}, mended by `netbuilder check --fix`:"]
    for remedy, findings in mended.by_remedy().items():
        more = f" and {len(findings) - 1} more" if len(findings) > 1 else ""
        lines.append(printable(f"#   {findings[0].layer}{more}: {remedy}"))
    return "\n".join(lines) + "\n"


# -- attempts ------------------------------------------------------------------------------------------------


class _Attempt(NamedTuple):
    """A fix that could be made: its edits of the layer's own text, and the place of the layer."""

    finding: Finding
    edits: list[Edit]
    remedy: str
    place: Place


def _attempts(examined: Examined, wanted: Wanted) -> list[_Attempt]:
    """What could be done about the findings, code by code in the order of their first findings."""
    codes = {f.code: i for i, f in reversed(list(enumerate(examined.findings))) if f.code in FIXES}
    if not codes or not examined.nets:
        return []
    file = File(examined.text)
    starts = {s.start: s for s in file.layers}
    lines = [0, *(m.end() for m in re.finditer("\n", examined.text))]
    deploy = not wanted.phases and "TRAIN" not in examined.nets
    layers = {
        (x.origin.line, x.origin.column, x.name): x for net in reversed(examined.nets.values()) for x in net
    }
    found = []
    fixable = [f for f in examined.findings if f.code in codes and f.line]
    for finding in sorted(fixable, key=lambda f: codes[f.code]):
        span = starts.get(lines[finding.line - 1] + finding.column - 1)
        layer = layers.get((finding.line, finding.column, finding.layer))
        if span is None or layer is None:
            continue
        place = Place(file, span, layer, deploy or _tested(layer))
        result = FIXES[finding.code](place, finding)
        if result and result[0]:
            found.append(_Attempt(finding, *result, place))
    return found


def _tested(layer: Layer) -> bool:
    rules = layer.proto.include
    return bool(rules) and all(r.HasField("phase") and r.phase == 1 for r in rules)


def _compatible(attempts: Sequence[_Attempt]) -> list[_Attempt]:
    """The attempts that can be made together: of two that touch one place, the first."""
    first = {a.finding.layer: a for a in reversed(attempts) if a.finding.code in NEW_TOP}
    kept = [a for a in attempts if a.finding.code not in NEW_TOP or first[a.finding.layer] is a]
    text = attempts[0].place.text if attempts else ""
    while True:
        edits = sorted((edit, i) for i, attempt in enumerate(kept) for edit in attempt.edits)
        clashing = {max(i, j) for (a, i), (b, j) in pairwise(edits) if i != j and _clash(text, a, b)}
        if not clashing:
            return kept
        kept = [attempt for i, attempt in enumerate(kept) if i not in clashing]


def _clash(text: str, a: Edit, b: Edit) -> bool:
    """Whether two edits in order touch one place; equal ones do not, nor do insertions of two fields."""
    if a == b or _behind(text, a, b):
        return False
    if a.start == a.end == b.start == b.end:
        return a.new.split()[:1] == b.new.split()[:1]
    return b.start < a.end or b.start == a.start


def _behind(text: str, removal: Edit, insertion: Edit) -> bool:
    """Whether a field is inserted right after one that is left out, and so takes its place."""
    start, end, _ = insertion
    inside = not removal.new and start == end and removal.start < start < removal.end
    return inside and not text[start : removal.end].strip(" \t\n,;")


def _edited(text: str, attempts: Sequence[_Attempt]) -> str:
    """The text after these attempts."""
    edits = [edit for attempt in attempts for edit in attempt.edits]
    edits += _renamed({a.place.span.start: a for a in attempts if a.finding.code in NEW_TOP}, attempts)
    pieces, at = [], 0
    for start, end, new in sorted(dict.fromkeys(edits), key=lambda edit: edit.start):
        if start < at:  # it takes the place of what is left out there
            pieces.append(new[1:] + new[:1])
            continue
        pieces += [text[at:start], new]
        at = end
    return "".join((*pieces, text[at:]))


def _renamed(new_tops: dict[int, _Attempt], attempts: Sequence[_Attempt]) -> Iterator[Edit]:
    """Give the new names of tops to the layers that read them, or write over them, afterwards."""
    file = attempts[0].place.file
    names: dict[str, str] = {}
    for span in file.layers if new_tops else ():
        attempt = new_tops.get(span.start)
        own = {edit.start for edit in attempt.edits} if attempt else set()
        fields = [f for name in ("bottom", "top") for f in span.all(name)]
        for field in fields:
            new = names.get(string(file.text, field))
            if new and field.value not in own:
                yield Edit(field.value, field.end, f'"{new}"')
        for field in fields:
            if attempt and field.value in own:
                names[string(file.text, field)] = attempt.finding.layer


# -- verification --------------------------------------------------------------------------------------------


def _blamed(before: Examined, after: Examined, group: Sequence[_Attempt]) -> list[_Attempt]:
    """The attempts that failed; none if the findings are gone, no other came, and the net is the same."""
    old, new = (Counter(map(_key, e.findings)) for e in (before, after))
    uncovers = group[0].finding.code == _UNCOVERS
    came = [] if uncovers else [f.layer for f in after.findings if new[_key(f)] > old[_key(f)]]
    changed = list(_changed(before, after, shapes=not uncovers))
    at_fault = {*came, *changed}
    blamed = [a for a in group if new[_key(a.finding)] >= old[_key(a.finding)] or a.finding.layer in at_fault]
    if blamed or not at_fault:
        return blamed
    return list(group[len(group) // 2 :])  # one of them, but which is open: try half of them without the rest


def _key(finding: Finding) -> tuple[str, ...]:
    """What stays of a finding while its place moves."""
    return finding.code, finding.target, finding.layer, finding.text


def _changed(before: Examined, after: Examined, *, shapes: bool) -> Iterator[str]:
    """Of each net the first layer that is another than before, "" if the nets cannot be compared."""
    if list(before.nets) != list(after.nets):
        yield ""
        return
    for phase, net in before.nets.items():
        yield from _differing(net, after.nets[phase], shapes)


def _differing(before: Net, after: Net, shapes: bool) -> Iterable[str]:
    """The first layer whose parameters, operations or shapes differ, as far as they were known before."""
    if [(x.name, x.type) for x in before] != [(x.name, x.type) for x in after]:
        return [""]
    pairs = ((x, y) for x, y in zip(before, after, strict=True) if not x.unknown)
    return [
        x.name
        for x, y in pairs
        if x.params != y.params
        or (shapes and (x.macs != y.macs or [t.shape for t in x.tops] != [t.shape for t in y.tops]))
    ][:1]
