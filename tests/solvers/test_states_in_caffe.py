"""The layers of a solver's nets, for random states and rules: those of real Caffe's solver."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from netbuilder.engines.caffe import Caffe
from netbuilder.prototxt.reader import read_net
from netbuilder.prototxt.solver_file import parse_solver
from tests.solvers.in_caffe import solve
from tests.solvers.test_checks_in_caffe import NET

_RULES = (
    "phase: TRAIN",
    "phase: TEST",
    "min_level: 1",
    "max_level: 1",
    'stage: "a"',
    'stage: "b"',
    'not_stage: "a"',
)
_STATES = ("level: 0", "level: 1", "level: 2", 'stage: "a"', 'stage: "b"')


def _some(rng: random.Random, parts: tuple[str, ...], most: int) -> str:
    chosen = rng.sample(parts, rng.randint(0, most))
    levels = [part for part in chosen if "level: " in part][:1]
    return " ".join([*levels, *(part for part in chosen if "level: " not in part)])


def _net(rng: random.Random) -> str:
    layers = []
    for i in range(5):
        rule = f"{rng.choice(('include', 'exclude'))} {{ {_some(rng, _RULES, 2)} }}"
        more = rule.replace(rule.split("{")[1], f" {_some(rng, _RULES, 1)} }}") if rng.random() < 0.3 else ""
        layers.append(f'layer {{ name: "p{i}" type: "Power" bottom: "y" top: "p{i}" {rule} {more} }}\n')
    state = f"state {{ {_some(rng, _STATES, 2)} }}\n" if rng.random() < 0.4 else ""
    return state + NET + "".join(layers)


def _solver(rng: random.Random, net: str) -> str:
    tests = rng.randint(0, 2)
    lines = ['base_lr: 0.1 lr_policy: "fixed" max_iter: 0 test_interval: 1']
    lines += ["test_iter: 1"] * tests
    if rng.random() < 0.7:
        lines.append(f"train_state {{ {_some(rng, _STATES, 3)} }}")
    if rng.random() < 0.7:
        lines += [f"test_state {{ {_some(rng, _STATES, 3)} }}" for _ in range(tests)]
    rng.shuffle(lines)
    named = 'net: "n.prototxt"' if rng.random() < 0.5 else f"net_param {{\n{net}}}"
    return "\n".join([*lines, named, ""])


def test_the_nets_of_a_solver_have_the_layers_that_real_caffe_gives_them(
    real_caffe: Caffe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cases = []
    for seed in range(4):
        rng = random.Random(seed)
        net = _net(rng)
        cases += [(_solver(rng, net), {"n.prototxt": net}) for _ in range(25)]
    for (text, files), verdict in zip(cases, solve(real_caffe, cases), strict=True):
        assert not verdict.refused, text + verdict.log[-500:]
        Path("n.prototxt").write_text(files["n.prototxt"])
        nets = [source for source in parse_solver(text, "solver.prototxt").nets() if source.used]
        ours = [[layer.name for layer in read_net(source)] for source in nets]
        assert ours == [
            [name for name in names if not name.endswith("_split")] for names in verdict.layers
        ], text
