"""Aligned text tables, and the table of a net's figures by counting convention."""

from __future__ import annotations

from collections.abc import Sequence

from netbuilder.counts import Counts
from netbuilder.errors import shape_text

__all__ = ["format_table", "headline", "layer_table", "totals_table"]


def headline(counts: Counts) -> str:
    """pynetbuilder's two lines: millions by its own convention, exact to the last digit."""
    return (
        f"Number of params: {_millions(counts.pynetbuilder_params)} Million\n"
        f"Number of flops: {_millions(counts.pynetbuilder_flops)} Million"
    )


def totals_table(counts: Counts) -> str:
    """Every figure of the net, with its convention. Operations and activations are per image."""
    rows = [
        ("learnable params", _number(counts.learnable_params), "weights, biases, gammas, betas"),
        (
            "stored params",
            _number(counts.stored_params),
            "all numbers in the .caffemodel, with BatchNorm statistics",
        ),
        ("MACs", _number(counts.macs), "multiply-accumulates of convolution and inner product, per image"),
        ("FLOPs", _number(counts.flops), "2 x MACs, per image"),
        ("all FLOPs", _number(counts.total_flops), "and bias, BatchNorm, Scale, ReLU, pooling, sum, softmax"),
        ("activations", _number(counts.activations), "elements of all blobs, per image"),
        ("pynetbuilder params", _number(counts.pynetbuilder_params), "first blob of each layer"),
        (
            "pynetbuilder flops",
            _number(counts.pynetbuilder_flops),
            "the same, times output size for convolutions",
        ),
        ("weights", _mebibytes(counts.weight_bytes), "memory of the stored params"),
        ("peak at test", _mebibytes(counts.peak_bytes), f"blobs alive at once, batch {counts.batch}"),
        (
            "training",
            _mebibytes(counts.train_bytes),
            "params, gradients, momentum, blobs and their gradients",
        ),
    ]
    if counts.fixed_params:
        fixed = f"fixed filters, apart from the above: {_number(counts.fixed_macs)} MACs"
        rows.insert(2, ("fixed params", _number(counts.fixed_params), fixed))
    lines = [format_table(("figure", "", "what is counted"), rows, right=(1,))]
    if counts.uncounted:
        lines.append(f"not counted: {len(counts.uncounted)} layers")
        lines += [f"  {layer.name}: {layer.unknown}" for layer in counts.uncounted]
    return "\n".join(lines)


def layer_table(counts: Counts) -> str:
    """One row per layer, with a last row of totals. Unknown values are printed as "?"."""
    rows = []
    for row in counts.layers:
        layer = row.layer
        unknown = bool(layer.unknown)
        shapes = " ".join("?" if t.shape is None else shape_text(t.shape) for t in layer.tops)
        figures = (row.learnable_params, row.macs, row.ops, row.activations)
        rows.append((layer.name, layer.type, shapes, *("?" if unknown else _number(f) for f in figures)))
    known = [r for r in counts.layers if not r.layer.unknown]
    sums = (sum(getattr(r, f) for r in known) for f in ("learnable_params", "macs", "ops", "activations"))
    rows.append(("total", "", "", *(_number(n) for n in sums)))
    head = ("layer", "type", "output", "learnable", "MACs", "other ops", "activations")
    return format_table(head, rows, right=(3, 4, 5, 6))


def format_table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Columns separated by two spaces under a rule; those in `right` are aligned to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, ["-" * w for w in widths], *rows):
        cells = (
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _number(n: int | float) -> str:
    return f"{n:,}" if isinstance(n, int) else f"{n:,.1f}"


def _millions(n: int) -> str:
    return f"{n // 10**6}.{n % 10**6:06d}"


def _mebibytes(n: int) -> str:
    return f"{n / 2**20:,.1f} MiB"
