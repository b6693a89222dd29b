"""Real Caffe's solvers in one process, which trains small nets from given parameters or states."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from netbuilder.engines.caffe._messages import pack, receive
from netbuilder.engines.caffe.install import Install, boot, environment

__all__ = ["CaffeSolver", "Trained"]

Array = np.ndarray[Any, Any]


class Trained(NamedTuple):
    """What Caffe has after its steps: `files` are its snapshot.

    `gradients` are those of the last step, and `statistics` the parameters just before its update.
    """

    iteration: int
    params: dict[str, list[Array]]
    gradients: dict[str, list[Array]]
    statistics: dict[str, list[Array]]
    files: dict[str, bytes]

    def file(self, ending: str) -> bytes:
        """The only file of this ending."""
        (content,) = (data for name, data in self.files.items() if name.endswith(ending))
        return content


class CaffeSolver:
    """A running Caffe; a context manager."""

    def __init__(self, install: Install) -> None:
        command, sources = boot(install, "_messages.py", str(Path(__file__).with_name("_solver_worker.py")))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, env=environment(install)
        )
        self._write(sources)

    def __enter__(self) -> CaffeSolver:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._log.close()

    def train(
        self,
        net: str,
        solver: str,
        feeds: Sequence[Mapping[str, Array]],
        *,
        params: Mapping[str, Sequence[Array]] | None = None,
        state: str = "",
        files: Mapping[str, bytes] | None = None,
        passes: int = 0,
    ) -> Trained:
        """One step for each feed. `state` is the name of one of the files, which has the name of another.

        `passes`, the iter_size of the solver, asks for the gradients too.
        """
        texts = {"net.prototxt": net.encode(), "solver.prototxt": solver.encode()}
        named = {**texts, **(files or {})}
        request = {
            "files": {name: np.frombuffer(content, np.uint8) for name, content in named.items()},
            "params": {name: list(arrays) for name, arrays in (params or {}).items()},
            "state": state,
            "feeds": [dict(feed) for feed in feeds],
            "passes": passes,
        }
        self._write(pack(request))
        assert self._process.stdout is not None
        answer = receive(self._process.stdout)
        if answer is None or "error" in answer:
            self._log.seek(0)
            raise RuntimeError(answer and answer["error"], self._log.read().decode()[-2000:])
        contents = {name: content.tobytes() for name, content in answer["files"].items()}
        del answer["files"]
        return Trained(**answer, files=contents)

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()
