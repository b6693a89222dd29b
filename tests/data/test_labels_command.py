"""`netbuilder data lmdb --labels`: several labels for each image, in a database of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from netbuilder.data import images
from netbuilder.engines.caffe import Caffe
from netbuilder.schema import message
from tests.databases import noise

Run = Callable[..., tuple[int, str, str]]
Read = Callable[[Path], dict[bytes, bytes]]

VALUES = [(0.0, 1.0, 0.25), (-3.5, 2.0, 1e-3), (1.0, 1.0, 0.0), (7.0, 0.5, 16777217.0)]


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list of four images with three labels each; one path ends in a number."""
    lines = []
    for i, (planes, values) in enumerate(zip(noise(4, 3, 6, 5), VALUES, strict=True)):
        name = f"image {i}.png" if i else "folder 7/image.png"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(images.encode(np.ascontiguousarray(planes.transpose(1, 2, 0)), "png"))
        lines.append(f"{name} {' '.join(map(repr, values))}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    return tmp_path / "list.txt"


def labels_of(record: bytes) -> tuple[float, ...]:
    datum = message("Datum").FromString(record)
    assert (datum.channels, datum.height, datum.width) == (len(datum.float_data), 1, 1)
    return tuple(datum.float_data)


@pytest.mark.parametrize("options", [(), ("--shuffle", "--seed", "4")])
def test_both_databases_have_the_same_keys_in_the_same_order(
    data: Run, records: Read, listed: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    code, _, err = data("lmdb", listed, "-o", tmp_path / "db", "--labels", tmp_path / "labels", *options)
    assert code == 0
    assert f"wrote {tmp_path}/labels: 4 records of 3 labels" in err
    pictures, labels = records(tmp_path / "db"), records(tmp_path / "labels")
    assert list(pictures) == list(labels)
    by_name = {line.rsplit(" ", 3)[0]: values for line, values in zip(listed.read_text().split("\n"), VALUES)}  # noqa: B905
    for key, record in labels.items():
        np.testing.assert_array_equal(labels_of(record), np.array(by_name[key[9:].decode()], np.float32))


def test_an_image_that_is_skipped_has_no_labels(
    data: Run, records: Read, listed: Path, tmp_path: Path
) -> None:
    (tmp_path / "image 1.png").write_bytes(b"none")
    code, _, _ = data(
        "lmdb", listed, "-o", tmp_path / "db", "--labels", tmp_path / "labels", "--skip-unreadable"
    )
    assert code == 0
    assert list(records(tmp_path / "db")) == list(records(tmp_path / "labels"))
    assert len(records(tmp_path / "labels")) == 3


def test_the_same_command_completes_what_is_missing(
    data: Run, records: Read, listed: Path, tmp_path: Path
) -> None:
    import shutil

    command = ("lmdb", listed, "-o", tmp_path / "db", "--labels", tmp_path / "labels", "--resume")
    assert data(*command)[0] == 0
    before = records(tmp_path / "labels")
    assert data(*command)[0] == 0
    shutil.rmtree(tmp_path / "labels")
    assert data(*command)[0] == 0
    assert records(tmp_path / "labels") == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a.png 1 2\nb.png 1\n", "a line must be a path and 2 numbers, as the first is, got 'b.png 1'"),
        ("a.png 1 2\nb.png 1 x\n", "a line must be a path and 2 numbers, as the first is, got 'b.png 1 x'"),
        ("a.png\n", "a line must be 'path number number ...', got 'a.png'"),
        ("1 2\n", "a line must be 'path number number ...', got '1 2'"),
        ("a.png 1 nan\n", "a line must be 'path number number ...', got 'a.png 1 nan'"),
        ("\n", "has no lines 'path number number ...'"),
    ],
)
def test_wrong_lines_are_named(data: Run, tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "list.txt").write_text(text)
    code, _, err = data("lmdb", tmp_path / "list.txt", "-o", tmp_path / "db", "--labels", tmp_path / "labels")
    assert code == 2
    assert why in err
    assert not (tmp_path / "db").exists()
    assert not (tmp_path / "labels").exists()


def test_a_label_that_is_not_whole_hints_at_the_option(data: Run, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a.png 0.5\n")
    code, _, err = data("lmdb", tmp_path / "list.txt", "-o", tmp_path / "db")
    assert code == 2
    assert "--labels DB takes several labels, and ones that are not whole" in err


NET = """
layer { name: "data" type: "Data" top: "data" data_param { source: "db" backend: LMDB batch_size: 5 }
        transform_param { crop_size: 4 scale: 0.5 } }
layer { name: "label" type: "Data" top: "label" data_param { source: "labels" backend: LMDB batch_size: 5 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "label" top: "loss" }
"""


def test_real_caffe_and_the_pytorch_engine_read_equal_values(
    real_caffe: Caffe, data: Run, listed: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    from netbuilder.engines.torch import module
    from netbuilder.engines.torch.feed import Feed

    data("lmdb", listed, "-o", tmp_path / "db", "--labels", tmp_path / "labels", "--shuffle")
    files = {f"{name}/data.mdb": (tmp_path / name / "data.mdb").read_bytes() for name in ("db", "labels")}
    theirs = real_caffe.run(NET, files=files, outputs=["data", "label", "loss"]).outputs
    (tmp_path / "net.prototxt").write_text(NET)
    net = module(tmp_path / "net.prototxt")
    for hold in (0, 1 << 40):
        ours = next(Feed(net, device="cpu", seed=0, hold=hold))
        assert ours["label"].shape == (5, 3, 1, 1)
        for name in ("data", "label"):
            np.testing.assert_array_equal(ours[name].numpy(), theirs[name])
    assert float(net(**ours)["loss"].detach()) == pytest.approx(float(theirs["loss"]), rel=1e-6)
