"""The process in which Caffe trains: started, listened to, stopped; and why it died, in plain words."""

from __future__ import annotations

import collections
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from netbuilder.engines.caffe import _ending, _reason
from netbuilder.engines.caffe_install import INSTALL_COMMAND, Install, environment, find, missing
from netbuilder.errors import EngineError

__all__ = ["Event", "Worker", "found", "plain_reason"]

_MARK = b"@netbuilder "
_KEPT = 2000  # lines of the log in which the reason of an end is looked for
_GRACE = 10.0  # seconds that a process has to end after a fatal line

# I0102 15:04:05.678901  1234 solver.cpp:239] Iteration 2 (1.5 iter/s, 0.7s/1 iters), loss = 0.25
_LOSS = re.compile(r"\] Iteration (\d+)(?: \([^)]*\))?, loss = (\S+)")
_RATE = re.compile(r"\] Iteration (\d+), lr = (\S+)")
_OUTPUT = re.compile(r"\]     Train net output #\d+: (\S+) = (\S+)")


_FATAL = re.compile(r"F\d{4,8} \d\d:\d\d:\d\d")


class Event(NamedTuple):
    """What the worker says: `kind` is "loss", "rate", "output" (of Caffe's log), or "told" with a dict."""

    kind: str
    iteration: int = 0
    value: float = 0.0
    name: str = ""
    told: dict[str, Any] | None = None


def found() -> Install:
    """The Caffe to use; raises EngineError if there is none."""
    install = find()
    if install is None:
        raise EngineError(missing(), hint=f"install it by `{INSTALL_COMMAND}`; see docs/real-caffe.md")
    return install


class Worker:
    """A running worker; a context manager that leaves no process behind.

    `log` takes Caffe's own lines. Iterating gives the events until the process ends; EngineError if it did
    not end as it should.
    """

    def __init__(
        self, install: Install, job: dict[str, Any], log: IO[bytes] | None = None, threads: int = 1
    ) -> None:
        source = Path(__file__).with_name("_caffe_train_worker.py").read_bytes()
        boot = (
            "import sys; stdin = sys.stdin.buffer; source = stdin.read(int(stdin.readline())); "
            "exec(compile(source, 'caffe_train_worker.py', 'exec'))"
        )
        self._log = log
        self._root = install.root or Path("/")
        self._folder: Path | None = None
        self._tail: collections.deque[str] = collections.deque(maxlen=_KEPT)
        # A chroot keeps what was opened before: the folder that we are in stays reachable, by relative names.
        directory = os.open(".", os.O_RDONLY) if install.root is not None else None
        env = environment(install)
        if threads > 1:
            env.update(OMP_NUM_THREADS=str(threads), OPENBLAS_NUM_THREADS=str(threads))
        try:
            self._process = subprocess.Popen(
                [*install.command, "-c", boot],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=env,
                pass_fds=() if directory is None else (directory,),
                start_new_session=True,  # Ctrl-C is for us, and we tell it
            )
        except OSError as error:
            raise EngineError(f"{install} does not start: {error}") from None
        finally:
            if directory is not None:
                os.close(directory)
        assert self._process.stdin is not None
        line = json.dumps({**job, "directory": directory}).encode()
        try:
            self._process.stdin.write(b"%d\n%s%s\n" % (len(source), source, line))
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died; its log says why

    @property
    def pid(self) -> int:
        """The process that Caffe runs in."""
        return self._process.pid

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stderr):
            if stream is not None:
                stream.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)  # after an abort the worker could not

    def stop(self) -> None:
        """Ask it to end after this iteration, with a snapshot."""
        self._signal(signal.SIGINT, group=False)

    def kill(self) -> None:
        """End it now, and what it started."""
        self._signal(signal.SIGKILL, group=True)

    def _signal(self, number: int, *, group: bool) -> None:
        if self._process.poll() is None:
            try:
                (os.killpg if group else os.kill)(self._process.pid, number)
            except ProcessLookupError:
                pass

    def __iter__(self) -> Iterator[Event]:
        assert self._process.stderr is not None
        ended = False
        for raw in self._process.stderr:
            if raw.startswith(_MARK):
                told = json.loads(raw[len(_MARK) :])
                if "folder" in told:
                    self._folder = self._root / told["folder"].lstrip("/")
                    continue
                if "fault" in told:
                    raise EngineError(told["fault"])
                ended = ended or "end" in told
                yield Event("told", told=told)
                continue
            if self._log is not None:
                self._log.write(raw)
            line = raw.decode(errors="replace").rstrip("\n")
            self._tail.append(line)
            if _FATAL.match(line):
                # With several GPUs the other processes would wait for the one that ended.
                timer = threading.Timer(_GRACE, self.kill)
                timer.daemon = True
                timer.start()
            event = _event(line)
            if event is not None:
                yield event
        code = self._process.wait()
        if not ended:
            raise _death(code, "\n".join(self._tail))


