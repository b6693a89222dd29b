"""Published accuracies: what a config states of its net, and where that was printed."""

from __future__ import annotations

from typing import Any, NamedTuple

from netbuilder.config.items import Item, refusal
from netbuilder.errors import did_you_mean

__all__ = ["ACCURACY", "NEEDED", "PER_CENT", "Accuracy", "read_accuracy"]

# The keys of `accuracy`, as the schema explains them.
ACCURACY = {
    "top1": "images whose best class is right, in per cent",
    "data": "the data set, such as imagenet or cifar10",
    "source": "where the figure was printed: a paper and its table, or the page of the weights",
    "top5": "images with the right class among the five best, in per cent",
    "test": "how it was measured, if not on one center crop of the net's size: 10 crops",
}
NEEDED = ("top1", "data", "source")
PER_CENT = ("top1", "top5")


class Accuracy(NamedTuple):
    """A published accuracy in per cent; `top5` is None and `test` is "" if the source says nothing else."""

    top1: float
    data: str
    source: str
    top5: float | None = None
    test: str = ""

    def as_data(self) -> dict[str, Any]:
        """What is known, as JSON output has it."""
        return {key: value for key, value in self._asdict().items() if value not in (None, "")}


def read_accuracy(item: Item | None) -> Accuracy | None:
    """The accuracy that a config states. Raises ConfigError for a figure that cannot be one."""
    if item is None or item.value is None:
        return None
    if not isinstance(item.value, dict):
        raise refusal(
            f"accuracy must be a mapping, got {item.shown}", item.place, "accuracy",
            "as in accuracy: {top1: 76.13, data: imagenet, source: 'torchvision, V1'}",
        )  # fmt: skip
    for key, value in item.value.items():
        if key not in ACCURACY:
            raise refusal(f"unknown key '{key}'", value.place, f"accuracy.{key}", did_you_mean(key, ACCURACY))
    for key in NEEDED:
        if key not in item.value:
            raise refusal(f"accuracy lacks {key}: {ACCURACY[key]}", item.place, "accuracy")
    values: dict[str, Any] = {
        key: _per_cent(key, value) if key in PER_CENT else _text(key, value)
        for key, value in item.value.items()
    }
    found = Accuracy(**values)
    if found.top5 is not None and found.top5 < found.top1:
        place = item.value["top5"].place
        raise refusal(f"top5 is {found.top5}, less than top1, {found.top1}", place, "accuracy.top5")
    return found


def _per_cent(key: str, item: Item) -> float:
    if isinstance(item.value, bool) or not isinstance(item.value, int | float):
        raise refusal(f"{key} must be a number, got {item.shown}", item.place, f"accuracy.{key}")
    if not 1 < item.value <= 100:
        hint = f"write {100 * item.value:g}" if 0 < item.value <= 1 else "per cent of right images"
        raise refusal(f"{key} is in per cent, got {item.shown}", item.place, f"accuracy.{key}", hint)
    return float(item.value)


def _text(key: str, item: Item) -> str:
    if not isinstance(item.value, str) or not item.value.strip():
        raise refusal(f"{key} must be text, got {item.shown}", item.place, f"accuracy.{key}")
    return item.value
