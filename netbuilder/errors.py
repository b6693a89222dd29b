"""The errors of netbuilder: each says what is wrong, where, and how to fix it.

All have one form, that of `NetBuilderError.__str__`:

    Eltwise 'eltwise_s1': bottoms 0 and 1 must have equal shapes, got (1,128,29,29) and (1,128,28,28)
      where:   my_net.py:58, BigLittle(s1)/Sum(s1)
      bottoms: conv_s1_down (1,128,29,29) from AvgDown(s1_down); conv_s1_a (1,128,28,28) from Conv3(s1_a)
      hint:    Caffe pooling rounds up; ...

This module imports nothing from netbuilder; every other module may import it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "EngineError",
    "FieldError",
    "FileError",
    "NameClash",
    "NetBuilderError",
    "PrototxtError",
    "ShapeError",
    "StaleBlob",
    "counted",
    "did_you_mean",
    "printable",
    "shape_text",
]


_MAX_WORD = 200
_SECONDS, _SHARE = 1.0, 0.1  # of processor time, and of that of the process: what looking for hints may take
_spent = 0.0


class NetBuilderError(Exception):
    """A mistake that the user can fix; the command line prints it without a traceback.

    `text` is the one-line statement. `where`, `bottoms` and `hint` may be filled in by a caller that knows
    them: a layer rule says what is wrong, `Net` adds where.
    """

    def __init__(self, text: str, *, where: str = "", bottoms: str = "", hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.where = where
        self.bottoms = bottoms
        self.hint = hint

    def __str__(self) -> str:
        first, *more = self.text.split("\n")
        details = (("where:", self.where), ("bottoms:", self.bottoms), ("hint:", self.hint))
        lines = [first, *(line if line[:1] in ("", " ") else f"  {line}" for line in more)]
        lines += [f"  {label:<8} {text}" for label, text in details if text]
        return "\n".join(map(printable, lines))


class ShapeError(NetBuilderError):
    """The shapes or numbers of bottoms, tops or fields do not fit; real Caffe would abort here."""


class FieldError(NetBuilderError):
    """An unknown layer type or field, one that the dialect lacks, or a value of the wrong type."""


class NameClash(NetBuilderError):
    """Two layers with the same name, or two layers that produce the same blob."""


class StaleBlob(NetBuilderError):
    """A blob handle that is not valid: overwritten in place, unknown, or from another net."""


class ConfigError(NetBuilderError):
    """A configuration that cannot be built; `key` is the dotted name of the wrong value."""

    def __init__(self, text: str, *, key: str = "", path: str = "", hint: str = "") -> None:
        super().__init__(text, where=path, hint=hint)
        self.key = key
        self.path = path


class PrototxtError(NetBuilderError):
    """A file that is not valid prototxt; `line` and `column` count from 1."""

    def __init__(self, text: str, *, path: str = "", line: int = 0, column: int = 0, hint: str = "") -> None:
        where = ":".join([path or "<text>", *(str(n) for n in (line, column) if n)])
        super().__init__(text, where=where, hint=hint)
        self.path = path
        self.line = line
        self.column = column


class FileError(NetBuilderError):
    """A file or folder that cannot be read or written, or must not be overwritten."""


class EngineError(NetBuilderError):
    """A program that runs nets (real Caffe, ...) is missing, rejected its input, or crashed."""


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A hint with the nearest `known` word, or "" if none is as similar as `cutoff` (1 means equal).

    A file with thousands of errors gets no more hints after a second: each is a comparison with all words.
    """
    global _spent
    start = time.process_time()
    if len(word) > _MAX_WORD or _spent > max(_SECONDS, _SHARE * start):
        return ""  # the time of a comparison grows with the square of the length
    import difflib  # slow to import, and only needed for errors

    by_lower = {k.lower(): k for k in known}
    near = difflib.get_close_matches(word.lower(), by_lower, n=3, cutoff=cutoff)
    meant = next((k for k in near if _misspelt(word.lower(), k, by_lower)), "")
    _spent += time.process_time() - start
    return f"did you mean '{by_lower[meant]}'?" if meant else ""


def _misspelt(word: str, meant: str, known: Iterable[str]) -> bool:
    """Whether a word is another one with a slip or two, or the beginning of that one alone.

    Two words that share a part are not: `kernal_pad` is not `kernel_w`.
    """
    plain, whole = (re.sub(r"[-_ .]", "", text) for text in (word, meant))
    longer = sum(k.startswith(word) for k in known)
    if meant.startswith(word):
        return longer == 1 or len(meant) == len(word) + 1
    return _slips(plain, whole) <= max(1, len(whole) // 4)


def _slips(a: str, b: str) -> int:
    """How many letters are missing, added, wrong or swapped with their neighbour."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]


def printable(text: str) -> str:
    """A text of a file on one line of a terminal: line ends and control characters are escaped, as by repr.

    Otherwise a name could forge lines, move the cursor or turn the direction of writing.
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def counted(n: int, noun: str, plural: str = "") -> str:
    """A number with a noun in the singular or plural: `1 finding`, `0 findings`."""
    return f"{n} {noun if n == 1 else plural or f'{noun}s'}"


def shape_text(shape: Iterable[int]) -> str:
    """A shape as text: `(1,64,56,56)`; a scalar is `()`."""
    return "(" + ",".join(str(n) for n in shape) + ")"