def _event(line: str) -> Event | None:
    """What a line of Caffe's log says of the training."""
    if m := _LOSS.search(line):
        return Event("loss", int(m[1]), float(m[2]))
    if m := _RATE.search(line):
        return Event("rate", int(m[1]), float(m[2]))
    if m := _OUTPUT.search(line):
        return Event("output", value=float(m[2]), name=m[1])
    return None


# -- why it died -----------------------------------------------------------------------------------------

# Caffe's words, what they mean (with the groups of the match), and what to do.
_MEANINGS = (
    (
        r"Cannot use GPU in CPU-only Caffe",
        "this Caffe is built for CPUs only, and a GPU was asked for",
        "leave --gpu and solver_mode: GPU out, or name a Caffe with CUDA by NETBUILDER_CAFFE",
    ),
    (
        r"error == cudaSuccess \(2 vs\. 0\)",
        "the GPU has too little memory",
        "make batch_size smaller, and iter_size larger",
    ),
    (
        r"error == cudaSuccess \((?:38|100) vs\. 0\)",
        "there is no GPU that CUDA can use",
        "leave --gpu out to train on the CPU",
    ),
    (
        r"error == cudaSuccess \((?:10|101) vs\. 0\)",
        "there is no GPU of that number",
        "`nvidia-smi -L` lists them",
    ),
    (r"error == cudaSuccess \((\d+) vs\. 0\) +(.*)", "CUDA failed: {1} (error {0})", ""),
    (
        r"mdb_status == 0 \(2 vs\. 0\)",
        "a database of the net is not there",
        "netbuilder data makes one; names are relative to the folder that one is in",
    ),
    (
        r"mdb_status == 0 \((\S+) vs\. 0\) *(.*)",
        "a database of the net cannot be read: {1}",
        "it may be broken: make it anew",
    ),
    (
        r"Cannot copy param (\d+) weights from layer '(.*)'; shape mismatch\. +Source param shape is (.*?);"
        r" target param shape is (.*?)\.",
        "the weights do not fit: param {0} of layer '{1}' is {2} in the file and {3} in the net",
        "`netbuilder diff` tells what differs; rename a layer whose weights should not be taken",
    ),
    (
        r"Incompatible number of blobs for layer (.*)",
        "the weights do not fit: layer '{0}' has another number of params",
        "`netbuilder diff` tells what differs; rename a layer whose weights should not be taken",
    ),
    (
        r"SerializeToOstream",
        "Caffe cannot write a snapshot: the disk is full, or the file may not grow so large",
        "make room, then --resume latest goes on from the last snapshot that is whole",
    ),
    (r"Unknown learning rate policy: (.*)", "Caffe has no lr_policy '{0}'", ""),
    (r"File not found: (.*)", "Caffe does not find the file '{0}'", ""),
)


def plain_reason(reason: str) -> tuple[str, str]:
    """What a reason of Caffe's means, in plain words, and what to do ("", "" if it is plain enough)."""
    for pattern, meaning, hint in _MEANINGS:
        m = re.search(pattern, reason)
        if m:
            return meaning.format(*(g or "" for g in m.groups())), hint
    return "", ""


def _death(code: int, log: str) -> EngineError:
    """The error for a worker that did not end as it should."""
    by = signal.Signals(-code).name if code < 0 else ""
    reason, site = _reason(log)
    if by == "SIGKILL" and not reason:
        return EngineError(
            "Caffe was killed (SIGKILL), by hand or by the kernel for its memory",
            hint="`dmesg` names a process that the kernel killed; a smaller batch_size takes less memory; "
            "--resume latest goes on from the last snapshot",
        )
    made = re.findall(r"Creating [Ll]ayer (.*)", log)
    layer = (
        f", at layer '{made[-1]}'"
        if made and "Network initialization done" not in log[log.rfind(made[-1]) :]
        else ""
    )
    plain, hint = plain_reason(reason)
    where = f"{site} in Caffe{layer}" if site else layer.removeprefix(", ")
    if plain:
        return EngineError(plain, where=f"{where}: {reason}" if where else reason, hint=hint)
    if reason:
        return EngineError(f"Caffe ended itself: {reason}", where=where)
    last = next(
        (line for line in reversed(log.splitlines()) if line.strip() and not line.startswith("*** ")), ""
    )
    hint = "a label that is out of range crashes Caffe, for one" if by in ("SIGSEGV", "SIGBUS") else last
    return EngineError(f"Caffe died ({by or _ending(code)})", where=where, hint=hint)
