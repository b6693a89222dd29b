"""`Step`: an entry of the flat list that a `NetModule` runs; `Plan`, in which passes rewrite the list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import nn

__all__ = ["Plan", "Step", "freed"]


class Step(NamedTuple):
    """One operator, the slots of its bottoms and tops, and the slots that nothing reads after it.

    `cut` has the bottoms that get no gradient (propagate_down: false); `weights` are the loss weights of the
    tops. `precise` steps compute in float32 under autocast; `channels_last` ones take their bottoms with the
    channels as the innermost axis in memory.
    """

    operator: nn.Module
    bottoms: tuple[int, ...]
    tops: tuple[int, ...]
    free: tuple[int, ...]
    cut: tuple[int, ...]
    weights: tuple[float, ...]
    precise: bool = False
    channels_last: bool = False


def freed(steps: Sequence[Step], kept: Iterable[int]) -> list[Step]:
    """The steps, each with the slots that it reads last, except those that are kept."""
    last = {slot: i for i, step in enumerate(steps) for slot in step.bottoms}
    held = set(kept)
    return [
        step._replace(free=tuple({s for s in step.bottoms if last[s] == i and s not in held}))
        for i, step in enumerate(steps)
    ]


class Plan:
    """The steps of a net, for a pass of `netbuilder.engines.torch.passes` to rewrite.

    A merged step leaves None at the places of the others.
    """

    def __init__(self, steps: Iterable[Step], held: Iterable[int]) -> None:
        self.steps: list[Step | None] = list(steps)
        self._held = set(held)
        self._reads = Counter(slot for step in self.present() for slot in step.bottoms)
        self._reader: dict[int, int] = {}  # the last reader of a slot, and its maker, by index
        self._maker: dict[int, int] = {}
        for i in range(len(self.steps)):
            self._note(i)

    def present(self) -> list[Step]:
        """The steps that are left."""
        return [step for step in self.steps if step is not None]

    def maker(self, slot: int) -> int | None:
        """The step that makes the blob in a slot."""
        return self._maker.get(slot)

    def only_reader(self, i: int) -> int | None:
        """The only step that reads the only top of step i; None if anything else needs the blob.

        That is: another layer, the caller, a loss weight, or propagate_down, which would cut the chain.
        """
        step = self.steps[i]
        if step is None or len(step.tops) != 1 or any(step.weights):
            return None
        (top,) = step.tops
        if top in self._held or self._reads[top] != 1:
            return None
        j = self._reader[top]
        reader = self.steps[j]
        assert reader is not None
        return None if reader.bottoms.index(top) in reader.cut else j

    def merge(self, chain: Sequence[int], at: int, operator: nn.Module, also: tuple[int, ...] = ()) -> None:
        """Let one operator do what a chain of steps does, at the place of one of them.

        Its bottoms are those of the first step, and the slots in `also`.
        """
        first, last = self.steps[chain[0]], self.steps[chain[-1]]
        assert first is not None
        assert last is not None
        for i in chain:
            self.steps[i] = None
        bottoms = (*first.bottoms, *also)
        self.steps[at] = first._replace(
            operator=operator, bottoms=bottoms, tops=last.tops, weights=last.weights
        )
        self._note(at)

    def replace(self, i: int, **fields: object) -> None:
        """Change fields of a step."""
        step = self.steps[i]
        assert step is not None
        self.steps[i] = step._replace(**fields)  # type: ignore[arg-type]

    def _note(self, i: int) -> None:
        step = self.steps[i]
        assert step is not None
        self._reader.update(dict.fromkeys(step.bottoms, i))
        self._maker.update(dict.fromkeys(step.tops, i))
