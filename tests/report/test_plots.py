"""Plots by arithmetic: limits, ticks, means, steps, and where the marks of a drawing are."""

from __future__ import annotations

import io
import itertools
import math
import re
import struct
import xml.etree.ElementTree as ElementTree
import zlib

import pytest
from PIL import Image

from netbuilder.errors import ConfigError
from netbuilder.report.axes import Axis, axis_of, bulk, ticks
from netbuilder.report.canvas import Canvas, fitting, shade, text_width
from netbuilder.report.plots import Curve, Panel, Plot, moving_mean, plotted

SVG = "{http://www.w3.org/2000/svg}"


def texts(canvas: Canvas) -> list[str]:
    """The texts of a drawing, read back from its SVG."""
    return [node.text or "" for node in ElementTree.fromstring(canvas.svg()).iter(f"{SVG}text")]


def lines(canvas: Canvas, colour: str) -> list[list[tuple[float, float]]]:
    """The lines of a colour, read back from the SVG."""
    found = ElementTree.fromstring(canvas.svg()).iter(f"{SVG}polyline")
    pairs = [node.attrib["points"].split() for node in found if node.attrib["stroke"] == colour]
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in some)] for some in pairs]


# ---- limits ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([87.3, 2.5, 2.0, 1.5, 1.2, 1.1, 1.0, 1.0], (1.0, 2.5)),  # the first test
        ([2.3, 1.0, 0.9], (0.9, 2.3)),  # few values, of which none is far off
        ([87.3, 1.2, 1.0], (1.0, 1.2)),
        ([0.001, *(0.7 + i / 1000 for i in range(50))], (0.7, 0.749)),  # below
        ([5.0, 5.0, 5.0, 9.0], (5.0, 5.0)),  # a constant, but for one
        ([math.exp(-i / 10) * 7 for i in range(100)], (math.exp(-9.9) * 7, 7.0)),  # a loss that falls
        ([1.0] * 50 + [87.3365] * 50, (1.0, 87.3365)),  # diverged: as many as the others
        ([3.0], (3.0, 3.0)),
    ],
)
def test_the_limits_hold_the_bulk_and_leave_outliers_outside(
    values: list[float], expected: tuple[float, float]
) -> None:
    assert bulk(values) == pytest.approx(expected)
    assert bulk([-v for v in values]) == pytest.approx((-expected[1], -expected[0]))


def test_outliers_are_inside_if_there_is_room_for_them() -> None:
    assert axis_of([[5.0, 5.0, 5.0, 9.0]]).holds(9.0)  # there is nothing else to see
    assert not axis_of([[87.3, 1.5, 1.5, 1.5], [1.0, 2.0, 3.0]]).holds(87.3)
    assert axis_of([[4.5, 1.5, 1.5, 1.5], [1.0, 2.0, 3.0]]).holds(4.5)


def test_a_short_curve_is_seen_beside_a_long_one() -> None:
    axis = axis_of([[1.0 + i / 1000 for i in range(1000)], [50.0, 51.0]])
    assert axis.holds(51.0)
    assert axis.holds(1.0)


def test_a_logarithmic_axis_holds_all_steps_but_not_the_tail_towards_0() -> None:
    steps = [0.1] * 60 + [0.01] * 30 + [1e-7] * 10
    axis = axis_of([steps], log=True, robust=False)
    assert (axis.holds(0.1), axis.holds(1e-7)) == (True, True)
    assert axis.part(0.01) == pytest.approx((axis.part(0.1) + axis.part(0.001)) / 2)
    cosine = [0.05 * (1 + math.cos(math.pi * i / 500)) for i in range(501)]
    axis = axis_of([cosine], log=True, robust=False)
    assert 1e-5 < axis.low < 1e-4
    assert axis.part(0.0) < 0


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1500.0, [0, 500, 1000, 1500]),
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-0.1, 2.45, [0, 0.5, 1.0, 1.5, 2.0]),
        (0.0, 2.0, [0, 0.5, 1, 1.5, 2.0]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Axis(0, 4000), ["0", "1,000", "2,000", "3,000", "4,000"]),
        (Axis(0, 60_000), ["0", "20k", "40k", "60k"]),
        (Axis(0, 2_400_000), ["0", "0.5M", "1.0M", "1.5M", "2.0M"]),
        (Axis(0.5001, 0.5005), ["0.5001", "0.5002", "0.5003", "0.5004", "0.5005"]),
        (Axis(0.50001, 0.50003), ["0.50001", "0.500015", "0.50002", "0.500025", "0.50003"]),
        (Axis(0, 3e-7), ["0", "1e-07", "2e-07", "3e-07"]),
        (Axis(0, 2e-7), ["0", "5e-08", "1e-07", "1.5e-07", "2e-07"]),
        (Axis(-1, 1), ["-1.0", "-0.5", "0", "0.5", "1.0"]),
        (Axis(0.001, 0.1, log=True), ["0.001", "0.003", "0.01", "0.03", "0.1"]),
        (Axis(1e-9, 1.0, log=True), ["1e-09", "1e-07", "1e-05", "0.001", "0.1"]),
        (Axis(2.0, 3.0, log=True), ["2.0", "2.2", "2.4", "2.6", "2.8", "3.0"]),
    ],
)
def test_the_texts_of_ticks_differ_and_have_one_unit(axis: Axis, expected: list[str]) -> None:
    assert [text for _, text in axis.ticks()] == expected


