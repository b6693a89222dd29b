"""What a worker receives: the solver and the nets as it runs them. One function for each kind of Caffe.

The pycaffe worker does tests, snapshots and rates itself; the binary does what stock Caffe does.
"""

from __future__ import annotations

import base64
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from netbuilder.engines.caffe.install import VARIABLE, Install
from netbuilder.engines.caffe.lists import SeenLists
from netbuilder.engines.caffe.log import Displayed
from netbuilder.errors import ConfigError, EngineError
from netbuilder.layers import replayed_types
from netbuilder.solvers import schedule_of
from netbuilder.storage.files import HELD, read_text
from netbuilder.training.health import finite_model, metrics
from netbuilder.training.plan import NetPlan, TrainingPlan, solver_models

if TYPE_CHECKING:
    from netbuilder.net import Net
    from netbuilder.prototxt.spans import Span
    from netbuilder.schema import SolverParameter

__all__ = ["NET_JOBS", "TRAIN_JOBS", "JobFields", "displayed", "seen_net"]

_PATHS = frozenset({"source", "mean_file", "meanfile", "root_folder"})  # fields that name files to read
_NEVER = 2**31 - 1


# A job as JSON: what the worker, `_snapshot_files.publish` and the log readers need.
JobFields = dict[str, Any]


def _snapshots(plan: TrainingPlan, seen: Callable[[str], str]) -> JobFields:
    """Where snapshots are written, their final names, and when snapshots and tests are due."""
    solver = plan.solver
    return {
        "do": "train",
        "state": plan.state and seen(str(plan.state)),
        "model": plan.model and seen(str(plan.model)),
        "begin": plan.begin,
        "partial": seen(str(plan.partial / "snapshot")),
        "prefix": seen(plan.prefix),
        "written_prefix": plan.prefix,
        "hdf5": solver.snapshot_format == 0,
        "snapshot": solver.snapshot,
        "after_train": solver.snapshot_after_train,
        "test_iter": list(solver.test_iter),
        "max_iter": solver.max_iter,
        "display": solver.display,
    }


def displayed(job: JobFields) -> Displayed | None:
    """The lines of Caffe's log that are kept; None for all, if the job is not a training."""
    return Displayed(job["display"], job["max_iter"] - 1) if "display" in job else None


# -- pycaffe ---------------------------------------------------------------------------------------------


def _pycaffe_train(plan: TrainingPlan, install: Install) -> tuple[JobFields, list[str]]:
    solver, seen = plan.solver, _view(install)
    lists = SeenLists(seen) if install.root else None
    files, nets = _worker_files(plan, str(plan.partial / "snapshot"), seen, lists)
    job = _snapshots(plan, seen) | {
        "files": files,
        "nets": nets,
        "names": _names(plan),
        "visible": [seen(name) for name in (*plan.files, str(plan.partial))],
        "python": _python_folders(seen, *plan.nets),
        "gpus": _numbers(plan.devices),
        "weights": [seen(w) for w in plan.weights],
        "replay": plan.replay,
        "replayed": replayed_types(),
        "rates": _packed_rates(solver),
        "test_interval": solver.test_interval if solver.test_iter else 0,
        "test_initialization": solver.test_initialization,
        "iter_size": solver.iter_size,
        "metrics": [metrics(net) for _, net in plan.nets[1:]],
    }
    return job, []


def _pycaffe_net(do: str, plan: NetPlan, install: Install) -> JobFields:
    if do == "time" and plan.devices:
        raise ConfigError(
            "pycaffe does not wait for the GPU after each layer: its times would mean nothing", key="gpu",
            hint=f"name the caffe binary by {VARIABLE}, which waits; or leave --gpu out",
        )  # fmt: skip
    seen = _view(install)
    lists = SeenLists(seen) if install.root else None
    text = seen_net(plan.inline or read_text(plan.path), seen, lists)
    return {
        "do": do,
        "files": {"net.prototxt": text, **(lists.files if lists else {})},
        "python": _python_folders(seen, (plan.path, plan.net)),
        "nets": [],
        "names": {"net.prototxt": plan.path},
        "visible": [seen(name) for name in (plan.path, *plan.weights) if name not in HELD],
        "gpus": _numbers(plan.devices),
        "phase": plan.net.phase,
        "level": plan.level,
        "stages": list(plan.stages),
        "weights": [seen(w) for w in plan.weights],
        "iterations": plan.iterations,
        "metrics": metrics(plan.net),
    }


def _numbers(gpus: tuple[int | str, ...]) -> list[int | str]:
    """The devices by number; raises EngineError if all are requested and there are none."""
    if "all" not in gpus:
        return list(gpus)
    import subprocess

    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
        count = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    except (OSError, subprocess.TimeoutExpired):
        count = 0
    if not count:
        raise EngineError(
            "there is no GPU here: nvidia-smi lists none", hint="leave --gpu out to train on the CPU"
        )
    return list(range(count))


def _names(plan: TrainingPlan) -> dict[str, str]:
    """The user's files by the names of the copies that the worker reads."""
    solver = plan.solver
    names = {"solver.prototxt": plan.path, "net.prototxt": solver.net, "train_net.prototxt": solver.train_net}
    return names | {f"test_net{i}.prototxt": name for i, name in enumerate(solver.test_net)}


