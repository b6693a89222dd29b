"""Figures as text: data in, text out, nothing counted here."""

from netbuilder.report.data import as_data
from netbuilder.report.table import format_table, headline, layer_table, totals_table

__all__ = ["as_data", "format_table", "headline", "layer_table", "totals_table"]
