"""A recipe of training into the fields of a solver, with the arithmetic told.

A recipe says how long, at which rates, for the global batch of its source: in epochs, or in iterations of
that batch. `plan` turns it into iterations of the batch that one has, and scales the rates with the batch:

    global batch = batch per device * devices * iter_size
    iterations per epoch = images / global batch, rounded up (down where the recipe drops the last batch)
    rate = rate of the recipe * global batch / batch of the recipe      (linear scaling: Goyal et al. 2017)

Weight decay stays: SGD takes rate * weight_decay off each weight an iteration, so the larger rate makes up
for the fewer iterations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from netbuilder.errors import ConfigError, did_you_mean
from netbuilder.schema import SolverParameter
from netbuilder.solvers import spark_resume
from netbuilder.solvers.fields import SCALED, set_field

__all__ = ["Plan", "Recipe", "plan"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a net was trained. Milestones, warm-up and points are in epochs or iterations, as the length is."""

    source: str
    images: int
    batch: int  # global
    base_lr: float
    epochs: float | None = None
    iterations: int | None = None
    schedule: str = "fixed"  # or multistep, poly, cosine, linear
    milestones: tuple[float, ...] = ()  # of multistep; of linear, where its rates hold
    rates: tuple[float, ...] = ()  # of linear
    gamma: float | None = None
    power: float | None = None
    every_epoch: bool = False  # cosine: hold the rate through each epoch
    counted_from_one: bool = False  # linear: the first update takes the rate of 1, not of 0
    warmup: float = 0
    warmup_from: float = 0
    warmup_hold: bool = False
    drop_last: bool = False
    type: str = "SGD"
    momentum: float = 0.9
    weight_decay: float = 0
    test_images: int = 0
    lacks: tuple[str, ...] = ()  # what of the source a solver cannot say
    fields: dict[str, Any] = field(default_factory=dict)  # any others of SolverParameter
    extras: dict[str, Any] = field(default_factory=dict)  # what only training in PyTorch does, by name

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.iterations is None):
            raise ConfigError("a recipe has either epochs or iterations", key="epochs")
        for key in ("images", "batch", "base_lr", "epochs", "iterations"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ConfigError(f"{key} must be above 0, got {value}", key=key)
        if self.schedule not in (*_SCHEDULES, "cosine", "linear"):
            known = (*_SCHEDULES, "cosine", "linear")
            raise ConfigError(
                f"schedule must be one of {', '.join(known)}, got '{self.schedule}'", key="schedule",
                hint=did_you_mean(self.schedule, known),
            )  # fmt: skip
        if (self.schedule in ("multistep", "linear")) != bool(self.milestones):
            verb = "needs" if not self.milestones else "takes no"
            raise ConfigError(f"schedule '{self.schedule}' {verb} milestones", key="milestones")
        if len(self.rates) != (len(self.milestones) if self.schedule == "linear" else 0):
            raise ConfigError(
                f"linear has one rate for each milestone, got {len(self.milestones)} milestones and "
                f"{len(self.rates)} rates" if self.schedule == "linear"
                else f"schedule '{self.schedule}' takes no rates", key="rates",
            )  # fmt: skip
        for key in ("images", "test_images", "batch"):
            if getattr(self, key) > _MOST:
                raise ConfigError(f"{key} must be at most {_MOST}, got {getattr(self, key)}", key=key)
        if self.warmup and self.schedule == "linear":
            raise ConfigError("a linear schedule has its warm-up in its points", key="warmup")


_MOST = 2**31 - 1  # in a field of a solver
_SCHEDULES = ("fixed", "multistep", "poly")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A solver and how its numbers came about: rows of what, how, and the result."""

    solver: Any
    arithmetic: tuple[tuple[str, str, str], ...]
    lacks: tuple[str, ...]
    iterations_per_epoch: float


def plan(
    recipe: Recipe,
    *,
    net: str,
    batch: int,
    devices: int = 1,
    iter_size: int = 1,
    test_batch: int = 0,
    scale: bool = True,
    dialect: str = "caffe-1.0",
    fields: dict[str, Any] | None = None,
) -> Plan:
    """The solver of a recipe for a net, `batch` images a device (in the file) and so many devices.

    NVCaffe (dialect nvcaffe) divides the batch of the file by the devices. CaffeOnSpark (caffeonspark) puts
    the name of a snapshot behind a path of its own, so that name has none there; it must not be asked for
    more images than there are between two tests, or in a test; its iter_size repeats a batch, and adds no
    images; and it hangs when it resumes some snapshots (`spark_resume`), so its solvers write others.
    `test_batch` 0 makes no tests. `fields` are set last, over those of the recipe. Raises ConfigError and
    FieldError.
    """
    divided, spark = dialect == "nvcaffe", dialect == "caffeonspark"
    for name, value in (("batch", batch), ("devices", devices), ("iter_size", iter_size)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}", key=name)
    per_device = -(-batch // devices) if divided else batch
    whole = per_device * devices * (1 if spark else iter_size)
    rows = [_global_batch(per_device, devices, iter_size, whole, spark)]
    if divided:
        rows.insert(
            0, ("batch a device", f"{batch} / {devices} devices (this Caffe divides)", str(per_device))
        )
    if whole > recipe.images:
        raise ConfigError(f"a batch of {whole} is more than the {recipe.images} images", key="batch")
    per_epoch = _per_epoch(recipe, whole, rows)

    def iterations(amount: float) -> int:
        count = amount * (per_epoch if recipe.epochs is not None else recipe.batch / whole)
        if not count <= _MOST:
            raise ConfigError(
                f"{count:g} iterations are more than Caffe can count",
                key="epochs" if recipe.epochs else "iterations",
            )
        return round(count)

    factor = whole / recipe.batch if scale and recipe.type in SCALED else 1.0
    solver = SolverParameter(net=net, base_lr=recipe.base_lr * factor)
    solver.max_iter = iterations(recipe.epochs or recipe.iterations or 0)
    rows.append(_length(recipe, whole, per_epoch, solver.max_iter))
    how = (
        f"{recipe.base_lr:g} * {whole} / {recipe.batch}"
        if factor != 1
        else f"{recipe.base_lr:g}, as in the recipe"
    )
    rows.append(("base_lr", how, f"{recipe.base_lr * factor:g}"))
    _schedule(solver, recipe, iterations, factor, math.ceil(per_epoch), rows)
    solver.type = recipe.type
    if recipe.momentum:
        solver.momentum = recipe.momentum
    if recipe.weight_decay:
        solver.weight_decay = recipe.weight_decay
    if iter_size > 1:
        solver.iter_size = iter_size
    epoch = max(1, math.ceil(per_epoch))
    if test_batch and recipe.test_images:
        _tests(solver, recipe, test_batch, whole, epoch, spark, rows)
    elif spark:  # its driver requires a test_iter, and its Caffe an interval with it
        solver.test_iter.append(0)
        solver.test_interval = min(epoch, solver.max_iter)
    solver.display = max(1, min(100, epoch // 10))
    solver.snapshot = min(epoch, solver.max_iter)
    name = _name_of(net)
    solver.snapshot_prefix = name if spark else f"snapshots/{name}"
    solver.random_seed = 1  # a run that can be repeated, and resumed as if it had not been stopped
    given = {**recipe.fields, **(fields or {})}
    for name, value in given.items():
        set_field(solver, name, value)
    if spark:
        _resumable(solver, batch, "snapshot" in given, rows)
    return Plan(solver=solver, arithmetic=tuple(rows), lacks=recipe.lacks, iterations_per_epoch=per_epoch)


def _global_batch(batch: int, devices: int, iter_size: int, whole: int, spark: bool) -> tuple[str, str, str]:
    if not spark:
        return "global batch", f"{batch} a device * {devices} devices * iter_size {iter_size}", str(whole)
    repeated = f"; iter_size {iter_size} repeats them" if iter_size > 1 else ""
    return "global batch", f"{batch} a device * {devices} devices{repeated}", str(whole)


def _resumable(solver: Any, batch: int, given: bool, rows: list[tuple[str, str, str]]) -> None:
    """Choose a snapshot interval of which CaffeOnSpark can resume every snapshot, with tests.

    Raises ConfigError if the recipe or the user gave an interval of which it cannot.
    """
    interval, last = solver.test_interval, solver.max_iter
    if not (any(solver.test_iter) and interval > 0):
        return
    safe = spark_resume.safe_snapshot(solver.snapshot, interval, last, batch)
    if safe == solver.snapshot:
        return
    if given:
        hangs = spark_resume.first_hanging(solver.snapshot, interval, last, batch)
        raise ConfigError(
            f"snapshot {solver.snapshot} with test_interval {interval}: CaffeOnSpark waits for ever when it "
            f"resumes iteration {hangs}", key="snapshot",
            hint=f"leave it to netbuilder, which writes {safe}; or train without tests, --test-images 0",
        )  # fmt: skip
    solver.snapshot = safe
    how = f"{safe // interval} * test_interval {interval} + 1" if safe < last else "only at the end"
    rows.append(("snapshot", f"{how}: CaffeOnSpark hangs on resuming others", str(safe)))


def _name_of(net: str) -> str:
    """What snapshots are called: the file of the net, or its folder if the file is called as any of them."""
    path = PurePosixPath(net)
    folder = path.parent.name.strip(".")
    return folder if path.stem == "train_val" and folder else path.stem or "net"


def _tests(
    solver: Any,
    recipe: Recipe,
    test_batch: int,
    whole: int,
    epoch: int,
    spark: bool,
    rows: list[tuple[str, str, str]],
) -> None:
    """A test of all images once an epoch, which is as long as the recipe's rounding makes it."""
    count = recipe.test_images // test_batch if spark else -(-recipe.test_images // test_batch)
    interval = recipe.images // whole if spark else epoch
    if not count:
        raise ConfigError(
            f"a test batch of {test_batch} is more than the {recipe.test_images} images", key="test_batch"
        )
    solver.test_iter.append(count)
    solver.test_interval = min(interval, solver.max_iter)
    over = count * test_batch - recipe.test_images
    more = f", {over} images twice" if over > 0 else f", {-over} images left out" if over else ""
    rows.append(("test_iter", f"{recipe.test_images} images / {test_batch}{more}", str(count)))
    if spark:
        how = f"{recipe.images} images / {whole}, rounded down: CaffeOnSpark has no more between two tests"
        rows.append(("test_interval", how, str(solver.test_interval)))


def _per_epoch(recipe: Recipe, whole: int, rows: list[tuple[str, str, str]]) -> float:
    """Iterations per epoch: whole ones, or the exact quotient where the recipe counts iterations."""
    exact = recipe.images / whole
    if recipe.epochs is None:
        rows.append(("an epoch", f"{recipe.images} images / {whole}", f"{exact:.2f} iterations"))
        return exact
    count = math.floor(exact) if recipe.drop_last else math.ceil(exact)
    how = "" if exact == count else ", rounded down" if recipe.drop_last else ", rounded up"
    rows.append(("an epoch", f"{recipe.images} images / {whole}{how}", f"{count} iterations"))
    return count


def _length(recipe: Recipe, whole: int, per_epoch: float, count: int) -> tuple[str, str, str]:
    if recipe.epochs is None:
        return (
            "max_iter",
            f"{recipe.iterations} * {recipe.batch} / {whole} ({count / per_epoch:.1f} epochs)",
            str(count),
        )
    return "max_iter", f"{recipe.epochs:g} epochs * {per_epoch:g}", str(count)


def _schedule(
    solver: Any, recipe: Recipe, iterations: Any, factor: float, epoch: int, rows: list[tuple[str, str, str]]
) -> None:
    unit = "epochs" if recipe.epochs is not None else f"iterations at batch {recipe.batch}"
    text = recipe.schedule
    if text == "multistep":
        solver.stepvalue.extend(iterations(m) for m in recipe.milestones)
        at = ", ".join(f"{m:g}" for m in recipe.milestones)
        rows.append(("stepvalue", f"{unit} {at}", ", ".join(map(str, solver.stepvalue))))
    elif text == "cosine" and recipe.every_epoch:
        text = f"cosine every {epoch}"
    elif text == "linear":
        shift = 1 if recipe.counted_from_one else 0
        points = [
            f"{iterations(m) - shift}:{rate * factor:g}"
            for m, rate in zip(recipe.milestones, recipe.rates, strict=True)
        ]
        text = " ".join(["linear", *points])
        at = ", ".join(f"{m:g}" for m in recipe.milestones)
        counted = ", counted from 1" if shift else ""
        rows.append(("points", f"{unit} {at}{counted}", " ".join(points)))
    if recipe.gamma is not None:
        solver.gamma = recipe.gamma
    if recipe.power is not None:
        solver.power = recipe.power
    if recipe.warmup:
        count = iterations(recipe.warmup)
        word = "hold" if recipe.warmup_hold else "from"
        rows.append(("warm-up", f"{recipe.warmup:g} {unit}", f"{count} iterations"))
        if count:
            text = f"warmup {count} {word} {recipe.warmup_from * factor:g}, {text}"
    solver.lr_policy = text
