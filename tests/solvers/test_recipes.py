"""Recipes become solvers: the numbers are worked out by hand from the papers' own."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netbuilder.cli.main import main
from netbuilder.config.recipes import RECIPES, read_recipe
from netbuilder.engines.caffe import Caffe
from netbuilder.errors import ConfigError
from netbuilder.prototxt import text as text_format
from netbuilder.schema import SolverParameter
from netbuilder.solvers import approximations, check, plan, read_solver, schedule_of
from netbuilder.solvers.stock import stock
from netbuilder.training.events import Iteration
from tests.engines.case import prepare

NAMES = sorted(p.stem for p in RECIPES.glob("*.yaml"))


def test_the_shipped_recipes_are_those_of_the_papers() -> None:
    assert NAMES == [
        "assemble_r50", "assemble_resnet", "bl_resnet", "cifar_94", "cifar_resnet", "cifar_resnet_110",
        "davidnet", "davidnet_tricks", "dawnnet", "gcr_resnet", "gcr_resnet_110", "resnet",
    ]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_at_its_own_batch_a_recipe_keeps_its_rate_and_has_no_fault(name: str) -> None:
    recipe = read_recipe(name)
    solver = plan(recipe, net="net.prototxt", batch=recipe.batch, test_batch=50).solver
    assert check(solver, dialect="caffe-1.0") == ()
    assert max(
        schedule_of(solver).rate(i) for i in range(solver.max_iter)[:: max(1, solver.max_iter // 5000)]
    ) == (pytest.approx(recipe.base_lr, rel=1e-3))


def test_the_paper_s_cifar_recipe_at_half_the_batch() -> None:
    # half the batch: twice the iterations, half the rate
    solver = plan(read_recipe("cifar_resnet"), net="n", batch=64, test_batch=100).solver
    assert (solver.max_iter, list(solver.stepvalue)) == (128000, [64000, 96000])
    assert solver.base_lr == pytest.approx(0.05)
    assert (list(solver.test_iter), solver.test_interval) == ([100], 782)  # 10000 / 100; 50000 / 64 = 781.25


def test_the_blocks_of_torch_residual_networks() -> None:
    # 50000 / 128 -> 391 an epoch: 200 epochs, steps at 80 and 120; of 110 layers, 400 updates at 0.001
    solver = plan(read_recipe("gcr_resnet"), net="n", batch=128).solver
    assert (solver.max_iter, list(solver.stepvalue), solver.type) == (78200, [31280, 46920], "Nesterov")
    rate = schedule_of(plan(read_recipe("gcr_resnet_110"), net="n", batch=128).solver).rate
    assert [rate(i) for i in (0, 399, 400)] == pytest.approx([0.001, 0.001, 0.1])


def test_the_bag_of_tricks() -> None:
    # 50000 / 512 = 97.7 -> 97 an epoch: 13 epochs; a peak of 1 after a fifth of them, 0.1 in the last two
    solver = plan(read_recipe("davidnet_tricks"), net="n", batch=512).solver
    assert solver.max_iter == 1261
    rate = schedule_of(solver).rate
    assert [rate(i) for i in (251, 1066, 1260)] == pytest.approx([1.0, 0.1, 0.1])
    assert rate(0) == pytest.approx(1 / 252)  # counted from 1


def test_resnet_on_eight_devices() -> None:
    # 32 * 8 = 256 images: 1281167 / 256 = 5004.6 -> 5005 an epoch; 90 epochs, steps at 30 and 60
    solver = plan(read_recipe("resnet"), net="n", batch=32, devices=8).solver
    assert (solver.max_iter, list(solver.stepvalue)) == (450450, [150150, 300300])
    assert solver.base_lr == pytest.approx(0.1)
    assert not solver.test_iter


def test_accumulated_gradients_count_as_batch() -> None:
    solver = plan(read_recipe("resnet"), net="n", batch=32, devices=4, iter_size=4).solver
    assert (solver.iter_size, solver.max_iter, round(solver.base_lr, 6)) == (
        4,
        90 * 2503,
        0.2,
    )  # 1281167 / 512


def test_a_caffe_that_divides_the_batch_by_the_devices() -> None:
    planned = plan(read_recipe("resnet"), net="n", batch=256, devices=8, dialect="nvcaffe")
    assert planned.arithmetic[:2] == (
        ("batch a device", "256 / 8 devices (this Caffe divides)", "32"),
        ("global batch", "32 a device * 8 devices * iter_size 1", "256"),
    )


def test_caffeonspark_tests_no_more_images_than_exist() -> None:
    planned = plan(
        read_recipe("resnet"), net="n.prototxt", batch=16, devices=16, test_batch=30, dialect="caffeonspark"
    )
    solver = planned.solver
    # 1281167 / 256 = 5004.6, 50000 / 30 = 1666.7: one more of either is refused as insufficient data
    assert (solver.test_interval, list(solver.test_iter)) == (5004, [1666])
    assert solver.snapshot_prefix == "n"
    assert ("test_iter", "50000 images / 30, 20 images left out", "1666") in planned.arithmetic


def test_iter_size_adds_no_images_for_caffeonspark() -> None:
    one, two = (
        plan(
            read_recipe("resnet"), net="n", batch=16, devices=16, test_batch=25, iter_size=size,
            dialect="caffeonspark",
        )
        for size in (1, 2)
    )  # fmt: skip
    assert (two.solver.base_lr, two.solver.max_iter) == (one.solver.base_lr, one.solver.max_iter)
    assert list(two.solver.stepvalue) == list(one.solver.stepvalue)
    assert two.arithmetic[0] == ("global batch", "16 a device * 16 devices; iter_size 2 repeats them", "256")
    assert two.solver.iter_size == 2


@pytest.mark.parametrize(
    "words", [["--test-images", "0"], ["--test-batch", "0"], ["--set", "test_iter=0", "--test-batch", "0"]]
)
def test_a_solver_without_tests_says_so_to_caffeonspark(words: list[str], folder: Path) -> None:
    given = ["--net", "n.prototxt", "--batch", "16", "--gpus", "16", "--dialect", "caffeonspark"]
    assert main(["solver", "resnet", *given, *words, "-o", "s.prototxt"]) == 0
    solver = read_solver("s.prototxt")
    assert list(solver.test_iter) == [0]  # the driver reads one, and its Caffe wants an interval with it
    assert solver.test_interval > 0
    assert solver.snapshot == 5005  # without tests no resume hangs


@pytest.mark.parametrize(
    ("net", "output", "dialect", "written"),
    [
        ("job/train_val.prototxt", "job/solver.prototxt", "caffeonspark", "train_val.prototxt"),
        ("./train_val.prototxt", "solver.prototxt", "caffeonspark", "train_val.prototxt"),
        ("nets/train_val.prototxt", "job/solver.prototxt", "caffeonspark", "nets/train_val.prototxt"),
        ("job/train_val.prototxt", "job/solver.prototxt", "caffe-1.0", "job/train_val.prototxt"),
    ],
)
def test_caffeonspark_gets_the_bare_name_of_a_net_beside_the_solver(
    net: str, output: str, dialect: str, written: str, folder: Path
) -> None:
    Path("job").mkdir()
    words = ["--net", net, "--batch", "16", "--gpus", "16", "--dialect", dialect, "-o", output]
    assert main(["solver", "resnet", *words]) == 0
    assert read_solver(output).net == written


@pytest.mark.parametrize(
    ("net", "prefix"),
    [
        ("net.prototxt", "snapshots/net"),
        ("nets/resnet_50.prototxt", "snapshots/resnet_50"),
        ("resnet_50/train_val.prototxt", "snapshots/resnet_50"),  # all nets have a file of that name
        ("train_val.prototxt", "snapshots/train_val"),
        ("../train_val.prototxt", "snapshots/train_val"),
    ],
)
def test_snapshots_are_called_like_the_net(net: str, prefix: str) -> None:
    assert plan(read_recipe("resnet"), net=net, batch=32).solver.snapshot_prefix == prefix


def test_epochs_of_a_recipe_that_counts_iterations(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--net", "n.prototxt", "--batch", "128", "--epochs", "10.24", "-o", "s.prototxt"]
    assert main(["solver", "cifar_resnet", *words]) == 0
    # 10.24 * 50000 / 128 = 4000 of 64000 iterations: a sixteenth, milestones too
    assert "4000 * 128 / 128 (10.2 epochs)" in capsys.readouterr().out
    text = Path("s.prototxt").read_text()
    assert "max_iter: 4000\n" in text
    assert "stepvalue: 2000\nstepvalue: 3000\n" in text


def test_caffeonspark_gets_no_schedule_that_stock_caffe_lacks(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--net", "n.prototxt", "--batch", "32", "--gpus", "8", "--dialect", "caffeonspark"]
    assert main(["solver", "bl_resnet", *words, "-o", "s.prototxt"]) == 2
    assert capsys.readouterr().err == (
        "ConfigError: CaffeOnSpark has the policies of stock Caffe, and lr_policy 'cosine every 5005' "
        "is none\n"
        "  hint:    --stock lists those that come near, --stock POLICY writes one\n"
    )
    assert not Path("s.prototxt").exists()
    assert main(["solver", "bl_resnet", *words, "--stock", "poly", "-o", "s.prototxt"]) == 0
    assert 'lr_policy: "poly"' in Path("s.prototxt").read_text()


def test_big_little_s_cosine_has_the_length_of_its_script() -> None:
    # 1281167 / 256 -> 5005 iterations, 110 epochs: 550550 (big-little's own figure)
    solver = plan(read_recipe("bl_resnet"), net="n", batch=256).solver
    assert (solver.max_iter, solver.lr_policy, solver.type) == (550550, "cosine every 5005", "Nesterov")


def test_davidnet_has_the_rates_of_its_script() -> None:
    # 50000 // 512 = 97 steps; update k = 1.. has the rate of epoch k / 97 between (0, 0), (5, 0.4), (24, 0)
    solver = plan(read_recipe("davidnet"), net="n", batch=512).solver
    assert (solver.max_iter, solver.lr_policy) == (2328, "linear -1:0 484:0.4 2327:0")
    rates = schedule_of(solver)
    for k in (1, 97, 485, 1000, 2328):
        epoch = k / 97
        expected = 0.4 * epoch / 5 if epoch <= 5 else 0.4 * (24 - epoch) / 19
        assert rates.rate(k - 1) == pytest.approx(expected, abs=1e-7)


def test_the_rate_of_adam_is_not_scaled() -> None:
    from dataclasses import replace

    recipe = replace(read_recipe("resnet"), type="Adam")
    assert plan(recipe, net="n", batch=32).solver.base_lr == pytest.approx(0.1)


def test_stock_approximations_are_offered_nearest_first_and_measured() -> None:
    solver = plan(read_recipe("bl_resnet"), net="n", batch=256).solver
    near = approximations(solver)
    assert [a.name for a in near] == ["multistep", "poly"]
    assert near[0].mean < near[1].mean
    # A half cosine and a straight line are at most 0.105 apart; power 1.05 does a little worse there.
    assert near[1].solver.power == pytest.approx(1.05)
    assert 0.10 < near[1].most < 0.13
    assert check(near[0].solver) == ()
    with pytest.raises(ConfigError) as caught:
        stock(solver, "poly2")
    assert str(caught.value) == (
        "there is no stock approximation 'poly2' of 'cosine every 5005', only multistep, poly\n"
        "  hint:    did you mean 'poly'?"
    )


def test_a_stock_policy_needs_no_approximation() -> None:
    assert approximations(plan(read_recipe("resnet"), net="n", batch=256).solver) == ()


# -- the command ---------------------------------------------------------------------------------------------

NET = """layer { name: "data" type: "DummyData" top: "x" top: "t" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } data_filler { type: "gaussian" } } }
layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.prototxt").write_text(NET)
    return tmp_path


