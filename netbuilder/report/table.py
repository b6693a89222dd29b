"""The figures of nets as tables: totals by counting convention, several nets side by side, layers, blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from netbuilder.errors import counted, shape_text
from netbuilder.measure.counts import Counts, LayerCounts, add_up, totals
from netbuilder.net import Blob, Layer
from netbuilder.report.formats import AtLeast, Bytes, Cell, Column, Table, known, number, render

if TYPE_CHECKING:
    from netbuilder.measure.blocks import Block
    from netbuilder.measure.geometry import ReceptiveField
    from netbuilder.measure.memory import LayerMemory
    from netbuilder.weights.model import Model

__all__ = [
    "MEMORY_KEYS",
    "SORT_KEYS",
    "arranged",
    "block_figures",
    "block_rows",
    "block_table",
    "comparison",
    "joined",
    "field_text",
    "headline",
    "kernel_text",
    "layer_rows",
    "layer_table",
    "memory_rows",
    "model_rows",
    "not_counted",
    "plain_totals",
    "slim",
    "total_rows",
    "totals_table",
]

# What `arranged` sorts by, and the column that it means.
SORT_KEYS = {
    "name": "name",
    "params": "learnable_params",
    "stored": "stored_params",
    "macs": "macs",
    "flops": "flops",
    "ops": "ops",
    "activations": "activations",
    "working": "working_bytes",
    "alive": "alive_bytes",
}
MEMORY_KEYS = ("name", "working", "alive")  # those of `memory_rows`


# ---- a net's totals ----------------------------------------------------------------------------------------

_CAPTIONS = (
    ("learnable_params", "learnable params", "weights, biases, gammas, betas"),
    ("stored_params", "stored params", "all numbers in the .caffemodel, with BatchNorm statistics"),
    ("fixed_params", "fixed params", ""),
    ("macs", "MACs", "multiply-accumulates of convolution and inner product, per image"),
    ("flops", "FLOPs", "2 x MACs, per image"),
    ("total_flops", "all FLOPs", "and bias, BatchNorm, Scale, ReLU, pooling, sum, softmax"),
    ("activations", "activations", "elements of all blobs, per image"),
    ("pynetbuilder_params", "pynetbuilder params", "first blob of each layer"),
    ("pynetbuilder_flops", "pynetbuilder flops", "the same, times output size for convolutions"),
    ("weight_bytes", "weights", "memory of the stored params"),
    ("peak_bytes", "peak at test", ""),
    ("train_bytes", "training", "params, gradients, momentum, blobs and their gradients"),
)


def headline(counts: Counts) -> str:
    """pynetbuilder's two lines: millions by its own convention, exact to the last digit."""
    more = " (at least)" if counts.uncounted else ""
    return (
        f"Number of params: {_millions(counts.pynetbuilder_params)} Million{more}\n"
        f"Number of flops: {_millions(counts.pynetbuilder_flops)} Million{more}"
    )


def totals_table(counts: Counts) -> str:
    """Every figure of the net, with its convention, and what was not counted."""
    return "\n".join([render(total_rows(counts), "table"), *not_counted(counts)])


def total_rows(counts: Counts) -> Table:
    """Every figure of the net, with its convention. Operations and activations are per image."""
    meanings = {
        "fixed_params": f"fixed filters, apart from the above: {number(counts.fixed_macs)} MACs",
        "peak_bytes": f"blobs alive at once, batch {counts.batch}",
    }
    rows = tuple(
        (caption, _total(counts, key), meanings.get(key, meaning))
        for key, caption, meaning in _CAPTIONS
        if key != "fixed_params" or counts.fixed_params
    )
    columns = (
        Column("figure", "figure"),
        Column("value", "", True),
        Column("meaning", "what is counted", wrap=True),
    )
    return Table(columns, rows)


def comparison(nets: Mapping[str, Counts]) -> Table:
    """A column of totals for each net."""
    counted = nets.values()
    rows: list[tuple[Cell, ...]] = [("layers", *(len(c.layers) for c in counted))]
    rows += [
        (caption, *(_total(c, key) for c in counted))
        for key, caption, _ in _CAPTIONS
        if key != "fixed_params" or any(c.fixed_params for c in counted)
    ]
    rows.append(("batch", *(c.batch for c in counted)))
    if any(c.uncounted for c in counted):
        rows.append(("layers not counted", *(len(c.uncounted) for c in counted)))
    return Table((Column("figure", "figure"), *(Column(n, n, True) for n in nets)), tuple(rows))


