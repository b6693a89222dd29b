"""Real Caffe as a judge: load a net in it, run it, and learn why it refuses one.

Caffe aborts its process on every failed check, and needs another Python. So it always runs in a subprocess,
the worker (`_judge_worker.py`), which forks a child for each net. `find` chooses the Caffe.

    >>> with Caffe() as caffe:                                              # doctest: +SKIP
    ...     caffe.load('layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }').blobs
    {'x': (2,)}

`python -m netbuilder.engines.caffe` prints which Caffe would be used, or why there is none.
See docs/real-caffe.md.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from netbuilder.engines.caffe._messages import BadMessage, pack, receive
from netbuilder.engines.caffe.install import (
    INSTALL_COMMAND,
    VARIABLE,
    Install,
    binary_version,
    boot,
    default_root,
    environment,
    find,
    how_to_get,
    missing,
)
from netbuilder.engines.caffe.log import by_signal, ending, last_line, reason_of
from netbuilder.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

__all__ = [
    "INSTALL_COMMAND",
    "VARIABLE",
    "Caffe",
    "CaffeRefused",
    "Install",
    "LoadedLayer",
    "LoadedNet",
    "RunResult",
    "default_root",
    "find",
    "missing",
]

Shape = tuple[int, ...]

_MODULES = ("_messages.py", "_late_imports.py", "../../storage/temporary.py", "_judge_worker.py")


class CaffeRefused(EngineError):
    """Caffe ended its process over a net: a failed check, a parse error, or a crash.

    `reason` is the line that says why, `site` the Caffe source line that logged it ("eltwise_layer.cpp:34"),
    `layer` the layer created last, `signal` the name of the signal that ended Caffe, `log` its output.
    """

    def __init__(self, reason: str, *, log: str, site: str = "", layer: str = "", signal: str = "") -> None:
        super().__init__(f"Caffe refuses the net: {reason}", where=site and f"{site} in Caffe")
        self.reason = reason
        self.log = log
        self.site = site
        self.layer = layer
        self.signal = signal


# --- what it answers --------------------------------------------------------------------


@dataclass(frozen=True)
class LoadedLayer:
    """A layer as Caffe made it; `params` are the shapes of its stored blobs."""

    name: str
    type: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    top_shapes: tuple[Shape, ...]
    params: tuple[Shape, ...]


@dataclass(frozen=True)
class LoadedNet:
    """A net as Caffe made it, with the Split layers that Caffe inserts.

    `outputs` are in Caffe's order, which is alphabetical. `loss_weights` has the blobs whose weight is not 0.
    `need_backward` says of each layer whether its gradient is computed, as Caffe logs it: `force_backward`,
    which asks for all of them, is not in it.
    """

    layers: tuple[LoadedLayer, ...]
    blobs: dict[str, Shape]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    loss_weights: dict[str, float]
    need_backward: tuple[bool, ...]

    def layers_as_written(self) -> tuple[LoadedLayer, ...]:
        """The layers of the file: without the Splits that Caffe inserted, and with the file's blob names."""
        from dataclasses import replace

        original: dict[str, str] = {}
        kept = []
        for layer in self.layers:
            if _is_inserted(layer):
                original.update(dict.fromkeys(layer.tops, layer.bottoms[0]))
            else:
                kept.append(replace(layer, bottoms=tuple(original.get(b, b) for b in layer.bottoms)))
        return tuple(kept)


def _is_inserted(layer: LoadedLayer) -> bool:
    """True for a Split that Caffe inserted, by its name: `<blob>_<layer>_<j>_split`, tops `<name>_<k>`."""
    if layer.type != "Split" or not re.fullmatch(re.escape(layer.bottoms[0]) + r"_.*_\d+_split", layer.name):
        return False
    return layer.tops == tuple(f"{layer.name}_{k}" for k in range(len(layer.tops)))


def _need_backward(log: str, layers: int) -> tuple[bool, ...]:
    """What Caffe logs of each layer, last layer first; inner nets of recurrent layers come before."""
    said = re.findall(r"\] .* (needs|does not need) backward computation\.$", log, re.MULTILINE)
    return tuple(word == "needs" for word in reversed(said[len(said) - layers :]))


@dataclass(frozen=True)
class RunResult:
    """The results of a pass: blobs by name, params by layer name, all float32.

    `params` (their values after the pass) is filled by fetch_params or backward, the two diffs by backward.
    """

    loss: float
    outputs: dict[str, Array]
    params: dict[str, list[Array]] = field(default_factory=dict)
    diffs: dict[str, Array] = field(default_factory=dict)
    param_diffs: dict[str, list[Array]] = field(default_factory=dict)


# --- the worker -------------------------------------------------------------------------