def _python_folders(seen: Callable[[str], str], *nets: tuple[str, Net]) -> list[str]:
    """Where Python layers may be: PYTHONPATH, the current directory, the folders of the nets."""
    named = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), ".", *(os.path.dirname(p) for p, _ in nets)]
    folders = [folder for folder in dict.fromkeys(named) if folder]
    modules = {x.proto.python_param.module for _, net in nets for x in net if x.type == "Python"}
    linked = (os.path.join(folder, f"{module}.py") for folder in folders for module in modules)
    folders += [os.path.dirname(os.path.realpath(file)) for file in linked if os.path.islink(file)]
    return list(dict.fromkeys(map(seen, folders)))


def _view(install: Install) -> Callable[[str], str]:
    """How the worker sees a path: from inside a root, only paths relative to our folder lead out of it."""
    if install.root is None:
        return os.path.abspath
    return lambda path: os.path.relpath(os.path.realpath(path))


def _worker_files(
    plan: TrainingPlan, partial: str, seen: Callable[[str], str], lists: SeenLists | None
) -> tuple[dict[str, str], list[list[str]]]:
    """The solver as the worker runs it and its nets, as files; and the solver fields that name the nets.

    The worker does tests, snapshots and rates itself. Only the worker knows the folder of these files, so it
    adds the fields that name them. Nets inside the solver stay there, since Caffe would upgrade files.
    """
    from netbuilder.prototxt import text as text_format

    solver = plan.solver
    sent = type(solver)()
    sent.CopyFrom(solver)
    files: dict[str, str] = {}
    nets: list[list[str]] = []
    for field in ("net", "train_net"):
        if sent.HasField(field):
            files[f"{field}.prototxt"] = seen_net(read_text(getattr(sent, field)), seen, lists)
            nets.append([field, f"{field}.prototxt"])
            sent.ClearField(field)
    for i, name in enumerate(list(sent.test_net)):
        files[f"test_net{i}.prototxt"] = seen_net(read_text(name), seen, lists)
        nets.append(["test_net", f"test_net{i}.prototxt"])
    del sent.test_net[:]
    sent.ClearField("snapshot")
    sent.snapshot_after_train = False
    sent.snapshot_prefix = seen(partial)
    sent.display = 1
    if sent.test_iter:
        sent.test_interval = _NEVER
        sent.test_initialization = False
    if not schedule_of(solver).stock:
        sent.lr_policy = "fixed"
    names = [seen(name) for name in solver_models(sent)]
    del sent.weights[:]
    sent.weights.extend(names)
    for field in plan.inline:
        sent.ClearField(field)
    inline = [
        f"{field} {{\n{seen_net(text.strip(), seen, lists)}\n}}\n"
        for field, texts in plan.inline.items()
        for text in texts
    ]
    files["solver.prototxt"] = text_format.format_fields(sent) + "".join(inline)
    return files | (lists.files if lists else {}), nets


def seen_net(text: str, seen: Callable[[str], str], lists: SeenLists | None = None) -> str:
    """A net's text with the names of its files as the worker sees them.

    Only the values of fields that name files change, not strings that merely contain such text (`param_str`).
    `lists` copies those lists whose own names the worker would not see.
    """
    from netbuilder.prototxt.spans import spans

    parts, at = [], 0
    for message, of_message in _path_spans("", spans(text)):
        paths = {span.name: _string(text[span.value : span.end]) for span in of_message}
        copy = lists and lists.copy(message, paths.get("source", ""), paths.get("root_folder", ""))
        for span in of_message:
            path = paths[span.name]
            if not path:
                continue
            end = "/" if span.name == "root_folder" and path.endswith("/") else ""
            name = seen(path) + end
            if copy and span.name in ("source", "root_folder"):
                name = copy if span.name == "source" else ""
            parts += [text[at : span.value], _quoted(name)]
            at = span.end
    return "".join([*parts, text[at:]])


def _path_spans(message: str, fields: Iterable[Span]) -> Iterator[tuple[str, list[Span]]]:
    """The fields that name files, at any depth, in the order of the text, with the field that holds them."""
    named: list[Span] = []
    for field in fields:
        if field.fields is not None:
            if named:  # of an old format, where a layer has both
                yield message, named
            yield from _path_spans(field.name, field.fields)
            named = []
        elif field.name in _PATHS or (message, field.name) == ("hdf5_output_param", "file_name"):
            named.append(field)
    if named:
        yield message, named


def _string(literal: str) -> str:
    """The value of a string in a prototxt."""
    from netbuilder.prototxt import text as text_format
    from netbuilder.schema import message

    parsed = text_format.parse(f"source: {literal}", message("ImageDataParameter"))
    return str(parsed.message.source)


def _quoted(value: str) -> str:
    """A string literal for a prototxt."""
    from netbuilder.prototxt import text as text_format
    from netbuilder.schema import message

    return (
        text_format.format_fields(message("ImageDataParameter")(source=value))
        .removeprefix("source: ")
        .strip()
    )


