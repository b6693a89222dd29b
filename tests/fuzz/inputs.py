"""Files that are nearly right, for each reader of netbuilder: good ones, damaged at random places.

A `Driver` has a good file and what reads it. Nothing but a NetBuilderError may come of reading, and none may
take long.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from netbuilder import prototxt
from netbuilder.errors import NetBuilderError
from netbuilder.schema import NetParameter, message
from netbuilder.training.snapshots import SNAPSHOTS
from tests.databases import noise, write_lmdb
from tests.fuzz import reader

__all__ = ["DRIVERS", "Driver", "damaged", "read"]

WORDS = [
    b"", b"\0", b"\xff" * 8, b"\x7f" * 8, b"-1", b"1e400", b"nan", b"9" * 30, b"{", b"}", b"[", b"]", b'"',
    b"'", b"\n", b"\r", b",", b":", b"#", b"=", b"%s", b"../", b"\xe2\x80\xae", b"null", b"true",
    b"!!python/object:x", b"&a [*a, *a]", b"<<: *a", b"\x80\x02", b"PK\x03\x04",
]  # fmt: skip


class Driver(NamedTuple):
    """How a kind of file is made in a folder, by the name of the file to damage, and read."""

    name: str
    make: Callable[[Path], object]
    read: Callable[[Path], object]


def damaged(rng: random.Random, content: bytes) -> bytes:
    """A content with some bytes cut, changed, doubled, moved, or replaced by words that matter somewhere."""
    out = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 4, 16])):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + int(rng.expovariate(1 / 12)))
        match rng.randrange(7):
            case 0:
                del out[at:end]
            case 1:
                out[at:at] = out[at:end] * rng.choice([1, 2, 100])
            case 2:
                out[at:at] = rng.choice(WORDS)
            case 3:
                out[at:end] = rng.choice(WORDS)
            case 4 if at < len(out):
                out[at] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
            case 5 if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case 6 if rng.random() < 0.2:
                del out[at:]
    return bytes(out)


def read(driver: Driver, path: Path) -> str:
    """Read a file; "read" or "refused", and whatever should not be is raised."""
    try:
        driver.read(path)
    except NetBuilderError as error:
        str(error)
        return "refused"
    return "read"


# ---- the kinds of files ----------------------------------------------------------------------------------

NET = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }\n'
    'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
    "inner_product_param { num_output: 2 } }\n"
)
SOLVER = (
    'net: "net.prototxt" # of today\nbase_lr: 0.1 lr_policy: "multistep" stepvalue: [10, 20] gamma: 0.1\n'
    'max_iter: 30 momentum: 0.9 snapshot: 10 snapshot_prefix: "x" test_iter: 3 test_interval: 5\n'
    'test_state { stage: "a" } type: "SGD" weight_decay: 1e-4\n'
)
CONFIG = (
    "network: resnet\nname: a net\nmain: bottleneck\nblocks: [1, 1, 1, 1]\nclasses: 5\nexpect:\n  macs: 5\n"
)
RECIPE = (Path(__file__).parents[2] / "configs/solvers/resnet.yaml").as_posix()


def _arrays() -> dict[str, Any]:
    return {"fc.weight": np.ones((2, 48), np.float32), "fc.bias": np.zeros(2), "n": np.array(3)}


def _model(path: Path) -> None:
    path.write_bytes(reader.model(random.Random(3)))


def _hdf5_model(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["data/fc/0"], file["data/fc/1"] = np.ones((2, 48), np.float32), np.zeros(2, np.float32)


def _state(path: Path) -> None:
    state = message("SolverState")(iter=10, learned_net="x_iter_10.caffemodel")
    for shape in ((2, 48), (2,)):
        blob = state.history.add()
        blob.shape.dim.extend(shape)
        blob.data.extend([0.5] * int(np.prod(shape)))
    path.write_bytes(state.SerializeToString())
    model = NetParameter(name="m")
    model.layer.add(name="fc", type="InnerProduct")
    SNAPSHOTS.model_of(path).write_bytes(model.SerializeToString())


def _read_state(path: Path) -> None:
    from netbuilder.training.states import check_state

    check_state(path, SNAPSHOTS.model_of(path), prototxt.parse(NET), "SGD")


def _database(path: Path) -> None:
    write_lmdb(path.parent, noise(5, 3, 4, 4), range(5))


def _read_database(path: Path) -> None:
    from netbuilder.data.records import first_labels, number_of_records
    from netbuilder.storage.lmdb_file import DamagedDatabase, open_database

    layer = message("LayerParameter")(type="Data", top=["data", "label"])
    layer.data_param.source, layer.data_param.backend = str(path.parent), 1
    list(first_labels(layer, path.parent) or ())
    number_of_records(layer, path.parent)
    try:
        for _, record in open_database(path.parent):
            bytes(record)
    except DamagedDatabase:
        pass


def _mean(path: Path) -> None:
    blob = message("BlobProto")(num=1, channels=3, height=2, width=2, data=[0.5] * 12)
    path.write_bytes(blob.SerializeToString())


def _read_mean(path: Path) -> None:
    from netbuilder.data.preprocess import read_mean
    from netbuilder.weights.model import read_blob

    read_mean(str(path))
    if path.suffix == ".binaryproto":
        read_blob(path)


def _read_lists(path: Path) -> None:
    from netbuilder.data.lists import labels_listing, list_listing
    from netbuilder.data.windows import read_windows

    for each in (list_listing, labels_listing, lambda file: list(read_windows(file))):
        read(Driver("", lambda _: None, each), path)


def _read_solver(path: Path) -> None:
    from netbuilder.prototxt.solver_file import parse_solver
    from netbuilder.solvers import check_file
    from netbuilder.storage.files import read_text

    parsed = parse_solver(read_text(path), str(path))
    parsed.nets()
    for finding in check_file(parsed):
        str(finding)


def _read_config(path: Path) -> None:
    from netbuilder.config.load import load

    load(str(path)).values()


def _read_extras(path: Path) -> None:
    from netbuilder.config.recipes import read_extras, read_recipe

    for each in (lambda file: read_extras(str(file)), lambda file: read_recipe(str(file))):
        read(Driver("", lambda _: None, each), path)


def _checkpoint(write: Callable[[Path, Mapping[str, Any]], object]) -> Callable[[Path], object]:
    return lambda path: write(path, _arrays())


def _safetensors(path: Path, arrays: Mapping[str, Any]) -> None:
    from netbuilder.weights.safetensors import write_safetensors

    plain = {name: np.asarray(a, np.float32) for name, a in arrays.items()}
    write_safetensors(path, [(name, a.shape) for name, a in plain.items()], plain.values())


def _pth(path: Path, arrays: Mapping[str, Any]) -> None:
    import torch

    torch.save({"state_dict": {name: torch.as_tensor(a) for name, a in arrays.items()}}, path)


def _read_checkpoint(path: Path) -> None:
    from netbuilder.weights.checkpoint import read_checkpoint

    for tensor in read_checkpoint(path).tensors.values():
        tensor.read()


def _record(path: Path) -> None:
    head = "iteration,loss,lr,output loss,seconds\n0,2.5,0.1,2.5,1.5\n1,2.0,0.1,2.25,3.25\n"
    path.write_text(head, encoding="utf-8")
    json_path = path.with_name(path.name.replace("_train.csv", "_run.json"))
    json_path.write_text(json.dumps({"version": 1, "type": "SGD"}), encoding="utf-8")


def _read_record(path: Path) -> None:
    from netbuilder.training.record import Record

    prefix = str(path).removesuffix("_train.csv")
    with Record(prefix, 1, 1, 1, names=SNAPSHOTS, engine="caffe"):
        pass


DRIVERS = {
    "net.prototxt": Driver(
        "net.prototxt", lambda path: path.write_text(NET), lambda path: prototxt.read(path, unknown="keep")
    ),
    "solver": Driver("solver.prototxt", lambda path: path.write_text(SOLVER), _read_solver),
    "caffemodel": Driver("x.caffemodel", _model, prototxt.read_model),
    "HDF5 model": Driver("x.caffemodel.h5", _hdf5_model, prototxt.read_model),
    "solverstate": Driver("x_iter_10.solverstate", _state, _read_state),
    "LMDB": Driver("data.mdb", _database, _read_database),
    "mean": Driver("mean.binaryproto", _mean, _read_mean),
    "mean.npy": Driver("mean.npy", lambda path: np.save(path, np.ones((3, 4, 4), np.float32)), _read_mean),
    "list": Driver(
        "list.txt", lambda path: path.write_text("a.png 0\nb c.png 1\n# 0\nd.png\n3\n4\n4\n0\n"), _read_lists
    ),
    "config": Driver("net.yaml", lambda path: path.write_text(CONFIG), _read_config),
    "recipe": Driver(
        "recipe.yaml", lambda path: path.write_text(Path(RECIPE).read_text(encoding="utf-8")), _read_extras
    ),
    "npz": Driver("x.npz", _checkpoint(lambda path, arrays: np.savez(path, **arrays)), _read_checkpoint),
    "pth": Driver("x.pth", _checkpoint(_pth), _read_checkpoint),
    "safetensors": Driver("x.safetensors", _checkpoint(_safetensors), _read_checkpoint),
    "record": Driver("x_train.csv", _record, _read_record),
}
