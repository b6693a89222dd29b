"""Figures as text: data in, text out, nothing counted here."""

from netbuilder.report.data import SCHEMA, as_data, model_as_data, several_as_data
from netbuilder.report.findings import finding_lines, summary, totals
from netbuilder.report.formats import TEXT_FORMATS, format_table, render
from netbuilder.report.table import block_table, headline, layer_table, totals_table

__all__ = [
    "SCHEMA",
    "TEXT_FORMATS",
    "as_data",
    "block_table",
    "finding_lines",
    "format_table",
    "headline",
    "layer_table",
    "model_as_data",
    "render",
    "several_as_data",
    "summary",
    "totals",
    "totals_table",
]


def __getattr__(name: str) -> object:
    """`report.draw(net)`, which users look for here: `netbuilder.draw` stands above this package."""
    if name != "draw":
        raise AttributeError(f"module 'netbuilder.report' has no attribute {name!r}")
    import importlib

    return importlib.import_module("netbuilder.draw").draw
