"""Time and memory grow as the file does, and no faster: the work at n and at 4n, counted in lines of Python.

A count of lines is the same on every machine. What a pattern does inside `re` is no line: there the least
time of several runs is compared, by a wide margin.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from bench.start import measure
from netbuilder import Net, checks, counts, errors
from netbuilder.checks import examine as examining
from netbuilder.checks.examine import Wanted, examine_text
from netbuilder.errors import ShapeError
from netbuilder.measure.diff import diff
from netbuilder.prototxt import reader, text_read
from netbuilder.prototxt.comments import above_layers
from netbuilder.prototxt.reader import net_of, parse, read_layers
from netbuilder.schema import NetParameter
from netbuilder.storage.files import MARK
from netbuilder.transforms.train_val import _in_both, dumps_train_val
from netbuilder.transforms.training import _dropped

ROOT = Path(__file__).parents[1]
INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 8 } } }\n'
LABEL = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 } } }\n'
# Linear work takes at most 4 times as many lines, quadratic work up to 16 times.
MOST = 6


@pytest.fixture(autouse=True)
def no_near_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    """These stop after a time, not after a number of steps."""
    monkeypatch.setattr(errors, "_spent", float("inf"))


def layer(type: str, name: str, bottom: str, more: str = "", top: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{type}" bottom: "{bottom}" top: "{top or name}" {more} }}\n'


def lines(work: Callable[[], object]) -> int:
    """How many lines of Python some work runs; each turn of a comprehension is one."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def grows_linearly(make: Callable[[int], Callable[[], object]], n: int) -> bool:
    """Whether the work that is made for n and for 4n grows no faster than they do."""
    make(n)()  # what is done once only
    least, most = lines(make(n)), lines(make(4 * n))
    return most <= MOST * least


def chain(n: int, more: str = "") -> str:
    """Layers in place, one after another, in a net that is trained."""
    first = layer(
        "InnerProduct", "ip", "data", 'inner_product_param { num_output: 8 weight_filler { type: "xavier" } }'
    )
    relus = "".join(layer("ReLU", f"r{i}", "ip", top="ip") for i in range(n))
    loss = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }\n'
    return INPUT + LABEL + first + more + relus + loss


def skips(n: int) -> str:
    """Each blob of the way down is read once more on the way up."""
    text, blobs = INPUT, ["data"]
    for i in range(n):
        text += layer("ReLU", f"r{i}", blobs[-1])
        blobs.append(f"r{i}")
    last = blobs.pop()
    for i in range(n):
        text += layer("Eltwise", f"s{i}", last, f'bottom: "{blobs.pop()}"')
        last = f"s{i}"
    return text


def left_out(n: int) -> str:
    """Each layer of TEST reads what a layer of TRAIN gives."""
    return INPUT + "".join(
        layer("ReLU", f"r{i}", "data", "include { phase: TRAIN }")
        + layer("ReLU", f"t{i}", f"r{i}", "include { phase: TEST }")
        for i in range(n)
    )


def test_memory_over_time_of_blobs_that_are_read_late() -> None:
    def work(n: int) -> Callable[[], object]:
        net = parse(skips(n))
        return lambda: counts.count(net)

    assert grows_linearly(work, 150)


@pytest.mark.parametrize("step", [1, 3])
def test_memory_over_time_is_what_it_was(step: int) -> None:
    net = parse(skips(30))
    alive = counts.alive_elements(net)
    # A blob of 8 elements lives from its layer to its last reader; `data` too.
    born = {blob: i for i, one in enumerate(net.layers) for blob in one.tops}
    last = {blob: i for i, one in enumerate(net.layers) for blob in one.bottoms}
    end = len(net.layers)
    for i in range(0, end, step):
        assert alive[i] == 8 * sum(born[b] <= i <= last.get(b, end) for b in born)


def test_layers_whose_bottoms_another_phase_has() -> None:
    def work(n: int) -> Callable[[], object]:
        written = read_layers(left_out(n))
        return lambda: net_of(written, "TEST", refused=[])

    assert grows_linearly(work, 150)


