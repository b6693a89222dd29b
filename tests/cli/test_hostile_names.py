"""Names that a stranger chose: they forge no line, reach no terminal raw, and are no command or formula."""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
import shutil
from pathlib import Path

import pytest

from netbuilder import Net, prototxt, solvers
from netbuilder.errors import ShapeError, printable
from netbuilder.schema import NetParameter
from tests.command import Command

NAMES = (
    'quote"', "quote'", "back`tick`", "$(touch MARKER)", "$HOME", "; touch MARKER", "| touch MARKER", "&& x",
    "new\nline", "car\rriage", "tab\tbed", "--dash", "-d", "esc\x1b[2Jape", "bell\x07", "\u202eright to left",
    "\u2066isolate", "line\u2028end", "=1+1", "+1", "@sum", "comma, comma", "$x^2$", "<script>x</script>",
    "x\nnet.prototxt:1: error: forged [shape]", "# hash", "a = b",
    "n" * 10_000, "\x85next", "per%scent {0}",
)  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A net whose layers have these names, each with a field that is of no effect."""
    net = Net("hostile\nnet.prototxt:1: error: forged [shape]", dialect="caffe-master")
    x = net.add("Input", name="data", shape={"dim": [1, 2, 4, 4]})
    for name in NAMES:
        x = net.add(
            "Convolution", x, name=name, num_output=2, kernel_size=1, relu_param={"negative_slope": 1.0}
        )
    monkeypatch.chdir(tmp_path)
    prototxt.write(net, "net.prototxt")
    return tmp_path


def raw(text: str) -> set[str]:
    """Characters that a terminal acts upon."""
    return {c for c in text if not c.isprintable()} - {"\n"}


COMMANDS = (
    "check", "count", "count --per-layer", "count --per-block", "check --target opencv",
    "count --format latex",
    "count --per-layer --format markdown", "count --per-layer --format latex", "deploy -o out",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_no_name_reaches_a_terminal_raw_or_forges_a_line(hostile: Path, run: Command, command: str) -> None:
    verb, *options = command.split()
    done = run(verb, "net.prototxt", *options)
    assert not raw(done.out + done.err)
    assert not [
        line for line in (done.out + done.err).splitlines() if line.startswith("net.prototxt:1: error")
    ]
    assert not (hostile / "MARKER").exists()


# With a model of the same names, and a file whose name is hostile too; {} is its place.
FILES = ("x\nnet.prototxt:1: error: forged [shape].prototxt", "$(touch MARKER) \x1b[2J'\u202e.prototxt")
MORE = (
    ("check", "{}"), ("count", "--per-layer", "{}"), ("check", "--fix", "{}"),
    ("check", "{}", "--weights", "x.caffemodel"), ("check", "{}", "--format", "json"),
    ("check", "{}", "--format", "sarif"), ("count", "{}", "--json"),
    ("diff", "{}", "other.prototxt"), ("diff", "{}", "other.prototxt", "--json"),
    ("deploy", "{}", "-o", "out"), ("fold", "{}", "--weights", "x.caffemodel", "-o", "out", "--no-verify"),
    ("freeze", "{}", "*", "-o", "frozen.prototxt"),
    ("train-val", "{}", "-o", "tv.prototxt", "--data", "lmdb"),
    ("train-val", "{}", "-o", "tv.prototxt", "--data", "lmdb", "--outputs", NAMES[8]),
    ("show-net", "x.caffemodel"), ("show-net", "x.caffemodel", "-o", "{}"),
    ("weights", "show", "x.caffemodel"), ("weights", "export", "x.caffemodel", "{}", "-o", "x.npz"),
    ("export", "onnx", "{}", "-o", "x.onnx"), ("solver", "cifar_resnet", "--net", "{}"),
    ("solver", "cifar_resnet", "--net", "{}", "-o", "s.prototxt"), ("solver", "{}", "--net", "net.prototxt"),
    ("time", "{}", "--engine", "torch", "--iterations", "1"), ("caffeonspark", "{}"), ("check", "gone {}"),
    ("test", "{}", "--engine", "torch", "--iterations", "1"), ("train", "{}", "--engine", "torch"),
    ("build", "{}"), ("show-config", "{}"), ("data", "show", "{}"), ("data", "lmdb", "{}", "-o", "db"),
)  # fmt: skip


def model_of(path: str) -> NetParameter:
    """A model for the layers of a net."""
    proto = NetParameter(name="m")
    for layer in prototxt.read(path):
        made = proto.layer.add(name=layer.name, type=layer.type)
        for param in layer.params:
            blob = made.blobs.add()
            blob.shape.dim.extend(param.shape)
            blob.data.extend([0.5] * math.prod(param.shape))
    return proto


@pytest.mark.parametrize("command", MORE, ids=lambda words: " ".join(words).replace(NAMES[8], ""))
def test_no_name_of_a_file_or_a_layer_reaches_a_terminal_raw(
    hostile: Path, run: Command, command: tuple[str, ...]
) -> None:
    Path("x.caffemodel").write_bytes(model_of("net.prototxt").SerializeToString())
    text = Path("net.prototxt").read_text()
    Path("other.prototxt").write_text(text.replace("kernel_size: 1", "kernel_size: 2", 1))
    for file in FILES:
        Path(file).write_text(text)
        done = run(*(word.format(file) for word in command))
        assert not raw(done.out + done.err), file
        lines = (done.out + done.err).splitlines()
        assert not [line for line in lines if line.startswith("net.prototxt:1: error")]
        assert "Traceback" not in done.err
    assert not (hostile / "MARKER").exists()


@pytest.mark.parametrize("file", [*FILES, "x\nbase_lr: 99\n.yaml"])
def test_no_name_of_a_file_leaves_the_comments_of_a_solver(hostile: Path, run: Command, file: str) -> None:
    Path(file).write_text((Path(__file__).parents[2] / "configs/solvers/resnet.yaml").read_text())
    shutil.copy("net.prototxt", f"net {file}")
    for words in (("./" + file, "--net", "net.prototxt"), ("cifar_resnet", "--net", f"net {file}")):
        run("solver", *words, "-o", "s.prototxt", "--force", "--batch", "8", "--images", "50")
        if Path("s.prototxt").exists():
            assert solvers.read_solver("s.prototxt").base_lr != 99
            lines = Path("s.prototxt").read_text().splitlines()
            assert not [line for line in lines if line.startswith(("net.prototxt:1", "base_lr: 99"))]


def test_a_name_stays_in_the_comments_of_a_mended_file(hostile: Path, run: Command) -> None:
    before = [layer.name for layer in prototxt.read("net.prototxt")]
    run("check", "--fix", "net.prototxt")
    assert [layer.name for layer in prototxt.read("net.fixed.prototxt")] == before


def test_csv_gives_names_as_they_are_but_no_formula(hostile: Path, run: Command) -> None:
    done = run("count", "--per-layer", "--format", "csv", "net.prototxt")
    rows = list(csv.DictReader(io.StringIO(done.out, newline="")))
    names = [row["name"] for row in rows if row["name"] != "data"]
    assert names == [f"'{name}" if name[0] in "=+-@" else name for name in NAMES]


def test_json_gives_names_as_they_are(hostile: Path, run: Command) -> None:
    data = json.loads(run("count", "--per-layer", "--json", "net.prototxt").out)
    assert set(NAMES) <= {layer["name"] for layer in data["layers"]}


def test_an_error_shows_a_name_on_one_line() -> None:
    error = ShapeError("layer 'a\nb\x1b': bad\nand more", where="x\ny", hint="\u202e")
    assert str(error).split("\n") == [
        "layer 'a", "  b\\x1b': bad", "  and more", "  where:   x\\ny", "  hint:    \\u202e",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["s $(touch MARKER).prototxt", "s;touch MARKER;.prototxt", "-s.prototxt"])
def test_a_suggested_command_quotes_the_file(hostile: Path, run: Command, name: str) -> None:
    done = run("solver", "cifar_resnet", "--net", "net.prototxt", "-o", "./" + name)
    (suggested,) = (x for x in (done.out + done.err).splitlines() if x.startswith("train by:"))
    words = shlex.split(suggested.replace(", or", " "))
    assert words.count("./" + name) == 2


FORGED = "x\nfoo: error: forged\x1b[2J"
SOURCES = ("--train_source", "l", "--test_source", "l")
SHORT = (
    ("draw", "net.prototxt", "--tree"), ("deploy", "net.prototxt", "-o", "out"),
    ("freeze", "net.prototxt", "*", "-o", "frozen.prototxt"), ("count", "net.prototxt", "other.prototxt"),
    ("count", "net.prototxt", "other.prototxt", "--format", "markdown"),
    ("count", "net.prototxt", "--training"),
    ("fold", "net.prototxt", "--weights", "x.caffemodel", "-o", "out", "--no-verify"),
    ("export", "onnx", "net.prototxt", "--weights", "x.caffemodel", "-o", "x.onnx", "--no-verify"),
    ("train-val", "deploy.prototxt", "-o", "tv.prototxt", "--data", "hdf5", *SOURCES, "--batch", "2"),
    ("diff", "net.prototxt", "other.prototxt"),
)  # fmt: skip


@pytest.mark.parametrize("command", SHORT, ids=" ".join)
def test_names_in_the_lines_of_a_summary_forge_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Command, command: tuple[str, ...]
) -> None:
    """Of few layers: a summary names the first three."""
    monkeypatch.chdir(tmp_path)
    one, two, three = (json.dumps(f"{FORGED}{i}").replace("\\u001b", "\\033") for i in range(3))
    net = (
        f'name: {one} layer {{ name: "data" type: "Input" top: {one} '
        f"input_param {{ shape {{ dim: 2 dim: 3 }} }} }}"
        f'layer {{ name: {three} type: "InnerProduct" bottom: {one} top: {two} '
        f"inner_product_param {{ num_output: 2 }} }}"
    )
    Path("deploy.prototxt").write_text(net)
    loss = f'layer {{ name: "l" type: "EuclideanLoss" bottom: {two} bottom: {two} top: {three} }}'
    Path("net.prototxt").write_text(net + loss)
    other = (
        Path("net.prototxt")
        .read_text()
        .replace(f"name: {one}", f"name: {two}", 1)
        .replace("num_output: 2", "num_output: 3")
    )
    Path("other.prototxt").write_text(other)
    Path("x.caffemodel").write_bytes(model_of("net.prototxt").SerializeToString())
    done = run(*command)
    assert done.code == (command[0] == "diff"), done.err
    assert not raw(done.out + done.err)
    assert not [line for line in (done.out + done.err).splitlines() if line.startswith("foo: error")]


def test_printable_leaves_what_can_be_printed() -> None:
    assert printable("añ 漢 'q'") == "añ 漢 'q'"
    assert printable("a\nb\udc80") == "a\\nb\\udc80"
