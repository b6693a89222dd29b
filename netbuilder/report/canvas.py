"""A drawing of lines, marks and text, and its bytes as SVG, PNG or PDF.

SVG and PDF need nothing but this module; PNG needs Pillow. Equal drawings give equal bytes. Importing a
plotting library would take longer than a short training, and it would read names as mathematics.
"""

from __future__ import annotations

import io
import itertools
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from netbuilder.errors import ConfigError, printable
from netbuilder.storage.files import MARK

__all__ = ["Canvas", "Point", "fitting", "shade", "text_width"]

Point = tuple[float, float]

_FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
_WIDE_FONTS = ("DejaVuSans.ttf", "Arial.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf")
_BASELINE = 0.35  # of the size: how far the baseline is below the middle of a line of text
_FINE = 2  # a PNG is drawn so many times as large, and reduced: its lines are smooth then
_CIRCLE = 0.5523  # of the radius: where the control points of a quarter of a circle are
_NAME_LENGTH = 80
# Helvetica's widths, in thousandths of its size, from the space on. Source: Adobe's AFM file, Helvetica.
_WIDTHS = bytes.fromhex(
    "1c1c2438385943132121273a1c211c1c383838383838383838381c1c3a3a3a38"
    "6643434848433d4e481c32433853484e434e48433d48435e43433d1c1c1c2f38"
    "2138383238381c383816163216533838383821321c383248323232211a213a"
)


def text_width(text: str, size: float) -> float:
    """About how wide a text is in Helvetica or its like; letters beyond ASCII count as wide ones."""
    return sum(_WIDTHS[ord(c) - 32] if " " <= c <= "~" else 70 for c in text) * size / 100


def fitting(text: str, size: float, room: float) -> str:
    """A name as one line of text, cut in its middle where it is wider than the room."""
    text = printable(text)
    if len(text) > _NAME_LENGTH:
        text = _cut(text, _NAME_LENGTH)
    letters = len(text)
    while text_width(text, size) > room and letters > 4:
        letters -= 1
        text = _cut(text, letters)
    return text


def _cut(text: str, letters: int) -> str:
    end = (letters - 1) // 2
    return f"{text[: letters - end - 1]}…{text[len(text) - end :]}"