def test_a_hint_names_some_of_many_layers() -> None:
    text = INPUT + "".join(
        layer("ReLU", f"r{i}", "data", "include { phase: TRAIN }", top="x") for i in range(30)
    )
    refused: list[Any] = []
    net_of(read_layers(text + layer("ReLU", "t", "x", "include { phase: TEST }")), "TEST", refused=refused)
    ((_, error),) = refused
    assert error.hint.endswith("'r7' (include { phase: TRAIN }), and 22 more")


@pytest.mark.parametrize("more", ["", layer("Flatten", "flat", "data")])
def test_checks_of_a_chain_in_place(more: str) -> None:
    def work(n: int) -> Callable[[], object]:
        net = parse(chain(n, more), "TRAIN")
        return lambda: checks.check(net)

    assert grows_linearly(work, 150)


def test_remedies_for_many_layers_without_a_gradient() -> None:
    def work(n: int) -> Callable[[], object]:
        text = "force_backward: true\n" + chain(1)
        text += "".join(layer("ArgMax", f"a{i}", "ip") for i in range(n))
        net = parse(text.replace(' top: "ip" \n', ' top: "ip"'), "TRAIN")
        return lambda: checks.check(net)

    assert grows_linearly(work, 100)


def test_comments_above_many_layers_on_one_line() -> None:
    def work(n: int) -> Callable[[], object]:
        text = f"{MARK}\n\n" + "# a\n" * n + "layer { }"
        return lambda: above_layers(text, [n + 3] * n)

    assert grows_linearly(work, 100)


def test_bottoms_without_a_shape() -> None:
    def work(n: int) -> Callable[[], object]:
        net = Net()
        blobs = [net.add("Input", name=f"i{i}") for i in range(n)]

        def concatenated() -> None:
            with pytest.raises(ShapeError):
                net.add("Concat", *blobs, name="c")

        return concatenated

    assert grows_linearly(work, 300)


def test_nets_in_one_file_that_differ_in_every_second_layer() -> None:
    def work(n: int) -> Callable[[], object]:
        ours, theirs = (
            [b"%d" % i if i % 2 else b"%d of " % i + who for i in range(n)] for who in (b"a", b"b")
        )
        return lambda: _in_both(ours, theirs)

    assert grows_linearly(work, 500)


def test_layers_in_both_nets_are_as_many_as_can_be() -> None:
    """Compared with the textbook's table, on short lists of few letters, which often repeat."""
    draw = random.Random(21)
    for _ in range(200):
        ours, theirs = (draw.sample([b"a", b"b", b"c", b"d", b"e", b"f"], draw.randint(0, 6)) for _ in "12")
        pairs = _in_both(ours, theirs)
        assert all(ours[i] == theirs[j] for i, j in pairs)
        assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))
        longest = [[0] * (len(theirs) + 1) for _ in range(len(ours) + 1)]
        for i, x in enumerate(ours):
            for j, y in enumerate(theirs):
                longest[i + 1][j + 1] = (
                    longest[i][j] + 1 if x == y else max(longest[i][j + 1], longest[i + 1][j])
                )
        assert len(pairs) == longest[-1][-1]


def test_a_file_for_both_phases_gives_each_net_again_where_layers_repeat() -> None:
    nets = []
    for phase, order in (("TRAIN", "aabcab"), ("TEST", "abacba")):
        net = Net(phase=phase)  # type: ignore[arg-type]
        net.add("Input", name="data", shape={"dim": [1, 8]})
        for letter in order:  # names may repeat in a file
            net.append(
                parse(INPUT + layer("Silence", letter, "data").replace(f'top: "{letter}"', ""))
                .layers[1]
                .proto
            )
        nets.append(net)
    text = dumps_train_val(*nets)
    for net in nets:
        assert [x.name for x in parse(text, net.phase)] == [x.name for x in net]


