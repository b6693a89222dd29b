"""How well a net's scores name the labels: top-k, class by class, and which class is taken for which.

An image is right at k if fewer than k other classes have a score that is at least that of its label, as in
Caffe's Accuracy. Source: accuracy_layer.cpp, Forward_cpu.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from netbuilder.errors import ConfigError, FileError, did_you_mean, shape_text
from netbuilder.layers import RULES
from netbuilder.layers.traits import Shares
from netbuilder.net import Blob, Layer, Net
from netbuilder.training.testset import TestSet

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Evaluation", "Scored", "evaluate", "scored"]


class Scored(NamedTuple):
    """The blob with the scores, the one with the labels, and a label that is not counted."""

    blob: str
    label: str
    ignored: int | None


def scored(net: Net, blob: str = "") -> Scored:
    """The scores and labels of the net's last loss or metric of classes, or of the blob with this name.

    Raises ConfigError.
    """
    readers = [layer for layer in net if _reads_labels(layer)]
    names = {top.name for layer in net for top in layer.tops}
    if blob and blob not in names:
        raise ConfigError(f"the net has no blob '{blob}'", key="scores", hint=did_you_mean(blob, names))
    if not readers:
        raise ConfigError(
            "no layer of the net compares scores with class labels",
            hint="give the TEST net with its loss or its Accuracy",
        )
    last = next((x for x in reversed(readers) if x.bottoms[0].name == blob), readers[-1])
    read = RULES[last.type].traits.scores
    assert callable(read)
    return Scored(blob or last.bottoms[0].name, _source(last.bottoms[1]).name, read(last.proto)[1])


def _reads_labels(layer: Layer) -> bool:
    return layer.type in RULES and callable(RULES[layer.type].traits.scores) and len(layer.bottoms) > 1


def _source(blob: Blob) -> Blob:
    """The blob that layers only reshape or pass on."""
    while blob.layer.bottoms and RULES[blob.layer.type].traits.shares is Shares.ALWAYS:
        blob = blob.layer.bottoms[0]
    return blob


class Evaluation:
    """The counts of one model over a test set; `add` takes the scores batch by batch."""

    def __init__(self, top: Sequence[int] = (1, 5), ignored: int | None = None) -> None:
        self._wanted, self._ignored = tuple(sorted(set(top))), ignored
        self.classes = 0
        self.images = 0  # that count
        self.ignored = 0
        self.finite = True
        self._confusion: Any = None
        self._right: dict[int, Any] = {}

    @property
    def top(self) -> tuple[int, ...]:
        """The numbers k of which top-k says something: those below the number of classes."""
        return tuple(k for k in self._wanted if k < self.classes) or (1,)

    def add(self, scores: Any, labels: Any, called: Callable[[int], str]) -> None:
        """Count a batch: scores (n, classes) and labels (n). Raises FileError for a label without a score."""
        import numpy as np

        if self._confusion is None:
            self.classes = scores.shape[1]
            self._confusion = np.zeros((self.classes, self.classes), np.int64)
            self._right = {k: np.zeros(self.classes, np.int64) for k in self.top}
        labels = labels.astype(np.int64)  # cut, as Caffe does
        counted = np.ones(len(labels), bool) if self._ignored is None else labels != self._ignored
        bad = counted & ((labels < 0) | (labels >= self.classes))
        if bad.any():
            at = int(bad.argmax())
            raise FileError(
                f"the label of {called(at)} is {labels[at]}, and the net has scores for 0 to "
                f"{self.classes - 1}"
            )
        self.ignored += int((~counted).sum())
        scores, labels = scores[counted], labels[counted]
        self.finite = self.finite and bool(np.isfinite(scores).all())
        own = scores[np.arange(len(labels)), labels]
        others = scores.copy()
        others[np.arange(len(labels)), labels] = -np.inf
        # A score that is not a number is below nothing: such an image is wrong.
        better = (~(others < own[:, None])).sum(1)
        better -= ~(-np.inf < own)  # the label itself, whose place holds -inf
        predicted = np.where(better == 0, labels, others.argmax(1))
        self.images += len(labels)
        np.add.at(self._confusion, (labels, predicted), 1)
        for k, right in self._right.items():
            np.add.at(right, labels[better < k], 1)

    def right(self, k: int) -> int:
        """How many images are right at k."""
        return int(self._right[k].sum())

    def share(self, k: int) -> float:
        """The part of the images that is right at k; nan if none counts."""
        return self.right(k) / self.images if self.images else float("nan")

    @property
    def confusion(self) -> npt.NDArray[np.int64]:
        """How many images of each class (rows) are taken for each (columns)."""
        matrix: npt.NDArray[np.int64] = self._confusion
        return matrix

    def per_class(self, names: Sequence[str] = ()) -> list[dict[str, Any]]:
        """A row for each class: its images, the part that is right, and what it is most taken for."""
        rows: list[dict[str, Any]] = []
        for i, taken in enumerate(self._confusion):
            images = int(taken.sum())
            row: dict[str, Any] = {"class": i, **({"label": names[i]} if names else {}), "images": images}
            for k in self.top:
                row[f"top{k}"] = int(self._right[k][i]) / images if images else None
            wrong = taken.copy()
            wrong[i] = 0
            most = int(wrong.argmax())
            row["taken_for"] = {"class": most, "images": int(wrong[most])} if wrong[most] else None
            rows.append(row)
        return rows


def evaluate(
    compute: Callable[[Iterator[dict[str, Any]]], Iterator[dict[str, Any]]],
    tests: TestSet,
    where: Scored,
    evaluation: Evaluation,
    batch: int,
    count: int,
    mirrored: str = "",
) -> Iterator[int]:
    """Count the first `count` records, whose scores `compute` gives pass by pass; yields how many are done.

    With `mirrored`, the name of the blob of the images, an image has the mean of its scores and those of its
    mirror image. Raises ConfigError for scores or labels that are not one row an image.
    """
    labels: deque[Any] = deque()

    def inputs() -> Iterator[dict[str, Any]]:
        for blobs in tests.batches(batch, count):
            labels.append(_labels(blobs, where, batch))
            yield blobs
            if mirrored:
                yield {**blobs, mirrored: blobs[mirrored][..., ::-1].copy()}

    done = 0
    outputs = compute(inputs())
    for out in outputs:
        scores, first, kept = out[where.blob], done, min(batch, count - done)
        if mirrored:
            scores = (scores + next(outputs)[where.blob]) / 2
        if len(scores.shape) < 2 or scores.shape[0] != batch or scores[0, 0].size != 1:
            raise ConfigError(
                f"'{where.blob}' has shape {shape_text(scores.shape)}, no score for each class of {batch} "
                "images",
                key="scores", hint="--scores BLOB names another one",
            )  # fmt: skip
        rows = scores.reshape(batch, -1)[:kept]
        evaluation.add(rows, labels.popleft()[:kept], partial(_called, tests, first))
        done += kept
        yield done


def _called(tests: TestSet, first: int, at: int) -> str:
    return tests.called(first + at)


def _labels(blobs: Mapping[str, Any], where: Scored, batch: int) -> Any:
    if where.label not in blobs:
        raise ConfigError(f"the labels, '{where.label}', do not come from a data layer", key="scores")
    labels = blobs[where.label].reshape(batch, -1)
    if labels.shape[1] != 1:
        raise ConfigError(
            f"'{where.label}' has {labels.shape[1]} labels for each image", key="scores",
            hint="scores are counted against one label: slice it, or test the net's own outputs",
        )  # fmt: skip
    return labels[:, 0]
