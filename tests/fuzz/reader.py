"""Texts and models that are nearly right: mutations of good ones, and garbage by the grammar of the schema.

`text(rng)` and `model(rng)` draw one from a random generator; `try_text` and `try_model` read it. Nothing but
a NetBuilderError may come of that, and what is read must be written and read again as the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netbuilder import checks, counts, prototxt
from netbuilder.errors import NetBuilderError
from netbuilder.schema import NetParameter

ZOO = sorted((Path(__file__).parents[1] / "zoo").glob("*.prototxt"))
SMALL = 6000  # characters of a file that is mutated

NUMBERS = [
    "0", "1", "-1", "2", "3", "255", "2147483647", "2147483648", "4294967295", "4294967296", "-2147483648",
    "9223372036854775807", "-9223372036854775808", "18446744073709551616", "0x10", "0xFFFFFFFF", "010", "08",
    "1e400", "-1e400", "1e-400", "1.5", ".5", "5.", "1f", "1e", "inf", "-inf", "nan", "- 1", "1" * 300,
]  # fmt: skip
TOKENS = [
    "{", "}", "<", ">", "[", "]", ":", ",", ";", "#", "\n", " ", '"', "'", "\\", '"a"', "'b'", '"\\n"',
    '"\\777"', '"\\ud800"', '"\\xff"', "layer {", "layers {", "}}", "true", "false", "MAX", "TRAIN", "\0",
    "\r", "\ufeff", "é", "\U0001f600", "name", "name:", "type: ReLU", "include { phase: TEST }", "# c\n",
    'bottom: "data"', 'top: "data"', "param {", "[1, 2]", "[]", "[{}]", "foo: 1", "foo { a { } }", "foo <>",
]  # fmt: skip


# ---- drawing ---------------------------------------------------------------------------------------------


def text(rng: random.Random) -> str:
    """A text that is nearly a net, or by the grammar of one."""
    out = _grammatical(rng) if rng.random() < 0.4 else rng.choice(_corpus())
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3, 8])):
        out = rng.choice(_MUTATIONS)(rng, out)
    return out


def model(rng: random.Random) -> bytes:
    """Bytes that are nearly a .caffemodel."""
    out = bytearray(_model(rng))
    for _ in range(rng.choice([0, 1, 1, 2, 4, 20])):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            del out[at:]
        elif kind == 1:
            del out[at : at + rng.randrange(1, 9)]
        elif kind == 2:
            out[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif at < len(out):
            out[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(out)


_TEXTS: list[str] = []


def _corpus() -> list[str]:
    if not _TEXTS:
        _TEXTS.extend(t for t in (path.read_text(encoding="utf-8") for path in ZOO) if len(t) < SMALL)
    return _TEXTS


def _span(rng: random.Random, out: str) -> tuple[int, int]:
    at = rng.randrange(len(out) + 1)
    return at, int(min(len(out), at + rng.expovariate(1 / 30)))


def _delete(rng: random.Random, out: str) -> str:
    a, b = _span(rng, out)
    return out[:a] + out[b:]


def _repeat(rng: random.Random, out: str) -> str:
    a, b = _span(rng, out)
    return out[:b] + out[a:b] * rng.choice([1, 2, 200]) + out[b:]


def _move(rng: random.Random, out: str) -> str:
    a, b = _span(rng, out)
    rest = out[:a] + out[b:]
    at = rng.randrange(len(rest) + 1)
    return rest[:at] + out[a:b] + rest[at:]


def _cut(rng: random.Random, out: str) -> str:
    return out[: rng.randrange(len(out) + 1)]


def _insert(rng: random.Random, out: str) -> str:
    at = rng.randrange(len(out) + 1)
    return out[:at] + rng.choice(TOKENS) + out[at:]


def _renumber(rng: random.Random, out: str) -> str:
    import re

    found = list(re.finditer(r"(?<=: )-?[\d.]+", out))
    if not found:
        return out
    m = rng.choice(found)
    return out[: m.start()] + rng.choice(NUMBERS) + out[m.end() :]


def _rename(rng: random.Random, out: str) -> str:
    import re

    words = list(re.finditer(r"\w+", out))
    if not words:
        return out
    a, b = rng.choice(words), rng.choice(words)
    return out[: a.start()] + b[0] + out[a.end() :]


_MUTATIONS: list[Callable[[random.Random, str], str]] = [
    _delete, _repeat, _move, _cut, _insert, _insert, _renumber, _renumber, _rename, _rename,
]  # fmt: skip


def _grammatical(rng: random.Random) -> str:
    """Fields of the schema with values that mostly suit them."""
    return "\n".join(_field(rng, NetParameter.DESCRIPTOR, 0) for _ in range(rng.randint(1, 6)))


def _field(rng: random.Random, descriptor: Any, depth: int) -> str:
    f = rng.choice(descriptor.fields)
    if f.message_type is not None:
        count = rng.randint(0, 4) if depth < 4 else 0
        inner = " ".join(_field(rng, f.message_type, depth + 1) for _ in range(count))
        opened, closed = rng.choice([("{", "}"), ("{", "}"), ("<", ">"), (": {", "}"), (": [{", "}]")])
        return f"{f.name} {opened} {inner} {closed}"
    if rng.random() < 0.1:
        value = rng.choice([*NUMBERS, *TOKENS])
    elif f.enum_type is not None:
        value = rng.choice(f.enum_type.values).name
    elif f.cpp_type == f.CPPTYPE_STRING:
        value = rng.choice(['"data"', '"x"', "'ReLU'", '"Convolution"', '""', '"a" "b"'])
    elif f.cpp_type == f.CPPTYPE_BOOL:
        value = rng.choice(["true", "false", "1", "0", "t"])
    else:
        value = rng.choice([*NUMBERS[:6], *NUMBERS])
    return f"{f.name}: {value}{rng.choice(['', '', '', ',', ';', ' # c'])}{rng.choice([' ', chr(10)])}"


def _model(rng: random.Random) -> bytes:
    proto = NetParameter(name="m")
    for i in range(rng.randint(0, 3)):
        if rng.random() < 0.3:
            old = proto.layers.add(name=f"v{i}", type=rng.randrange(40))
            if rng.random() < 0.3:
                old.layer.name, old.layer.type = "v0", "conv"
            blob = old.blobs.add(num=1, channels=2, height=1, width=3)
        else:
            blob = proto.layer.add(name=f"l{i}", type="Convolution").blobs.add()
            blob.shape.dim.extend([2, 3])
        (blob.double_data if rng.random() < 0.2 else blob.data).extend([0.5] * 6)
        if rng.random() < 0.2:
            blob.diff.extend([0.5] * 6)
    return bytes(proto.SerializeToString())


# ---- reading ---------------------------------------------------------------------------------------------


def try_text(given: str) -> str:
    """Read a text in every way; returns "read" or "refused", and raises whatever should not be."""
    verdict = "refused"
    for phase, unknown in (("TRAIN", "refuse"), ("TEST", "keep")):
        try:
            net = prototxt.parse(given, phase, unknown=unknown, dialect="caffe-cudnn")
        except NetBuilderError as error:
            str(error)
            continue
        verdict = "read"
        counts.count(net)
        checks.check(net)
        written = prototxt.dumps(net)
        again = prototxt.parse(written, phase, unknown=unknown, dialect="caffe-cudnn")
        assert prototxt.dumps(again) == written
        shapes = [[top.shape for top in layer.tops] for layer in net]
        assert [[top.shape for top in layer.tops] for layer in again] == shapes
    return verdict


def try_model(given: bytes, path: Path) -> str:
    """Read a model from a file; returns "read" or "refused", and raises whatever should not be."""
    path.write_bytes(given)
    try:
        found = prototxt.read_model(path)
    except NetBuilderError as error:
        str(error)
        return "refused"
    assert found.stored_params >= 0
    return "read"