def shade(colour: str, part: float) -> str:
    """A colour `#rrggbb` mixed with white; `part` of it is left."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - (255 - one) * part):02x}" for one in parts)


class _Line(NamedTuple):
    points: Sequence[Point]
    colour: str
    width: float
    dash: Sequence[float]


class _Shape(NamedTuple):
    """A filled polygon or, of one point, a circle; `edge` is the colour of its border."""

    points: Sequence[Point]
    fill: str
    edge: str
    radius: float = 0.0


class _Text(NamedTuple):
    at: Point
    text: str
    size: float
    colour: str
    anchor: str
    upright: bool


class Canvas:
    """A drawing of this size in pixels, of which y grows downwards; what comes later is on top."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._marks: list[_Line | _Shape | _Text] = []

    def line(
        self, points: Sequence[Point], colour: str, width: float = 1.0, dash: Sequence[float] = ()
    ) -> None:
        """Draw a line through points."""
        if len(points) > 1:
            self._marks.append(_Line(points, colour, width, dash))

    def circle(self, at: Point, radius: float, fill: str, edge: str = "") -> None:
        """Draw a filled circle."""
        self._marks.append(_Shape([at], fill, edge, radius))

    def polygon(self, points: Sequence[Point], fill: str, edge: str = "") -> None:
        """Draw a filled polygon."""
        self._marks.append(_Shape(points, fill, edge))

    def box(self, left: float, top: float, right: float, bottom: float, fill: str, edge: str = "") -> None:
        """Draw a filled rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], fill, edge)

    def text(
        self,
        at: Point,
        text: str,
        *,
        size: float = 12,
        colour: str = "#222222",
        anchor: str = "left",
        upright: bool = False,
    ) -> None:
        """Write a line of text, vertically centred at a point; `upright` turns it, to be read upwards."""
        self._marks.append(_Text(at, printable(text), size, colour, anchor, upright))

    def saved(self, kind: str) -> bytes:
        """The bytes of the drawing as "svg", "png" or "pdf". Raises ConfigError without Pillow, for PNG."""
        return {"svg": self.svg, "png": self.png, "pdf": self.pdf}[kind]()

    # ---- SVG ----------------------------------------------------------------------------------------------

    def svg(self) -> bytes:
        """The drawing as SVG; its texts are texts."""
        lines = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f"<!-- {MARK} -->",
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" font-family="{_FONT}" stroke-linejoin="round">',
            f'<rect width="{self.width}" height="{self.height}" fill="#ffffff"/>',
            *map(_svg_mark, self._marks),
            "</svg>\n",
        ]
        return "\n".join(lines).encode("utf-8", "replace")

    # ---- PNG ----------------------------------------------------------------------------------------------

    def png(self) -> bytes:
        """The drawing as PNG. Raises ConfigError without Pillow 10.1."""
        try:
            from PIL import Image, ImageDraw, PngImagePlugin

            texts = [mark for mark in self._marks if isinstance(mark, _Text)]
            fonts = {key: _font(*key) for key in {(mark.size, _is_plain(mark.text)) for mark in texts}}
        except (ImportError, TypeError, OSError):
            raise ConfigError(
                "a PNG needs Pillow 10.1 or newer, which is missing",
                hint="pip install 'caffe-netbuilder[draw]'; svg and pdf need nothing",
            ) from None
        image = Image.new("RGB", (self.width * _FINE, self.height * _FINE), "white")
        canvas = ImageDraw.Draw(image)
        for mark in self._marks:
            if isinstance(mark, _Text):
                _png_text(image, canvas, mark, fonts[mark.size, _is_plain(mark.text)])
            elif isinstance(mark, _Line):
                for piece in _dashes(mark.points, mark.dash) if mark.dash else [mark.points]:
                    canvas.line(_large(piece), mark.colour, max(1, round(mark.width * _FINE)), joint="curve")
            elif mark.radius:
                ((x, y),), r = _large(mark.points), mark.radius * _FINE
                canvas.ellipse([x - r, y - r, x + r, y + r], mark.fill, mark.edge or None, _FINE)
            else:
                canvas.polygon(_large(mark.points), mark.fill, mark.edge or None, _FINE)
        about = PngImagePlugin.PngInfo()
        about.add_text("Software", MARK)
        file = io.BytesIO()
        _in_few_colours(image.reduce(_FINE)).save(file, format="png", pnginfo=about)
        return file.getvalue()

    # ---- PDF ----------------------------------------------------------------------------------------------

    def pdf(self) -> bytes:
        """The drawing as PDF of one page; letters that Windows-1252 lacks are shown as `?`."""
        marks = (_pdf_mark(mark, self.height) for mark in self._marks)
        content = zlib.compress("\n".join(("1 j", *marks)).encode("latin-1"))
        return _pdf_file(
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %d %d] /Contents 4 0 R "
            b"/Resources << /Font << /F 5 0 R >> >> >>" % (self.width, self.height),
            b"<< /Filter /FlateDecode /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
            b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        )


def _n(value: float) -> str:
    """A number with two decimals at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _pairs(points: Iterable[Point]) -> str:
    return " ".join(f"{_n(x)},{_n(y)}" for x, y in points)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _svg_mark(mark: _Line | _Shape | _Text) -> str:
    if isinstance(mark, _Text):
        x, y = mark.at
        place = f'x="{_n(x)}" y="{_n(y + mark.size * _BASELINE)}"'
        if mark.upright:
            place = f'transform="translate({_n(x + mark.size * _BASELINE)},{_n(y)}) rotate(-90)"'
        anchor = {"left": "start", "middle": "middle", "right": "end"}[mark.anchor]
        return (
            f'<text {place} font-size="{_n(mark.size)}" fill="{mark.colour}" text-anchor="{anchor}">'
            f"{_escaped(mark.text)}</text>"
        )
    if isinstance(mark, _Line):
        dash = f' stroke-dasharray="{" ".join(map(_n, mark.dash))}"' if mark.dash else ""
        return (
            f'<polyline points="{_pairs(mark.points)}" fill="none" stroke="{mark.colour}" '
            f'stroke-width="{_n(mark.width)}"{dash}/>'
        )
    edge = f' stroke="{mark.edge}"' if mark.edge else ""
    if mark.radius:
        ((x, y),) = mark.points
        return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(mark.radius)}" fill="{mark.fill}"{edge}/>'
    return f'<polygon points="{_pairs(mark.points)}" fill="{mark.fill}"{edge}/>'


def _large(points: Iterable[Point]) -> list[Point]:
    """Places in the large image, in which a whole number is the middle of a pixel and not its edge."""
    return [(x * _FINE - 0.5, y * _FINE - 0.5) for x, y in points]


def _in_few_colours(image: Any) -> Any:
    """The image with a palette, which halves the time to write it and the file; white stays white."""
    from PIL import Image

    found = image.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette = found.getpalette()
    for i in range(0, len(palette), 3):
        if min(palette[i : i + 3]) > 250:
            palette[i : i + 3] = [255, 255, 255]
    found.putpalette(palette)
    return found


def _is_plain(text: str) -> bool:
    """Whether Pillow's own font has all letters of a text."""
    return text.replace("…", "").isascii()


