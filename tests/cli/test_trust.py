"""A net by a stranger that would write files elsewhere or run code: found, refused, and not run."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from netbuilder.cli.verifying import verify
from netbuilder.errors import ConfigError
from netbuilder.prototxt import parse
from netbuilder.storage.files import is_outside
from tests.command import Command, Ran
from tests.installation import require_torch

DATA = (
    'layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param { shape { dim: 2 '
    "dim: 3 dim: 4 dim: 4 } shape { dim: 2 } } }\n"
    'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
    "inner_product_param { num_output: 2 } }\n"
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
)
PYTHON = 'layer { name: "evil" type: "Python" bottom: "fc" python_param { module: "evil" layer: "Evil" } }\n'
EVIL = """import caffe
open("MARKER", "w").close()
class Evil(caffe.Layer):
    def setup(self, bottom, top): pass
    def reshape(self, bottom, top): pass
    def forward(self, bottom, top): pass
    def backward(self, top, down, bottom): pass
"""


def writing(name: str) -> str:
    return (
        'layer { name: "out" type: "HDF5Output" bottom: "data" bottom: "label" '
        f'hdf5_output_param {{ file_name: "{name}" }} }}\n'
    )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder beside the current one, which links to it."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    (here / "link").symlink_to(there)
    monkeypatch.chdir(here)
    return there


def solver(prefix: str = "x") -> None:
    Path("solver.prototxt").write_text(
        f'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "{prefix}"\n'
    )


NAMES = ("{there}/x.h5", "../there/x.h5", "link/x.h5", "a/../../there/x.h5")
VERBS = ("train", "test", "time", "run")


@pytest.fixture(params=["caffe", "torch"])
def engine(request: pytest.FixtureRequest) -> str:
    if request.param == "caffe":
        request.getfixturevalue("real_caffe")
    else:
        require_torch()
    return str(request.param)


def asked(run: Command, verb: str, engine: str, *words: str) -> Ran:
    """Run a verb on the net of this folder, or its solver."""
    from PIL import Image

    solver()
    Path("none.caffemodel").write_bytes(b"")
    Image.new("RGB", (4, 4)).save("image.png")
    more = {
        "test": ("--weights", "none.caffemodel"),
        "run": ("image.png", "--weights", "none.caffemodel", "--crop", "4", "--blobs", "fc", "-o", "fc.npy"),
    }.get(verb, ())
    file = "solver.prototxt" if verb == "train" else "net.prototxt"
    return run(verb, file, "--engine", engine, *more, *words)


def body(verb: str) -> str:
    """The layers before those that do harm, on lines 1 to 3; `run` feeds an image."""
    if verb != "run":
        return DATA
    shape = "input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } }"
    _, fc, _ = DATA.splitlines(keepends=True)
    return f'layer {{ name: "data" type: "Input" top: "data" {shape} }}\n{fc}\n'


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_written_outside_the_folder_of_a_net(
    elsewhere: Path, run: Command, engine: str, verb: str, name: str
) -> None:
    out = writing(name.format(there=elsewhere))
    Path("net.prototxt").write_text(body(verb) + (out.replace('"label"', '"fc"') if verb == "run" else out))
    done = asked(run, verb, engine)
    assert done.code == 2
    assert all(word in done.err for word in ("layer 'out' writes", "--trust", "net.prototxt:4"))
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("name", ["data.h5", "link/data.h5", "list.txt", "net.prototxt", "solver.prototxt"])
@pytest.mark.parametrize("verb", ["train", "test"])
def test_no_layer_writes_over_what_is_read(elsewhere: Path, run: Command, verb: str, name: str) -> None:
    """Real Caffe truncates the file before it reads it: the data would be lost."""
    h5py = pytest.importorskip("h5py")
    data = elsewhere / "data.h5" if name.startswith("link/") else Path("data.h5")
    with h5py.File(data, "w") as file:
        file["data"], file["label"] = [[1.0]] * 4, [0.0] * 4
    Path("list.txt").write_text(f"{data}\n")
    Path("none.caffemodel").write_bytes(b"")
    source = 'hdf5_data_param { source: "list.txt" batch_size: 2 }'
    _, *rest = DATA.splitlines(keepends=True)
    reads = f'layer {{ name: "data" type: "HDF5Data" top: "data" top: "label" {source} }}\n'
    Path("net.prototxt").write_text(reads + "".join(rest) + writing(name))
    solver()
    files = [data, Path("list.txt"), Path("net.prototxt"), Path("solver.prototxt")]
    before = [path.read_bytes() for path in files]
    given = ("solver.prototxt",) if verb == "train" else ("net.prototxt", "--weights", "none.caffemodel")
    if (verb, name) != ("test", "solver.prototxt"):  # which the test does not read
        done = run(verb, *given, "--trust")
        assert done.code == 2
        assert f"layer 'out' writes '{name}', over a file that is read" in done.err
        assert "net.prototxt:4" in done.err
    assert [path.read_bytes() for path in files] == before


@pytest.mark.parametrize("prefix", ["{there}/x", "../there/x", "link/x", "{there}"])
def test_no_snapshot_is_written_outside(elsewhere: Path, run: Command, engine: str, prefix: str) -> None:
    Path("net.prototxt").write_text(DATA)
    solver(prefix.format(there=elsewhere))
    done = run("train", "solver.prototxt", "--engine", engine)
    assert done.code == 2
    assert "--trust" in done.err
    assert not list(elsewhere.iterdir())
    assert "[snapshot-outside]" in run("check", "solver.prototxt").out


def test_what_the_user_names_is_trusted(elsewhere: Path, run: Command, engine: str) -> None:
    Path("net.prototxt").write_text(DATA + writing("x.h5"))
    solver()
    words = ("train", "solver.prototxt", "--engine", engine, "--no-draw")
    assert run(*words, "--set", f"snapshot_prefix={elsewhere}/x").code == 0
    solver(f"{elsewhere}/y")
    assert run(*words, "--trust").code == 0
    assert {"x_iter_1.caffemodel", "y_iter_1.caffemodel"} <= {p.name for p in elsewhere.iterdir()}


@pytest.mark.parametrize("verb", VERBS)
def test_no_code_runs_that_a_net_names(
    elsewhere: Path, run: Command, engine: str, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(".")
    marker = Path("MARKER").absolute()
    Path("evil.py").write_text(EVIL)
    Path("net.prototxt").write_text(body(verb) + PYTHON)
    done = asked(run, verb, engine)
    assert done.code == 2
    assert "ConfigError: running layer 'evil' imports evil.Evil and runs it\n" in done.err
    assert "add --trust; docs/security.md explains it" in done.err
    assert not marker.exists()
    for trusted in ("--trust", "--python-layers"):  # an old name
        asked(run, verb, engine, trusted, *(["--force"] if verb in ("train", "run") else []))
        assert marker.exists()
        marker.unlink()
        sys.modules.pop("evil", None)


def test_a_model_is_not_verified_by_a_net_that_names_code(elsewhere: Path) -> None:
    net = parse(body("run") + PYTHON, unknown="keep")
    with pytest.raises(ConfigError, match=r"running layer 'evil' imports evil\.Evil and runs it"):
        verify(net, "none.caffemodel", None, {}, None)


def test_check_finds_both(elsewhere: Path, run: Command) -> None:
    Path("net.prototxt").write_text(DATA + PYTHON + writing(str(elsewhere / "x.h5")) + writing("here.h5"))
    findings = json.loads(run("check", "net.prototxt", "--format", "json").out)["files"][0]["findings"]
    found = [
        (f["code"], f["layer"], f["line"]) for f in findings if f["code"] in ("runs-code", "writes-outside")
    ]
    assert found == [("runs-code", "evil", 4), ("writes-outside", "out", 5)]


def test_what_detections_write_is_known(elsewhere: Path, run: Command) -> None:
    Path("net.prototxt").write_text(
        'layer { name: "d" type: "DetectionOutput" bottom: "a" bottom: "b" bottom: "c" top: "d" '
        'detection_output_param { num_classes: 2 save_output_param { output_directory: "/tmp" } } }\n'
    )
    assert "[writes-outside]" in run("check", "net.prototxt").out


def test_outside_is_where_neither_folder_is(elsewhere: Path) -> None:
    assert not is_outside("a/b", "net.prototxt")
    assert not is_outside(str(elsewhere / "x"), str(elsewhere / "net.prototxt"))
    assert is_outside(str(elsewhere.parent / "here2"), "net.prototxt")
    assert is_outside("link/x", "net.prototxt")
    assert is_outside("/", "net.prototxt")
