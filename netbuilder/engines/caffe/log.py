"""What a line of Caffe's log says: of a training, and of why Caffe ended.

The same lines come from pycaffe and from the binary. What only the binary has is in `binary_log`.
"""

from __future__ import annotations

import re
import signal
from typing import Any, NamedTuple

__all__ = ["GLOG", "Event", "by_signal", "ending", "event_of", "last_error", "last_line", "reason_of"]

# I0102 15:04:05.678901  1234 net.cpp:58] text
GLOG = re.compile(r"^([IWEF])\d{4,8} \d\d:\d\d:\d\d\.\d+ +(\d+) (\S+:\d+)\] (.*)$")
# [libprotobuf ERROR google/protobuf/text_format.cc:309] text
_PROTOBUF = re.compile(r"^\[libprotobuf (?:ERROR|FATAL) \S+\] (.*)$")
_STACK = ("*** ", "    @", "PC: @")
_PLAIN = ("terminate called", "  what()", "free()", "malloc", "double free", "corrupted")

# Iteration 2 (1.5 iter/s, 0.7s/1 iters), loss = 0.25; without the speed up to and including 1.0
_LOSS = re.compile(r"\] Iteration (\d+)(?: \([^)]*\))?, loss = (\S+)")
_RATE = re.compile(r"\] Iteration (\d+), lr = (\S+)")
_OUTPUT = re.compile(r"\]     Train net output #\d+: (.+?) = (\S+)")


class Event(NamedTuple):
    """What a worker says: `kind` is "loss", "rate", "output" (of Caffe's log), or "told" with a dict.

    "written" is the binary's own: Caffe has written the snapshot of this iteration, which has no name yet.
    """

    kind: str
    iteration: int = 0
    value: float = 0.0
    name: str = ""
    told: dict[str, Any] | None = None


def event_of(line: str) -> Event | None:
    """What a line says of the training."""
    if m := _LOSS.search(line):
        return Event("loss", int(m[1]), float(m[2]))
    if m := _RATE.search(line):
        return Event("rate", int(m[1]), float(m[2]))
    if m := _OUTPUT.search(line):
        return Event("output", value=float(m[2]), name=m[1])
    return None


def reason_of(log: str) -> tuple[str, str]:
    """Why Caffe ended, and the source line that said so ("", "" if the log tells nothing)."""
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
        elif last and not line.startswith(_STACK):  # LevelDB says what is wrong on a line of its own
            fatal += f" {line.strip()}"
    # Caffe says only that the file did not parse; protobuf, one line before, says where and why.
    return (parse if parse and "Failed to parse" in fatal else fatal or plain), site


def last_error(log: str) -> str:
    """The last thing that Caffe called an error, which may tell more than what ended it."""
    errors = [glog[4] for line in log.splitlines() if (glog := GLOG.match(line)) and glog[1] == "E"]
    return errors[-1] if errors else ""


def last_line(log: str) -> str:
    """The last line that says something, without glog's head."""
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
