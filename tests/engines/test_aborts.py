"""What Caffe aborts on in training, told in plain words: provoked in real Caffe, through the binary.

What is told before Caffe starts is in the other files, and in the tests of what reads nets and solvers.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import VARIABLE
from netbuilder.engines.caffe.reasons import death, plain_reason
from netbuilder.schema import message
from tests.engines.case import refusal

DB = 'transform_param { crop_size: 8 } data_param { source: "db" backend: LMDB batch_size: 7 }'
IMAGES = 'image_data_param { source: "list.txt" batch_size: 2 }'
HDF5 = 'hdf5_data_param { source: "list.txt" batch_size: 3 }'
REST = """layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
SOLVER = (
    'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 20 snapshot: 5 snapshot_prefix: "out/x"\n'
)
BINARY = ("env", "GLOG_logtostderr=1", "caffe")


def data(fields: str, type: str = "Data") -> str:
    return f'layer {{ name: "data" type: "{type}" top: "data" top: "label" {fields} }}\n'


@pytest.fixture
def place(container: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to fail in, by the binary."""
    monkeypatch.setenv(VARIABLE, container(*BINARY))
    (folder / "net.prototxt").write_text(data(DB) + REST)
    (folder / "solver.prototxt").write_text(SOLVER)
    return folder


def records(place: str, *content: dict[str, Any] | bytes) -> None:
    """A database with these Datums, or bytes."""
    import lmdb

    shutil.rmtree(place, ignore_errors=True)
    with lmdb.open(place, map_size=1 << 24) as env, env.begin(write=True) as written:
        for i, fields in enumerate(content):
            value = fields if isinstance(fields, bytes) else message("Datum")(**fields).SerializeToString()
            written.put(b"%03d" % i, value)


def planes(size: int) -> dict[str, Any]:
    return {"channels": 3, "height": size, "width": size, "data": bytes(3 * size * size)}


def empty_database() -> None:
    records("db")


def damaged_record() -> None:
    records("db", b"\xff\xff no Datum")


def undecodable_record() -> None:
    records("db", {"encoded": True, "data": b"no image"})


def two_sizes() -> None:
    records("db", *[planes(10)] * 3, planes(12))
    Path("net.prototxt").write_text(data(DB.replace("crop_size: 8", "")) + REST)


def small_among_large() -> None:
    records("db", *[planes(10)] * 3, planes(6))


def cut_database() -> None:
    path = Path("db/data.mdb")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def folder_without_database() -> None:
    Path("db/data.mdb").unlink()


def no_leveldb() -> None:
    Path("db/data.mdb").unlink()
    Path("net.prototxt").write_text(data(DB.replace("LMDB", "LEVELDB")) + REST)


def transform(text: str) -> Callable[[], None]:
    def change() -> None:
        blob = message("BlobProto")(num=1, channels=3, height=9, width=9, data=[0.0] * 243)
        Path("mean").write_bytes(blob.SerializeToString())
        Path("no_mean").write_bytes(b"\xff\xff no mean")
        Path("net.prototxt").write_text(data(DB.replace("crop_size: 8", text)) + REST)

    return change


def images(*lines: str) -> Callable[[], None]:
    def change() -> None:
        from PIL import Image

        for i in (8, 9):
            Image.new("RGB", (i, 8)).save(f"{i}.png")
        Path("no.png").write_bytes(b"no image")
        Path("list.txt").write_text("".join(f"{line}\n" for line in lines))
        Path("net.prototxt").write_text(data(IMAGES, "ImageData") + REST)

    return change


def hdf5(*names: str) -> Callable[[], None]:
    def change() -> None:
        import h5py
        import numpy as np

        for name, rows in (("good.h5", 4), ("short.h5", 3), ("lacks.h5", 0)):
            with h5py.File(name, "w") as file:
                file["data"] = np.zeros((4, 3), np.float32)
                if rows:
                    file["label"] = np.zeros(rows, np.float32)
        Path("no.h5").write_bytes(b"no HDF5")
        Path("cut.h5").write_bytes(Path("good.h5").read_bytes()[:-20])
        Path("list.txt").write_text("\n".join(names))
        Path("net.prototxt").write_text(data(HDF5, "HDF5Data") + REST)

    return change


def layer(fields: str) -> Callable[[], None]:
    def change() -> None:
        more = f'layer {{ name: "x" bottom: "fc" top: "x" {fields} }}'
        Path("net.prototxt").write_text(data(DB) + REST + more)

    return change


@pytest.mark.parametrize(
    ("change", "plain"),
    [
        (empty_database, "the first record of a database is missing, or not an image"),
        (damaged_record, "the first record of a database is missing, or not an image"),
        (undecodable_record, "an image in a database of the net cannot be decoded"),
        (two_sizes, "the images differ in size: height 12, where the first of the batch has 10"),
        (small_among_large, "an image is smaller than crop_size, or than the first of the batch: height 6"),
        (cut_database, "Caffe died (SIGBUS): a file that it reads as memory ended early"),
        (folder_without_database, "a database of the net is not there"),
        (no_leveldb, "the LevelDB 'db' cannot be opened: Invalid argument: db: does not exist"),
        (
            transform('mean_file: "mean"'),
            "Data 'data': mean_file 'mean' is 3x9x9, and the images are 3x10x10",
        ),
        (transform('mean_file: "no_mean"'), "Data 'data': mean_file 'no_mean' is not a mean image"),
        (transform('mean_file: "mean" mean_value: 3'), "Data 'data': mean_file and mean_value are both"),
        (
            transform("mean_value: 1 mean_value: 2"),
            "Data 'data': mean_value must be given once, or once for each of the 3 channels",
        ),
        (images("8.png 0", "no.png 1"), "the image 'no.png' cannot be read: it is not there, damaged"),
        (images("8.png 0", "9.png 1"), "the images differ in size: width 9, where the first of the"),
        (images(), "the list of images is empty"),
        (images("8.png 0", "gone.png 1"), "layer 'data' reads 'gone.png', which is not there"),
        (hdf5("good.h5", "gone.h5"), "layer 'data' reads 'gone.h5', which is not there"),
        (hdf5("good.h5", "lacks.h5"), "an HDF5 file has no dataset 'label'"),
        (hdf5("good.h5", "short.h5"), "the datasets of an HDF5 file differ in length: 3 rows and 4"),
        (hdf5("good.h5", "no.h5"), "'no.h5' does not exist, or is not a whole HDF5 file"),
        (hdf5("good.h5", "cut.h5"), "'cut.h5' does not exist, or is not a whole HDF5 file"),
        (layer('type: "Permute"'), "this Caffe has no layer type 'Permute'"),
        (
            layer('type: "Softmax" softmax_param { engine: CUDNN }'),
            "layer 'x' asks for an engine that this Caffe is built without",
        ),
        (
            layer('type: "ReLU" relu_param { new_field: 1 }'),
            "this Caffe does not understand line 5 of 'net.prototxt': Message type \"caffe.ReLUParameter\"",
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)  # fmt: skip
def test_an_abort_is_explained_in_plain_words_and_leaves_no_snapshot(
    change: Callable[[], None], plain: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change()
    assert refusal(["train", "solver.prototxt", "--no-draw"], capsys).startswith(plain)
    assert list(place.glob("out/*_iter_*")) == []
    assert not list((place / "out").glob(".*"))


def test_a_snapshot_or_weights_of_another_net_are_reported(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "solver.prototxt", "--no-draw"]) == 0
    (place / "other.caffemodel").write_bytes(b"\xff\xff no model")
    weights = ["--weights", "other.caffemodel", "--force"]
    assert refusal(["train", "solver.prototxt", *weights], capsys).startswith(
        "'other.caffemodel' has no weights of Caffe in it: it is cut short, or something else\n"
    )
    resumed = ["train", "solver.prototxt", "--no-draw", "--resume", "out/x_iter_10.solverstate"]
    (place / "solver.prototxt").write_text(SOLVER + 'type: "Adam"')
    assert refusal(resumed, capsys).startswith(
        "the snapshot does not fit: it is of another net, or of another type of solver\n"
    )
    (place / "net.prototxt").write_text(data(DB) + REST.replace("num_output: 5", "num_output: 6"))
    said = refusal(resumed, capsys)
    assert said.startswith("the weights do not fit: param 0 of layer 'fc' is 5 192 (960) in the file")


@pytest.mark.parametrize(
    ("limit", "outputs", "plain"),
    [
        ("ulimit -v 1000000", 2_000_000, "the memory of this machine is too small\n"),
        ("ulimit -f 100", 2000, "Caffe cannot write a snapshot: the file may not grow so large\n"),
        # Ignored, the signal is an error of the file system, as a full disk is.
        ("ulimit -f 100; trap '' XFSZ", 2000, "Caffe cannot write a snapshot: the disk is full, or the"),
    ],
)
def test_a_resource_that_runs_out_is_named(
    limit: str, outputs: int, plain: str, place: Path, container: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(VARIABLE, container("sh", "-c", f'{limit}; exec "$@"', "-", *BINARY))
    (place / "net.prototxt").write_text(data(DB) + REST.replace("num_output: 5", f"num_output: {outputs}"))
    assert refusal(["train", "solver.prototxt", "--no-draw"], capsys).startswith(plain)
    assert list(place.glob("out/*_iter_*")) == []


def test_a_leveldb_that_both_phases_read_is_reported(
    place: Path, container: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    images("8.png 0", "8.png 1")()
    convert = container("env", "GLOG_logtostderr=1", "convert_imageset", "-backend", "leveldb")
    subprocess.run([*shlex.split(convert), f"{place}/", "list.txt", "level"], check=True, capture_output=True)
    level = 'data_param { source: "level" backend: LEVELDB batch_size: 2 }'
    layers = (data(f"include {{ phase: {phase} }} {level}") for phase in ("TRAIN", "TEST"))
    (place / "net.prototxt").write_text("".join(layers) + REST)
    (place / "solver.prototxt").write_text(SOLVER + "test_iter: 1 test_interval: 5")
    assert refusal(["train", "solver.prototxt", "--no-draw"], capsys).startswith(
        "the LevelDB 'level' is in use: only one layer can open it\n"
    )


@pytest.mark.parametrize("program", [BINARY, ("/usr/bin/python3",)], ids=["binary", "pycaffe"])
def test_the_exception_of_a_python_layer_is_reported(
    program: tuple[str, ...], place: Path, container: Callable[..., str], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv(VARIABLE, container(*program))
    layer('type: "Python" python_param { module: "no_module" layer: "X" }')()
    assert main(["train", "solver.prototxt", "--no-draw", "--trust"]) == 2
    said = capsys.readouterr().err
    assert "EngineError: a Python layer raised an error, or its module was not found\n  where:   " in said
    assert "ModuleNotFoundError: No module named 'no_module'\n  hint:" in said


def test_a_folder_that_cannot_be_made_is_reported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "out").touch()
    assert refusal(["train", "solver.prototxt"], capsys).startswith(
        "cannot make the folder 'out' of the snapshots: "
    )


# The words are those of Caffe's CHECKs; the numbers of CUDA's errors are in its driver_types.h, of LMDB's in
# lmdb.h. These cannot be provoked on a CPU, as root, or in a test.
@pytest.mark.parametrize(
    ("reason", "plain"),
    [
        ("Check failed: error == cudaSuccess (2 vs. 0)  out of memory", "the GPU has too little memory"),
        ("Check failed: error == cudaSuccess (100 vs. 0)  no CUDA-capable device is detected",
         "there is no GPU that CUDA can use"),
        ("Check failed: error == cudaSuccess (10 vs. 0)  invalid device ordinal",
         "there is no GPU of that number"),
        ("Check failed: error == cudaSuccess (35 vs. 0)  CUDA driver version is insufficient",
         "the driver of the GPU is too old for the CUDA that this Caffe is built with"),
        ("Check failed: error == cudaSuccess (8 vs. 0)  invalid device function",
         "this Caffe is not built for a GPU of this kind"),
        ("Check failed: error == cudaSuccess (719 vs. 0)  unspecified launch failure",
         "CUDA failed: unspecified launch failure (error 719)"),
        ("Check failed: status == CUDNN_STATUS_SUCCESS (4 vs. 0)  CUDNN_STATUS_INTERNAL_ERROR",
         "cuDNN failed: CUDNN_STATUS_INTERNAL_ERROR"),
        ("Check failed: status == CUBLAS_STATUS_SUCCESS (13 vs. 0)  CUBLAS_STATUS_EXECUTION_FAILED",
         "cuBLAS failed: CUBLAS_STATUS_EXECUTION_FAILED"),
        ("Check failed: result == ncclSuccess (1 vs. 0) unhandled cuda error",
         "NCCL, which joins the GPUs, failed: unhandled cuda error"),
        ("Multi-GPU execution not available - rebuild with USE_NCCL",
         "this Caffe is built without NCCL, which several GPUs need"),
        ("Layer-wise reduce is not supported for nets with shared weights.",
         "a net with shared weights cannot train on several GPUs as the solver says"),
        ("Check failed: mdb_status == 0 (2 vs. 0) No such file or directory",
         "a database of the net is not there"),
        ("Check failed: mdb_status == 0 (13 vs. 0) Permission denied",
         "a database of the net may not be opened: Permission denied"),
        ("Check failed: mdb_status == 0 (30 vs. 0) Read-only file system",
         "a database of the net may not be opened: Read-only file system"),
        ("Check failed: mdb_status == 0 (-30790 vs. 0) MDB_READERS_FULL: Environment maxreaders limit",
         "too many processes read a database of the net: MDB_READERS_FULL: Environment maxreaders limit"),
        ("Check failed: mdb_status == 0 (12 vs. 0) Cannot allocate memory",
         "a database of the net does not fit into the address space: Cannot allocate memory"),
        ("Check failed: status.ok() Failed to open leveldb db IO error: lock db/LOCK: already held",
         "the LevelDB 'db' is in use: only one layer can open it"),
        ("Check failed: fd != -1 (-1 vs. -1) File not found: a.binaryproto",
         "Caffe does not find the file 'a.binaryproto'"),
        ("Check failed: file_hid >= 0 (-1 vs. 0) Couldn't open a.caffemodel",
         "Caffe does not find the file 'a.caffemodel'"),
        ("Cannot write to snapshot prefix 'out/x'.  Make sure that the directory exists and is writable.",
         "Caffe cannot write to the folder of the snapshots, 'out/x'"),
        ("terminate called after throwing an instance of 'std::bad_alloc' what():  std::bad_alloc",
         "the memory of this machine is too small"),
        ("terminate called after throwing an instance of 'boost::thread_resource_error'",
         "no more threads can be started here"),
        ("Check failed: bottom[0]->num() == 3", ""),
    ],
)  # fmt: skip
def test_reasons_in_plain_words(reason: str, plain: str) -> None:
    assert plain_reason(reason)[0] == plain


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (-11, "Caffe died (SIGSEGV)\n  hint:    a label that is out of range crashes Caffe, for one"),
        (139, "Caffe died (SIGSEGV)\n  hint:    a label that is out of range crashes Caffe, for one"),
        (-8, "Caffe died (SIGFPE): it divided by zero"),
        (-4, "Caffe died (SIGILL): it, or its OpenBLAS, is built for another processor"),
        (137, "Caffe was killed (SIGKILL), by hand or by the kernel for its memory"),
        (127, "Caffe died (exit status 127)\n  hint:    error while loading shared libraries"),
    ],
)
def test_an_end_without_a_reason_says_how_it_ended(code: int, text: str) -> None:
    log = "error while loading shared libraries\n*** Aborted at 1 ***\nPC: @ 0x0\n    @  0x7f (unknown)\n"
    assert str(death(code, log)).startswith(text)


def test_only_the_layer_that_was_being_made_is_named() -> None:
    head = "I0102 15:04:05.678901  1234 x.cpp:1]"
    fatal = "F0102 15:04:05.678901  1234 y.cpp:2] Check failed: a == b"
    making = f"{head} Creating Layer fc\n{head} Creating Layer loss\n"
    assert death(-6, making + fatal).where == "y.cpp:2 in Caffe, at layer 'loss'"
    other = fatal.replace(" 1234 ", " 1235 ")  # reads the data
    assert death(-6, making + other).where == "y.cpp:2 in Caffe"
    done = f"{making}{head} Network initialization done.\n{head} loss needs backward computation.\n"
    assert death(-6, done + fatal).where == "y.cpp:2 in Caffe"


def test_hdf5_files_with_other_rows_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Caffe aborts on nothing here: it cuts the 20 numbers of the second file into rows of 3."""
    import h5py
    import numpy as np

    for name, width in (("a.h5", 3), ("b.h5", 5)):
        with h5py.File(name, "w") as file:
            file["data"], file["label"] = np.zeros((4, width), np.float32), np.zeros(4, np.float32)
    Path("list.txt").write_text("a.h5\nb.h5\n")
    Path("net.prototxt").write_text(data(HDF5, "HDF5Data") + REST)
    assert main(["train", "solver.prototxt", "--engine", "caffe"]) == 2
    said = capsys.readouterr().err
    assert "the rows of dataset 'data' are (5) in 'b.h5', and (3) in 'a.h5'" in said
    assert "line 2 of 'list.txt'" in said
