"""The confusion of classes as a picture (drawn by Pillow, as the curves are), as CSV or as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.data import images

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.int64]

__all__ = ["KINDS", "MOST", "confusion_file"]

KINDS = (".png", ".csv", ".json")
MOST = 4000  # classes in a picture
_SIDE, _LARGEST = 900, 48  # pixels of the matrix, and of a cell
_NUMBERED, _NAMED, _SIZE = 26, 14, 11  # the smallest cells with a number, and with the name of their row
_INK = (8, 48, 107)


def confusion_file(path: str, matrix: Matrix, names: Sequence[str], title: str) -> bytes:
    """The content of the file, whose kind is that of its name. Raises FileError without Pillow."""
    kind = Path(path).suffix.lower()
    called = list(names) or [str(i) for i in range(len(matrix))]
    if kind == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["label", *called])
        writer.writerows([name, *row] for name, row in zip(called, matrix.tolist(), strict=True))
        return text.getvalue().encode()
    if kind == ".json":
        return (json.dumps({"version": 1, "classes": called, "matrix": matrix.tolist()}) + "\n").encode()
    return _picture(matrix, called, title)


def _picture(matrix: Matrix, names: list[str], title: str) -> bytes:
    """Rows are labels, columns what they are taken for; a cell is as dark as its part of the row."""
    import numpy as np

    images.pillow()
    from PIL import Image, ImageDraw, ImageFont

    count = len(matrix)
    cell = max(1, min(_LARGEST, _SIDE // count))
    parts = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    colours = 255 + (np.array(_INK) - 255) * parts[:, :, None]
    drawn = Image.fromarray(colours.round().astype(np.uint8)).resize(
        (count * cell,) * 2, Image.Resampling.NEAREST
    )
    font = ImageFont.load_default()
    named = cell >= _NAMED
    left = 30 + (max(int(font.getlength(name[:24])) for name in names) if named else 12)
    width, height = left + count * cell + 20, 60 + count * cell + 40
    image = Image.new("RGB", (max(width, 320), height), "white")
    image.paste(drawn, (left, 60))
    canvas = ImageDraw.Draw(image)
    canvas.font = font
    canvas.rectangle([left - 1, 59, left + count * cell, 60 + count * cell], outline="black")
    canvas.text((left, 14), title, fill="black", anchor="lm")
    canvas.text((left, 32), "rows: label; columns: taken for", fill="black", anchor="lm")
    for i in range(count) if named else (0, count - 1):
        at = i * cell + cell // 2
        canvas.text((left - 6, 60 + at), names[i][:24] if named else str(i), fill="black", anchor="rm")
        canvas.text((left + at, 52), str(i), fill="black", anchor="mm")
    if cell >= _NUMBERED:
        _numbers(canvas, matrix, parts, left, cell)
    content = io.BytesIO()
    image.save(content, format="png")
    return content.getvalue()


def _numbers(canvas: Any, matrix: Matrix, parts: Any, left: int, cell: int) -> None:
    for (row, column), number in _cells(matrix):
        colour = "white" if parts[row, column] > 0.5 else "black"
        at = (left + column * cell + cell // 2, 60 + row * cell + cell // 2)
        canvas.text(at, str(number), fill=colour, anchor="mm")


def _cells(matrix: Matrix) -> Any:
    return (((i, j), n) for i, row in enumerate(matrix.tolist()) for j, n in enumerate(row) if n)
