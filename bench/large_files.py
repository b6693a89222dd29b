"""Time and memory of reading, counting, checking and changing large and hostile files.

Each file is written into a temporary folder, and each command on it runs as a whole process, with a limit of
time and of memory, so that one which grows as the square of the file ends as a row of the table.

    python bench/large_files.py [--layers 100000] [--only WORD ...] [--verbs count check ...] [--json]

The bars: a net of 100,000 layers is counted within 6 s and checked within 10 s, in at most 500 MB; 1 MB of
blank lines, of missing bottoms, or of nested messages is read and checked within 5 s. Times are of the
processor, since a busy machine changes those the least.

Exit codes: 0 within the bars, 1 outside.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netbuilder.report import format_table

ROOT = Path(__file__).resolve().parents[1]
STOPWATCH = Path(__file__).with_name("stopwatch.py")
NETBUILDER = "import sys; from netbuilder.cli.main import main; sys.exit(main())"
MB = 1_000_000
MOST_MEMORY = 4_000_000_000

VERBS: dict[str, list[str]] = {
    "count": ["count", "{file}"],
    "count --json": ["count", "{file}", "--json"],
    "count --memory": ["count", "{file}", "--memory"],
    "count --by-block": ["count", "{file}", "--by-block"],
    "check": ["check", "{file}"],
    "check --json": ["check", "{file}", "--json"],
    "check --fix": ["check", "{file}", "--fix", "--force"],
    "check --target": ["check", "{file}", "--target", "opencv"],
    "diff": ["diff", "{file}", "{file}"],
    "train-val": [
        "train-val", "{file}", "-o", "{folder}/both.prototxt", "--force", "--data", "lmdb",
        "--train_source", "a", "--test_source", "b", "--batch", "8",
    ],
    "draw --tree": ["draw", "{file}", "--tree"],
    "deploy": ["deploy", "{file}", "-o", "{folder}/deploy.prototxt", "--force"],
}  # fmt: skip
# The bars: seconds of the processor, by file and verb, for 100,000 layers and 1 MB.
BARS = {
    **{(net, "count"): 6.0 for net in ("residual", "products")},
    **{(net, "check"): 10.0 for net in ("residual", "products")},
    **{(file, "check"): 5.0 for file in ("blank lines", "missing bottoms", "nested unknown", "nested known")},
}
MOST_MB = 500


# -- the files -----------------------------------------------------------------------------------------------

INPUT = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 8 dim: 8 dim: 8 } } }\n'
)


def residual(layers: int) -> Iterator[str]:
    """A ResNet: eleven layers in a block, each spread over lines as our own writer does."""
    yield 'name: "large"\n' + INPUT
    x = "data"
    for block in range(layers // 11):
        y, n = x, f"block{block}"
        for i in "abc":
            yield (
                f'layer {{\n  name: "conv_{n}{i}"\n  type: "Convolution"\n  bottom: "{y}"\n'
                f'  top: "conv_{n}{i}"\n  convolution_param {{\n    num_output: 8\n    bias_term: false\n'
                '    pad: 1\n    kernel_size: 3\n    weight_filler {\n      type: "msra"\n    }\n  }\n}\n'
            )
            y = f"conv_{n}{i}"
            yield f'layer {{\n  name: "bn_{n}{i}"\n  type: "BatchNorm"\n  bottom: "{y}"\n  top: "{y}"\n'
            yield "  batch_norm_param {\n    use_global_stats: true\n  }\n}\n"
            yield (
                f'layer {{\n  name: "scale_{n}{i}"\n  type: "Scale"\n  bottom: "{y}"\n  top: "{y}"\n'
                "  scale_param {\n    bias_term: true\n  }\n}\n"
            )
        yield f'layer {{\n  name: "sum_{n}"\n  type: "Eltwise"\n  bottom: "{x}"\n  bottom: "{y}"\n'
        yield f'  top: "{n}"\n}}\n'
        yield f'layer {{\n  name: "relu_{n}"\n  type: "ReLU"\n  bottom: "{n}"\n  top: "{n}"\n}}\n'
        x = n


def products(layers: int) -> Iterator[str]:
    """InnerProduct and ReLU in place, one layer a line."""
    yield 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 8 } } }\n'
    x = "data"
    for i in range(layers // 2):
        yield (
            f'layer {{ name: "ip{i}" type: "InnerProduct" bottom: "{x}" top: "ip{i}" '
            'inner_product_param { num_output: 8 weight_filler { type: "xavier" } } }\n'
            f'layer {{ name: "relu{i}" type: "ReLU" bottom: "ip{i}" top: "ip{i}" }}\n'
        )
        x = f"ip{i}"


def _each(line: Callable[[int], str], size: int) -> Iterator[str]:
    done = i = 0
    while done < size:
        text = line(i)
        yield text
        done += len(text)
        i += 1


def _relu(i: int, bottom: str, more: str = "") -> str:
    return f'layer {{ name: "r{i}" type: "ReLU" bottom: "{bottom}" top: "r{i}" {more}}}\n'


def _fields(size: int, field: Callable[[int], str]) -> Iterator[str]:
    """One layer of many fields."""
    yield INPUT + 'layer { name: "a" type: "ReLU" bottom: "data" top: "a"\n'
    yield from _each(field, size)
    yield "}\n"


def _skips(layers: int) -> Iterator[str]:
    """A U-Net without end: each blob of the way down is read again on the way up."""
    yield INPUT
    half = layers // 2
    x = "data"
    for i in range(half):
        yield _relu(i, x)
        x = f"r{i}"
    for i in range(half):
        other = f"r{half - 2 - i}" if i < half - 1 else "data"
        yield f'layer {{ name: "s{i}" type: "Eltwise" bottom: "{x}" bottom: "{other}" top: "s{i}" }}\n'
        x = f"s{i}"


def _shared(i: int) -> str:
    return (
        f'layer {{ name: "ip{i}" type: "InnerProduct" bottom: "data" top: "ip{i}" param {{ name: "w" }} '
        f'param {{ name: "b{i}" }} inner_product_param {{ num_output: 4 }} }}\n'
    )


def _many_tops(size: int) -> Iterator[str]:
    yield 'layer { name: "data" type: "Input"\n'
    yield from _each(lambda i: f'top: "t{i}"\n', size)
    yield "input_param { shape { dim: 1 dim: 8 dim: 8 dim: 8 } } }\n" + _relu(0, "t0")


def _with_data(lines: Iterator[str]) -> Iterator[str]:
    yield INPUT
    yield from lines


def _slices(size: int) -> Iterator[str]:
    """Blobs that all live at once, are read in their order, and once more."""
    count = size // 120
    yield INPUT
    for i in range(count):
        yield _relu(i, "data")
    for i in range(2 * count):
        yield f'layer {{ name: "s{i}" type: "Silence" bottom: "r{i % count}" }}\n'


FILES: dict[str, Callable[[int, int], Iterator[str]]] = {
    "residual": lambda layers, size: residual(layers),
    "products": lambda layers, size: products(layers),
    "skips": lambda layers, size: _skips(layers // 5),
    "read twice": lambda layers, size: _slices(size),
    "blank lines": lambda layers, size: _with_data(iter(["\n" * size, _relu(0, "data")])),
    "spaces": lambda layers, size: _with_data(iter([" " * size, _relu(0, "data")])),
    "comments": lambda layers, size: _with_data(_each(lambda i: f"# {i}\n", size)),
    "one long comment": lambda layers, size: _with_data(iter(["#" * size + "\n", _relu(0, "data")])),
    "one long line": lambda layers, size: _with_data(_each(lambda i: _relu(i, "data")[:-1] + " ", size)),
    "missing bottoms": lambda layers, size: _with_data(_each(lambda i: _relu(i, f"missing{i}"), size)),
    "missing in one": lambda layers, size: _fields(size, lambda i: f'bottom: "missing{i}"\n'),
    "missing, one name": lambda layers, size: _with_data(_each(lambda i: _relu(i, "missing"), size)),
    "left out": lambda layers, size: _with_data(
        _each(
            lambda i: _relu(i, "data", "include { phase: TRAIN } ")
            + _relu(i, f"r{i}", "include { phase: TEST } "),
            size,
        )
    ),
    "name clashes": lambda layers, size: _with_data(_each(lambda i: _relu(0, "data"), size)),
    "one name": lambda layers, size: _with_data(
        _each(
            lambda i: f'layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip{i}" '
            f"inner_product_param {{ num_output: {i % 7 + 1} }} }}\n",
            size,
        )
    ),
    "unknown types": lambda layers, size: _with_data(
        _each(lambda i: _relu(i, "data").replace("ReLU", f"ReLUU{i}"), size)
    ),
    "unknown fields": lambda layers, size: _with_data(
        _each(lambda i: _relu(i, "data", f"strange{i}_param {{ a: 1 }} "), size)
    ),
    "unknown in one": lambda layers, size: _fields(size, lambda i: f"strange{i}_param {{ a: 1 }}\n"),
    "nested unknown": lambda layers, size: _fields(size, lambda i: "a {" * 90 + "}" * 90 + "\n"),
    "nested too deep": lambda layers, size: iter([INPUT, "a {" * (size // 3)]),
    "nested brackets": lambda layers, size: iter([INPUT, "layer { a: " + "[" * size]),
    "nested known": lambda layers, size: _with_data(
        _each(
            lambda i: _relu(i, "data", "hdf5_output_param { } blobs { shape { dim: [1] } } "),
            size,
        )
    ),
    "many rules": lambda layers, size: _fields(size, lambda i: f'include {{ stage: "s{i}" }}\n'),
    "params of one": lambda layers, size: _fields(size, lambda i: f'param {{ name: "p{i}" }}\n'),
    "shared params": lambda layers, size: _with_data(_each(_shared, size)),
    "many tops": lambda layers, size: _many_tops(size),
    "many readers": lambda layers, size: _with_data(
        _each(lambda i: f'layer {{ name: "s{i}" type: "Silence" bottom: "data" }}\n', size)
    ),
    "many inputs": lambda layers, size: _each(
        lambda i: f'input: "i{i}" input_shape {{ dim: 1 dim: 2 }}\n', size
    ),
    "old format": lambda layers, size: chain(
        ['input: "data" input_dim: 1 input_dim: 8 input_dim: 8 input_dim: 8\n'],
        _each(lambda i: f'layers {{ name: "r{i}" type: RELU bottom: "data" top: "r{i}" }}\n', size),
    ),
    "strings": lambda layers, size: _fields(size, lambda i: 'param { name: "a" "b" "c" }\n'),
    "one string": lambda layers, size: iter([f'name: "{"x" * size}"\n', INPUT, _relu(0, "data")]),
    "open string": lambda layers, size: iter([INPUT, 'layer { name: "', "\\a" * (size // 2)]),
    "escapes": lambda layers, size: iter([INPUT, 'layer { name: "', "\\n" * (size // 2), '" }']),
    "pieces of a string": lambda layers, size: iter([INPUT, "name: ", '"a" ' * (size // 4), "\n"]),
}  # fmt: skip


# -- the processes -------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """Seconds and MB of a whole process; `code` is its exit code, None where a limit ended it."""

    wall: float
    processor: float
    memory: float
    code: int | None


def measure(words: list[str], seconds: int) -> Run:
    """Run a verb, for this time of the processor at most; what it prints is thrown away."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))

    command = [sys.executable, "-I", "-S", str(STOPWATCH)]
    command += [sys.executable, "-c", NETBUILDER, *words]
    ours = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=ours, stdout=subprocess.PIPE, text=True, preexec_fn=limit)
    wall, processor, kibibytes, code = (float(word) for word in done.stdout.split())
    return Run(wall, processor, kibibytes * 1024 / MB, int(code) if code >= 0 else None)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--layers", type=int, default=100_000, metavar="N")
    parser.add_argument("--size", type=int, default=MB, metavar="BYTES", help="of the files without a net")
    parser.add_argument("--only", nargs="+", metavar="FILE", choices=FILES, help="of the files, these")
    parser.add_argument("--verbs", nargs="+", metavar="VERB", choices=VERBS, default=["count", "check"])
    parser.add_argument("--limit", type=int, default=60, metavar="S", help="of each process (default: 60)")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows: list[tuple[str, str, int, Run]] = []
    with tempfile.TemporaryDirectory(prefix="netbuilder-bench-") as folder:
        for name in args.only or FILES:
            file = Path(folder) / f"{name.replace(' ', '-')}.prototxt"
            file.write_text("".join(FILES[name](args.layers, args.size)))
            for verb in args.verbs:
                words = [word.format(file=file, folder=folder) for word in VERBS[verb]]
                rows.append((name, verb, file.stat().st_size, measure(words, args.limit)))
                print(*rows[-1], file=sys.stderr, flush=True)
            file.unlink()
    outside = [
        (name, verb)
        for name, verb, _, run in rows
        if (name, verb) in BARS and (run.processor > BARS[name, verb] or run.memory > MOST_MB)
    ]
    if args.json:
        print(
            json.dumps([{"file": n, "verb": v, "bytes": b, **r._asdict()} for n, v, b, r in rows], indent=2)
        )
    else:
        table = [
            (n, v, f"{b / MB:.1f}", f"{r.wall:.2f}", f"{r.processor:.2f}", f"{r.memory:.0f}",
             "stopped" if r.code is None else str(r.code))
            for n, v, b, r in rows
        ]  # fmt: skip
        print(format_table(("file", "verb", "MB", "wall, s", "processor, s", "peak MB", "exit"), table))
        print("bars:", "within" if not outside else f"OUTSIDE: {outside}")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
