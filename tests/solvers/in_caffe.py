"""What real Caffe makes of solver files: each is loaded and solved in a child of one process."""

from __future__ import annotations

import json
import subprocess
from typing import NamedTuple

from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.install import environment

__all__ = ["Verdict", "solve"]

_CHILD = """
import json, os, sys, tempfile
cases = json.load(sys.stdin)
import caffe
caffe.set_mode_cpu()
said = []
for text, files in cases:
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    for name, content in files.items():
        open(name, "w").write(content)
    open("solver.prototxt", "w").write(text)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(os.open("log", os.O_CREAT | os.O_WRONLY), 2)
        solver = caffe.get_solver("solver.prototxt")
        solver.solve()
        nets = [solver.net, *solver.test_nets]
        os.write(writer, json.dumps([[str(n) for n in net._layer_names] for net in nets]).encode())
        os._exit(0)
    os.close(writer)
    layers = b""
    while True:
        part = os.read(reader, 65536)
        if not part:
            break
        layers += part
    status = os.waitpid(child, 0)[1]
    log = open("log", errors="replace").read()
    said.append([status, json.loads(layers or b"[]"), log])
    os.chdir("/")
    os.system("rm -rf " + folder)
print(json.dumps(said))
"""


class Verdict(NamedTuple):
    """Whether Caffe refuses the solver, the layers of its nets (the one to train first), and its log."""

    refused: bool
    layers: list[list[str]]
    log: str


def solve(real_caffe: Caffe, cases: list[tuple[str, dict[str, str]]]) -> list[Verdict]:
    """Solve each solver, in a folder with its files."""
    install = real_caffe.install
    done = subprocess.run(
        [*install.command, "-c", _CHILD], input=json.dumps(cases), env=environment(install),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [Verdict(bool(status), layers, log) for status, layers, log in json.loads(done.stdout)]