def _packed_rates(solver: SolverParameter) -> str:
    """The rates of all iterations as float32, for a schedule that Caffe lacks; else ""."""
    schedule = schedule_of(solver)
    return "" if schedule.stock else base64.b64encode(array("f", schedule.rates()).tobytes()).decode()


# -- the binary ------------------------------------------------------------------------------------------


def _binary_train(plan: TrainingPlan, install: Install) -> tuple[JobFields, list[str]]:
    """Names stay as the user wrote them: Caffe starts in the same folder."""
    from netbuilder.prototxt import text as text_format

    solver = plan.solver
    if not schedule_of(solver).stock:
        raise ConfigError(
            f"the caffe binary has no lr_policy '{solver.lr_policy}': netbuilder sets such rates by pycaffe",
            key="lr_policy",
            hint="`netbuilder solver RECIPE --stock` lists which of Caffe's own come near, and writes one; "
            f"or name a Python that can import caffe by {VARIABLE}",
        )
    if solver.snapshot_format == 0:
        _require_h5py()
    sent = type(solver)()
    sent.CopyFrom(solver)
    del sent.weights[:]  # Caffe 1.0 lacks the field; given as a flag instead
    for field, value in (
        ("snapshot_prefix", str(plan.partial / "snapshot")),
        ("snapshot_after_train", True),  # after a stop too; an unwanted last one is not published
        ("display", 1),
        ("average_loss", 1),
        ("test_compute_loss", True),
        ("solver_mode", int(bool(plan.devices))),  # unset, some Caffes take it for GPU
    ):
        setattr(sent, field, value)
    file = str(plan.partial / "solver.prototxt")
    arguments = ["train", "-solver", file, "-sigint_effect", "stop"]
    if solver.train_state.level:  # the flag's default would override it
        arguments += ["-level", str(solver.train_state.level)]
    warnings = []
    job = _snapshots(plan, str)
    if plan.state:
        job["resumed"] = str(plan.partial / "resumed.solverstate") + (".h5" if job["hdf5"] else "")
        arguments += ["-snapshot", job["resumed"]]
        warnings = [
            "the caffe binary resumes with the first record of the data and other random numbers: "
            "only by pycaffe a resumed run equals one that was not stopped"
        ]
    elif weights := (*solver_models(solver), *plan.weights):
        arguments += ["-weights", _joined(weights)]
    if solver.test_iter and solver.max_iter % solver.test_interval:
        warnings = [
            *warnings,
            f"the caffe binary does not test the last state: max_iter {solver.max_iter} is not a multiple of "
            f"test_interval {solver.test_interval}",
        ]
    job |= {
        "files": {file: text_format.format_fields(sent)},
        "names": _names(plan),
        "arguments": arguments + _gpu_flag(plan.devices),
    }
    return job, warnings


def _binary_net(do: str, plan: NetPlan, install: Install) -> JobFields:
    if plan.inline:
        raise ConfigError(
            f"the caffe binary opens a net by its file, and that of '{plan.path}' is not in one",
            hint=f"write the net to a file of its own, or name a Python that can import caffe by {VARIABLE}",
        )
    arguments = [do, "-model", plan.path, "-iterations", str(plan.iterations), *_gpu_flag(plan.devices)]
    arguments += ["-level", str(plan.level)] if plan.level else []
    arguments += ["-stage", ",".join(plan.stages)] if plan.stages else []
    if len(plan.weights) > 1:
        raise ConfigError(
            f"the caffe binary tests with one file of weights, got {len(plan.weights)}", key="weights",
            hint=f"name a Python that can import caffe by {VARIABLE}",
        )  # fmt: skip
    if plan.weights:
        arguments += ["-weights", plan.weights[0]]
    if (
        do == "time" and plan.net.phase != "TRAIN"
    ):  # older binaries time the net of TRAIN, and have no such flag
        arguments += ["-phase", plan.net.phase]
    return {
        "do": do,
        "files": {},
        "names": {},
        "arguments": arguments,
        "iterations": plan.iterations,
        "types": {x.name: x.type for x in plan.net},
        "hidden": [] if all(map(finite_model, plan.weights)) else list(metrics(plan.net)),
    }


def _gpu_flag(gpus: tuple[int | str, ...]) -> list[str]:
    return ["-gpu", ",".join(map(str, gpus))] if gpus else []


def _joined(weights: tuple[str, ...]) -> str:
    for name in weights:
        if "," in name:
            raise ConfigError(
                f"the caffe binary takes '{name}' for two files: there is a comma in it", key="weights",
                hint="rename it",
            )  # fmt: skip
    return ",".join(weights)


def _require_h5py() -> None:
    import importlib.util

    if importlib.util.find_spec("h5py") is None:
        raise ConfigError(
            "checking snapshots in HDF5 needs h5py", key="snapshot_format",
            hint="pip install 'caffe-netbuilder[data]', or snapshot_format: BINARYPROTO, the default",
        )  # fmt: skip


TRAIN_JOBS = {"pycaffe": _pycaffe_train, "binary": _binary_train}
NET_JOBS = {"pycaffe": _pycaffe_net, "binary": _binary_net}
