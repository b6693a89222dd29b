"""Findings for a person: in colour, with the line that each is about and a caret under the place."""

from __future__ import annotations

import bisect
import re
from collections.abc import Collection
from functools import cached_property

from netbuilder.errors import FileError
from netbuilder.findings import Finding
from netbuilder.prototxt.spans import Span, spans
from netbuilder.report.terminal import wrapped
from netbuilder.storage.files import read_text

__all__ = ["Excerpts"]

_COLORS = {"error": "31", "warning": "33", "info": "36"}
_MARGIN = 9  # columns before a line of the file


class Excerpts:
    """The lines of a text that findings are about, for a terminal of this width; --fix mends `mended`.

    A finding about another file than that of the text, such as the net of a solver, has the line of that one.
    """

    def __init__(
        self, text: str, width: int, *, color: bool, mended: Collection[Finding] = (), path: str = ""
    ) -> None:
        self._text = text
        self._path = path
        self._others: dict[str, Excerpts] = {}
        self._width = width
        self._color = color
        self._mended = mended
        self._lines = text.split("\n")
        self._starts = [0, *(m.end() for m in re.finditer("\n", text))]

    def told(self, text: str, finding: Finding, others: list[str]) -> list[str]:
        """The text of a finding with its excerpt, wrapped; what it says besides follows, indented."""
        first, *more = text.split("\n")
        lines = wrapped(first, self._width, "  ")
        if self._color:
            word = finding.severity
            painted = f"\x1b[1;{_COLORS[word]}m{word}\x1b[0m"
            lines[0] = lines[0].replace(f"{word}:", f"{painted}:", 1)
        lines += self._excerpt(finding)
        for line in (*more, *others):
            lines += wrapped(line, self._width, "    ")
        if finding in self._mended:
            lines.append("  --fix mends it")
        return lines

    def _excerpt(self, finding: Finding) -> list[str]:
        if finding.file and finding.file != self._path:
            return self._of(finding.file)._excerpt(finding)
        line, column = self._place(finding)
        if not 0 < line <= len(self._lines) or not self._text:
            return []
        text = self._lines[line - 1].rstrip("\r").replace("\t", " ")
        at = min(max(0, column - 1), len(text))
        room = max(20, self._width - _MARGIN)
        begin = 0 if len(text) <= room else max(0, min(at - room // 2, len(text) - room))
        shown = "".join(c if c.isprintable() else "?" for c in text[begin : begin + room])
        return [f"{line:>6} | {shown}".rstrip(), f"{'':>6} | {' ' * (at - begin)}{self._painted('^')}"]

    def _of(self, file: str) -> Excerpts:
        if file not in self._others:
            try:
                text = read_text(file)
            except FileError:
                text = ""
            self._others[file] = Excerpts(text, self._width, color=self._color, path=file)
        return self._others[file]

    def _painted(self, text: str) -> str:
        return f"\x1b[1;32m{text}\x1b[0m" if self._color else text

    def _place(self, finding: Finding) -> tuple[int, int]:
        """The line and column of the field, or of the layer's name where the layer says no more."""
        if not finding.layer or not finding.line or finding.line > len(self._starts):
            return finding.line, finding.column
        span = self._layers.get(self._starts[finding.line - 1] + max(0, finding.column - 1))
        if span is None:
            return finding.line, finding.column
        found = span.find(*finding.field.split(".")) if finding.field else None
        found = found or _named(span, finding.text) or span.find("name") or span
        line = bisect.bisect_right(self._starts, found.start)
        return line, found.start - self._starts[line - 1] + 1

    @cached_property
    def _layers(self) -> dict[int, Span]:
        try:
            return {span.start: span for span in spans(self._text)}
        except (ValueError, IndexError):  # a text that cannot be parsed
            return {}


def _named(layer: Span, text: str) -> Span | None:
    """The first field of a layer, or of a message in it, that a text names."""
    words = set(re.findall(r"\w+", text)) - {"name", "type"}
    waiting = [layer]
    while waiting:
        for field in waiting.pop(0).fields or ():
            if field.name in words:
                return field
            waiting.append(field)
    return None