# ---- curves ----------------------------------------------------------------------------------------------


def test_the_moving_mean_is_symmetric_and_parted_by_what_is_not_finite() -> None:
    assert moving_mean([1, 2, 6, 2, 1], 3) == pytest.approx([1, 3, 10 / 3, 3, 1])
    straight = [3.0 * i for i in range(50)]
    assert moving_mean(straight, 9) == pytest.approx(straight)  # no lag
    found = moving_mean([1, 3, math.nan, 5, 7, 9, math.inf], 3)
    assert found[:2] + found[3:6] == pytest.approx([1, 3, 5, 7, 9])
    assert math.isnan(found[2])
    assert math.isnan(found[6])


def test_a_rate_is_drawn_in_steps_at_its_iterations() -> None:
    points = [(0.0, 0.1), (40.0, 0.1), (50.0, 0.01), (100.0, 0.01)]
    (line,) = lines(plotted(Plot("", "", [Panel("", [Curve("", points, "#123456", steps=True)])])), "#123456")
    (x0, high), (x1, _), (x2, also), (x3, low), (x4, end) = line
    assert (high, low) == (also, end)
    assert low > high  # y grows downwards
    assert x2 == x3 == pytest.approx(x0 + (x4 - x0) / 2, abs=0.1)
    assert x1 == pytest.approx(x0 + (x4 - x0) * 0.4, abs=0.1)


def test_an_outlier_leaves_the_panel_and_is_marked_with_its_value() -> None:
    points = [(0.0, 87.3365), *((i * 1.0, 1 + 1 / i) for i in range(1, 20))]
    canvas = plotted(Plot("", "", [Panel("loss", [Curve("test loss", points, "#123456", mark="o")])]))
    assert "87.3" in texts(canvas)
    (line,) = lines(canvas, "#123456")[1:]  # the first is that of the legend
    ys = [y for _, y in line]
    frame = max(lines(canvas, "#888888"), key=len)
    top, bottom = min(y for _, y in frame), max(y for _, y in frame)
    assert min(ys) == pytest.approx(top, abs=0.6)  # it leads out of the panel, no further
    seen = [y for y in ys if y > top + 1]
    assert len(seen) == 19
    assert max(seen) - min(seen) > 0.8 * (bottom - top)  # the others fill it


def test_many_outliers_are_counted() -> None:
    curves = [
        Curve("", [(i * 1.0, 1e9 if i in (3, 4, 50, 70, 90) else i % 7) for i in range(200)], colour)
        for colour in ("#123456", "#654321")
    ]
    assert "10 points above, to 1.00 G" in texts(plotted(Plot("", "", [Panel("", curves)])))


def test_values_that_are_not_finite_part_the_line_and_are_marked() -> None:
    points = [(float(i), math.nan if 4 <= i < 7 else 1.0 * i) for i in range(12)]
    canvas = plotted(Plot("", "", [Panel("", [Curve("", points, "#123456")])]))
    found = lines(canvas, "#123456")
    assert sorted(map(len, found)) == [2, 2, 4, 5]  # a cross of two strokes, and the two parts
    assert "3 values are not finite, from 4 on" in texts(canvas)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, 1e300, -3.0, 5e-324])
@pytest.mark.parametrize("log", [False, True])
def test_values_of_any_size_are_drawn(value: float, log: bool) -> None:
    curve = Curve("a", [(0.0, 1.0), (5.0, value), (6.0, 2.0), (7.0, value)], "#000000", mark="d")
    canvas = plotted(Plot("", "", [Panel("", [curve], log=log), Panel("", [], log=log)]))
    numbers = re.findall(rb'points="([^"]*)"', canvas.svg())
    assert all(math.isfinite(float(n)) for some in numbers for n in re.split(rb"[ ,]", some))


def test_many_points_are_drawn_by_their_extremes() -> None:
    points = [(float(i), (-1.0) ** i * (1 + i / 2e4)) for i in range(20_000)]
    canvas = plotted(Plot("", "", [Panel("", [Curve("", points, "#123456")])]))
    (line,) = lines(canvas, "#123456")
    assert 1500 < len(line) < 4000
    assert (line[0][0], line[-1][0]) == (76, 936)


