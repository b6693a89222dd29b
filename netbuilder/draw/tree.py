"""The structure of a net as lines of text, with what each part costs, as torchinfo prints a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netbuilder.draw.layout import chip, shortened
from netbuilder.draw.structure import Group, Node, Unit, structure
from netbuilder.errors import printable
from netbuilder.measure.counts import LayerCounts, count
from netbuilder.net import Layer, Net
from netbuilder.report.table import kernel_text

__all__ = ["tree_lines"]

_WIDTHS = (15, 9, 9, 6)  # of the columns at the right: shape, parameters, MACs, part
_UNITS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def tree_lines(net: Net, *, depth: int | None = None, width: int = 80) -> Iterator[str]:
    """The lines of the tree, none wider than `width`; `depth` is how many levels are shown (default: all)."""
    root = structure(net)
    counted = count(net)
    by_layer = {row.layer: row for row in counted.layers}
    whole = counted.macs

    def line(head: str, name: str, abouts: Iterable[str], layers: tuple[Layer, ...]) -> str:
        room = width - sum(_WIDTHS) - len(_WIDTHS) - len(head)
        # The name is what a line is for: it takes the room of the words behind it.
        text = shortened(printable(name), max(8, room))
        about = next((f" {about}" for about in abouts if len(text) + 1 + len(about) <= room), "")
        rows = [by_layer[layer] for layer in layers]
        params, macs = (_sum(rows, figure) for figure in ("learnable_params", "macs"))
        part = f"{macs / whole:.1%}" if macs and whole else ""
        cells = (
            _shape(layers),
            "" if params == 0 else _short(params),
            "" if macs == 0 else _short(macs),
            part,
        )
        right = "".join(f" {cell:>{w}}" for cell, w in zip(cells, _WIDTHS, strict=True))
        return (f"{head}{text}{about}".ljust(width - len(right)) + right).rstrip()

    head = "".join(
        f" {cell:>{w}}" for cell, w in zip(("out", "params", "MACs", "part"), _WIDTHS, strict=True)
    )
    yield f"{'layer':<{width - len(head)}}{head}"
    yield "-" * width
    waiting: list[tuple[str, str, Node, int]] = [("", "", child, 1) for child in reversed(root.children)]
    while waiting:
        branch, under, node, level = waiting.pop()
        yield line(branch, node.name, _abouts(node), node.layers)
        if isinstance(node, Unit) or (depth is not None and level >= depth):
            continue
        last = len(node.children) - 1
        waiting += reversed(
            [
                (
                    under + ("└─" if i == last else "├─"),
                    under + ("  " if i == last else "│ "),
                    child,
                    level + 1,
                )
                for i, child in enumerate(node.children)
            ]
        )
    yield "-" * width
    yield line("", "total", [f"batch {counted.batch}"], net.layers)
    if counted.uncounted:
        yield f"at least: {len(counted.uncounted)} layers are not counted"


def _abouts(node: Node) -> Iterator[str]:
    """What is said of a node beside its name: all of it, and less and less of it."""
    if isinstance(node, Group):
        yield node.kind
        return
    layer, window = node.layers[0], kernel_text(node.layers[0])
    said = f"{layer.type} {window}".rstrip()
    if len(node.layers) > 1:
        yield f"{said} +{'+'.join(chip(x) for x in node.layers[1:])}"
    yield said
    if window:
        yield window


def _short(n: float | None) -> str:
    """A number in at most nine characters: 3.86 G."""
    if n is None:
        return "?"
    for size, unit in _UNITS:
        if n >= size:
            return f"{n / size:#.3g}".rstrip(".") + f" {unit}"
    return f"{n:,}" if isinstance(n, int) else f"{n:.4g}"


def _sum(rows: list[LayerCounts], name: str) -> float | None:
    """The sum of what is known, None if nothing is."""
    known = [value for row in rows if (value := row.figure(name)) is not None]
    return sum(known) if known or not rows else None


def _shape(layers: tuple[Layer, ...]) -> str:
    last = next((layer.tops[0] for layer in reversed(layers) if layer.tops), None)
    if last is None:
        return ""
    return "?" if last.shape is None else shortened("x".join(map(str, last.shape)) or "scalar", _WIDTHS[0])