def test_the_command_prints_the_arithmetic_and_writes_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["solver", "davidnet", "--net", "train_val.prototxt", "--batch", "256", "--gpus", "2"]
    assert main([*words, "-o", "solver.prototxt"]) == 0
    out = capsys.readouterr()
    assert out.out == (
        "what          how                                     value\n"
        "------------  --------------------------------------  -------------------\n"
        "global batch  256 a device * 2 devices * iter_size 1  512\n"
        "an epoch      50000 images / 512, rounded down        97 iterations\n"
        "max_iter      24 epochs * 97                          2328\n"
        "base_lr       0.4, as in the recipe                   0.4\n"
        "points        epochs 0, 5, 24, counted from 1         -1:0 484:0.4 2327:0\n"
    )
    assert (
        "note: stock Caffe refuses lr_policy 'linear -1:0 484:0.4 2327:0': `netbuilder train` drives it"
        in out.err
    )
    text = (folder / "solver.prototxt").read_text()
    assert "#   max_iter: 24 epochs * 97 = 2328\n" in text
    assert text_format.parse(text, SolverParameter).message.max_iter == 2328


def test_the_batch_is_read_from_the_net_and_must_agree(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["solver", "cifar_resnet", "--net", "net.prototxt", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["fields"]["base_lr"] == 0.003125  # 0.1 * 4 / 128
    assert data["fields"]["test_iter"] == [2500]
    assert main(["solver", "cifar_resnet", "--net", "net.prototxt", "--batch", "8"]) == 2
    assert capsys.readouterr().err == (
        "ConfigError: --batch 8, but the TRAIN data of net.prototxt has batch 4\n"
        "  hint:    batch_size in the net is what Caffe takes: make the two agree\n"
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["resnt"], "ConfigError: unknown recipe 'resnt'\n  hint:    did you mean 'resnet'?\n"),
        (
            ["resnet", "--set", "stepvalu=3"],
            "FieldError: no field 'stepvalu' in SolverParameter\n  hint:    did you mean 'stepvalue'?\n",
        ),
        (
            ["resnet", "--set", "display=often"],
            "FieldError: solver: display must be an integer, got 'often'\n",
        ),
        (["resnet", "--gpus", "0"], "ConfigError: devices must be at least 1, got 0\n"),
    ],
)
def test_mistakes_are_reported(
    words: list[str], error: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["solver", *words, "--net", "other.prototxt", "--batch", "32", "-o", "s.prototxt"]) == 2
    assert capsys.readouterr().err == error
    assert not (folder / "s.prototxt").exists()


