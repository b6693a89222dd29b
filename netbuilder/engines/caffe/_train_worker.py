"""The training worker: trains, tests and times nets in pycaffe, in Caffe's Python.

netbuilder never imports it: its source is sent to the Python that has Caffe (3.7 or newer), which may be in
a root where netbuilder is not installed. The request comes on stdin; stdin then stays open, and its end
means that netbuilder is gone. Events go to stdout, Caffe's log to stderr, and a line with the request's mark
in the log stands for each event, so that both keep their order.

The sources of `_messages.py`, the protocol, `_late_imports.py`, `storage/wire.py`, `storage/temporary.py` and
`_snapshot_files.py` are sent before this one and run in its namespace.
"""

# ruff: noqa: B905 (zip has no `strict` before Python 3.10)
from __future__ import annotations

import base64
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from array import array
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from netbuilder.engines.caffe._late_imports import late_imports
    from netbuilder.engines.caffe._messages import receive, reserve_stdout, send
    from netbuilder.engines.caffe._snapshot_files import Fault, publish, resumable
    from netbuilder.storage.temporary import new_folder

EVENTS = reserve_stdout()  # before the first import that may print

with late_imports():
    import caffe
import numpy as np  # noqa: E402

ANNOUNCEMENT: list[bytes] = []  # the line in the log that stands for an event
_OWN = "@netbuilder-folder@"  # of lists.py
STOP: list[int] = []  # signals that requested a stop


class Gone(Exception):
    """netbuilder has ended, so nobody reads the results."""


class Diverged(Exception):
    """A parameter is not finite."""


def tell(kind: str, **what: Any) -> None:
    """Report an event of training/events.py by the name of its class, or a "Folder" or "Fault"."""
    try:
        os.write(2, ANNOUNCEMENT[0])
        send(EVENTS, {"kind": kind, "fields": what})
    except BrokenPipeError:
        raise Gone from None


def ended() -> bool:
    """Whether a signal requested a stop; raises Gone."""
    if not STOP and select.select([0], [], [], 0)[0] and not os.read(0, 4096):
        raise Gone
    return bool(STOP)


def check_sound(net: Any) -> None:
    """Raise Diverged if a parameter is not finite."""
    for blobs in net.params.values():
        if not all(np.isfinite(blob.data).all() for blob in blobs):
            raise Diverged


def snapshot(solver: Any, job: dict[str, Any]) -> None:
    """Write model and state under temporary names, and rename them when they are complete."""
    check_sound(solver.net)
    tell("Saving", iteration=solver.iter)
    if not os.read(0, 1):  # netbuilder has recorded what came before
        raise Gone
    try:
        solver.snapshot()
    except (OSError, ValueError) as error:
        raise Fault(f"the snapshot of iteration {solver.iter} could not be written: {error}") from None
    model, state = publish(job, solver.iter)
    tell("Snapshot", iteration=solver.iter, model=model, state=state)


# -- training --------------------------------------------------------------------------------------------


def due(job: dict[str, Any], iteration: int) -> bool:
    interval = job["test_interval"]
    return bool(interval) and iteration % interval == 0 and (iteration > 0 or job["test_initialization"])


def outputs(net: Any, metrics: dict[str, str]) -> dict[str, Any]:
    """The outputs; a metric that compares scores which are not finite is nan, where Caffe counts a match."""
    values = {name: np.array(net.blobs[name].data, dtype=np.float64).ravel() for name in net.outputs}
    for name, scores in metrics.items():
        if name in values and not np.isfinite(net.blobs[scores].data).all():
            values[name][:] = np.nan
    return values


def mean_outputs(net: Any, passes: int, metrics: dict[str, str]) -> dict[str, Any] | None:
    """The mean of every output and of the loss over `passes` passes; None if a stop was requested."""
    sums: dict[str, Any] = {}
    loss, reported = 0.0, time.time()
    for k in range(passes):
        if ended():
            return None
        loss += float(net._forward(0, len(net.layers) - 1))
        for name, value in outputs(net, metrics).items():
            sums[name] = sums[name] + value if name in sums else value
        if time.time() - reported > 0.5:
            reported = time.time()
            tell("Testing", done=k + 1, of=passes)
    means = {name: (value / passes).tolist() for name, value in sums.items()}
    return {"outputs": means, "loss": loss / passes, "passes": passes}


def test(solver: Any, job: dict[str, Any]) -> None:
    for i, (net, passes, metrics) in enumerate(zip(solver.test_nets, job["test_iter"], job["metrics"])):
        if passes:
            net.share_with(solver.net)
            result = mean_outputs(net, passes, metrics)
            if result is not None:
                tell("Tested", iteration=solver.iter, net=i, **result)


