"""Several ranks train as Caffe's GPUs do: gradients are means, BatchNorm is local, and tests are exact.

The ranks are processes that talk over gloo. `test_launching.py` starts them by the command.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.torch import module
from netbuilder.engines.torch.devices import device_of
from netbuilder.engines.torch.feed import Deal, Feed
from netbuilder.errors import ConfigError
from netbuilder.training.ranks import Ranks
from netbuilder.weights.arrays import read_arrays
from tests.databases import noise, write_lmdb
from tests.engines.case import ROOT
from tests.engines.torch.test_feed import MAKERS, net_of

Driver = Callable[..., list[list[dict[str, Any]]]]
DRIVER = Path(__file__).with_name("_ranks_driver.py")
NET = """name: "small"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.01 } data_param { source: "db" backend: LMDB batch_size: BATCH } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.01 } data_param { source: "db" backend: LMDB batch_size: 6 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 3 weight_filler { type: "msra" } } }
BN
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "msra" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy"
  include { phase: TEST } }
"""
BN = """layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }"""
DROP = 'layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }'
# fc2's weights get no gradient, and nothing reads its top.
ASIDE = """layer { name: "fc2" type: "InnerProduct" bottom: "fc" top: "fc2"
  inner_product_param { num_output: 2 weight_filler { type: "msra" } } }"""
SOLVER = """net: "net.prototxt" lr_policy: "fixed" random_seed: 3
snapshot_prefix: "out/x"
"""
TESTS = "test_iter: 5 test_interval: 2 "


def job(
    place: Path,
    *,
    batch: int = 16,
    bn: str = "",
    end: str = "",
    solver: str = "",
    records: slice = slice(None),
) -> str:
    """A folder with a net of this batch, a solver, and a database of some of 35 images."""
    images, labels = noise(35, 3, 10, 10)[records], list(np.arange(35) % 5)[records]
    write_lmdb(place / "db", images, map(int, labels))
    (place / "net.prototxt").write_text(NET.replace("BATCH", str(batch)).replace("BN\n", f"{bn}\n") + end)
    fields = ("base_lr: 0.1", "max_iter: 1", "display: 1")
    rest = [field for field in fields if field.partition(":")[0] not in solver]
    (place / "solver.prototxt").write_text("\n".join((SOLVER, *rest, solver)))
    return str(place)


@contextlib.contextmanager
def driver() -> Iterator[Driver]:
    """A process that trains; gives a function of trainings to what each rank of each of them returned."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def trained(*trainings: dict[str, Any]) -> list[list[dict[str, Any]]]:
            asked.write(json.dumps([{"options": {}, **t} for t in trainings]) + "\n")
            asked.flush()
            answer = answers.readline()
            assert answer, "the driver died: what it said is above"
            found: list[list[dict[str, Any]]] = json.loads(answer)
            return found

        yield trained
        asked.close()


@pytest.fixture(scope="module")
def trained() -> Iterator[Driver]:
    """The trainings of this module, by one process that has imported PyTorch."""
    with driver() as run:
        yield run


def arrays(folder: str | Path, iteration: int = 1) -> dict[str, list[np.ndarray[Any, Any]]]:
    stored = read_arrays(Path(folder, f"out/x_iter_{iteration}.caffemodel"))
    return {one.layer.name: list(one.arrays) for one in stored if one.arrays}


def assert_equal(ours: Any, theirs: Any, tolerance: float, *, but: tuple[str, ...] = ()) -> None:
    """Compare models, each blob on the scale of its largest value, or of the rate."""
    assert list(ours) == list(theirs)
    for name in ours:
        for x, y in zip(ours[name], theirs[name], strict=True) if name not in but else ():
            assert np.abs(x - y).max() <= tolerance * max(np.abs(y).max(), 0.1), name


