"""What `train`, `test`, `check` and `solver` say of the data at hand, with real records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netbuilder.engines.caffe import Caffe
from netbuilder.engines.caffe.engine import CaffeEngine
from netbuilder.errors import FileError, NetBuilderError
from netbuilder.training.plan import plan_training
from tests.command import Command
from tests.databases import noise, write_lmdb

NET = (
    'layer { name: "train" type: "Data" top: "x" top: "y" include { phase: TRAIN } '
    'data_param { source: "train_db" backend: LMDB batch_size: 10 } }\n'
    'layer { name: "test" type: "Data" top: "x" top: "y" include { phase: TEST } '
    'data_param { source: "test_db" backend: LMDB batch_size: 10 } }\n'
    'layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" '
    'inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }\n'
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "y" top: "loss" }\n'
)
_TRAINED, _TESTED, *_REST = NET.splitlines(keepends=True)
ONLY_TRAIN = _TRAINED + "".join(line.replace(" }\n", " include { phase: TRAIN } }\n") for line in _REST)
SOLVER = (
    'net: "net.prototxt"\nbase_lr: 0.01\nlr_policy: "fixed"\nmax_iter: 4\n'
    'test_iter: 3\ntest_interval: 2\nsnapshot_prefix: "out/x"\nrandom_seed: 1\n'
)


@pytest.fixture
def netbuilder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER)
    Path("out").mkdir()
    write_lmdb("train_db", noise(60, 1, 2, 2), (i % 3 for i in range(60)))
    write_lmdb("test_db", noise(30, 1, 2, 2), (i % 3 for i in range(30)))
    return Command(capsys)


def solver(old: str, new: str) -> None:
    Path("solver.prototxt").write_text(SOLVER.replace(old, new))


def warnings() -> list[str]:
    return list(plan_training("solver.prototxt", CaffeEngine.snapshots).warnings)


def codes(netbuilder: Command, *words: str) -> list[tuple[str, str, int]]:
    files = json.loads(netbuilder("check", "solver.prototxt", "--json", *words).out)["files"]
    return [(f["code"], f["file"], f["line"]) for file in files for f in file["findings"]]


def test_a_test_of_all_records_is_not_warned_of(netbuilder: Command) -> None:
    assert warnings() == []
    assert codes(netbuilder) == []


@pytest.mark.parametrize(
    ("passes", "batch", "said"),
    [
        (1, 10, "reads 10 records, and layer 'test' has 30: 20 are not tested"),
        (4, 10, "reads 40 records, and layer 'test' has 30: 10 of them count twice"),
        (6, 10, "reads 60 records, and layer 'test' has 30: each counts 2 times"),
        (4, 8, "reads 32 records, and layer 'test' has 30: 2 of them count twice"),
        (8, 10, "reads 80 records, and layer 'test' has 30: each counts 2 times, 20 once more"),
    ],
)
def test_records_that_a_test_leaves_out_or_repeats_are_warned_of(
    passes: int, batch: int, said: str, netbuilder: Command
) -> None:
    test = NET.replace(
        '"test_db" backend: LMDB batch_size: 10', f'"test_db" backend: LMDB batch_size: {batch}'
    )
    Path("net.prototxt").write_text(test)
    solver("test_iter: 3", f"test_iter: {passes}")
    assert warnings() == [f"test_iter {passes} with batch {batch} {said}"]
    assert codes(netbuilder) == [("test-records", "net.prototxt", 2)]


def test_records_sorted_by_label_are_warned_of(netbuilder: Command) -> None:
    write_lmdb("other_db", noise(60, 1, 2, 2), (i // 20 for i in range(60)))
    Path("net.prototxt").write_text(NET.replace('"train_db"', '"other_db"'))
    (said,) = warnings()
    assert said.startswith("the records of layer 'train' are sorted by label, and it reads them in order")
    assert codes(netbuilder) == [("sorted-labels", "net.prototxt", 1)]
    Path("net.prototxt").write_text(NET.replace('"test_db"', '"other_db"'))
    solver("test_iter: 3", "test_iter: 6")
    assert warnings() == []  # nobody learns from the order of a test


@pytest.mark.parametrize(("shuffle", "count"), [("", 1), ("shuffle: true", 0)])
def test_a_list_that_is_shuffled_may_be_sorted(shuffle: str, count: int, netbuilder: Command) -> None:
    pillow = pytest.importorskip("PIL.Image")
    pillow.new("RGB", (2, 2)).save("a.png")
    Path("list.txt").write_text("".join(f"a.png {i // 20}\n" for i in range(60)))
    images = (
        'layer { name: "train" type: "ImageData" top: "x" top: "y" include { phase: TRAIN } '
        f'image_data_param {{ source: "list.txt" batch_size: 10 {shuffle} }} }}\n'
    )
    Path("net.prototxt").write_text(images + NET.partition("\n")[2])
    assert len(warnings()) == count


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda: Path("net.prototxt").unlink(), "net-file"),
        (lambda: Path("net.prototxt").write_text(ONLY_TRAIN), "net-empty"),
        (lambda: Path("net.prototxt").write_text(NET.replace("phase: TEST", "phase: TRAIN")), "name-clash"),
        (lambda: Path("net.prototxt").write_text(_TRAINED + "".join(_REST)), "missing-bottom"),
        (lambda: solver("net.prototxt", "nett.prototxt"), "net-file"),
        (lambda: solver('lr_policy: "fixed"\n', ""), "lr-policy"),
        (lambda: solver("max_iter: 4", "max_iter: -4"), "max-iter"),
        (lambda: solver("base_lr", "base_rl"), "solver-field"),
        (lambda: Path("test_db/data.mdb").rename("gone") and Path("test_db").rename("away"), "data-file"),
        (lambda: write_lmdb("train_db", noise(61, 1, 2, 2), [7] * 61), "label"),
        (lambda: solver("max_iter", 'weights: "none.caffemodel"\nmax_iter'), "data-file"),
        (lambda: Path("net.prototxt").write_text(NET.replace('"fc" bottom: "y"', '"cf" bottom: "y"')),
         "missing-bottom"),
    ],
)  # fmt: skip
def test_what_train_refuses_check_finds(spoil: object, said: str, netbuilder: Command) -> None:
    assert callable(spoil)
    spoil()
    with pytest.raises(NetBuilderError) as caught:
        plan_training("solver.prototxt", CaffeEngine.snapshots)
    assert said in [code for code, *_ in codes(netbuilder)]
    assert caught.value.text.rpartition("': ")[2] in netbuilder("check", "solver.prototxt").out


def test_a_solver_that_train_takes_has_no_error(netbuilder: Command) -> None:
    assert netbuilder("check", "solver.prototxt").code == 0
    plan_training("solver.prototxt", CaffeEngine.snapshots)


def test_inline_nets_get_the_same_preflight(netbuilder: Command) -> None:
    inline = SOLVER.replace('net: "net.prototxt"\n', f"net_param {{\n{NET}}}\n")
    Path("solver.prototxt").write_text(inline)
    assert warnings() == []
    assert codes(netbuilder) == []
    Path("solver.prototxt").write_text(inline.replace('"test_db"', '"tset_db"'))
    with pytest.raises(FileError, match="'tset_db', which is not there"):
        warnings()
    assert codes(netbuilder)[0] == ("data-file", "solver.prototxt", 3)
    Path("solver.prototxt").write_text(inline.replace("num_output: 3", "num_output: 2"))
    with pytest.raises(FileError, match="label 2 of record"):
        warnings()


def test_the_last_state_is_tested_and_inline_nets_train_alike(netbuilder: Command, real_caffe: Caffe) -> None:
    solver("max_iter: 4", "max_iter: 5")
    ran = netbuilder("train", "solver.prototxt", "--no-draw", "--json")
    assert ran.code == 0, ran.err
    data = json.loads(ran.out)
    assert [t["iteration"] for t in data["tests"]] == [0, 2, 4, 5]
    inline = Path("solver.prototxt").read_text().replace('net: "net.prototxt"\n', f"net_param {{\n{NET}}}\n")
    Path("inline.prototxt").write_text(inline.replace("out/x", "inline/x"))
    ran = netbuilder("train", "inline.prototxt", "--no-draw", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["tests"] == data["tests"]
    assert Path("inline/x_iter_5.caffemodel").read_bytes() == Path("out/x_iter_5.caffemodel").read_bytes()


def test_no_iterations_only_test(netbuilder: Command, real_caffe: Caffe) -> None:
    assert netbuilder("train", "solver.prototxt", "--no-draw").code == 0
    model = Path("out/x_iter_4.caffemodel").read_bytes()
    Path("w.caffemodel").write_bytes(model)
    Path("solver.prototxt").write_text(
        'net: "net.prototxt" max_iter: 0 test_iter: 3 test_interval: 1 snapshot_prefix: "out/x"'
    )
    ran = netbuilder("train", "solver.prototxt", "--weights", "w.caffemodel", "--no-draw", "--json")
    assert ran.code == 0, ran.err
    data = json.loads(ran.out)
    assert [t["iteration"] for t in data["tests"]] == [0]
    tested = json.loads(
        netbuilder("test", "net.prototxt", "--weights", "w.caffemodel", "--iterations=3", "--json").out
    )
    assert data["tests"][0]["outputs"]["loss"] == pytest.approx(tested["outputs"]["loss"], rel=1e-6)
    assert Path("out/x_iter_4.caffemodel").read_bytes() == model  # the trained model stays


def test_test_compares_its_passes_with_the_records(netbuilder: Command, real_caffe: Caffe) -> None:
    assert netbuilder("train", "solver.prototxt", "--no-draw").code == 0
    words = ["net.prototxt", "--weights", "out/x_iter_4.caffemodel"]
    assert "warning" not in netbuilder("test", *words, "--iterations", "3").err
    said = "--iterations 1 with batch 10 reads 10 records, and layer 'test' has 30: 20 are not tested"
    assert said in netbuilder("test", *words, "--iterations", "1").err
    assert "each counts 16 times, 20 once more" in netbuilder("test", *words).err


def test_the_solver_of_a_recipe_takes_the_records_at_hand(netbuilder: Command) -> None:
    ran = netbuilder("solver", "resnet", "--net", "net.prototxt", "--json")
    assert ran.code == 0, ran.err
    fields = json.loads(ran.out)["fields"]
    # 60 / 10 records are 6 iterations an epoch, and the recipe has 90 epochs; 30 / 10 are 3 passes a test.
    assert (fields["max_iter"], fields["test_interval"], fields["test_iter"]) == (540, 6, [3])
    assert "note: 60 images: the records in the data of net.prototxt" in ran.err
    ran = netbuilder("solver", "resnet", "--net", "net.prototxt", "--images", "80", "--json")
    assert json.loads(ran.out)["fields"]["max_iter"] == 720
    assert "note: --images 80, but the data of net.prototxt has 60 records" in ran.err
    ran = netbuilder("solver", "resnet", "--net", "net.prototxt", "--gpus", "8", "--json")
    assert "60 records, fewer than the global batch of 80" in ran.err


def test_a_net_without_a_loss_is_warned_of(netbuilder: Command) -> None:
    for weight, warned in ((None, True), ("0", True), ("1", False)):
        top = 'layer { name: "loss" type: "Reduction" bottom: "fc" top: "loss" %s }\n'
        Path("net.prototxt").write_text(
            _TRAINED + _TESTED + _REST[0] + top % (f"loss_weight: {weight}" if weight else "")
        )
        text = "has no loss in TRAIN: nothing is learnt, and the loss is 0"
        assert any(text in warning for warning in warnings()) == warned
        found = [code for code, _, _ in codes(netbuilder) if code == "no-loss"]
        assert found == ["no-loss"] * warned


def test_a_net_that_nothing_feeds_is_not_trained(netbuilder: Command) -> None:
    shapes = "input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } }"
    net = f'layer {{ name: "in" type: "Input" top: "x" top: "y" {shapes} }}'
    Path("net.prototxt").write_text(net + "".join(_REST))
    solver("test_iter: 3\ntest_interval: 2\n", "")
    ran = netbuilder("train", "solver.prototxt")
    assert (ran.code, ran.out) == (2, "")
    assert (
        "nothing fills 'x', 'y': the net has Input layers and no data layer, and would get zeros" in ran.err
    )
    assert ("no-data", "net.prototxt", 1) in codes(netbuilder)


def test_several_test_nets_are_told_apart_and_a_whole_loss_is_shown(
    netbuilder: Command, real_caffe: Caffe
) -> None:
    """As the autoencoder of Caffe's examples has them."""
    stage = 'include { phase: TEST stage: "test-on-%s" }'
    tests = [_TESTED.replace("include { phase: TEST }", stage % name) for name in ("train", "test")]
    tests[0] = tests[0].replace("test_db", "train_db")
    Path("net.prototxt").write_text(_TRAINED + "".join(tests) + "".join(_REST))
    states = 'test_state { stage: "test-on-train" } test_state { stage: "test-on-test" }'
    solver("test_iter: 3\n", f"test_iter: 6 test_iter: 3 {states} test_compute_loss: true\n")
    ran = netbuilder("train", "solver.prototxt", "--no-draw")
    record = json.loads(Path("out/x_run.json").read_text())
    assert ran.code == 0
    assert record["test_nets"] == ["test #0 test-on-train", "test #1 test-on-test"]
    for i, name in enumerate(record["test_nets"]):
        last = [test for test in record["tests"] if test["net"] == i][-1]
        (loss,) = last["outputs"]["loss"]
        # The whole loss is the only loss.
        assert last["loss"] == pytest.approx(loss, rel=1e-5)
        assert f"last {name} loss {loss:.4f}, whole loss {last['loss']:.4f}, iteration 4\n" in ran.out
        assert f"{name} loss " in ran.err
