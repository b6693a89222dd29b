"""Random small nets over the layer types of BVLC's Caffe, most of them legal.

A net grows layer by layer. Each layer is drawn with fields that are usually right for its bottoms and
sometimes are not; our own rules then say whether it would be accepted. One that we refuse is mostly drawn
again, and sometimes kept as the last layer: real Caffe must refuse it too. The same seed gives the same net.

Each module of a theme registers a drawer for each of its layer types.
"""

from __future__ import annotations

import random

from tests.fuzz.generate import computing, data, losses, shaping, sources
from tests.fuzz.generate.maker import DRAW, NEEDS_DATA, TYPES, Case, Maker

__all__ = ["NEEDS_DATA", "THEMES", "TYPES", "Case", "Maker", "case"]

THEMES = (computing, data, losses, shaping, sources)
assert set(DRAW) == set(TYPES), set(DRAW) ^ set(TYPES)


def case(seed: str) -> Case:
    """The net of a seed."""
    return Maker(random.Random(seed)).case(seed)
