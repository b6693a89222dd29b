"""pycaffe behind a command line, as docker runs it: no environment is passed on, one folder is seen."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import VARIABLE, Caffe
from netbuilder.engines.caffe.install import Install, find
from netbuilder.errors import EngineError
from tests.engines.case import NET, SOLVER, prepare, refusal, start, wait_for, worker_of


@pytest.fixture
def contained(container: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The command line of a Python in a container, which is the Caffe to use."""
    command = container("/usr/bin/python3")
    monkeypatch.setenv(VARIABLE, command)
    return command


def test_it_trains_to_the_same_bytes_and_resumes(
    contained: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    for name in ("180", "200"):
        (folder / f"out/x_iter_{name}.solverstate").unlink()
    assert main(["train", "solver.prototxt", "--no-draw", "--resume", "latest"]) == 0
    monkeypatch.delenv(VARIABLE)
    (folder / "other.prototxt").write_text(SOLVER.replace("out/x", "other/x"))
    assert main(["train", "other.prototxt", "--no-draw"]) == 0
    # In the root the database has another, relative name; all that follows its layer is the same.
    ours, other = ((folder / p / "x_iter_200.caffemodel").read_bytes() for p in ("out", "other"))
    at = ours.index(b"Convolution")
    assert ours[at:] == other[other.index(b"Convolution") :]


def test_it_is_stopped_and_killed(contained: str, folder: Path) -> None:
    (folder / "solver.prototxt").write_text(SOLVER.replace("max_iter: 200", "max_iter: 100000"))
    process = start("solver.prototxt", "--no-draw", "--json")
    wait_for(folder / "out/x_iter_60.solverstate", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    data = json.loads(out)
    assert data["snapshots"][-1] == f"out/x_iter_{data['iteration']}.solverstate"
    (folder / "solver.prototxt").write_text(
        SOLVER.replace("max_iter: 200", "max_iter: 100000").replace("out", "kill")
    )
    process = start("solver.prototxt", "--no-draw")
    wait_for(folder / "kill/x_iter_60.solverstate", process)
    os.kill(worker_of(process), signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "EngineError: Caffe was killed (SIGKILL), by hand or by the kernel for its memory" in err


def test_it_judges_nets_too(contained: str) -> None:
    with Caffe() as caffe:
        text = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }'
        assert caffe.load(text).blobs == {"x": (2,)}
        assert str(caffe.install).endswith(f"/usr/bin/python3 (named by {VARIABLE})")


def test_files_that_are_not_mounted_are_named(
    contained: str,
    container: Callable[..., str],
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hint = "\nhint:    a container sees what is mounted: -v FOLDER:FOLDER, by the same name\n"
    other = tmp_path_factory.mktemp("elsewhere")
    (folder / "db").rename(other / "db")
    (folder / "net.prototxt").write_text(NET.replace('"db"', f'"{other}/db"'))
    assert refusal(["train", "solver.prototxt"], capsys) == (
        f"the Python that has Caffe does not see '{other}/db', which is there: mount it{hint}"
    )
    (other / "weights").touch()
    words = ["test", "--engine", "caffe", "net.prototxt", "--weights", f"{other}/weights"]
    assert f"does not see '{other}/weights'" in refusal(words, capsys)
    for name in ("net.prototxt", "solver.prototxt"):
        (folder / name).rename(other / name)
    monkeypatch.chdir(other)
    assert refusal(["train", "solver.prototxt"], capsys) == (
        f"the Python that has Caffe does not see the folder '{other}': mount it{hint}"
    )
    # The binary does not look by itself; its own words are explained.
    monkeypatch.setenv(VARIABLE, container("env", "GLOG_logtostderr=1", "caffe"))
    (other / "solver.prototxt").write_text(SOLVER.replace('"warmup 20 from 0, cosine"', '"fixed"'))
    said = refusal(["train", "solver.prototxt"], capsys)
    assert re.match(
        r"Caffe does not see the file 'out/\.x\.\S+\.partial/solver\.prototxt', which is there\n", said
    )
    assert said.endswith(hint.replace("name\n", "name, and start there: -w FOLDER\n"))


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("no-docker run --rm -i image python", ".* is neither a folder, nor is 'no-docker' a program"),
        (
            "sh -c 'echo docker: no daemon is running >&2; exit 125'",
            ".* has no usable Caffe: docker: no daemon is running",
        ),
        ("docker run 'image", ".* is not a command line: No closing quotation"),
    ],
)
def test_a_command_that_does_not_start_is_reported(
    command: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, command)
    with pytest.raises(EngineError, match=error):
        find()


def test_a_python_that_is_too_old_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "sitecustomize.py").write_text("import sys\nsys.version_info = (2, 7, 12)")
    monkeypatch.setenv(VARIABLE, f"env PYTHONPATH={folder} {sys.executable}")
    with pytest.raises(EngineError, match=r"no usable Caffe: AssertionError: it is Python 2\.7, and 3\.7 is"):
        find()


def test_what_netbuilder_sets_is_set_before_caffe_is_imported(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "fake").mkdir()
    (folder / "fake/caffe.py").write_text(
        "import json, os\njson.dump(dict(os.environ), open('environment.json', 'w'))\nos._exit(1)"
    )
    clean = ("env", "-i", f"PYTHONPATH={folder}/fake", sys.executable)
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    install = Install(clean, "a fake")
    ready = prepare("solver.prototxt", install, threads=3)
    with ready.start() as worker, pytest.raises(EngineError):
        list(worker)
    seen = json.loads((folder / "environment.json").read_text())
    expected = {
        "GLOG_logtostderr": "1",
        "GLOG_minloglevel": "0",
        "OMP_NUM_THREADS": "3",
        "OPENBLAS_NUM_THREADS": "3",
        "OPENBLAS_CORETYPE": "Haswell",
    }
    assert {name: seen.get(name) for name in expected} == expected
