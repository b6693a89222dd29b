"""Plans: what to train, test or time, checked as far as possible without an engine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.errors import ConfigError, FileError
from netbuilder.net import Net
from netbuilder.prototxt.solver_file import require_solver
from netbuilder.solvers.batch import data_batch
from netbuilder.solvers.checks import check_file, how_to_find, require_fields
from netbuilder.solvers.fields import set_field
from netbuilder.storage import temporary
from netbuilder.storage.files import HELD, read_text, reason
from netbuilder.training.labels import check_labels
from netbuilder.training.preflight import NetInUse, error_of, of_inputs, of_layers, of_loss, of_records
from netbuilder.training.ranks import ALONE, Ranks
from netbuilder.training.sharing import dealt, divides, resumed
from netbuilder.training.snapshots import SnapshotNames, old_snapshots, prefix_of, require_whole
from netbuilder.training.sources import check_files
from netbuilder.weights.model import model_files

if TYPE_CHECKING:
    from netbuilder.prototxt.solver_file import SolverNet
    from netbuilder.schema import SolverParameter

__all__ = [
    "NetPlan",
    "TrainingPlan",
    "existing",
    "parse_devices",
    "plan_net",
    "plan_training",
    "solver_models",
]

Devices = tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """A training as the user wants it, independent of the engine.

    `nets` are the nets of the solver with their paths, the one to train first; `inline` are the texts of
    those that the solver file holds, by field. Snapshots are written in the folder `partial`, named `begun`,
    and get their final names, which begin with `prefix`, once complete. `devices` are the numbers of GPUs, or
    ("all",), or none for the CPU. A run continues from `state` and `model`, the snapshot after `begin`
    iterations; with `replay` it first reads the data up to there again. `files` are those that the engine
    must be able to read. `old` are snapshots of an earlier training that this one replaces.

    `tests` are the names of the test nets: "test", and of several "test #0 on-train", with their stages or
    their files.

    `dtype` is the precision of the arithmetic, `compile` asks for compiled code, and `extras` are what the
    recipe does besides a solver of Caffe's, by name; an engine refuses what it lacks. `ranks` are the
    processes that train; `file_batch` is the batch of the file if each has a part of it; with `sync_bn`
    BatchNorm takes its statistics from all of them.
    """

    path: str
    solver: SolverParameter
    nets: tuple[tuple[str, Net], ...]
    inline: Mapping[str, Sequence[str]]
    prefix: str
    devices: Devices
    weights: tuple[str, ...]
    state: Path | None
    model: Path | None
    begin: int
    replay: bool
    threads: int
    files: tuple[str, ...]
    old: Mapping[Path, os.stat_result]
    warnings: tuple[str, ...]
    dtype: str = "float32"
    compile: bool = False
    extras: Mapping[str, object] = field(default_factory=dict)
    tests: tuple[str, ...] = ()
    ranks: Ranks = ALONE
    file_batch: int | None = None
    sync_bn: bool = False
    begun: str = ""

    def __post_init__(self) -> None:
        if not self.begun:
            object.__setattr__(self, "begun", temporary.partial_name(Path(self.prefix).name))

    @property
    def partial(self) -> Path:
        """The folder in which snapshots are written before they are renamed, of a name of its own."""
        return Path(self.prefix).with_name(self.begun)

    def make_folder(self) -> None:
        """Make the folder of the snapshots, and in it an empty one to write them in. Raises FileError."""
        folder = self.partial.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            temporary.remove_left(str(folder), Path(self.prefix).name)
            self.partial.mkdir()
        except OSError as error:
            raise FileError(f"cannot make the folder '{folder}' of the snapshots: {reason(error)}") from None

    def remove_old(self) -> None:
        """Remove the snapshots of an earlier training, now that the first iteration of this one is done.

        Those that this one has written since, under the same names, stay.
        """
        for file, status in self.old.items():
            aside = self.partial / f"old-{file.name}"  # what is removed must be what was there before
            try:
                os.replace(file, aside)
            except FileNotFoundError:
                continue
            if _same(aside.stat(), status):
                aside.unlink()
            else:
                os.replace(aside, file)

    def clean(self) -> None:
        """Remove the folder in which snapshots are written before they are renamed."""
        temporary.remove(str(self.partial))


@dataclass(frozen=True, kw_only=True)
class NetPlan:
    """A net to test or to time: `iterations` passes with these weights, computed in `dtype`.

    `inline` is the text of a net inside a solver, the file at `path`, or of a net without a file; "" if the
    file is the net.
    """

    path: str
    net: Net
    inline: str
    level: int
    stages: tuple[str, ...]
    weights: tuple[str, ...]
    iterations: int
    devices: Devices
    threads: int
    dtype: str = "float32"


def plan_training(
    path: str,
    names: SnapshotNames,
    *,
    devices: Sequence[int | str] | None = None,
    weights: tuple[str, ...] = (),
    resume: str | None = None,
    level: int | None = None,
    stages: Sequence[str] = (),
    replay: bool = True,
    force: bool = False,
    threads: int = 1,
    seed: int | None = None,
    dtype: str = "float32",
    compile: bool = False,
    extras: Mapping[str, object] | None = None,
    fields: Mapping[str, object] | None = None,
    ranks: Ranks = ALONE,
    sync_bn: bool = False,
    dialect: str | None = None,
) -> TrainingPlan:
    """Plan the training of a solver file, and check everything that can be checked before an engine starts.

    `names` are the engine's snapshot names. With `devices` None, the solver decides. `resume` is "latest" or
    a state file; `seed` replaces the solver's, and `fields` any of its fields (None leaves one out). Each of
    the `ranks` trains on the batch of the file, or on its part of it if the `dialect` is NVCaffe's; without
    one, if only NVCaffe has all that the nets use.

    Raises ConfigError, FileError, PrototxtError, or the error of a net.
    """
    read = require_solver(read_text(path), path).with_state(level, stages)
    require_fields(read)
    solver = read.solver
    for name, value in (fields or {}).items():
        set_field(solver, name, value)
    if seed is not None:
        solver.random_seed = seed
    for name in (solver.net, solver.train_net, *solver.test_net):
        if name and not Path(name).is_file():
            raise FileError(
                f"the solver names a net that does not exist: '{name}'",
                where=read.place_of("net", "train_net", "test_net"), hint=how_to_find(read, name),
            )  # fmt: skip
    findings = list(check_file(read))
    for finding in findings:
        if finding.severity == "error":
            raise error_of(finding)
    if solver.max_iter == 0:
        solver.lr_policy = "fixed"  # nobody asks for a rate
    if weights and resume:
        raise ConfigError(
            "--weights and --resume exclude each other", key="weights", hint="a snapshot has weights"
        )
    prefix = prefix_of(path, solver)
    uses = [NetInUse(net, _net(net)) for net in read.nets() if net.used]
    files = [*existing((*weights, *solver_models(solver)))]
    for use in uses:
        for finding in (*of_layers(use), *of_inputs(use)):
            raise error_of(finding)
        findings += of_loss(use)
        files += check_files(use.net, use.source.where)
        check_labels(use.net, use.source.where)
        findings += of_records(use)
    warnings = [f.text for f in findings if f.severity == "warning"]
    if solver.random_seed < 0:
        warnings.append("random_seed is not set: no two runs are alike, not even a resumed one")
    divided = ranks.size > 1 and divides(uses, dialect)
    file_batch = data_batch(uses[0].net) if divided and uses else None
    uses = dealt(uses, ranks.size) if divided else uses
    state = resumed(prefix, names, resume, ranks, force, solver.max_iter)
    force = force or not ranks.first or ranks.restarts > 0  # rank 0 has decided, or has begun
    old = old_snapshots(prefix, names, force) if state is None and solver.max_iter else ()
    if state is not None:
        from netbuilder.training.states import check_state

        require_whole(state, prefix, names)
        check_state(state, names.model_of(state), uses[0].net, solver.type)
    if devices is None:
        devices = [solver.device_id] if solver.HasField("solver_mode") and solver.solver_mode == 1 else []
    return TrainingPlan(
        path=path,
        solver=solver,
        nets=tuple((use.source.where, use.net) for use in uses),
        inline=read.inline,
        prefix=prefix,
        devices=tuple(devices),
        weights=weights,
        state=state,
        model=names.model_of(state) if state else None,
        begin=names.iteration(state) if state else 0,
        replay=replay,
        threads=threads,
        files=tuple(files),
        old={file: file.stat() for file in old if file.is_file()},
        warnings=tuple(warnings),
        dtype=dtype,
        compile=compile,
        extras=dict(extras or {}),
        tests=_test_names([use.source for use in uses[1:]]),
        ranks=ranks,
        file_batch=file_batch,
        sync_bn=sync_bn,
    )


def _test_names(sources: Sequence[SolverNet]) -> tuple[str, ...]:
    """What tells the test nets apart: their stages, or their files."""
    if len(sources) < 2:
        return ("test",) * len(sources)
    files = len({source.path for source in sources}) > 1
    names = [(*(source.stages or ([source.path.name] if files else [])),) for source in sources]
    return tuple(" ".join((f"test #{i}", *name)) for i, name in enumerate(names))


def solver_models(solver: SolverParameter) -> tuple[str, ...]:
    """The models that the solver itself loads. Source: solver.cpp, LoadNetWeights."""
    return tuple(file for text in solver.weights for file in model_files(text))


def plan_net(
    path: str,
    net: Net,
    *,
    source: SolverNet | None = None,
    weights: tuple[str, ...] = (),
    iterations: int,
    devices: Sequence[int | str] = (),
    threads: int = 1,
    dtype: str = "float32",
) -> NetPlan:
    """Plan the test or the timing of the net of a file; of a solver's, `source` has its state.

    Raises FileError, ConfigError.
    """
    existing(weights)
    where = source.where if source else path
    check_files(net, where)
    check_labels(net, where)
    return NetPlan(
        path=path,
        net=net,
        inline=source.read_text() if source and (source.inline or str(source.path) in HELD) else "",
        level=source.own_level() if source else 0,
        stages=source.stages if source else (),
        weights=weights,
        iterations=iterations,
        devices=tuple(devices),
        threads=threads,
        dtype=dtype,
    )


def parse_devices(text: str) -> list[int | str]:
    """The devices of `--gpu 0,1`, or "all". Raises ConfigError."""
    if text == "all":
        return ["all"]
    words = text.split(",")
    if not all(w.strip().isdigit() for w in words) or len({int(w) for w in words}) != len(words):
        raise ConfigError(f"--gpu takes numbers or all, got '{text}'", key="gpu", hint="as in --gpu 0,1")
    return [int(w) for w in words]


def _same(file: os.stat_result, other: os.stat_result) -> bool:
    """Whether two statuses are of one file that was not written in between."""
    return (file.st_ino, file.st_mtime_ns) == (other.st_ino, other.st_mtime_ns)


def _net(source: SolverNet) -> Net:
    from netbuilder.prototxt import reader

    return reader.read_net(source, dialect="any", unknown="keep")


def existing(weights: Sequence[str]) -> Sequence[str]:
    """The files. Raises FileError for one that is not there."""
    for name in weights:
        if not Path(name).is_file():
            raise FileError(f"there is no weights file '{name}'")
    return weights