def plain_totals(nets: Mapping[str, Counts]) -> Table:
    """The same as plain numbers under the names that they have in JSON, for CSV."""
    counted = nets.values()
    figures = [totals(c) for c in counted]
    rows: list[tuple[Cell, ...]] = [(key, *(f[key] for f in figures)) for key in figures[0]]
    rows += [
        ("batch", *(c.batch for c in counted)),
        ("layers", *(len(c.layers) for c in counted)),
        ("uncounted_layers", *(len(c.uncounted) for c in counted)),
    ]
    heads = list(nets) if len(nets) > 1 else ["value"]
    return Table((Column("figure", "figure"), *(Column(h, h, True) for h in heads)), tuple(rows))


def _total(counts: Counts, key: str) -> Cell:
    value = getattr(counts, key)
    if key.endswith("_bytes"):
        return Bytes(value, least=bool(counts.uncounted))
    return AtLeast(value) if counts.uncounted else value


def not_counted(counts: Counts) -> list[str]:
    """Lines that say which layers were not counted, and why; none if all were."""
    if not counts.uncounted:
        return []
    return [
        f"not counted: {counted(len(counts.uncounted), 'layer')}",
        *(f"  {layer.name}: {layer.unknown}" for layer in counts.uncounted),
    ]


def _millions(n: int) -> str:
    return f"{n // 10**6}.{n % 10**6:06d}"


# ---- layers and blocks -------------------------------------------------------------------------------------

_FIGURE_COLUMNS = (
    Column("learnable_params", "params", True),
    Column("stored_params", "stored", True, rank=7),
    Column("macs", "MACs", True),
    Column("fixed_macs", "fixed MACs", True, rank=4),
    Column("flops", "FLOPs", True, rank=9),
    Column("ops", "other ops", True, rank=8),
    Column("activations", "activations", True, rank=2),
)
_FIGURES = tuple(c.key for c in _FIGURE_COLUMNS)


def layer_table(counts: Counts) -> str:
    """The layers as text; see `layer_rows`."""
    return render(slim(layer_rows(counts)), "table")


def block_table(counts: Counts, found: Iterable[Block]) -> str:
    """The blocks as text; see `block_rows`."""
    return render(slim(block_rows(counts, found)), "table")


def layer_rows(counts: Counts, fields: Mapping[Blob, ReceptiveField] | None = None) -> Table:
    """One row per layer and a last one of sums; with `fields`, the receptive field of the first top."""
    columns = [
        Column("name", "layer"),
        Column("type", "type", rank=5),
        Column("kernel", "kernel", rank=3),
        Column("output", "output", rank=1),
        *_FIGURE_COLUMNS,
        *(
            (Column("receptive_field", "receptive field"), Column("jump", "jump"))
            if fields is not None
            else ()
        ),
        Column("shared_with", "shared with", rank=6),
    ]
    rows = []
    for row in counts.layers:
        layer = row.layer
        seen: tuple[str, ...] = ()
        if fields is not None:
            field = fields.get(layer.tops[0]) if layer.tops else None
            seen = field_text(field)
        rows.append(
            (
                layer.name,
                layer.type,
                kernel_text(layer),
                _shapes(layer),
                *(_cell(row, key) for key in _FIGURES),
                *seen,
                " ".join(row.shared_with),
            )
        )
    sums = add_up(counts.layers, counts.batch)
    blank = ("", "") if fields is not None else ()
    last = (_sum_label(counts), "", "", "", *(sums[key] for key in _FIGURES), *blank, "")
    return _without_rare(Table(tuple(columns), tuple(rows), last))


