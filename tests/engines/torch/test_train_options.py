"""Precision, compilation, the seed and the extras of a training in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from netbuilder.cli.main import main
from netbuilder.config.recipes import RECIPES, read_recipe
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.torch.recipe_extras import TrainingExtras
from tests.engines.case import refusal
from tests.engines.torch.test_train import TORCH, arrays_of, assert_near, plain, trained


@pytest.mark.parametrize(("name", "tolerance"), [("bf16", 0.02), ("float16", 0.005)])
def test_a_lower_precision_is_near(folder: Path, name: str, tolerance: float) -> None:
    plain(folder, max_iter=10)
    exact = trained("torch", "--weights", "start.caffemodel")
    Path("out/x_iter_10.caffemodel").rename("exact.caffemodel")
    lower = trained("torch", "--weights", "start.caffemodel", "--dtype", name, "--force")
    assert_near("out/x_iter_10.caffemodel", "exact.caffemodel", tolerance)
    losses = [[row["loss"] for row in data["train"]] for data in (exact, lower)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_a_float16_run_resumes_with_its_scale(folder: Path) -> None:
    plain(folder, snapshot=10)
    trained("torch", "--dtype", "fp16")
    whole = Path("out/x_iter_20.caffemodel").read_bytes()
    trained("torch", "--dtype", "fp16", "--resume", "out/x_iter_10.solverstate")
    assert Path("out/x_iter_20.caffemodel").read_bytes() == whole


def test_types_of_numbers_of_nvcaffe_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain(folder, max_iter=1)
    text = (
        Path("net.prototxt")
        .read_text()
        .replace('name: "conv" type', 'name: "conv" backward_type: FLOAT16 type')
    )
    Path("net.prototxt").write_text(f"default_forward_type: FLOAT16\ndefault_backward_type: FLOAT\n{text}")
    trained("torch")
    assert (
        "warning: backward_type, default_forward_type: FLOAT16 is left out; --dtype says the precision here\n"
        in capsys.readouterr().err
    )


def test_a_seed_replaces_that_of_the_solver(folder: Path) -> None:
    models = []
    for words in ((), ("--seed", "3"), ("--seed", "4")):
        plain(folder, max_iter=2)
        trained("torch", "--force", *words)
        models.append(Path("out/x_iter_2.caffemodel").read_bytes())
    assert models[0] == models[1] != models[2]


def test_averaged_weights_are_tested_saved_and_resumed(folder: Path) -> None:
    """The average is what its formula says of the weights of each iteration."""
    plain(folder, snapshot=1, max_iter=6, test_interval=6, iter_size=1)
    Path("solver.extras.yaml").write_text("ema: 0.3\n")
    data = trained("torch", "--weights", "start.caffemodel")
    values = {name: [a.astype(np.float64) for a in arrays] for name, arrays in
              arrays_of("start.caffemodel").items()}  # fmt: skip
    for t in range(1, 7):
        d = min(0.3, (1 + t) / (10 + t))
        for name, arrays in arrays_of(f"out/x_iter_{t}.caffemodel").items():
            values[name] = [d * v + (1 - d) * a for v, a in zip(values[name], arrays, strict=True)]
    for name, arrays in arrays_of("out/x_iter_6.ema.caffemodel").items():
        for found, expected in zip(arrays, values[name], strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)
    # The test at the end is of the average.
    assert main(["test", "--engine", "torch", "net.prototxt", "--weights", "out/x_iter_6.ema.caffemodel",
                 "--images", "50", "--json"]) == 0  # fmt: skip
    last = data["tests"][-1]["outputs"]
    Path("solver.extras.yaml").unlink()
    raw = trained("torch", "--resume", "out/x_iter_5.solverstate")["tests"][-1]["outputs"]
    assert raw != last
    # And a resumed run goes on with it.
    whole = Path("out/x_iter_6.ema.caffemodel").read_bytes()
    Path("out/x_iter_6.ema.caffemodel").unlink()
    Path("mine.yaml").write_text("ema: 0.3\n")
    again = trained("torch", "--resume", "out/x_iter_5.solverstate", "--extras", "mine.yaml")
    assert Path("out/x_iter_6.ema.caffemodel").read_bytes() == whole
    assert again["tests"][-1]["outputs"] == last


def test_extras_are_never_silent(folder: Path, real_caffe: Caffe, capsys: pytest.CaptureFixture[str]) -> None:
    plain(folder, max_iter=2)
    Path("solver.extras.yaml").write_text("ema: 0.9\n")
    trained("torch")
    err = capsys.readouterr().err
    assert "extras of solver.extras.yaml: ema\n" in err
    assert "\nextra ema: 0.9\n" in err
    trained("caffe", "--force")
    assert "warning: Caffe leaves these extras out: ema\n" in capsys.readouterr().err
    Path("solver.extras.yaml").write_text("emma: 0.9\n")
    assert refusal(["train", "solver.prototxt", "--force", *TORCH], capsys) == (
        "the PyTorch engine cannot do 'emma'\nhint:    did you mean 'ema'?\n"
    )
    Path("solver.extras.yaml").write_text("ema: 2\n")
    assert refusal(["train", "solver.prototxt", "--force", *TORCH], capsys).startswith(
        "ema must be between 0 and 1, got 2\n"
    )
    trained("torch", "--force", "--extras", "none")


def test_a_recipe_writes_its_extras_beside_the_solver(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain(folder)
    Path("mine.yaml").write_text(
        "source: ours\nimages: 50\ntest_images: 50\nbatch: 7\nepochs: 1\nbase_lr: 0.01\n"
        "extras:\n  ema: 0.99\n"
    )
    assert read_recipe("mine.yaml").extras == {"ema": 0.99}
    words = ["solver", "mine.yaml", "--net", "net.prototxt", "-o", "made.prototxt", "--test-batch", "10"]
    assert main(words) == 0
    note = "only `netbuilder train --engine torch` applies ema, from made.extras.yaml"
    assert f"note: {note}" in capsys.readouterr().err
    assert note in Path("made.prototxt").read_text()
    assert Path("made.extras.yaml").read_text().endswith("ema: 0.99\n")
    assert main(["train", "made.prototxt", *TORCH]) == 0
    assert list(Path("snapshots").glob("*.ema.caffemodel"))


def test_lookahead_goes_a_part_of_the_way_and_resumes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain(folder, max_iter=3, iter_size=1, snapshot=0)
    trained("torch", "--weights", "start.caffemodel")
    start, end = arrays_of("start.caffemodel"), arrays_of("out/x_iter_3.caffemodel")
    Path("solver.extras.yaml").write_text("lookahead: 3\nlookahead_share: 0.25\n")
    trained("torch", "--weights", "start.caffemodel", "--force")
    found = arrays_of("out/x_iter_3.caffemodel")
    assert np.abs(end["fc"][0] - start["fc"][0]).max() > 1e-4
    for i in range(2):
        near = start["fc"][i] + 0.25 * (end["fc"][i] - start["fc"][i])
        np.testing.assert_allclose(found["fc"][i], near, rtol=0, atol=1e-6)
    plain(folder, max_iter=8, iter_size=1, snapshot=4)  # between two times
    trained("torch", "--weights", "start.caffemodel", "--force")
    whole = Path("out/x_iter_8.caffemodel").read_bytes()
    trained("torch", "--resume", "out/x_iter_4.solverstate")
    assert Path("out/x_iter_8.caffemodel").read_bytes() == whole
    for text in ("lookahead: 2.5\n", "lookahead: -1\n", "lookahead: 3\nlookahead_share: 1.5\n"):
        Path("solver.extras.yaml").write_text(text)
        assert "lookahead" in refusal(["train", "solver.prototxt", *TORCH, "--force"], capsys)


def test_what_a_recipe_cannot_do_is_listed_by_solver_and_train(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain(folder)
    Path("mine.yaml").write_text(
        "source: ours\nimages: 50\nbatch: 7\nepochs: 1\nbase_lr: 0.01\nlacks: [a third hand, 'luck: more']\n"
    )
    assert main(["solver", "mine.yaml", "--net", "net.prototxt", "-o", "made.prototxt"]) == 0
    said = capsys.readouterr().err
    assert "not in a solver: a third hand\nnot in a solver: luck: more\n" in said
    assert "only `netbuilder train --engine torch`" not in said  # there are no extras
    assert main(["train", "made.prototxt", *TORCH]) == 0
    assert (
        "not done of the recipe: a third hand\nnot done of the recipe: luck: more\n"
        in capsys.readouterr().err
    )
    Path("made.extras.yaml").write_text("lacks: 3\n")
    assert main(["train", "made.prototxt", *TORCH, "--force"]) == 2
    assert "lacks must be a list of texts" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(p.stem for p in RECIPES.glob("*.yaml")))
def test_the_engine_can_do_the_extras_of_each_shipped_recipe(name: str) -> None:
    extras = read_recipe(name).extras
    assert len(TrainingExtras.of(extras).lines()) >= len(set(extras) - {"resized_shape"})


def test_extras_of_the_data_are_applied_in_training_only(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They change the loss of the training, and not that of the test; a resumed run is alike."""
    plain(folder, max_iter=4, snapshot=2, test_interval=4, base_lr=1e-9, momentum=0, weight_decay=0)
    exact = trained("torch", "--weights", "start.caffemodel")
    Path("solver.extras.yaml").write_text("label_smoothing: 0.3\nmixup: 0.4\ncutout: 3\n")
    smooth = trained("torch", "--weights", "start.caffemodel", "--force")
    assert "\nextra label_smoothing: 0.3\n" in capsys.readouterr().err
    assert smooth["train"][0]["loss"] != pytest.approx(exact["train"][0]["loss"], rel=1e-3)
    assert smooth["tests"][0] == exact["tests"][0]
    whole = [Path(f"out/x_iter_4.{kind}").read_bytes() for kind in ("caffemodel", "solverstate")]
    trained("torch", "--resume", "out/x_iter_2.solverstate")
    assert [Path(f"out/x_iter_4.{kind}").read_bytes() for kind in ("caffemodel", "solverstate")] == whole


def test_what_caffe_lacks_is_refused_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain(folder)
    words = ["train", "solver.prototxt", "--engine", "caffe"]
    assert refusal([*words, "--dtype", "bf16"], capsys) == (
        "Caffe computes in float32, not bfloat16\nhint:    leave --dtype out, or use --engine torch\n"
    )
    assert refusal([*words, "--compile"], capsys) == (
        "Caffe compiles nothing\nhint:    leave --compile out, or use --engine torch\n"
    )


def test_a_compiled_net_trains_alike(folder: Path) -> None:
    plain(folder, max_iter=6, test_interval=6)
    trained("torch", "--weights", "start.caffemodel")
    Path("out/x_iter_6.caffemodel").rename("eager.caffemodel")
    data = trained("torch", "--weights", "start.caffemodel", "--compile", "--force")
    assert_near("out/x_iter_6.caffemodel", "eager.caffemodel", 1e-4)
    assert json.loads(Path("out/x_run.json").read_text()) == data
