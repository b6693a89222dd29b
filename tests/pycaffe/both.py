"""The cases and the scripts, run by real Caffe's Python and by ours: what each of them answers."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from netbuilder.engines.caffe.install import Install, boot, environment

__all__ = ["CASES", "SCRIPTS", "names", "ours", "real"]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CASES = sorted(path.stem for path in (HERE / "cases").glob("cases_*.py"))
SCRIPTS = [[path.name] for path in sorted((HERE / "scripts").glob("[a-z]*.py"))]

FOUND, RESULT = ".found", "result.npz"
BAR = 1e-5  # of the largest value of each array that a script computes

Answers = dict[str, dict[str, Any]]


def names() -> list[str]:
    """The names of all cases, read off their sources."""
    found = []
    for module in CASES:
        source = (HERE / "cases" / f"{module}.py").read_text()
        found += sorted(
            f"{module}.{line[9:].partition('(')[0]}"
            for line in source.splitlines()
            if line.startswith("def case_")
        )
    return found


def job(files: dict[str, bytes], cases: list[str], scripts: list[list[str]]) -> bytes:
    """What the runner reads."""
    content = {f"data/{name}": data for name, data in files.items()}
    for folder in ("cases", "scripts"):
        content.update({f"{folder}/{p.name}": p.read_bytes() for p in (HERE / folder).glob("*.py")})
    encoded = {name: base64.b64encode(data).decode() for name, data in content.items()}
    return json.dumps({"files": encoded, "cases": cases, "scripts": scripts}).encode() + b"\n"


def real(install: Install, sent: bytes) -> Answers:
    """The answers of real Caffe."""
    command, sources = boot(install, str(HERE / "_runner.py"))
    return _answers(command, environment(install), sources + sent)


def ours(sent: bytes) -> Answers:
    """The answers of netbuilder.pycaffe, run by its command."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "netbuilder.pycaffe", "--shadow", str(HERE / "_runner.py")]
    return _answers(command, env, sent)


def differ(real: dict[str, Any], ours: dict[str, Any]) -> str:
    """How what the two have found differs; "" if it does not."""
    if set(real) != set(ours):
        return f"real Caffe gives {sorted(real)}, ours {sorted(ours)}"
    if FOUND in real:
        theirs, own = (json.loads(base64.b64decode(side[FOUND])) for side in (real, ours))
        return _unequal(theirs, own, "")
    if RESULT in real:
        theirs, own = (np.load(io.BytesIO(base64.b64decode(side[RESULT]))) for side in (real, ours))
        if set(theirs) != set(own):
            return f"real Caffe gives {sorted(theirs)}, ours {sorted(own)}"
        return "; ".join(text for name in theirs if (text := _far(name, theirs[name], own[name])))
    return ""


def _far(name: str, theirs: Any, own: Any) -> str:
    """How far an array of a script is from real Caffe's, if that is too far."""
    if theirs.shape != own.shape:
        return f"{name} has shape {theirs.shape} in real Caffe, {own.shape} in ours"
    error = float(np.abs(theirs - own).max() / max(1e-30, np.abs(theirs).max())) if theirs.size else 0.0
    return f"{name} differs by {error:.1e} of its largest value" if error > BAR else ""


def _unequal(theirs: Any, own: Any, where: str) -> str:
    """Where two values differ: numbers by more than 1e-5 of the larger, all else at all."""
    if isinstance(theirs, list) and isinstance(own, list) and len(theirs) == len(own):
        pairs = enumerate(zip(theirs, own, strict=True))
        return next((text for i, (a, b) in pairs if (text := _unequal(a, b, f"{where}[{i}]"))), "")
    if isinstance(theirs, float) and isinstance(own, float):
        near = abs(theirs - own) <= 1e-5 * max(1.0, abs(theirs))
    else:
        near = theirs == own
    return "" if near else f"at {where or 'once'} {str(theirs)[:300]} in real Caffe, {str(own)[:300]} in ours"


def _answers(command: list[str], env: dict[str, str], sent: bytes) -> Answers:
    done = subprocess.run(command, env=env, input=sent, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    return {answer["name"]: answer for answer in map(json.loads, done.stdout.decode().splitlines())}


def main() -> None:
    """Print the failures of both sides: `python -m tests.pycaffe.both [PART OF A NAME]`."""
    from netbuilder.engines.caffe.install import find
    from tests.pycaffe.data import files

    part = sys.argv[1] if len(sys.argv) > 1 else ""
    cases = [case for case in CASES if part in case]
    sent = job(files(), cases, [words for words in SCRIPTS if part in words[0]])
    install = find()
    assert install is not None
    sides = {"real": real(install, sent), "ours": ours(sent)}
    for side, answers in sides.items():
        failed = {name: answer["error"] for name, answer in answers.items() if answer["error"]}
        for name, error in failed.items():
            print(f"--- {side}: {name}\n{error}")
        print(f"{side}: {len(answers) - len(failed)} of {len(answers)} pass")
    for name in sides["real"]:
        if difference := differ(sides["real"][name], sides["ours"][name]):
            print(f"--- {name}: {difference}")


if __name__ == "__main__":
    main()