def block_rows(counts: Counts, found: Iterable[Block]) -> Table:
    """One row per block and a last one of sums; `uncounted_layers` are those of which a figure is not known.

    A figure is at least the sum of what is known, and not known if no layer of the block has it.
    """
    by_layer = {row.layer: row for row in counts.layers}
    rows: list[tuple[Cell, ...]] = []
    for block in found:
        own = [by_layer[layer] for layer in block.layers]
        sums = block_figures(own, counts.batch)
        rows.append(
            (block.name, len(own), _last_shape(block), *sums, sum(bool(r.layer.unknown) for r in own))
        )
    total = add_up(counts.layers, counts.batch)
    last = (
        _sum_label(counts), len(counts.layers), "", *(total[key] for key in _FIGURES), len(counts.uncounted),
    )  # fmt: skip
    columns = (
        Column("name", "block"),
        Column("layers", "layers", True),
        Column("output", "output", rank=1),
        *_FIGURE_COLUMNS,
        Column("uncounted_layers", "not counted", True, rank=6),
    )
    return _without_rare(Table(columns, tuple(rows), last))


def memory_rows(rows: Sequence[LayerMemory], *, complete: bool) -> Table:
    """One row per layer with the bytes that it works on and that are alive, and a last one of the peak."""
    cells = [
        (
            row.layer.name, row.layer.type, _shapes(row.layer), *map(_bytes, row[1:4]), _bytes(row.working),
            Bytes(row.alive, least=not complete),
        )
        for row in rows
    ]  # fmt: skip
    columns = (
        Column("name", "layer"), Column("type", "type", rank=2), Column("output", "output", rank=1),
        Column("input_bytes", "in", True), Column("output_bytes", "out", True),
        Column("weight_bytes", "weights", True), Column("working_bytes", "working set", True),
        Column("alive_bytes", "alive", True),
    )  # fmt: skip
    if not rows:
        return Table(columns, ())
    peak = max(rows, key=lambda row: row.alive)
    most = max((row.working or 0 for row in rows), default=0)
    last = (f"peak at {peak.layer.name}", "", "", "", "", "", Bytes(most, least=not complete),
            Bytes(peak.alive, least=not complete))  # fmt: skip
    return Table(columns, tuple(cells), last)


def _bytes(value: int | None) -> Bytes | None:
    return None if value is None else Bytes(value)


def _shapes(layer: Layer) -> str:
    return " ".join("?" if t.shape is None else shape_text(t.shape) for t in layer.tops)


def _cell(row: LayerCounts, name: str) -> int | float | AtLeast | None:
    value = row.figure(name)
    return AtLeast(value) if value is not None and row.is_partial(name) else value


def block_figures(
    rows: Sequence[LayerCounts], batch: int, names: Sequence[str] = _FIGURES
) -> tuple[int | float | AtLeast | None, ...]:
    """Sums over layers, of what is known; None where nothing is."""
    sums = add_up(rows, batch)
    found = []
    for name in names:
        missing = sum(row.figure(name) is None for row in rows)
        least = AtLeast(sums[name]) if missing < len(rows) else None
        whole = not missing and not any(row.is_partial(name) for row in rows)
        found.append(sums[name] if whole else least)
    return tuple(found)


def model_rows(model: Model) -> Table:
    """One row per layer of a trained model that stores something, and a last one of sums."""
    rows = tuple(
        (x.name, x.type or "?", " ".join(shape_text(s) for s in x.blobs), x.params)
        for x in model.layers
        if x.blobs
    )
    columns = (
        Column("name", "layer"),
        Column("type", "type"),
        Column("blobs", "blobs"),
        Column("stored_params", "stored params", True),
    )
    return Table(columns, rows, ("total", "", "", model.stored_params))


def slim(table: Table) -> Table:
    """The table without columns that say nothing: stored params where they are the learnable, no sharing."""
    keys = [c.key for c in table.columns]
    idle = ["uncounted_layers"]  # the figures are marked
    for i, key in enumerate(keys):
        if key == "shared_with" and not any(row[i] for row in table.rows):
            idle.append(key)
        if key == "stored_params" and "learnable_params" in keys:
            j = keys.index("learnable_params")
            if all(row[i] == row[j] for row in table.rows):
                idle.append(key)
    return table.without(*idle)


def _without_rare(table: Table) -> Table:
    """The table without columns of what few nets have, if there is none: fixed filters, unknown layers."""
    rare = [i for i, c in enumerate(table.columns) if c.key in ("fixed_macs", "uncounted_layers")]
    return table.without(
        *(table.columns[i].key for i in rare if not any(map(known, (row[i] for row in table.rows))))
    )