def test_names_in_a_legend_stay_inside_and_do_not_overlap() -> None:
    runs = [Curve(f"{'a long name ' * (i % 4)}{i}", (), "#123456") for i in range(20)]
    canvas = plotted(Plot("n" * 500, "x", [Panel("p", [])], runs=runs))
    nodes = list(ElementTree.fromstring(canvas.svg()).iter(f"{SVG}text"))
    boxes: dict[float, list[tuple[float, float]]] = {}
    for node in nodes:
        if node.attrib["text-anchor"] == "start":
            x, y = float(node.attrib["x"]), float(node.attrib["y"])
            size = float(node.attrib["font-size"])
            boxes.setdefault(y, []).append((x, x + text_width(node.text or "", size)))
    assert len(boxes) > 3
    for row in boxes.values():
        row.sort()
        assert row[-1][1] <= canvas.width
        assert all(end < begin for (_, end), (begin, _) in itertools.pairwise(row))


# ---- drawings --------------------------------------------------------------------------------------------


def example() -> Canvas:
    canvas = Canvas(200, 100)
    canvas.line([(10, 50), (190, 50)], "#ff0000", 4)
    canvas.line([(10, 80), (190, 80)], "#0000ff", 4, (10, 10))
    canvas.box(20, 10, 40, 30, "#00ff00")
    canvas.circle((100, 20), 8, "#000000")
    canvas.text((150, 20), "a < (b) \\ & c", anchor="middle")
    canvas.text((195, 50), "up", upright=True, anchor="middle")
    return canvas


def test_a_png_has_the_marks_where_they_are() -> None:
    opened = Image.open(io.BytesIO(example().png()))
    assert (opened.format, opened.size) == ("PNG", (200, 100))
    image = opened.convert("RGB")
    at = {"line": (100, 50), "box": (30, 20), "circle": (100, 20), "nothing": (60, 70)}
    assert {what: image.getpixel(place) for what, place in at.items()} == {
        "line": (255, 0, 0), "box": (0, 255, 0), "circle": (0, 0, 0), "nothing": (255, 255, 255)
    }  # fmt: skip
    dashed = [image.getpixel((x, 80)) == (0, 0, 255) for x in (15, 25, 35, 45, 175, 184)]
    assert dashed == [True, False, True, False, True, False]


def test_an_svg_is_xml_with_its_texts() -> None:
    assert texts(example()) == ["a < (b) \\ & c", "up"]


def test_a_pdf_is_read_by_its_table_of_objects() -> None:
    data = example().pdf()
    start = int(re.findall(rb"startxref\n(\d+)\n%%EOF\n$", data)[0])
    assert data[start:].startswith(b"xref\n0 6\n")
    entries = re.findall(rb"(\d{10}) 00000 n \n", data[start:])
    assert [data[int(place) :].split(b"\n", 1)[0] for place in entries] == [
        b"%d 0 obj" % i for i in range(1, 6)
    ]
    length = int(re.findall(rb"/Length (\d+)", data)[0])
    stream = data.index(b"stream\n") + len(b"stream\n")
    content = zlib.decompress(data[stream : stream + length])
    assert b"(a < \\(b\\) \\\\ & c) Tj" in content
    assert b"1 0 0 RG 4 w [] 0 d 10 50 m 190 50 l S" in content
    assert b"0 0 1 RG 4 w [10 10] 0 d 10 20 m 190 20 l S" in content


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_equal_drawings_are_equal_bytes_and_say_who_drew_them(kind: str) -> None:
    assert example().saved(kind) == example().saved(kind)
    assert b"# Made by netbuilder" in example().saved(kind)


def test_without_pillow_a_png_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(ConfigError, match=r"a PNG needs Pillow 10.1") as error:
        example().png()
    assert "pip install 'caffe-netbuilder[draw]'" in str(error.value)
    assert example().svg()
    assert example().pdf()


@pytest.mark.parametrize(
    "name",
    ["$x^2$", "$", "a\nb", "\0", "n" * 10_000, "\u202ex", "\\frac", "%s", "<b>", "]]>", "\ud800", "中é"],
)
def test_names_are_drawn_as_text(name: str) -> None:
    canvas = plotted(Plot(name, name, [Panel(name[:50], [Curve(name, [(0.0, 1.0)], "#000000")])]))
    shown = texts(canvas)
    assert max(map(len, shown)) <= 90
    assert all(text.isprintable() for text in shown)
    assert canvas.png().startswith(b"\x89PNG")
    assert struct.pack(">II", canvas.width, canvas.height) in canvas.png()[:33]
    assert canvas.pdf().startswith(b"%PDF")


def test_a_name_is_cut_in_its_middle_to_fit() -> None:
    text = fitting("the beginning of a name and its end", 12, 120)
    assert text.startswith("the beg")
    assert text.endswith("its end")
    assert text_width(text, 12) <= 120
    assert fitting("short", 12, 120) == "short"


def test_a_shade_is_mixed_with_white() -> None:
    assert shade("#000000", 0.5) == "#808080"
    assert shade("#0072b2", 1.0) == "#0072b2"
    assert shade("#0072b2", 0.0) == "#ffffff"