def replay(solver: Any, job: dict[str, Any], upto: int) -> None:
    """Read the data and draw the random numbers of the earlier iterations, to continue from there."""

    def pick(net: Any) -> list[int]:
        return [i for i, layer in enumerate(net.layers) if layer.type in job["replayed"]]

    train = pick(solver.net)
    tests = [(net, pick(net), passes) for net, passes in zip(solver.test_nets, job["test_iter"])]
    reported = time.time()
    for iteration in range(upto):
        if ended():
            return
        for net, layers, passes in tests if due(job, iteration) else []:
            for _ in range(passes):
                for i in layers:
                    net._forward(i, i)
        for _ in range(job["iter_size"]):
            for i in train:
                solver.net._forward(i, i)
        if time.time() - reported > 0.5:
            reported = time.time()
            tell("Replaying", done=iteration + 1, of=upto)


def train(job: dict[str, Any], folder: str, rank: int, uid: Any) -> None:
    gpus = job["gpus"]
    if len(gpus) > 1:
        caffe.set_solver_count(len(gpus))
        caffe.set_solver_rank(rank)
        caffe.set_multiprocess(True)
    solver = caffe.get_solver(os.path.join(folder, "solver.prototxt"))
    for path in job["weights"]:
        solver.net.copy_from(path)
    if job["state"]:
        state = os.path.join(folder, "resume.solverstate" + (".h5" if job["state"].endswith(".h5") else ""))
        resumable(job["state"], job["model"], state)
        solver.restore(state)
        if job["replay"]:
            replay(solver, job, solver.iter)
    nccl = None
    if len(gpus) > 1:
        nccl = caffe.NCCL(solver, uid)
        nccl.bcast()
        solver.add_callback(nccl)
        if solver.param.layer_wise_reduce:
            solver.net.after_backward(nccl)
    rates = array("f")
    rates.frombytes(base64.b64decode(job["rates"]))
    begin = solver.iter
    if rank == 0:
        tell("Started", iteration=begin, outputs=list(solver.net.outputs))
    try:
        run(solver, job, begin, rates, rank)
    except Diverged:
        tell("Ended", how="diverged", iteration=solver.iter)


def run(solver: Any, job: dict[str, Any], begin: int, rates: Any, rank: int) -> None:
    """The iterations, with the tests and the snapshots that are due."""
    saved = -1
    while solver.iter < job["max_iter"]:
        if rank == 0:
            if ended():
                break
            if due(job, solver.iter):
                test(solver, job)
                if ended():
                    break
        if rates:
            solver.param.base_lr = rates[solver.iter]
        solver.step(1)
        if rank == 0 and job["snapshot"] and solver.iter % job["snapshot"] == 0:
            snapshot(solver, job)
            saved = solver.iter
    if rank:
        return
    check_sound(solver.net)
    done = solver.iter >= job["max_iter"]
    if saved != solver.iter and solver.iter > begin and (job["after_train"] or not done):
        snapshot(solver, job)
    if done and job["test_interval"]:  # the last state is tested even if max_iter is no multiple of it
        test(solver, job)
    tell("Ended", how="done" if done else "stopped", iteration=solver.iter)


# -- testing and timing ----------------------------------------------------------------------------------


def open_net(job: dict[str, Any], folder: str) -> Any:
    phase = caffe.TRAIN if job["phase"] == "TRAIN" else caffe.TEST
    state = {"level": job["level"], "stages": job["stages"]} if job["level"] or job["stages"] else {}
    net = caffe.Net(os.path.join(folder, "net.prototxt"), phase, **state)  # older pycaffe has no states
    for path in job["weights"]:
        net.copy_from(path)
    return net


def evaluate(job: dict[str, Any], folder: str) -> None:
    net = open_net(job, folder)
    result = mean_outputs(net, job["iterations"], job["metrics"])
    if result is None:
        tell("Ended", how="stopped")
    else:
        tell("Tested", iteration=0, net=0, **result)
        tell("Ended", how="done", iteration=job["iterations"])


def compute(job: dict[str, Any], folder: str) -> None:
    """Report blobs after a pass over each of the inputs that follow on stdin, until it ends."""
    net = open_net(job, folder)
    while True:
        try:
            request = receive(sys.stdin.buffer)
        except EOFError:
            request = None
        if request is None:
            return
        for name, values in request["inputs"].items():
            net.blobs[name].data[...] = values
        net._forward(0, len(net.layers) - 1)
        tell("Computed", blobs={name: np.array(net.blobs[name].data) for name in job["blobs"]})