def joined(tables: Sequence[tuple[str, Table]], *, sums: bool) -> Table:
    """The rows of the tables of several nets as one table, under the names of the nets."""
    widest = max((table for _, table in tables), key=lambda table: len(table.columns)).columns
    columns = tuple(dict.fromkeys((*widest, *(c for _, table in tables for c in table.columns))))
    rows: list[tuple[Cell, ...]] = []
    for name, table in tables:
        keys = [c.key for c in table.columns]
        for row in (*table.rows, *((table.last,) if table.last and sums else ())):
            cells = dict(zip(keys, row, strict=True))
            rows.append((name, *(cells.get(c.key, 0) for c in columns)))  # a rare figure that it lacks is 0
    return Table((Column("net", "net"), *columns), tuple(rows))


def arranged(table: Table, sort: str | None = None, top: int | None = None) -> Table:
    """The rows sorted by a key of SORT_KEYS, and all but the first `top` summed up in one.

    Names rise, figures fall, what is not known comes last; equal ones stay in their order.
    """
    keys = [c.key for c in table.columns]
    rows = list(table.rows)
    if sort:
        i = keys.index(SORT_KEYS[sort])
        if sort == "name":
            rows.sort(key=lambda row: str(row[i]))
        else:
            rows.sort(key=lambda row: (row[i] is None, -(known(row[i]) or 0)))
    if top is not None and len(rows) > top:
        rest = rows[top:]
        cells: list[Cell] = []
        for i, column in enumerate(table.columns):
            cells.append(_sum([row[i] for row in rest]) if column.number else "")
        most = ", at most" if any(isinstance(cell, Bytes) for cell in cells) else ""
        rows = [*rows[:top], (f"{len(rest)} others{most}", *cells[1:])]
    return Table(table.columns, tuple(rows), table.last)


def _sum(cells: Sequence[Cell]) -> Cell:
    """The sum of cells: None if one of them is not known at all."""
    values = [known(cell) for cell in cells]
    if None in values:
        return None
    if any(isinstance(cell, Bytes) for cell in cells):  # memory is used again: the most that one needs
        return Bytes(int(max(v for v in values if v is not None)))
    value = sum(v for v in values if v is not None)
    return AtLeast(value) if any(isinstance(cell, AtLeast) for cell in cells) else value


def _sum_label(counts: Counts) -> str:
    return "total, at least" if counts.uncounted else "total"


def _last_shape(block: Block) -> str:
    top = next((t for layer in reversed(block.layers) for t in layer.tops), None)
    return "" if top is None else "?" if top.shape is None else shape_text(top.shape)


_POOL = ("max", "ave", "stochastic")


def kernel_text(layer: Layer) -> str:
    """The window of a convolution or pooling as in `3x3/2 p1 g32 d2`, (h, w) where they differ: `1x3 p0x1`.

    Kernel, stride after a slash, pad, groups, dilation; what is 1 (or pad 0) is left out.
    """
    from netbuilder.measure.geometry import group, window

    w = window(layer)
    pooling = layer.type == "Pooling"
    if w is None:
        covers_all = pooling and layer.proto.pooling_param.global_pooling
        return f"{_POOL[layer.proto.pooling_param.pool]} global" if covers_all else ""
    words = [_POOL[layer.proto.pooling_param.pool]] if pooling else []
    kernel = "x".join(str(n) for n in w.kernel)
    words.append(kernel if set(w.stride) == {1} else f"{kernel}/{_pair(w.stride)}")
    if any(w.pad):
        words.append(f"p{_pair(w.pad)}")
    if group(layer) != 1:
        words.append(f"g{group(layer)}")
    if set(w.dilation) != {1}:
        words.append(f"d{_pair(w.dilation)}")
    if pooling and layer.proto.pooling_param.global_pooling:
        words.append("global")
    return " ".join(words)


def field_text(field: ReceptiveField | None) -> tuple[str, str]:
    """Size and jump of a receptive field, "-" if it has none: `11x11` and `4`, (h, w)."""
    if field is None:
        return "-", "-"
    if all(field.whole):
        return "whole", "-"
    jumps = ["-" if j is None else str(j) for j in field.jump]
    return (
        "x".join("whole" if w else str(n) for n, w in zip(field.size, field.whole, strict=True)),
        jumps[0] if len(set(jumps)) == 1 else "x".join(jumps),
    )


def _pair(numbers: Sequence[int]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "x".join(str(n) for n in numbers)
