"""The front of a sweep as a picture. Only this module imports matplotlib, and only when it draws."""

from __future__ import annotations

import io
from typing import Any

from netbuilder.designing.expressions import Expression, Number
from netbuilder.designing.outcome import Outcome

__all__ = ["can_draw", "pictures"]


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    import importlib.util

    return importlib.util.find_spec("matplotlib") is not None


def pictures(found: Outcome) -> dict[str, bytes]:
    """The picture as "png" and "svg"; equal outcomes give equal bytes."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "netbuilder", "svg.fonttype": "none"}):
        figure = _figure(found)
        return {
            kind: _saved(figure, kind, {"Date": None} if kind == "svg" else {"Software": None})
            for kind in ("png", "svg")
        }


def _saved(figure: Any, kind: str, metadata: dict[str, None]) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format=kind, metadata=metadata, dpi=120)
    return file.getvalue()


def _figure(found: Outcome) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes: Any = figure.add_subplot()
    along, up = found.sweep.drawn

    def points(expression: Expression) -> list[Number]:
        return [expression.value(chosen.figures) for chosen in found.front]

    cloud = found.tally.cloud
    if cloud:
        label = "others that satisfy the constraints" if found.sweep.constraints else "others"
        axes.scatter(*zip(*cloud, strict=True), s=6, color="0.8", label=label, zorder=1)
    x, y = points(along.expression), points(up.expression)
    if len(found.sweep.objectives) == 2:
        axes.plot(x, y, color="tab:blue", linewidth=0.8, drawstyle="steps-post", zorder=2)
    axes.scatter(x, y, s=22, color="tab:blue", label="front", zorder=3)
    axes.scatter(
        [along.expression.value(found.reference)], [up.expression.value(found.reference)],
        marker="*", s=110, color="tab:red", label=found.sweep.loaded.config.title, zorder=4,
    )  # fmt: skip
    for i in sorted({0, len(found.front) // 2, len(found.front) - 1}):
        chosen = found.front[i]
        at = along.expression.value(chosen.figures), up.expression.value(chosen.figures)
        axes.annotate(str(chosen.rank), at, xytext=(4, -9), textcoords="offset points", fontsize=8)
    for axis, objective in ((axes.xaxis, along), (axes.yaxis, up)):
        axis.set_major_formatter(EngFormatter(sep=""))
        axis.set_label_text(objective.name)
    axes.grid(color="0.93", zorder=0)
    axes.legend(fontsize=8)
    kept = f"{found.tally.kept:,} of {found.tally.counted:,} candidates"
    limits = ", ".join(c.text for c in found.sweep.constraints)
    axes.set_title(
        f"{found.sweep.loaded.entry.name}: {kept}" + (f"\n{limits}" if limits else ""), fontsize=10
    )
    return figure
