"""A data set of equal images in memory, written as a pair of databases with a mean image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.data import datum, images
from netbuilder.data.mean import mean_image
from netbuilder.data.writer import Writer
from netbuilder.errors import FileError
from netbuilder.storage.files import write_files

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

__all__ = ["ImageSet", "Options", "write_sets"]


@dataclass(frozen=True)
class ImageSet:
    """Images (n, h, w) or (n, h, w, 3), with channels in the order of storage; labels (n,)."""

    images: Bytes
    labels: Bytes


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to store of a data set. `pad_value` None means the rounded channel means of the train images.

    `per_class` limits train and test to the first images of each label; `seed` shuffles train.
    """

    pad: int = 0
    pad_value: tuple[int, ...] | None = None
    seed: int | None = None
    per_class: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise FileError("--pad cannot be negative")
        if self.pad_value is not None and not all(0 <= v <= 255 for v in self.pad_value):
            raise FileError("--pad-value takes numbers from 0 to 255")
        if self.per_class and min(self.per_class) < 1:
            raise FileError("--per-class takes two positive numbers, for train and for test")

    def as_job(self) -> dict[str, object]:
        """The fields as JSON."""
        return {
            "pad": self.pad,
            "pad_value": None if self.pad_value is None else list(self.pad_value),
            "shuffle": self.seed,
            "per_class": self.per_class and list(self.per_class),
        }


def write_sets(
    sets: Mapping[str, ImageSet],
    folder: Path,
    options: Options,
    *,
    classes: tuple[str, ...],
    key_digits: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[float]:
    """Write train_lmdb, test_lmdb, mean.binaryproto (of train) and labels.txt; return the channel means.

    `sets` has "train" and "test". Unfinished databases are continued.
    """
    import numpy as np

    value = options.pad_value
    if value is None:
        train = sets["train"].images
        means = train.reshape(-1, train.shape[3] if train.ndim == 4 else 1).mean(axis=0, dtype=np.float64)
        value = tuple(int(m) for m in np.rint(means))
    chosen = {name: _chosen(sets[name], name, options) for name in ("train", "test")}
    done, total = 0, sum(len(order) for order in chosen.values())
    for name, order in chosen.items():
        with Writer(folder / f"{name}_lmdb") as writer:
            last = writer.last_key()
            start = int(last) + 1 if last else 0
            for key, index in enumerate(order[start:], start):
                image = sets[name].images[index]
                if options.pad:
                    image = images.pad(image, options.pad, value)
                shape, planes = images.planes(image)
                record = datum.pack_planes(shape, planes, int(sets[name].labels[index]), encoded_field=False)
                writer.put(f"{key:0{key_digits}d}".encode(), record)
                progress(done + key + 1, total)
        done += len(order)
    packed, channel_means = mean_image(folder / "train_lmdb")
    names = "".join(f"{c}\n" for c in classes)
    write_files({folder / "mean.binaryproto": packed, folder / "labels.txt": names}, force=True)
    return channel_means


def _chosen(found: ImageSet, name: str, options: Options) -> list[int]:
    """The indices of the images to store, in order."""
    import numpy as np

    order = list(range(len(found.labels)))
    if options.per_class:
        wanted = options.per_class[0 if name == "train" else 1]
        counts: dict[int, int] = {}
        kept = []
        for i in order:
            label = int(found.labels[i])
            counts[label] = counts.get(label, 0) + 1
            if counts[label] <= wanted:
                kept.append(i)
        fewest = int(np.bincount(found.labels).min())
        if fewest < wanted:
            raise FileError(
                f"--per-class asks for {wanted} images of each label in {name}; one label has only {fewest}"
            )
        order = kept
    if options.seed is not None and name == "train":
        from netbuilder.data.lists import shuffled

        order = shuffled(order, options.seed)
    return order
