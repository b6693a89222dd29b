"""Links planted under temporary names: even one whose name was guessed is never followed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from netbuilder import prototxt
from netbuilder.data.output import Output
from netbuilder.errors import FileError
from netbuilder.storage import temporary
from netbuilder.storage.files import MARK, replacing, replacing_folder, write_files
from netbuilder.training.plan import plan_training
from netbuilder.training.snapshots import SNAPSHOTS

NET = (
    'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 2 dim: 3 } } }\n'
    'layer { name: "fc" type: "InnerProduct" bottom: "d" top: "fc" inner_product_param { num_output: 2 } }\n'
    'layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "fc" top: "loss" }\n'
)


def _file(place: Path) -> None:
    write_files({place: MARK})


def _replaced(place: Path) -> None:
    with replacing(place) as partial:
        partial.write_text(MARK)


def _folder(place: Path) -> None:
    with replacing_folder(place) as folder:
        (folder / "file").write_text("theirs")


def _database(place: Path) -> None:
    with Output(place, {"job": 1}, {}, force=True, resume=False) as output:
        (output.folder / "file").write_text("theirs")


def _training(place: Path) -> None:
    solver = place.with_name("solver.prototxt")
    net = place.with_name("net.prototxt")
    net.write_text(NET)
    solver.write_text(
        f'net: "{net}" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "{place}"\n'
    )
    plan = plan_training(str(solver), SNAPSHOTS)
    plan.make_folder()
    (plan.partial / "file").write_text("theirs")


def _onnx(place: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'caffe-netbuilder[onnx]'")
    from netbuilder.export.onnx import export

    net = prototxt.parse(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
        'layer { name: "r" type: "ReLU" bottom: "x" top: "r" }\n'
    )
    export(net, place, verify=False)


KINDS: list[Callable[[Path], None]] = [_file, _replaced, _folder, _database, _training, _onnx]


@pytest.mark.parametrize("write", KINDS, ids=[kind.__name__.strip("_") for kind in KINDS])
def test_a_link_under_a_name_that_was_guessed_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(temporary, "_token", lambda: "0123456789abcdef")
    mine, place = tmp_path / "mine", tmp_path / "made" / "x"
    mine.mkdir()
    place.parent.mkdir()
    monkeypatch.setattr(temporary, "remove_left", lambda folder, name: None)  # it would take the link away
    for name in (temporary.partial_name("x"), ".x.0123456789abcdef.partial"):
        (place.parent / name).symlink_to(mine, target_is_directory=True)
    with pytest.raises(FileError, match="file exists"):
        write(place)
    assert list(mine.iterdir()) == []


def test_a_scratch_folder_is_of_its_user_alone_and_what_a_killed_process_left_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with temporary.scratch() as folder:
        (place,) = tmp_path.iterdir()
        assert str(place) == folder
        assert place.stat().st_mode & 0o777 == 0o700
        pid = os.fork()
        if pid == 0:
            left = temporary.scratch()
            assert left.name
            os.kill(os.getpid(), 9)
        os.waitpid(pid, 0)
        assert len(list(tmp_path.iterdir())) == 2
        with temporary.scratch():
            assert len(list(tmp_path.iterdir())) == 2
            assert place.exists()
