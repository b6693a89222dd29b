"""Files that are nearly right, for each reader of netbuilder: good ones, damaged at random places.

A `Driver` has a good file and what reads it. Nothing but a NetBuilderError may come of reading, and none may
take long.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
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
MAP = Path(__file__).parents[2] / "netbuilder/weights/maps/torchvision.yaml"
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


def _run_record(path: Path) -> None:
    test = {"iteration": 1, "net": 0, "loss": 0.5, "passes": 2, "outputs": {"a": [0.5]}}
    data = {
        "version": 1, "type": "SGD", "run": "a", "end": "running", "snapshot": "x_iter_1.solverstate",
        "tests": [test], "last_losses": {"1": [0.5, None, 0.25]},
    }  # fmt: skip
    path.write_text(json.dumps(data), encoding="utf-8")
    _record(path.with_name("x_train.csv"))
    rows = "iteration,net,passes,output,value\n0,0,2,a,0.5\n"
    path.with_name("x_test.csv").write_text(rows, encoding="utf-8")
    path.with_name("netbuilder.json").write_text("{}", encoding="utf-8")


def _read_run_record(path: Path) -> None:
    from netbuilder.training.ranks import Ranks
    from netbuilder.training.record import Record
    from netbuilder.training.sharing import begun_by

    prefix = str(path).removesuffix("_run.json")
    begun_by(prefix, Ranks(rank=0, size=2, run="a"), force=False)
    with Record(prefix, 1, 1, 3, names=SNAPSHOTS, engine="caffe") as record:
        record.write()
    _record(path.with_name("x_train.csv"))


def _about(path: Path) -> None:
    path.write_text(json.dumps({"version": 1, "job": {"list": "a"}, "classes": ["a"], "channels": "BGR"}))


def _read_about(path: Path) -> None:
    from netbuilder.data.output import about
    from netbuilder.networks.data_layers import _channels
    from netbuilder.training.labels import _classes

    about(path.parent)
    _channels(str(path.parent))
    _classes(path.parent)


LOG = (
    "I0102 15:04:05.678901  7 solver.cpp:218] Iteration 0 (1.5 iter/s, 0.7s/1 iters), loss = 0.25\n"
    "I0102 15:04:05.678902  7 solver.cpp:237]     Train net output #0: a = b = 0.25 (* 1 = 0.25 loss)\n"
    "I0102 15:04:05.678903  7 sgd_solver.cpp:105] Iteration 0, lr = 0.01\n"
    "I0102 15:04:05.678904  7 solver.cpp:330] Iteration 4, Testing net (#0)\n"
    "I0102 15:04:05.678905  7 solver.cpp:397]     Test net output #0: accuracy = 0.5\n"
    "I0102 15:04:05.678906  7 solver.cpp:447] Snapshotting to binary proto file x_iter_5.caffemodel\n"
    "I0102 15:04:05.678907  7 caffe.cpp:304] Batch 0, loss = 0.5\n"
    "I0102 15:04:05.678908  7 caffe.cpp:309] Loss: 0.5\n"
    "I0102 15:04:05.678909  7 caffe.cpp:393] Iteration: 1 forward-backward time: 5 ms.\n"
    "I0102 15:04:05.678910  7 caffe.cpp:397]         fc\tforward: 0.5 ms.\n"
    "I0102 15:04:05.678911  7 caffe.cpp:400]         fc\tbackward: 0.5 ms.\n"
    "I0102 15:04:05.678912  7 caffe.cpp:407] *** Benchmark ends ***\n"
    "[libprotobuf ERROR google/protobuf/text_format.cc:309] Error parsing text-format at 3:5: Expected x.\n"
    "F0102 15:04:05.678913  7 insert_splits.cpp:29] Unknown bottom blob 'a' (layer 'b', bottom index 0)\n"
)


def _read_log(path: Path) -> None:
    from netbuilder.engines.caffe.binary_log import LOGS
    from netbuilder.engines.caffe.reasons import death

    job = {
        "begin": 0, "max_iter": 9, "test_iter": [2], "iterations": 2, "types": {"fc": "InnerProduct"},
        "snapshot": 5, "display": 1,
    }  # fmt: skip
    text = path.read_bytes().decode(errors="replace")
    for kind in LOGS.values():
        log = kind(job)
        for line in text.split("\n"):
            list(log.take(line))
        with suppress(NetBuilderError):
            list(log.close())
    str(death(-6, text, {"net.prototxt": str(path)}))


def _level_database(path: Path) -> None:
    import plyvel

    datum = message("Datum")
    with plyvel.DB(str(path.parent / "db"), create_if_missing=True) as database:
        for i, image in enumerate(noise(5, 3, 4, 4)):
            record = datum(channels=3, height=4, width=4, data=image.tobytes(), label=i)
            database.put(b"%05d" % i, record.SerializeToString())
    (table,) = (path.parent / "db").glob("*.log")
    table.rename(path)
    path.parent.joinpath("db", "name").write_text(table.name, encoding="utf-8")


def _read_level_database(path: Path) -> None:
    from netbuilder.data.stored import BadRecord, LevelDatabase

    folder = path.parent / "db"
    (folder / (folder / "name").read_text(encoding="utf-8")).write_bytes(path.read_bytes())
    try:
        database = LevelDatabase(folder)
        for number in range(len(database)):
            database.read(database.task(number))
    except BadRecord:
        pass
    layer = message("LayerParameter")(type="Data", top=["data", "label"])
    layer.data_param.source, layer.data_param.batch_size = str(folder), 2
    _shapes(layer, path.parent)


def _shapes(layer: Any, folder: Path) -> None:
    from netbuilder.prototxt.data_shapes import shapes_in_data

    shapes_in_data(layer, folder)


def _hdf5_data(path: Path) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["data"], file["label"] = np.ones((4, 3, 2, 2), np.float32), np.zeros(4, np.float32)
    path.with_name("list.txt").write_text(f"{path.name}\n", encoding="utf-8")


def _read_hdf5_data(path: Path) -> None:
    from netbuilder.data.records import first_labels, number_of_records

    layer = message("LayerParameter")(type="HDF5Data", top=["data", "label"])
    layer.hdf5_data_param.source, layer.hdf5_data_param.batch_size = str(path.with_name("list.txt")), 2
    list(first_labels(layer, path.parent) or ())
    number_of_records(layer, path.parent)
    _shapes(layer, path.parent)


def _archive(path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(path, "w:gz") as archive:
        for name in ("package/data/train-labels-idx1-ubyte", "package/other"):
            member = tarfile.TarInfo(name)
            member.size, member.pax_headers = 3000, {"comment": "x"}
            archive.addfile(member, io.BytesIO(bytes(range(250)) * 12))


def _read_archive(path: Path) -> None:
    from netbuilder.data import mnist, packages

    packages.contents(mnist.PACKAGE, path)


def _image(kind: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        from netbuilder.data import images

        path.write_bytes(images.encode(noise(1, 3, 12, 10)[0].transpose(1, 2, 0), kind))

    return make


def _read_image(path: Path) -> None:
    from netbuilder.data import images

    for gray in (False, True):
        try:
            with path.open("rb") as file:
                images.decode(file, gray=gray)
            images.decode_bytes(path.read_bytes(), gray=gray)
        except images.Unreadable:
            pass


def _parquet(path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    from netbuilder.data import images

    encoded = [images.encode(image.transpose(1, 2, 0), "png") for image in noise(3, 3, 4, 4)]
    parquet.write_table(pyarrow.table({"data": encoded, "label": [0, 1, 2]}), path)


def _read_parquet(path: Path) -> None:
    from netbuilder.data.parquet import Frame
    from netbuilder.data.stored import BadRecord

    try:
        frame = Frame(path, "f", image="data", label="label")
        for number in range(min(5, len(frame))):
            frame.read(frame.task(number))
    except BadRecord:
        pass


SWEEP = (
    "network: resnet\nmain_branch: bottleneck\naxes:\n  blocks: [[1..2, 1, 1, 1..3 step 2]]\n"
    "constraints:\n  - macs <= 1069.6M\n"
    "objectives: [maximise depth, minimise macs]\nlimit: 5\n"
)


def _read_sweep(path: Path) -> None:
    from netbuilder.designing.plan import read_sweep

    read_sweep(str(path))


def _journal(path: Path) -> None:
    from netbuilder.designing.counting import Tally
    from netbuilder.designing.journal import Journal

    journal = Journal(path, "digest", 3)
    row = [1, 1, [[0, [1.0], [2.0]]], {"a": [1, 0, "text"]}, [0], [[1.0, 0]], [[1.0, 2.0]]]
    journal.add(0, Tally.from_data(row))
    journal.close()


def _read_journal(path: Path) -> None:
    from netbuilder.designing.journal import Journal

    Journal(path, "digest", 3).close()


def _read_map(path: Path) -> None:
    from netbuilder.weights.maps import find_map

    found = find_map(str(path))
    found.departures(prototxt.parse(NET))
    for layer in ("conv_stage0_block0_branch2a", "conv_1", "fc1000"):
        found.is_convolution(layer)
        found._name(layer, {})


def _times(path: Path) -> None:
    layer = {"name": "fc", "forward_ms": 0.5, "backward_ms": 1}
    path.write_text(json.dumps({"phase": "TEST", "layers": [layer]}), encoding="utf-8")


def _read_times(path: Path) -> None:
    from netbuilder.cli.draw import _read_times as read_times

    read_times(str(path))


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
    "run.json": Driver("x_run.json", _run_record, _read_run_record),
    "netbuilder.json": Driver("netbuilder.json", _about, _read_about),
    "log": Driver("caffe.log", lambda path: path.write_text(LOG), _read_log),
    "LevelDB": Driver("table", _level_database, _read_level_database),
    "HDF5 data": Driver("data.h5", _hdf5_data, _read_hdf5_data),
    "archive": Driver("x.tgz", _archive, _read_archive),
    "PNG": Driver("x.png", _image("png"), _read_image),
    "JPEG": Driver("x.jpg", _image("jpg"), _read_image),
    "Parquet": Driver("x.parquet", _parquet, _read_parquet),
    "sweep": Driver("sweep.yaml", lambda path: path.write_text(SWEEP), _read_sweep),
    "journal": Driver("sweep.journal", _journal, _read_journal),
    "naming map": Driver("map.yaml", lambda path: path.write_bytes(MAP.read_bytes()), _read_map),
    "times": Driver("times.json", _times, _read_times),
}
