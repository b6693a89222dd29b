"""The order in which a data layer reads its records, over any number of epochs and ranks.

The records of all epochs form one endless sequence, dealt record by record: rank r of n takes those with
index % n == r, also where the number of records is no multiple of n. So any n ranks together read each
record once an epoch. Source: data_layer.cpp, DataLayer::Skip; hdf5_data_layer.cpp, HDF5DataLayer::Skip.

A shuffled set has the same order on every rank, and in every layer with as many records, so that images and
labels from two sources stay together. Caffe's ImageData shuffles on each rank, which then reads all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

__all__ = ["Order", "draws"]

_SHUFFLE = 1


def draws(*key: int) -> np.random.Generator:
    """Random numbers that depend on the key alone, whose numbers are not negative."""
    import numpy as np

    return np.random.default_rng(key)


class Order:
    """The records that one rank reads. `parts` are the records of each file: files are shuffled whole.

    Source: image_data_layer.cpp, ShuffleImages; hdf5_data_layer.cpp, Next.
    """

    def __init__(
        self,
        parts: Sequence[int],
        *,
        seed: int = 0,
        shuffle: bool = False,
        rank: int = 0,
        ranks: int = 1,
        skip: int = 0,
    ) -> None:
        self.records = sum(parts)
        self._parts, self._seed, self._shuffle = tuple(parts), seed, shuffle
        self._rank, self._ranks, self._skip = rank, ranks, skip
        self._known: dict[int, Numbers] = {}

    def take(self, start: int, count: int) -> tuple[Numbers, Numbers]:
        """The numbers of this rank's records `start`, `start` + 1, ..., and the epoch of each."""
        import numpy as np

        places = self._skip + self._rank + self._ranks * np.arange(start, start + count, dtype=np.int64)
        epochs, numbers = np.divmod(places, self.records)
        if self._shuffle:
            for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
                here = epochs == epoch
                numbers[here] = self._permutation(epoch)[numbers[here]]
        return numbers, epochs

    def _permutation(self, epoch: int) -> Numbers:
        if epoch not in self._known:
            import numpy as np

            if len(self._known) > 1:  # a batch spans two epochs; a rank that is ahead, no more
                self._known.clear()
            rng = draws(self._seed, _SHUFFLE, epoch)
            starts = [0, *accumulate(self._parts)]
            files = rng.permutation(len(self._parts)) if len(self._parts) > 1 else [0]
            shuffled = [starts[i] + rng.permutation(self._parts[i]) for i in files]
            self._known[epoch] = np.concatenate(shuffled).astype(np.int64)
        return self._known[epoch]