class Caffe:
    """A running Caffe; a context manager, and safe to use from several threads (one request at a time).

    `timeout` is the default limit for a request, in seconds; after that the worker is killed.
    """

    def __init__(self, install: Install | None = None, *, timeout: float = 300) -> None:
        found = install or find()
        if found is None:
            raise EngineError(missing(), hint=how_to_get())
        if found.kind != "pycaffe":
            raise EngineError(
                f"{found} is the caffe binary, and asking about nets needs pycaffe",
                hint=f"name a Python that can import caffe by {VARIABLE}",
            )
        self.install = found
        self.timeout = timeout
        self.version = ""
        self.layer_types: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._folder: Path | None = None
        self._lock = threading.Lock()
        _OPEN.add(self)

    def __enter__(self) -> Caffe:
        with self._lock:
            self._start(self.timeout)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Caffe({self.install})"

    @property
    def pid(self) -> int | None:
        """The worker's process, or None while there is none (before the first request, after a timeout)."""
        return self._process.pid if self._process else None

    def load(
        self,
        text: str,
        *,
        phase: str = "TEST",
        level: int = 0,
        stages: Sequence[str] = (),
        files: Mapping[str, bytes] | None = None,
        timeout: float | None = None,
    ) -> LoadedNet:
        """Build the net of a prototxt and return its layers and shapes. Raises CaffeRefused if Caffe aborts.

        `files` are put into Caffe's working folder by relative name, as sources of data layers.
        """
        request = self._request("load", text, phase, level, stages, files)
        answer = self._ask(request, timeout)
        layers = tuple(
            LoadedLayer(
                name=layer["name"],
                type=layer["type"],
                bottoms=tuple(layer["bottoms"]),
                tops=tuple(layer["tops"]),
                top_shapes=tuple(map(tuple, layer["top_shapes"])),
                params=tuple(map(tuple, layer["params"])),
            )
            for layer in answer["layers"]
        )
        return LoadedNet(
            layers=layers,
            blobs={name: tuple(shape) for name, shape in answer["blobs"]},
            inputs=tuple(answer["inputs"]),
            outputs=tuple(answer["outputs"]),
            loss_weights=dict(answer["loss_weights"]),
            need_backward=_need_backward(answer["log"], len(layers)),
        )

    def run(
        self,
        text: str,
        *,
        phase: str = "TEST",
        level: int = 0,
        stages: Sequence[str] = (),
        files: Mapping[str, bytes] | None = None,
        inputs: Mapping[str, Any] | None = None,
        params: Mapping[str, Sequence[Any]] | None = None,
        outputs: Sequence[str] | None = None,
        backward: bool = False,
        fetch_params: bool = False,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> RunResult:
        """Build the net, set `params` (all of a layer's), feed `inputs`, run forward and, if asked, backward.

        Inputs are the net's input blobs, which take the arrays' shapes, or the two tops of a MemoryData layer
        that comes first. `outputs` names the blobs to return (None: the net's outputs). `seed` fixes fillers
        and Dropout. Raises EngineError for a missing layer or blob, or a shape that does not fit.
        """
        import numpy as np

        def array(value: Any) -> Array:
            return np.asarray(value, dtype=np.float32)

        request = {
            **self._request("run", text, phase, level, stages, files),
            "inputs": {name: array(value) for name, value in (inputs or {}).items()},
            "params": {name: [array(value) for value in many] for name, many in (params or {}).items()},
            "outputs": None if outputs is None else list(outputs),
            "backward": backward,
            "fetch_params": fetch_params or backward,
            "seed": seed,
        }
        answer = self._ask(request, timeout)
        del answer["log"]
        return RunResult(**answer)

    def close(self) -> None:
        """End the worker; the next request starts a new one."""
        with self._lock:
            self._end(grace=5)

    @staticmethod
    def _request(
        do: str, text: str, phase: str, level: int, stages: Sequence[str], files: Mapping[str, bytes] | None
    ) -> dict[str, Any]:
        if phase not in ("TRAIN", "TEST"):
            raise EngineError(f"a phase is TRAIN or TEST, not {phase!r}")
        for name in files or {}:
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise EngineError(f"file {name!r} must lie below Caffe's working folder")
        return {
            "do": do,
            "text": text,
            "phase": phase,
            "level": level,
            "stages": list(stages),
            "files": _arrays(files or {}),
        }

    def _ask(self, request: dict[str, Any], timeout: float | None) -> dict[str, Any]:
        limit = self.timeout if timeout is None else timeout
        with self._lock:
            if self._process is not None and self._process.poll() is not None:
                raise self._death(f"ended between two requests ({ending(self._process.returncode)})")
            self._start(limit)
            assert self._log is not None
            # The worker writes through a copy of our descriptor, which shares its position.
            self._log.seek(0)
            self._log.truncate()
            answer = self._exchange(pack(request), limit)
            self._log.seek(0)
            answer["log"] = log = self._log.read().decode("utf-8", "replace")
        if "died" in answer:
            raise _death(answer["died"], log, f"died ({ending(answer['died'])})")
        if "error" in answer:
            raise EngineError(f"Caffe cannot do that: {answer['error']}")
        return answer

    def _start(self, limit: float) -> None:
        """Start the worker unless it is running, and wait until it has imported Caffe."""
        if self._process is not None:
            return
        command, sources = boot(self.install, *_MODULES)
        self._log = tempfile.TemporaryFile(buffering=0, prefix="netbuilder-caffe-log-")  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment(self.install),
                start_new_session=True,  # so that it can be killed with the child that has the net
            )
        except OSError as error:
            self._end()
            raise EngineError(f"{self.install} does not start: {error}") from None
        hello = self._exchange(sources, limit, starting=True)
        self.version = hello["version"]
        self.layer_types = tuple(hello["layer_types"])
        self._folder = (self.install.root or Path("/")) / hello["folder"].lstrip("/")

    def _exchange(self, sent: bytes, limit: float, *, starting: bool = False) -> dict[str, Any]:
        """Write to the worker and read one message; end the worker on any error."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Event()

        def stop() -> None:
            late.set()
            _kill(process)

        # Killing the worker ends any write or read that waits for it.
        timer = threading.Timer(limit, stop)
        timer.daemon = True
        timer.start()
        try:
            process.stdin.write(sent)
            process.stdin.flush()
            answer = receive(process.stdout)
        except (BrokenPipeError, EOFError):
            answer = None
        except BadMessage as error:
            self._end()
            raise EngineError(f"{self.install} answers with {error}", hint="see docs/real-caffe.md") from None
        except BaseException:
            self._end()  # interrupted inside a message: the rest of the pipe would be misread
            raise
        finally:
            timer.cancel()
        if answer is not None:
            return answer
        if late.is_set():
            log = self._end()
            raise EngineError(f"Caffe was stopped: no answer within {limit:g} s", hint=last_line(log))
        process.wait()
        if starting:
            log, code = self._end(), process.returncode
            reason = last_line(log) or ending(code)
            raise EngineError(f"{self.install} does not start: {reason}", hint="see docs/real-caffe.md")
        raise self._death(f"died ({ending(process.returncode)})")

    def _death(self, what: str) -> EngineError:
        """The error for a worker that has ended; cleans up, so that the next request starts a new one."""
        assert self._process is not None
        code = self._process.returncode
        return _death(code, self._end(), what)

    def _end(self, grace: float = 0) -> str:
        """End the worker (politely first, with `grace` seconds), clean up and return its log."""
        process, log, folder = self._process, self._log, self._folder
        self._process = self._log = self._folder = None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.close()
            except BrokenPipeError:
                pass
            try:
                process.wait(grace) if grace else _kill(process)
            except subprocess.TimeoutExpired:
                _kill(process)
            process.wait()
            process.stdout.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # after an abort the worker could not
        if log is None:
            return ""
        with log:
            log.seek(0)
            return log.read().decode(errors="replace")


_OPEN: weakref.WeakSet[Caffe] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """End the workers of those that were not closed, with their pipes, logs and folders."""
    for caffe in list(_OPEN):
        caffe.close()


def _death(code: int, log: str, what: str) -> EngineError:
    """The error for a worker, or the child that has the net, that ended with this status."""
    by = by_signal(code)
    if by in ("SIGABRT", "SIGFPE", "SIGSEGV", "SIGBUS", "SIGILL"):
        reason, site = reason_of(log)
        made = re.findall(r"Creating [Ll]ayer (.*)", log)
        return CaffeRefused(
            reason or f"it crashed by {by}", log=log, site=site, layer=made[-1] if made else "", signal=by
        )
    hint = "it was killed from outside, perhaps for its memory" if by == "SIGKILL" else last_line(log)
    return EngineError(f"the Caffe worker {what}", hint=hint)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a worker and the child that has the net."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def _arrays(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The contents of files as arrays of bytes."""
    if not files:
        return {}
    import numpy as np

    return {name: np.frombuffer(content, np.uint8) for name, content in files.items()}


def main() -> int:
    """Print which Caffe is used; return 0 if there is one, 1 if not, 2 if NETBUILDER_CAFFE is unusable."""
    try:
        install = find()
        if install is None:
            print(f"{missing()}; {how_to_get()}")
            return 1
        if install.kind == "binary":
            print(f"{install}: the binary, version {binary_version(install.command)}")
            return 0
        with Caffe(install) as caffe:
            print(f"{install}: version {caffe.version}, {len(caffe.layer_types)} layer types")
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
