"""Options that several networks take for their blocks and stems, and the parts that they stand for.

The legos of an option are imported only if it is set, so that a plain net starts faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from legos.base import Lego
from legos.stem import STEM_ENTRIES
from netbuilder.errors import ConfigError
from netbuilder.networks.registry import OptionSet, Words, option

__all__ = [
    "AVERAGES",
    "ElementOptions",
    "StemElementOptions",
    "block_parts",
]

ATTENTIONS = Words("legos.attention", "ATTENTIONS")
GATES = Words("legos.attention", "GATES", "auto")
BLURS = Words("legos.antialias", "BLURS", "none")
AVERAGES = Words("legos.resample", "AVERAGES")

Factory = Callable[..., Lego]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ElementOptions(OptionSet):
    """Elements of other nets in the blocks. Raises ConfigError for unknown words."""

    attention: str | None = option(help="attention in the blocks", default="none", choices=ATTENTIONS)
    antialias: str | None = option(
        help="blur after the 3x3 of blocks of stride 2, by how it is padded", default="none", choices=BLURS
    )
    se_gate: str = option(
        help="how attention multiplies by its gates; auto is concat in the deploy net, for MNN, else scale",
        default="auto",
        choices=GATES,
    )

    def __post_init__(self) -> None:
        self.check_word("attention", "none", ATTENTIONS)
        self.check_word("antialias", "none", BLURS)
        self.check_word("se_gate", "auto", GATES)

    def check_word(self, key: str, usual: str, known: Iterable[str]) -> None:
        """Raise ConfigError for an unknown word; for the usual one, the legos are not imported."""
        if getattr(self, key) not in (None, usual):
            self.check_known(key, known)

    def check_stride(self, stride_in: str) -> None:
        """Raise ConfigError for a blur if the 3x3 before it has no stride."""
        if self.antialias not in (None, "none") and stride_in == "1x1":
            raise ConfigError(
                "antialias needs the stride in the 3x3: with stride_in 1x1 half of the pixels are gone "
                "before it",
                key="antialias",
                hint="give stride_in 3x3",
            )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class StemElementOptions(ElementOptions):
    """The elements of nets that also have a choice of stems."""

    stem: str = option(
        help="first convolutions: one of 7x7, or three of 3x3", default="7x7", choices=tuple(STEM_ENTRIES)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_known("stem", STEM_ENTRIES)


@lru_cache(maxsize=256)  # a sweep asks for the same parts many times
def block_parts(
    *,
    attention: str,
    antialias: str,
    gate: str,
    phase: str,
    bias: bool | None = None,
    size: int = 3,
    drop: Factory | None = None,
) -> tuple[tuple[Factory, ...], Factory | None]:
    """The wrappers around a block's spatial unit, and what follows its main branch.

    `phase` is that of the net. With `bias` None, attention uses its own default for biases. `drop` makes the
    lego between the spatial unit and its blur.
    """
    from legos.antialias import BLURS
    from legos.attention import ATTENTIONS, GATES
    from legos.unit import blurred, followed

    entry = ATTENTIONS[attention]
    if gate == "auto":
        gate = "concat" if phase == "deploy" else "scale"
    settings: dict[str, Any] = {"gate": GATES[gate]} | ({} if bias is None else {"bias": bias})
    around: list[Factory] = []
    if entry.around:
        around.append(partial(entry.around, **settings))
    if drop:
        around.append(partial(followed, by=drop))
    if antialias != "none":
        around.append(partial(blurred, blur=partial(BLURS[antialias], size=size)))
    return tuple(around), partial(entry.behind, **settings) if entry.behind else None