def test_layers_with_other_names() -> None:
    """`diff` finds the renamed ones, of which thousands may be alike."""
    before, after = (
        parse(INPUT + "".join(layer("ReLU", f"{c}{i}", "data") for i in range(50))) for c in "ab"
    )
    assert diff(before, after).renamed == tuple((f"a{i}", f"b{i}") for i in range(50))


@pytest.mark.parametrize("pattern", ["_OLD_FORMAT", "_OLD_INPUT"])
@pytest.mark.parametrize("text", ["\n", "layers : \n", " "])
def test_patterns_over_blank_lines(pattern: str, text: str) -> None:
    search = getattr(examining, pattern).search
    small, large = (min(_seconds(lambda: search(text * n)) for _ in range(3)) for n in (5_000, 20_000))  # noqa: B023
    assert large < 10 * small + 0.02
    assert examining._OLD_FORMAT.search(" layers\n :\n {")
    assert not examining._OLD_FORMAT.search("# layers {")


def _seconds(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


# -- layers alike, which are read once -----------------------------------------------------------------------

BODIES = [
    'name: "{0}" type: "ReLU" bottom: "{1}" top: "{0}"',
    'type: "ReLU" name: "{0}" top: "{0}" bottom: "{1}"',
    'name: "{0}" type: "ReLU" bottom: "{1}" relu_param {{ negative_slope: 0.5 }} top: "{0}"',
    'name: "{0}"\n  type: "Eltwise"\n  bottom: "{1}"\n  bottom: "{2}"\n  top: "{0}"\n'
    "  eltwise_param {{\n  coeff: 1\n  coeff: -1\n  }}\n",
    'name: "{0}" type: "Concat" bottom: "{1}" bottom: "{2}" bottom: "data" top: "{0}"',
    'name: "{0}" "b" type: "ReLU" bottom: "{1}" top: "{0}" # }}\n',
    "name: '{0}' type: 'ReLU' bottom: '{1}', top: \"{0}\";",
    'name: "{0}" type: "ReLU" bottom: "{1}" top: "{0}" param {{ name: "}}\\n" }}',
    'name: "{0}" type: "ReLU" bottom: "{1}" top: "{0}" strange_param {{ a: 1 }}',
    'name: "{0}\\"" type: "ReLU" bottom: "{1}" top: "{0}"',
    'type: "ReLU" bottom: "{1}" top: "{0}" name: "{0}"',
    'name: "{0}" bottom: "{1}" top: "{0}" type: "ReLU"',
    'bottom: "{1}" top: "{0}"',
    'name: "{0}" type: "ReLU" bottom: "{1}" top: "{0}" top: "{1}"',
]  # fmt: skip


def _texts() -> Iterator[str]:
    draw = random.Random(7)
    for _ in range(40):
        bodies, spelling = (
            draw.sample(BODIES, 3),
            draw.choice(["layer {{{0}}}\n", "layer: {{ {0} }} ", "layer {{\n  {0}\n}}\n"]),
        )
        yield "".join(
            spelling.format(draw.choice(bodies).format(f"a{i}", f"a{i - 1}", f"a{i - 2}")) for i in range(12)
        )


def test_layers_alike_are_read_as_if_each_were_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*_texts(), *(text.replace("layer", "layers").replace('"ReLU"', "RELU") for text in _texts())]
    read = [_outcome(text) for text in texts]
    monkeypatch.setattr(text_read, "_MOST_LIKES", 0)
    assert read == [_outcome(text) for text in texts]
    assert sum(isinstance(one[0], bytes) for one in read) > len(read) / 2


def _outcome(text: str) -> tuple[object, ...]:
    try:
        parsed = text_read.parse(text, NetParameter, lenient=True)
    except Exception as error:
        return type(error), str(error)
    return parsed.message.SerializeToString(), parsed.locations


