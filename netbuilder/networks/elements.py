"""Options that several networks take for their blocks and stems, and the parts that these stand for.

The legos are imported where an option asks for them: a plain net starts without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from legos.base import Lego
from legos.stem import STEM_ENTRIES
from netbuilder.errors import ConfigError
from netbuilder.networks.registry import NetConfig, Words, option

__all__ = [
    "AVERAGES",
    "antialias_option",
    "attention_option",
    "check_elements",
    "elements",
    "gate_option",
    "stem_option",
]

ATTENTIONS = Words("legos.attention", "ATTENTIONS")
GATES = Words("legos.attention", "GATES", "auto")
BLURS = Words("legos.antialias", "BLURS", "none")
AVERAGES = Words("legos.resample", "AVERAGES")

Factory = Callable[..., Lego]


def attention_option(default: str | None = "none", about: str = "") -> Any:
    """`attention`: se behind the main branch, sk instead of its 3x3."""
    return option(help=f"attention in the blocks{about}", default=default, choices=ATTENTIONS)


def antialias_option(default: str | None = "none", about: str = "") -> Any:
    """`antialias`: the blur in blocks of stride 2."""
    return option(
        help=f"blur behind the 3x3 of blocks of stride 2, by how it is padded{about}",
        default=default,
        choices=BLURS,
    )


def stem_option() -> Any:
    """`stem`: the first convolutions."""
    return option(
        help="first convolutions: one of 7x7, or three of 3x3", default="7x7", choices=tuple(STEM_ENTRIES)
    )


def gate_option() -> Any:
    """`se_gate`: how attention multiplies."""
    return option(
        help="how attention multiplies by its gates; auto is concat in the deploy net, for MNN, else scale",
        default="auto",
        choices=GATES,
    )


def check_elements(cfg: NetConfig, *, stride_in: str) -> None:
    """Raise ConfigError for unknown words, and for a blur that would find no stride behind the 3x3."""
    for key, usual, known in (
        ("attention", "none", ATTENTIONS),
        ("antialias", "none", BLURS),
        ("stem", "7x7", STEM_ENTRIES),
        ("shortcut_average", "none", AVERAGES),
        ("se_gate", "auto", GATES),
    ):
        if getattr(cfg, key, None) not in (None, usual):
            cfg.check_known(key, known)
    if getattr(cfg, "antialias", None) not in (None, "none") and stride_in == "1x1":
        raise ConfigError(
            "antialias needs the stride in the 3x3: with stride_in 1x1 half of the pixels are gone before it",
            key="antialias",
            hint="give stride_in 3x3",
        )


@lru_cache(maxsize=256)  # a sweep asks for the same elements many times
def elements(
    *,
    attention: str,
    antialias: str,
    gate: str,
    phase: str,
    bias: bool | None = None,
    size: int = 3,
    drop: Factory | None = None,
) -> tuple[tuple[Factory, ...], Factory | None]:
    """The wrappers around a block's spatial unit, and what goes behind its main branch.

    `phase` is that of the net. `bias` None leaves the biases of attention to its own default. `drop` makes
    what follows the spatial unit before it is blurred.
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
