"""Passes: each rewrites the list of steps of a net, so that it runs faster and computes the same.

A pass gets the plan of a net for the blobs that the caller asks for. Parameters stay where they are, and
their values may change at any time: what depends on them is decided when the net runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from netbuilder.engines.torch.passes.batch_norm import batch_norm
from netbuilder.engines.torch.passes.channels_last import channels_last
from netbuilder.engines.torch.passes.filters import fixed_filters
from netbuilder.engines.torch.passes.fold import fold
from netbuilder.engines.torch.passes.in_place import in_place
from netbuilder.engines.torch.passes.packed import packed
from netbuilder.engines.torch.passes.sizes import sizes
from netbuilder.engines.torch.steps import Plan, Step, freed
from netbuilder.errors import EngineError, did_you_mean

__all__ = ["DEFAULT", "PASSES", "Pass", "chosen", "rewritten"]


class Pass(NamedTuple):
    """What a pass does, in one line, and the function that does it; `compile` needs none."""

    about: str
    rewrite: Callable[[Plan], None] | None


# In the order in which they run.
PASSES: dict[str, Pass] = {
    "sizes": Pass("poolings of which only the size is read (by Crop) are not computed", sizes),
    "batch_norm": Pass("BatchNorm and the Scale after it are one normalisation", batch_norm),
    "fold": Pass(
        "convolutions, Deconvolutions and InnerProducts take up the BatchNorm and Scale after them, "
        "if the statistics are stored and no parameter gets a gradient",
        fold,
    ),
    "fixed_filters": Pass(
        "convolutions whose weights are nearest upsampling, an average or a choice of pixels are computed as "
        "that, if the weights get no gradient",
        fixed_filters,
    ),
    "in_place": Pass("ReLUs and sums write over a blob that nothing else reads", in_place),
    "packed": Pass(
        "convolutions take weights laid out for the processor once, on the CPU, if no gradient is asked for",
        packed,
    ),
    "channels_last": Pass("convolutions compute with the channels innermost in memory", channels_last),
    "compile": Pass("torch.compile compiles the net when it runs first", None),
}
DEFAULT = ("sizes", "batch_norm", "fold", "fixed_filters", "in_place", "packed", "channels_last")


def chosen(names: Iterable[str] | None) -> tuple[str, ...]:
    """The passes of these names in the order in which they run; the default for None.

    Raises EngineError for an unknown name.
    """
    wanted = DEFAULT if names is None else (names,) if isinstance(names, str) else tuple(names)
    for name in wanted:
        if name not in PASSES:
            raise EngineError(
                f"there is no pass '{name}': the passes are {', '.join(PASSES)}",
                hint=did_you_mean(name, PASSES),
            )
    return tuple(name for name in PASSES if name in wanted)


def rewritten(steps: Sequence[Step], held: Iterable[int], passes: Sequence[str]) -> list[Step]:
    """The steps after these passes, for a caller who asks for the blobs in the slots `held`."""
    kept = set(held)
    plan = Plan(steps, kept)
    for name in passes:
        rewrite = PASSES[name].rewrite
        if rewrite is not None:
            rewrite(plan)
    return freed(plan.present(), kept)