# -- one update ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def updates(tmp_path_factory: pytest.TempPathFactory, trained: Driver) -> dict[str, list[dict[str, Any]]]:
    """One update by one rank with batch 32, and by two: with 16 each, and in other ways."""
    place = tmp_path_factory.mktemp("updates")
    kinds: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
        "one": (1, {"batch": 32}, {}),
        "two": (2, {"batch": 16}, {}),
        "nvcaffe": (2, {"batch": 32}, {"dialect": "nvcaffe"}),
        "iter_size": (2, {"batch": 8, "solver": "iter_size: 2"}, {}),
        "aside": (2, {"batch": 16, "end": ASIDE}, {}),
        "one, bn": (1, {"batch": 32, "bn": BN}, {}),
        "two, bn": (2, {"batch": 16, "bn": BN}, {}),
        "two, sync": (2, {"batch": 16, "bn": BN}, {"sync_bn": True}),
    }
    trainings = []
    for name, (ranks, made, options) in kinds.items():
        (place / name).mkdir()
        trainings.append({"folder": job(place / name, **made), "ranks": ranks, "options": options})
    found = trained(*trainings)
    for training, ranks_of in zip(trainings, found, strict=True):
        for one in ranks_of:
            assert one.get("end") == "done", one
            one["folder"] = training["folder"]
    return dict(zip(kinds, found, strict=True))


@pytest.mark.parametrize("kind", ["two", "nvcaffe", "iter_size", "aside"])
def test_two_ranks_make_the_update_of_one_with_the_whole_batch(
    updates: dict[str, list[dict[str, Any]]], kind: str
) -> None:
    one, two = (arrays(updates[name][0]["folder"]) for name in ("one", kind))
    assert_equal({name: two[name] for name in one}, one, 1e-6)
    assert updates[kind][0]["weights"] == updates[kind][1]["weights"]  # of both ranks


def test_with_sync_bn_the_statistics_are_those_of_the_whole_batch(
    updates: dict[str, list[dict[str, Any]]],
) -> None:
    one, local, sync = (arrays(updates[name][0]["folder"]) for name in ("one, bn", "two, bn", "two, sync"))
    # The bias before BatchNorm has no gradient but rounding.
    for found in (one, local, sync):
        found["conv"] = found["conv"][:1]
    assert_equal(sync, one, 1e-6)
    assert np.abs(local["conv"][0] - one["conv"][0]).max() > 1e-3