def test_nothing_is_taken_over_from_a_layer_that_is_refused() -> None:
    """A field given twice is refused, in a text that is right after another beginning."""
    right = 'layer { name: "a" relu_param { } type: "ReLU" }\n'
    assert len(text_read.parse(right * 2, NetParameter).message.layer) == 2
    with pytest.raises(Exception, match="'type' is given a second time"):
        text_read.parse(right + 'layer { name: "b" type: "X" relu_param { } type: "ReLU" }\n', NetParameter)


def test_layers_alike_are_upgraded_each() -> None:
    """Caffe sets the multipliers of a BatchNorm with three `param` to 0, after it has read the file."""
    body = "param { lr_mult: 1 } param { lr_mult: 2 } param { lr_mult: 3 }"
    names = ["data", "a", "b", "c", "d"]
    text = INPUT.replace("dim: 8", "dim: 8 dim: 8 dim: 8")
    text += "".join(layer("BatchNorm", name, before, body) for before, name in pairwise(names))
    for one in parse(text).layers[1:]:
        assert [spec.lr_mult for spec in one.proto.param] == [0, 0, 0]
        assert [p.learnable for p in one.params] == [False] * 3


def test_checks_of_one_of_each_kind_find_what_checks_of_all_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a net that many of the checks complain about, twice at each kind."""
    bad = [
        ("Convolution", "convolution_param { num_output: 8 kernel_size: 1 pad_h: 1 engine: CUDNN }"),
        ("Convolution", "convolution_param { num_output: 8 kernel_size: 9 weight_filler { type: 'x' } }"),
        ("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 1 stride: 3 }"),
        ("ReLU", "convolution_param { num_output: 8 } strange_param { a: 1 }"),
        ("Scale", "scale_param { filler { } }"),
        ("Dropout", "dropout_param { dropout_ratio: 1 }"),
        ("InnerProduct", "inner_product_param { num_output: 2 }"),
        ("Strange", ""),
    ]  # fmt: skip
    text = INPUT.replace("dim: 8", "dim: 8 dim: 8 dim: 8") + LABEL
    text += "".join(
        layer(type, f"x{i}_{k}", "data", more) for i in range(3) for k, (type, more) in enumerate(bad)
    )
    text += 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x0_6" bottom: "label" top: "loss" }\n'
    quick = examine_text(text, "x.prototxt", Wanted(targets=("opencv", "caffe-1.0"))).findings
    monkeypatch.setattr(checks, "OF_KINDS", frozenset())
    monkeypatch.setattr(text_read, "_MOST_LIKES", 0)
    monkeypatch.setattr(reader, "unnamed", lambda layer: None)  # no layer has a kind
    assert not any(one.kind for one in parse(text, unknown="keep", refused=[], dialect="any"))
    slow = examine_text(text, "x.prototxt", Wanted(targets=("opencv", "caffe-1.0"))).findings
    assert quick == slow
    assert len({f.code for f in quick}) > 12


# -- memory --------------------------------------------------------------------------------------------------

LAYERS = 20_000
MOST_OF_A_LAYER = 4_500  # bytes of the process; 3,200 when this was written


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in KiB on Linux")
def test_memory_of_a_layer(tmp_path: Path) -> None:
    peaks = []
    for n in (10, LAYERS):
        file = tmp_path / f"{n}.prototxt"
        text = "".join(
            layer(
                "InnerProduct",
                f"ip{i}",
                f"ip{i - 1}" if i else "data",
                "inner_product_param { num_output: 8 }",
            )
            for i in range(n)
        )
        file.write_text(INPUT + text)
        command = [sys.executable, "-m", "netbuilder", "check", str(file)]
        peaks.append(measure(command, {**os.environ, "PYTHONPATH": str(ROOT)}).memory)
    assert peaks[1] - peaks[0] < LAYERS * MOST_OF_A_LAYER / 1e6


def test_layers_that_heads_drop() -> None:
    """Which layers read what a dropped one gave was asked of all of them."""

    def work(n: int) -> Callable[[], object]:
        net = parse(INPUT + "".join(layer("ReLU", f"r{i}", "data") for i in range(n)))
        return lambda: _dropped(net, [])

    assert grows_linearly(work, 100)