def test_a_users_recipe_is_checked_with_its_lines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.yaml").write_text("source: mine\nimages: 100\nbatch: 10\nbase_lr: 0.1\nepoch: 3\n")
    assert main(["solver", "mine.yaml", "--net", "net.prototxt"]) == 2
    assert capsys.readouterr().err == (
        "ConfigError: unknown key 'epoch' in a recipe\n  where:   mine.yaml:5, epoch\n"
        "  hint:    did you mean 'epochs'?\n"
    )


def test_caffe_s_own_parser_reads_every_recipe(real_caffe: Caffe) -> None:
    from netbuilder.engines.caffe.install import environment

    solvers = [plan(read_recipe(name), net="n", batch=32, devices=2, test_batch=50).solver for name in NAMES]
    solvers += [near.solver for solver in solvers for near in approximations(solver)]
    code = (
        "import json, sys; from caffe.proto import caffe_pb2; from google.protobuf import text_format\n"
        "texts = json.load(sys.stdin)\n"
        "print([text_format.Merge(text, caffe_pb2.SolverParameter()).max_iter for text in texts])"
    )
    done = subprocess.run(
        [*real_caffe.install.command, "-c", code],
        input=json.dumps([text_format.format_fields(solver) for solver in solvers]),
        env=environment(real_caffe.install),
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{[solver.max_iter for solver in solvers]}\n", done.stderr


def test_a_solver_of_the_command_trains_in_real_caffe(real_caffe: Caffe, folder: Path) -> None:
    words = ["solver", "bl_resnet", "--net", "net.prototxt", "--test_images", "8", "-o", "solver.prototxt"]
    assert main([*words, "--set", "max_iter=3", "--set", "snapshot_prefix=s/x"]) == 0
    ready = prepare("solver.prototxt", real_caffe.install)
    with ready.start() as worker:
        assert [e.iteration for e in worker if isinstance(e, Iteration)] == [0, 1, 2]


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
@pytest.mark.parametrize("batch", [32, 100, 512])
def test_tests_fall_on_the_epochs_of_the_recipe(name: str, batch: int) -> None:
    recipe = read_recipe(name)
    planned = plan(recipe, net="net.prototxt", batch=batch, test_batch=100)
    epoch = recipe.images // batch if recipe.drop_last else -(-recipe.images // batch)
    assert planned.solver.test_interval == epoch
    if recipe.epochs is not None:
        assert planned.solver.test_interval == planned.iterations_per_epoch
        assert planned.solver.max_iter % epoch == 0  # the end is tested, by Caffe itself too


def test_davidnet_tests_each_of_its_epochs_of_97_iterations() -> None:
    """50000 images / 512, and the last batch is dropped: 97, not 98; 24 epochs."""
    solver = plan(read_recipe("davidnet"), net="net.prototxt", batch=512, test_batch=100).solver
    assert (solver.test_interval, solver.max_iter) == (97, 24 * 97)


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 1e308), ("epochs", 1e7), ("images", 2**31), ("test_images", 10**30), ("batch", 10**23)],
)
def test_a_number_beyond_the_fields_of_a_solver_is_refused(field: str, value: float) -> None:
    recipe: Any = read_recipe("davidnet")
    with pytest.raises(ConfigError) as raised:
        plan(replace(recipe, **{field: value}), net="n", batch=1, test_batch=1)
    assert raised.value.key == field


def test_a_milestone_beyond_the_fields_of_a_solver_is_refused() -> None:
    with pytest.raises(ConfigError, match="more than Caffe can count"):
        plan(replace(read_recipe("cifar_resnet"), milestones=(1e300,)), net="n", batch=128, test_batch=1)