def clock(job: dict[str, Any], folder: str) -> None:
    """Report the seconds of each layer, forward and backward, as lists of `iterations` values."""
    net = open_net(job, folder)
    count = len(net.layers)
    forward: list[list[float]] = [[] for _ in range(count)]
    backward: list[list[float]] = [[] for _ in range(count)]
    if count and net.layers[0].type == "MemoryData":
        shapes = [net._blobs[i].shape for i in net._top_ids(0)]
        fed = [np.zeros(tuple(shapes[0]), np.float32), np.zeros((shapes[0][0], 1, 1, 1), np.float32)]
        net.set_input_arrays(*fed)
    net._forward(0, count - 1)  # the first pass allocates memory
    net._backward(count - 1, 0)
    for k in range(job["iterations"]):
        if ended():
            tell("Ended", how="stopped", iteration=k)
            return
        for i in range(count):
            start = time.perf_counter()
            net._forward(i, i)
            forward[i].append(time.perf_counter() - start)
        for i in reversed(range(count)):
            start = time.perf_counter()
            net._backward(i, i)
            backward[i].append(time.perf_counter() - start)
        tell("Timing", done=k + 1, of=job["iterations"])
    names = list(net._layer_names)
    layers = [(n, x.type, f, b) for n, x, f, b in zip(names, net.layers, forward, backward)]
    tell("Timed", layers=layers)
    tell("Ended", how="done", iteration=job["iterations"])


def fork_ranks(gpus: list[int]) -> tuple[int, Any, list[int]]:
    """Fork one process per device, as BVLC's train.py does: rank, NCCL's id, and rank 0's children."""
    if len(gpus) < 2:
        return 0, None, []
    if not hasattr(getattr(caffe, "NCCL", None), "new_uid"):  # without NCCL the class may exist, empty
        raise Fault("this Caffe has no NCCL, which several GPUs need: train on one")
    uid = caffe.NCCL.new_uid()
    children = []
    for rank in range(1, len(gpus)):
        child = os.fork()
        if not child:
            import ctypes

            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: do not outlive rank 0
            return rank, uid, []
        children.append(child)
    return 0, uid, children


def go_to(directory: Any, visible: list[str]) -> None:
    """Change to the user's folder, so that relative names mean the same here; Fault if it is missing.

    `directory` is its path or, inside a root, a file descriptor of the folder outside.
    """
    try:
        os.chdir(directory)
    except OSError:
        raise Fault(f"the Python that has Caffe does not see the folder '{directory}': mount it") from None
    for path in visible:
        if not os.path.exists(path):
            raise Fault(f"the Python that has Caffe does not see '{path}', which is there: mount it")


def quoted(text: str) -> str:
    """A string literal for a prototxt."""
    plain = [chr(b) if 32 <= b < 127 and b not in b'"\\' else f"\\{b:03o}" for b in os.fsencode(text)]
    return '"' + "".join(plain) + '"'


def write_files(job: dict[str, Any], folder: str) -> None:
    """Write the files of a job; the solver names the nets, which are in the same folder.

    `_OWN` stands for a folder that a snapshot may name: of a training, `publish` makes its name the same.
    """
    own = os.path.dirname(job.get("partial", "")) or folder
    named = [f"{field}: {quoted(os.path.join(folder, name))}\n" for field, name in job["nets"]]
    for name, text in job["files"].items():
        text = text.replace(_OWN, own) + "".join(named if name == "solver.prototxt" else ())
        path = name.replace(_OWN, own) if _OWN in name else os.path.join(folder, name)
        with open(path, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))


def main() -> None:
    try:
        job = receive(sys.stdin.buffer)
    except EOFError:
        job = None
    if job is None:
        return
    ANNOUNCEMENT.append(job["mark"].encode())
    try:
        go_to(job["directory"], job["visible"])
        # In a root the current directory has no name, so "" would lead nowhere.
        sys.path[:] = [path for path in sys.path if path] + job["python"]
    except Fault as error:
        tell(
            "Fault",
            text=str(error),
            hint="a container sees what is mounted: -v FOLDER:FOLDER, by the same name",
        )
        os._exit(0)
    signal.signal(signal.SIGINT, lambda number, frame: STOP.append(number))
    folder = new_folder(tempfile.gettempdir(), "netbuilder-train", 0o700)
    tell("Folder", path=folder)
    children: list[int] = []
    rank = 0
    try:
        write_files(job, folder)
        rank, uid, children = fork_ranks(job["gpus"])
        if job["gpus"]:
            caffe.set_mode_gpu()
            caffe.set_device(job["gpus"][rank])
        else:
            caffe.set_mode_cpu()
        {"train": lambda: train(job, folder, rank, uid), "test": lambda: evaluate(job, folder),
         "time": lambda: clock(job, folder),
         "compute": lambda: compute(job, folder)}[job["do"]]()  # fmt: skip
    except Gone:
        pass
    except Exception as error:
        said = str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"
        try:
            tell("Fault", text=said, hint="")
        except Gone:
            pass
    finally:
        for child in children:
            try:
                os.kill(child, signal.SIGKILL)
            except OSError:
                pass
        if rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)  # skip the destructors of Caffe's threads


if __name__ == "__main__":
    main()