def test_local_batch_norm_is_caffes(
    updates: dict[str, list[dict[str, Any]]], real_caffe: Caffe, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Caffe's gradient on several GPUs is the mean of theirs: so are the weights after one update of SGD.

    Each GPU is a training of real Caffe, on the records that Caffe deals it.
    """
    halves = []
    for rank in (0, 1):
        folder = tmp_path / str(rank)
        folder.mkdir()
        job(folder, bn=BN, records=slice(rank, None, 2))
        monkeypatch.chdir(folder)
        module("net.prototxt", phase="TRAIN", seed=3).save_caffemodel("start.caffemodel")
        words = ["train", "solver.prototxt", "--engine", "caffe", "--weights", "start.caffemodel"]
        assert main([*words, "--no-draw"]) == 0
        halves.append(arrays(folder))
    mean = {name: [(a + b) / 2 for a, b in zip(halves[0][name], halves[1][name], strict=True)]
            for name in halves[0]}  # fmt: skip
    ours = arrays(updates["two, bn"][0]["folder"])
    assert_equal(ours, mean, 1e-6, but=("bn",))
    # Those of the first GPU, up to the rounding of Caffe's sums; the second's are far off.
    statistics, second = ({"bn": half["bn"]} for half in halves)
    assert_equal({"bn": ours["bn"]}, statistics, 5e-6)
    assert np.abs(ours["bn"][0] - second["bn"][0]).max() > 1e-3


def test_the_arithmetic_is_printed_once(updates: dict[str, list[dict[str, Any]]]) -> None:
    first, second = (rank["said"] for rank in updates["nvcaffe"])
    assert (
        "batch 32 of the file / 2 ranks = 16 (NVIDIA's Caffe divides)\n"
        "2 ranks * batch 16 * iter_size 1 = 32 images an update\n"
        "base_lr 0.1 is taken as it is, for 32 images an update\n"
        "35 images / 32 = 1.1 updates an epoch; max_iter 1 = 0.9 epochs\n"
    ) in first
    assert second == ""
    assert "if it is meant for the 16 of one rank, linear scaling gives 0.2\n" in updates["two"][0]["said"]


# -- the loop --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory, trained: Driver) -> dict[str, list[dict[str, Any]]]:
    """Trainings of some updates: with tests, resumed, stopped, and one that diverges."""
    place = tmp_path_factory.mktemp("loops")

    def made(name: str, ranks: int, made: dict[str, Any], options: Any = None, **more: Any) -> dict[str, Any]:
        (place / name).mkdir()
        return {"folder": job(place / name, **made), "ranks": ranks, "options": options or {}, **more}

    still = {"batch": 4, "solver": TESTS + "base_lr: 1e-30 max_iter: 6"}
    random = {"batch": 4, "bn": f"{BN}\n{DROP}", "solver": TESTS + "max_iter: 6 snapshot: 3 momentum: 0.9"}
    whole = made("whole", 2, random)
    again = {**whole, "folder": str(place / "again"), "options": {"resume": "out/x_iter_3.solverstate"}}
    found = trained(
        made("tests 1", 1, still),
        made("tests 2", 2, still),
        made("tests 3", 3, still),
        whole,
        made("stopped", 2, {"batch": 4, "bn": BN, "solver": "max_iter: 100000 display: 100000 snapshot: 20"},
             signal=signal.SIGTERM, to=1),
        made("diverged", 2, {"batch": 4, "solver": "base_lr: 1e30 max_iter: 1000 display: 1000"}),
        made("lost", 2, {"batch": 4, "solver": "max_iter: 100000 display: 100000 snapshot: 20"},
             signal=signal.SIGKILL, to=1),
    )  # fmt: skip
    shutil.copytree(place / "whole", place / "again")
    (place / "again/out/x_iter_6.solverstate").unlink()
    more = trained(again, {**again, "ranks": 1, "options": {"resume": "out/x_iter_3.solverstate"}})
    names = ("tests 1", "tests 2", "tests 3", "whole", "stopped", "diverged", "lost", "again", "fewer")
    results = dict(zip(names, [*found, *more], strict=True))
    for name, ranks in results.items():
        for one in ranks:
            one["folder"] = str(place / ("again" if name == "fewer" else name))
    return results


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_ranks_test_exactly_the_test_set(loops: dict[str, list[dict[str, Any]]], ranks: int) -> None:
    """5 passes of 6 images out of 35, so that each test goes on where the one before ended."""
    one, several = (loops[f"tests {n}"][0]["tests"] for n in (1, ranks))
    assert [(t["iteration"], t["passes"]) for t in several] == [(0, 5), (2, 5), (4, 5), (6, 5)]
    for ours, alone in zip(several, one, strict=True):
        assert ours["outputs"]["accuracy"] == alone["outputs"]["accuracy"]
        assert ours["outputs"]["loss"] == pytest.approx(alone["outputs"]["loss"], rel=1e-12)
        assert ours["loss"] == pytest.approx(alone["loss"], rel=1e-12)


def test_resumed_ranks_end_with_the_bytes_of_those_that_were_not_stopped(
    loops: dict[str, list[dict[str, Any]]],
) -> None:
    """Dropout draws on each rank, and each rank has its place in the data."""
    whole, again = loops["whole"], loops["again"]
    assert again[0]["end"] == "done", again
    assert again[0]["weights"] == whole[0]["weights"]
    for ending in ("caffemodel", "solverstate"):
        files = [Path(r[0]["folder"], f"out/x_iter_6.{ending}").read_bytes() for r in (whole, again)]
        assert files[0] == files[1]
    means = [[(t["iteration"], t["outputs"]) for t in r[0]["tests"]] for r in (whole, again)]
    assert means[0] == means[1]


def test_a_snapshot_of_other_ranks_is_refused(loops: dict[str, list[dict[str, Any]]]) -> None:
    assert loops["fewer"][0]["error"] == (
        "the state is of 2 ranks, and this feed is one of 1\n"
        "  hint:    resume with as many processes as before, or begin the data anew by --no-replay"
    )


def test_a_signal_to_one_rank_stops_all_of_them_after_the_same_update(
    loops: dict[str, list[dict[str, Any]]],
) -> None:
    first, second = loops["stopped"]
    assert (first["end"], second["end"]) == ("stopped", "stopped")
    assert 0 < first["iteration"] == second["iteration"] < 100000
    assert first["snapshots"][-1] == f"out/x_iter_{first['iteration']}.solverstate"


def test_all_ranks_end_when_the_training_diverges(loops: dict[str, list[dict[str, Any]]]) -> None:
    first, second = loops["diverged"]
    assert (first["end"], second["end"]) == ("diverged", "diverged")
    assert first["iteration"] == second["iteration"] < 1000
    assert first["snapshots"] == []


def test_a_rank_that_is_killed_is_an_error_of_the_others(loops: dict[str, list[dict[str, Any]]]) -> None:
    assert loops["lost"][0]["error"].startswith("rank 0: the connection to another rank is lost: ")


def test_only_rank_0_writes_and_prints(loops: dict[str, list[dict[str, Any]]]) -> None:
    first, second = loops["whole"]
    assert "trained to the end: iteration 6 of 6" in first["said"]
    assert second["said"] == ""
    data = json.loads(Path(first["folder"], "out/x_run.json").read_text())
    assert (data["ranks"], data["end"]) == (2, "done")
    assert data["images_per_second"] > 0


# -- the data --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", MAKERS)
def test_after_a_resume_the_ranks_still_read_each_record_once_an_epoch(
    tmp_path: Path, kind: str, ranks: int
) -> None:
    """13 records, 4 a pass: the snapshot is in the middle of an epoch, and so are passes."""
    net = module(net_of(tmp_path, MAKERS[kind](tmp_path, True)), phase="TRAIN")
    labels = []
    for rank in range(ranks):
        first = Feed(net, seed=5, rank=rank, ranks=ranks)
        read = [next(first)["label"] for _ in range(5)]
        resumed = Feed(net, seed=5, rank=rank, ranks=ranks)
        resumed.load_state_dict(first.state_dict())
        read += [next(resumed)["label"] for _ in range(8)]
        labels.append([int(label) for label in torch.cat(read)])
    dealt = [label for turn in zip(*labels, strict=True) for label in turn]
    for start in range(0, len(dealt) - 12, 13):
        assert sorted(dealt[start : start + 13]) == list(range(13))


@pytest.mark.parametrize(("passes", "ranks"), [(5, 1), (5, 2), (5, 3), (2, 5), (7, 4)])
def test_the_passes_of_a_test_are_dealt_once_round_after_round(passes: int, ranks: int) -> None:
    deals = [Deal(passes, rank, ranks) for rank in range(ranks)]
    assert sum(deal.share for deal in deals) == passes
    read = [
        number for deal in deals for number in islice(deal.numbers(passes), 3 * deal.share)
    ]  # from the second round on
    assert sorted(read) == list(range(passes, 4 * passes))


# -- GPUs, of which there are none here ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("devices", "expected"),
    [((0,), 2), (("all",), 2), ((4, 5, 6, 7), 6), ((4, 5), "4 processes train on this machine")],
)
def test_each_rank_has_a_gpu_of_its_own(
    devices: tuple[int | str, ...], expected: int | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    ranks = Ranks(rank=10, size=16, local=2, local_size=4)
    if isinstance(expected, str):
        with pytest.raises(ConfigError, match=expected):
            device_of(devices, ranks)
    else:
        assert device_of(devices, ranks) == torch.device("cuda", expected)
    assert device_of((), ranks) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="there is no GPU 2: PyTorch finds 2 GPUs"):
        device_of((0,), ranks)
