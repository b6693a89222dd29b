"""What a piece of a net costs, and how costs add up: the one place where figures are put together.

A `Cost` is that of a layer, of a lego, or of a net: the same thing at any size. `counts.count` enters the
layers of a net in a `Ledger` one by one (`Ledger.layer`); a sweep enters legos whose costs are known
(`Ledger.enter`). Most figures are sums. Three are not, and for these a Cost keeps what is needed:

* Peak memory. A piece is a few `Step`s. During a step, the blobs inside take up to `peak` elements on top of
  what lives outside; `reads` and `makes` name the outer blobs that it uses and leaves. A step ends where
  the piece uses such a blob for the last time, since the blob may then be free: only the ledger that holds
  the piece knows whether it is.
* Caffe's own data memory. This needs how often each outer blob is read inside.
* Depth: the longest path of layers with weights, from each bottom to each top.

Outer blobs, those that others may know of, are numbered as *slots*: the bottoms, then the tops. A blob lives
in a *home*, the memory that it shares with the blob that it overwrites or refers to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from netbuilder.layers import Shape

__all__ = ["NO_PATH", "Cost", "Ledger", "Mark", "Step", "Sums", "Top"]

NO_PATH = -1


class Sums(NamedTuple):
    """The figures that add up, for the whole batch.

    `data` is Caffe's data memory, in elements, without that of the slots.
    """

    learnable_params: int
    stored_params: int
    fixed_params: int
    macs: int
    fixed_macs: int
    ops: int
    activations: int
    scalars: int
    pynetbuilder_params: int
    pynetbuilder_flops: int
    data: int
    layers: int


class Step(NamedTuple):
    """A part of a piece: the most elements alive inside, the slots that it uses last, those that it makes."""

    peak: int
    reads: tuple[int, ...]
    makes: tuple[int, ...]


class Top(NamedTuple):
    """A blob that a piece gives away.

    `home` is the slot in whose memory it lives, its own or another.
    `readers` counts the layers inside that read it, `weights` its loss weights. `paths` are the most layers
    with weights on a path to it, from each bottom and, last, from anywhere; NO_PATH where there is none.
    `size` is 0 if the shape is unknown.
    """

    shape: Shape | None
    size: int
    home: int
    readers: int
    weights: int
    paths: tuple[int, ...]


class Cost(NamedTuple):
    """What a piece costs, and what a ledger must know to put it beside others.

    `reads` counts the readers of each bottom inside, `overwrites` lists the bottoms that are overwritten in
    place. `left` counts the elements that nobody reads, which live to the end; `kept` lists the slots whose
    memory does. `deepest` is like a top's `paths`, to any blob inside; empty if the tops' paths say it all.
    `batch` is that of the first data inside, 0 if there are none. `working` is the largest working set of a
    layer inside, in elements: its bottoms, the tops with memory of their own, and all its parameters.
    """

    sums: Sums
    tops: tuple[Top, ...]
    reads: tuple[int, ...]
    overwrites: tuple[int, ...]
    steps: tuple[Step, ...]
    left: int
    kept: tuple[int, ...]
    deepest: tuple[int, ...]
    batch: int
    working: int

    @property
    def peak(self) -> int:
        """The most elements alive at once."""
        return max((step.peak for step in self.steps), default=0)


class Mark(NamedTuple):
    """The state of a ledger, for `Ledger.rewind`."""

    blobs: int
    homes: int
    readers: list[int]
    overwritten: set[int]
    unread: list[int]
    freed: list[bool]
    last: list[int]
    levels: list[int]
    alive: int
    sums: int
    data: int
    deepest: tuple[int, ...]
    batch: int
    working: int


class Ledger:
    """Costs entered one after another, on bottoms of these shapes; `total` is the cost of all.

    Blobs are known by their numbers: the bottoms first, then all tops as they are made.

    `_levels` has the elements alive in each step so far. A home is freed after its last use so far; if it is
    used again, the levels since then are raised: `_rises` notes by how much they change from a step on, until
    `_settle` adds that up. The memory of the bottoms is counted outside: their homes
    have size 0.
    """

    def __init__(self, bottoms: Sequence[Shape] = ()) -> None:
        n = self.first = len(bottoms)
        # Of each blob; shape, size, home, weights and paths are as in a Top.
        self._blobs: list[tuple[Shape | None, int, int, int, tuple[int, ...]]] = [
            (shape, 0, i, 0, (*(0 if i == j else NO_PATH for j in range(n)), NO_PATH))
            for i, shape in enumerate(bottoms)
        ]
        self._readers = [0] * n
        self._overwritten: set[int] = set()
        # Of each home.
        self._sizes = [0] * n
        self._born = [-1] * n  # the step that makes it
        self._last = [-1] * n  # the step that uses it last
        self._unread = [1] * n  # blobs that live in it and that nobody has read
        self._freed = [False] * n
        # Of all.
        self._levels: list[int] = []
        self._rises: dict[int, int] = {}
        self._alive = 0  # after the last step
        self._sums: list[tuple[int, ...]] = [(0,) * len(Sums._fields)]  # of each cost
        self._data = 0
        self._deepest = (0,) * (n + 1)
        self._batch = 0
        self._working = 0

    def readers(self, blob: int) -> int:
        """How many layers read a blob so far."""
        return self._readers[blob]

    def usable(self, blob: int) -> bool:
        """Whether a blob is the newest version of itself."""
        return blob not in self._overwritten

    @property
    def sums(self) -> list[tuple[int, ...]]:
        """The `Sums` of each layer and each cost so far, as they were entered."""
        return self._sums[1:]

    @property
    def levels(self) -> list[int]:
        """How many elements are alive at each step so far."""
        self._settle()
        return self._levels.copy()

    def layer(
        self,
        sums: tuple[int, ...],
        weight: int,
        bottoms: Sequence[int],
        tops: Sequence[tuple[Shape | None, int, int, int]],
        overwrites: Sequence[int] = (),
        batch: int = 0,
        working: int = 0,
    ) -> int:
        """Enter a layer on these blobs; return the number of its first top.

        `sums` is a `Sums`, `weight` 1 if the layer has weights, else 0. A top is its shape, its size, the
        index of the bottom in whose memory it lives, -1 for its own, and its loss weights as in `Top`.
        `overwrites` are the bottoms, by index, that are overwritten in place; `working` is as in `Cost`.
        Equal to entering the layer's cost, and several times as fast.
        """
        blobs, readers, unread, freed, last = (
            self._blobs, self._readers, self._unread, self._freed, self._last,
        )  # fmt: skip
        sizes, step, begin, data, paths = self._sizes, len(self._levels), len(blobs), self._data, None
        for blob in bottoms:
            _, size, home, weights, before = blobs[blob]
            paths = before if paths is None else tuple(map(max, paths, before))
            if freed[home]:
                freed[home] = False
                self._raise(sizes[home], last[home] + 1)
            last[home] = step
            others = readers[blob]
            readers[blob] = others + 1
            if not others:
                unread[home] -= 1
            if others or weights:
                data += size if others + weights > 1 else 2 * size
        if paths is None or weight:
            paths = self._deeper(paths, weight)
        alive = self._alive
        for shape, size, shares, weights in tops:
            if shares < 0:
                home = len(sizes)
                sizes.append(size)
                self._born.append(step)
                last.append(step)
                unread.append(1)
                freed.append(False)
                alive += size
            else:
                home = blobs[bottoms[shares]][2]
                unread[home] += 1
            data += size
            blobs.append((shape, size, home, weights, paths))
            readers.append(0)
        self._data = data
        self._levels.append(alive)
        for blob in bottoms:
            home = blobs[blob][2]
            if not (unread[home] or freed[home]):
                freed[home] = True
                alive -= sizes[home]
        self._alive = alive
        for i in overwrites:
            self._overwritten.add(bottoms[i])
        self._sums.append(sums)
        if working > self._working:
            self._working = working
        if batch:
            self._batch = self._batch or batch
        return begin

    def enter(self, cost: Cost, bottoms: Sequence[int]) -> range:
        """Enter a cost on these blobs, each given once; return the numbers of its tops."""
        sums, tops, all_reads, overwrites, steps, left, kept, deepest, batch, working = cost
        blobs, readers, unread, freed = self._blobs, self._readers, self._unread, self._freed
        sizes, begin, data = self._sizes, len(blobs), self._data
        homes = []  # of the slots
        for blob, reads in zip(bottoms, all_reads):  # noqa: B905 - strict takes time, and they are as long
            _, size, home, weights, _ = blobs[blob]
            homes.append(home)
            if freed[home]:
                freed[home] = False
                self._raise(sizes[home], self._last[home] + 1)
            if reads:
                before = readers[blob]
                readers[blob] = before + reads
                if not before:
                    unread[home] -= 1
                before += weights
                if before + reads > 1:
                    data += size * (reads if before > 1 else before + reads)
        for shape, size, slot, reads, weights, paths in tops:
            if slot == len(homes):
                home = len(sizes)
                sizes.append(size)
                self._born.append(-1)
                self._last.append(-1)
                unread.append(0)
                freed.append(False)
            else:
                home = homes[slot]
            homes.append(home)
            if not reads:
                unread[home] += 1
            through = self._through(paths, bottoms)
            if through != self._deepest:
                self._deepen(through)
            blobs.append((shape, size, home, weights, through))
            readers.append(reads)
            count = reads + weights
            data += size if count < 2 else size * (1 + count)
        self._data = data
        for slot in kept:
            unread[homes[slot]] += 1
        self._run(steps, left, homes)
        for slot in overwrites:
            self._overwritten.add(bottoms[slot])
        self._sums.append(sums)
        if deepest:
            self._deepen(self._through(deepest, bottoms))
        self._batch = self._batch or batch
        if working > self._working:
            self._working = working
        return range(begin, len(blobs))

    def total(self, given: Sequence[int] = ()) -> Cost:
        """The cost of all that was entered, as a piece that gives these blobs away."""
        first = self.first
        slots = {home: home for home in range(first)}  # of the homes that others may know of
        tops = []
        for slot, number in enumerate(given, first):
            shape, size, home, weights, paths = self._blobs[number]
            home = slots.setdefault(home, slot)
            tops.append(Top(shape, size, home, self._readers[number], weights, paths))
        unread = self._unread
        if slots:  # whether others read the outer blobs is not known yet
            unread = unread.copy()
            for number in (*range(first), *given):
                if not self._readers[number]:
                    unread[self._blobs[number][2]] -= 1
        data = self._data - sum(_data(top.size, top.readers + top.weights) for top in tops)
        sums = Sums(*map(sum, zip(*self._sums)))  # noqa: B905 - strict takes time
        steps, left = self._steps(slots)
        deepest = self._deepest
        return Cost(
            sums._replace(data=sums.data + data),
            tuple(tops),
            tuple(self._readers[:first]),
            tuple([blob for blob in range(first) if blob in self._overwritten]),
            steps,
            left,
            tuple([slot for home, slot in slots.items() if unread[home]]),
            () if tops and deepest == _longest([top.paths for top in tops]) else deepest,
            self._batch,
            self._working,
        )

    def mark(self) -> Mark:
        """The state as it is now."""
        self._settle()
        return Mark(
            len(self._blobs), len(self._sizes), self._readers.copy(), self._overwritten.copy(),
            self._unread.copy(), self._freed.copy(), self._last.copy(), self._levels.copy(), self._alive,
            len(self._sums), self._data, self._deepest, self._batch, self._working,
        )  # fmt: skip

    def rewind(self, mark: Mark) -> None:
        """Go back to an earlier state of this ledger."""
        del self._blobs[mark.blobs :], self._sizes[mark.homes :], self._born[mark.homes :]
        del self._sums[mark.sums :]
        self._readers, self._overwritten = mark.readers.copy(), mark.overwritten.copy()
        self._unread, self._freed, self._last = mark.unread.copy(), mark.freed.copy(), mark.last.copy()
        self._levels, self._alive = mark.levels.copy(), mark.alive
        self._rises.clear()
        self._data = mark.data
        self._deepest, self._batch, self._working = mark.deepest, mark.batch, mark.working

    # -- memory over time ----------------------------------------------------------------------------

    def _raise(self, size: int, begin: int) -> None:
        """Add to what is alive from a step on, up to now."""
        if size:
            rises, now = self._rises, len(self._levels)
            rises[begin] = rises.get(begin, 0) + size
            rises[now] = rises.get(now, 0) - size
            self._alive += size

    def _settle(self) -> None:
        """Bring the levels up to date."""
        if self._rises:
            levels, rise = self._levels, 0
            for i in range(min(self._rises), len(levels)):
                rise += self._rises.get(i, 0)
                levels[i] += rise
            self._rises.clear()

    def _run(self, steps: Sequence[Step], left: int, homes: Sequence[int]) -> None:
        """Append the steps of a cost, then free what no other cost is known to use."""
        sizes, last, levels = self._sizes, self._last, self._levels
        for peak, reads, makes in steps:
            step = len(levels)
            levels.append(self._alive + peak)
            for slot in makes:
                home = homes[slot]
                self._born[home] = last[home] = step
                self._alive += sizes[home]
            for slot in reads:
                last[homes[slot]] = step
        self._alive += left
        for home in homes:
            if not (self._unread[home] or self._freed[home]):
                self._freed[home] = True
                self._raise(-sizes[home], last[home] + 1)

    def _steps(self, slots: dict[int, int]) -> tuple[tuple[Step, ...], int]:
        """The steps as others see them, and the elements alive in the end that they do not know of."""
        self._settle()
        levels, left, last = self._levels, self._alive, self._last
        cuts = sorted({last[home] for home in slots if last[home] >= 0})
        made = [home for home in slots if home >= self.first]
        if made:
            levels = levels.copy()
        for home in made:  # after its first cut, others count it
            size, born, end = self._sizes[home], self._born[home], len(levels)
            if self._freed[home]:
                end = last[home] + 1
            else:
                left -= size
            for i in range(next(cut for cut in cuts if cut >= born) + 1, end):
                levels[i] -= size
        steps = []
        begin = 0
        for cut in cuts:
            ending = tuple([slot for home, slot in slots.items() if last[home] == cut])
            born_here = tuple([slots[home] for home in made if begin <= self._born[home] <= cut])
            steps.append(Step(max(levels[begin : cut + 1]), ending, born_here))
            begin = cut + 1
        most = max(levels[begin:], default=0)
        if most:
            steps.append(Step(most, (), ()))
        return tuple(steps), left

    # -- depth ---------------------------------------------------------------------------------------

    def _deeper(self, paths: tuple[int, ...] | None, weight: int) -> tuple[int, ...]:
        """Paths one layer on, which may be the deepest so far; None: the layer has no bottoms."""
        if paths is None:
            paths = (*(NO_PATH,) * self.first, weight)
        else:
            paths = tuple([n + weight if n >= 0 else n for n in paths])
        self._deepen(paths)
        return paths

    def _through(self, paths: Sequence[int], bottoms: Sequence[int]) -> tuple[int, ...]:
        """Paths through a piece, from where the paths to its bottoms begin."""
        blobs = self._blobs
        if not self.first:
            longest = paths[-1]
            for own, blob in zip(paths, bottoms):  # noqa: B905 - paths has one more
                if own >= 0 and own + blobs[blob][4][0] > longest:
                    longest = own + blobs[blob][4][0]
            return (longest,)
        joined = [NO_PATH] * self.first + [paths[-1]]
        for own, blob in zip(paths, bottoms):  # noqa: B905 - paths has one more
            if own >= 0:
                for i, before in enumerate(blobs[blob][4]):
                    if before >= 0 and own + before > joined[i]:
                        joined[i] = own + before
        return tuple(joined)

    def _deepen(self, paths: tuple[int, ...]) -> None:
        if len(paths) == 1:
            if paths[0] > self._deepest[0]:
                self._deepest = paths
        else:
            self._deepest = tuple(map(max, self._deepest, paths))


def _longest(paths: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(map(max, zip(*paths)))  # noqa: B905 - strict takes time


def _data(size: int, readers: int) -> int:
    """The elements of a blob as Caffe counts them: one of several readers is the bottom of a Split."""
    return size * (1 + readers) if readers > 1 else size
