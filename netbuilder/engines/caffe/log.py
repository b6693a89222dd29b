"""Lines of Caffe's log: the progress of a training, and why Caffe ended.

pycaffe and the binary print the same lines; `binary_log` reads those that only the binary prints.
"""

from __future__ import annotations

import re
import signal

from netbuilder.training.events import Iteration

__all__ = [
    "COUNT",
    "GLOG",
    "NUMBER",
    "OUTPUT",
    "Displayed",
    "IterationLog",
    "by_signal",
    "ending",
    "last_error",
    "last_line",
    "reason_of",
    "serious",
]

# I0102 15:04:05.678901  1234 net.cpp:58] text
GLOG = re.compile(r"^([IWEF])\d{4,8} \d\d:\d\d:\d\d\.\d+ +(\d+) (\S+:\d+)\] (.*)$")
# [libprotobuf ERROR google/protobuf/text_format.cc:309] text
_PROTOBUF = re.compile(r"^\[libprotobuf (?:ERROR|FATAL) \S+\] (.*)$")
_STACK = ("*** ", "    @", "PC: @")
_PLAIN = ("terminate called", "  what()", "free()", "malloc", "double free", "corrupted")

# Old formats that are upgraded; a GPU that a build with CUDA does not find, and does not need.
_HARMLESS = ("upgrade_proto.cpp:", "common.cpp:")

# A number as C++ prints it, and a whole one. Names that are logged may hold anything, lines of a log too, so
# nothing else may reach float() and int().
NUMBER = r"[-+]?(?:nan|inf|\d+(?:\.\d*)?(?:e[-+]?\d+)?)"
COUNT = r"\d{1,10}"
# NAME = 0.5, or NAME = 0.5 (* 2 = 1 loss); the name may contain anything, " = 1" too
OUTPUT = re.compile(rf"(.+?) = ({NUMBER})(?: \(\* {NUMBER} = {NUMBER} loss\))?", re.DOTALL)

# Iteration 2 (1.5 iter/s, 0.7s/1 iters), loss = 0.25; without the speed up to and including 1.0
_LOSS = re.compile(rf"\] Iteration ({COUNT})(?: \([^)]*\))?, loss = ({NUMBER})")
_RATE = re.compile(rf"\] Iteration ({COUNT}), lr = ({NUMBER})")
_OUTPUT = re.compile(r"\]     Train net output #\d+: (.*)$", re.DOTALL)


class IterationLog:
    """Iterations from Caffe's log: the loss, then the outputs, then the rate, each on a separate line."""

    def __init__(self) -> None:
        self._loss = float("nan")
        self._outputs: dict[str, float] = {}

    def take(self, line: str) -> Iteration | None:
        """The iteration that a line completes."""
        if m := _LOSS.search(line):
            self._loss, self._outputs = float(m[2]), {}
        elif m := _RATE.search(line):
            return Iteration(int(m[1]), self._loss, float(m[2]), self._outputs)
        elif (m := _OUTPUT.search(line)) and (output := OUTPUT.fullmatch(m[1])):
            self._outputs.setdefault(output[1], float(output[2]))
        return None


class Displayed:
    """Which lines of a training's log to keep: of the iterations, those that the solver displays.

    Caffe is told to display each one, because netbuilder follows the loss.
    """

    def __init__(self, display: int, last: int) -> None:
        self._display, self._last = display or 100, last
        self._keeps = True

    def keeps(self, line: str) -> bool:
        """Whether to keep the next line."""
        if m := _LOSS.search(line):
            iteration = int(m[1])
            self._keeps = iteration % self._display == 0 or iteration == self._last
        elif not self._keeps:
            return not (_OUTPUT.search(line) or _RATE.search(line))
        return self._keeps


def reason_of(log: str) -> tuple[str, str]:
    """Why Caffe ended, and the source line that logged it ("", "" if the log does not say)."""
    parse, fatal, site, plain = "", "", "", ""
    last = False
    for line in log.splitlines():
        protobuf, glog = _PROTOBUF.match(line), GLOG.match(line)
        if protobuf:
            parse = protobuf[1]
        elif glog:
            last = glog[1] == "F"
            if last:
                site, fatal = glog[3], glog[4]
        elif line.startswith(_PLAIN):
            plain = f"{plain} {line.strip()}".strip()
        elif last and not line.startswith(_STACK):  # LevelDB reports its error on a separate line
            fatal += f" {line.strip()}"
    # Caffe reports only that the file did not parse; protobuf, one line earlier, says where and why.
    return (parse if parse and "Failed to parse" in fatal else fatal or plain), site


def serious(line: str) -> str:
    """What a line of the log says, if it is an error; "" if it is none, or one after which all is well."""
    glog = GLOG.match(line)
    if glog is None or glog[1] != "E" or glog[3].startswith(_HARMLESS):
        return ""
    return f"{glog[4]} ({glog[3]})"


def last_error(log: str) -> str:
    """The last line that Caffe logged as an error, which may explain more than the fatal one."""
    errors = [glog[4] for line in log.splitlines() if (glog := GLOG.match(line)) and glog[1] == "E"]
    return errors[-1] if errors else ""


def last_line(log: str) -> str:
    """The last line with content, without glog's prefix."""
    lines = [line for line in log.splitlines() if line.strip() and not line.startswith(_STACK)]
    if not lines:
        return ""
    glog = GLOG.match(lines[-1])
    return glog[4] if glog else lines[-1].strip()


def by_signal(code: int) -> str:
    """The name of the signal that ended a process, "" if none did; a shell and docker say 128 + number."""
    try:
        return signal.Signals(-code if code < 0 else code - 128).name
    except ValueError:
        return ""


def ending(code: int) -> str:
    """How a process ended, in two words."""
    return by_signal(code) or f"exit status {code}"