def _font(size: float, plain: bool) -> Any:
    """Pillow's own font or, of another text, one of the system's with more letters if there is any."""
    from PIL import ImageFont

    for name in () if plain else _WIDE_FONTS:
        try:
            return ImageFont.truetype(name, size * _FINE)
        except OSError:
            continue
    return ImageFont.load_default(size * _FINE)


def _png_text(image: Any, canvas: Any, mark: _Text, font: Any) -> None:
    ((x, y),) = _large([mark.at])
    letter = {"left": "l", "middle": "m", "right": "r"}[mark.anchor]
    if not mark.upright:
        y += mark.size * _FINE * _BASELINE
        canvas.text((x, y), mark.text, fill=mark.colour, font=font, anchor=f"{letter}s")
        return
    from PIL import Image, ImageDraw

    length, size = int(font.getlength(mark.text)) + 2, round(mark.size * _FINE * 1.4)
    turned = Image.new("L", (length, size), 0)
    ImageDraw.Draw(turned).text((length / 2, size / 2), mark.text, fill=255, font=font, anchor="mm")
    turned = turned.transpose(Image.Transpose.ROTATE_90)
    shift = {"left": length, "middle": length / 2, "right": 0}[mark.anchor]
    image.paste(mark.colour, (round(x - size / 2), round(y - shift)), turned)


def _dashes(points: Sequence[Point], dash: Sequence[float]) -> Iterator[list[Point]]:
    """The drawn pieces of a line, by the lengths of dashes and gaps in turn."""
    at, left, piece = 0, dash[0], [points[0]]
    for begin, end in itertools.pairwise(points):
        length, done = math.dist(begin, end), 0.0
        while length - done > left:
            done += left
            part = done / length
            corner = (begin[0] + (end[0] - begin[0]) * part, begin[1] + (end[1] - begin[1]) * part)
            if at % 2 == 0:
                yield [*piece, corner]
            at += 1
            left, piece = dash[at % len(dash)], [corner]
        left -= length - done
        piece.append(end)
    if at % 2 == 0:
        yield piece


def _pdf_mark(mark: _Line | _Shape | _Text, height: float) -> str:
    if isinstance(mark, _Text):
        return _pdf_text(mark, height)
    path = " ".join(f"{_n(x)} {_n(height - y)} {'l' if i else 'm'}" for i, (x, y) in enumerate(mark.points))
    if isinstance(mark, _Line):
        dash = " ".join(map(_n, mark.dash))
        return f"{_rgb(mark.colour)} RG {_n(mark.width)} w [{dash}] 0 d {path} S"
    if mark.radius:
        path = _pdf_circle(mark.points[0], mark.radius, height)
    edge = f"{_rgb(mark.edge)} RG 1 w [] 0 d " if mark.edge else ""
    return f"{edge}{_rgb(mark.fill)} rg {path} {'b' if mark.edge else 'f'}"


def _rgb(colour: str) -> str:
    return " ".join(_n(int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))


def _pdf_circle(at: Point, r: float, height: float) -> str:
    x, y, c = at[0], height - at[1], r * _CIRCLE
    path = [f"{_n(x + r)} {_n(y)} m"]
    for (ax, ay), (bx, by), (ex, ey) in (
        ((r, c), (c, r), (0, r)),
        ((-c, r), (-r, c), (-r, 0)),
        ((-r, -c), (-c, -r), (0, -r)),
        ((c, -r), (r, -c), (r, 0)),
    ):
        path.append(" ".join(_n(v) for v in (x + ax, y + ay, x + bx, y + by, x + ex, y + ey)) + " c")
    return " ".join(path)


def _pdf_text(mark: _Text, height: float) -> str:
    back = {"left": 0.0, "middle": 0.5, "right": 1.0}[mark.anchor] * text_width(mark.text, mark.size)
    x, y, down = mark.at[0], height - mark.at[1], mark.size * _BASELINE
    place = (
        f"0 1 -1 0 {_n(x + down)} {_n(y - back)}"
        if mark.upright
        else f"1 0 0 1 {_n(x - back)} {_n(y - down)}"
    )
    text = mark.text.encode("cp1252", "replace").decode("latin-1")
    for letter in "\\()":
        text = text.replace(letter, f"\\{letter}")
    return f"{_rgb(mark.colour)} rg BT /F {_n(mark.size)} Tf {place} Tm ({text}) Tj ET"


def _pdf_file(*objects: bytes) -> bytes:
    """A PDF file of these objects, of which the first is its root."""
    file = b"%PDF-1.4\n%" + MARK.encode() + b"\n"
    places = []
    for i, content in enumerate(objects, 1):
        places.append(len(file))
        file += b"%d 0 obj\n%b\nendobj\n" % (i, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    end = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, len(file))
    return file + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + end
