"""Published accuracies in configs: what is refused, what the shipped ones state, and who shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netbuilder.config import all_configs, load, reference_accuracy
from netbuilder.config.accuracy import Accuracy
from netbuilder.errors import ConfigError
from netbuilder.networks import find_network
from tests.command import Command

NET = "network: cifar_resnet\ndepth: 20\n"
GOOD = "top1: 91.25, data: cifar10, source: a paper"

# From the papers' own tables and torchvision's metadata, as printed there: errors are 100 minus the figure.
PUBLISHED = {
    "resnet_50": 100 - 22.85,
    "resnet_152": 100 - 21.43,
    "torchvision_resnet_50": 76.130,
    "torchvision_resnext_101_32x8d": 79.312,
    "bl_resnet_101_a2_b4": 100 - 21.34,
    "bl_seresnext_101_32x4d_a2_b4": 100 - 21.04,
    "assemble_resnet50": 82.78,
    "cifar_resnet_20_a": 100 - 8.75,
    "cifar_resnet_1202_a": 100 - 7.93,
    "gcr_resnet_110_bn_after": 100 * (1 - 0.1356),
    "davidnet_residual_l1_l3": 94.1,
    "resnet_36_inception_trick_with4k": 70.76,
}


def config(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(NET + text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("91.25", "accuracy must be a mapping, got 91.25"),
        ("{top1: 91.25, data: cifar10}", "accuracy lacks source"),
        ("{data: cifar10, source: a}", "accuracy lacks top1"),
        ("{top1: 0.9125, data: cifar10, source: a}", "top1 is in per cent, got 0.9125"),
        ("{top1: 101, data: cifar10, source: a}", "top1 is in per cent, got 101"),
        ("{top1: high, data: cifar10, source: a}", "top1 must be a number, got 'high'"),
        (f"{{{GOOD}, top5: 90}}", "top5 is 90.0, less than top1, 91.25"),
        (f"{{{GOOD}, top-5: 99}}", "unknown key 'top-5'"),
        ("{top1: 91.25, data: cifar10, source: ''}", "source must be text"),
        ("{top1: 91.25, data: 10, source: a}", "data must be text, got 10"),
    ],
)
def test_what_cannot_be_an_accuracy_is_refused_with_its_line(tmp_path: Path, value: str, error: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(config(tmp_path, f"accuracy: {value}\n"))
    assert error in str(raised.value)
    assert "mine.yaml:3" in str(raised.value)


def test_a_share_is_answered_with_its_per_cent(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write 91\.25"):
        load(config(tmp_path, "accuracy: {top1: 0.9125, data: cifar10, source: a}\n"))


def test_an_accuracy_is_of_the_net_of_its_file_alone(tmp_path: Path) -> None:
    path = config(tmp_path, f"accuracy: {{{GOOD}, test: flipped}}\n")
    assert load(path).accuracy == Accuracy(91.25, "cifar10", "a paper", None, "flipped")
    assert load(path, ["classes=100"]).accuracy is None
    (tmp_path / "over.yaml").write_text("base: mine.yaml\nclasses: 100\n")
    assert load(str(tmp_path / "over.yaml")).accuracy is None


def test_the_shipped_figures_are_the_published_ones_and_name_their_source() -> None:
    stated = {found.name: accuracy for found in all_configs() if (accuracy := load(found.name).accuracy)}
    assert {name: round(stated[name].top1, 6) for name in PUBLISHED} == {
        name: round(value, 6) for name, value in PUBLISHED.items()
    }
    for name, accuracy in stated.items():
        assert accuracy.data == ("cifar10" if "cifar" in load(name).found.shown else "imagenet"), name
        assert len(accuracy.source) > 12, name


def test_the_accuracy_of_a_config_dataclass_is_that_of_the_equal_config() -> None:
    entry = find_network("resnet")
    known = reference_accuracy("resnet", load("resnet_50").config)
    assert known is not None
    assert known.top1 == 77.15
    other = entry.config(main_branch="bottleneck", num_output_stage1=256, classes=10)
    assert reference_accuracy("resnet", other) is None


def test_list_has_a_column_and_the_whole_of_it_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    netbuilder = Command(capsys)
    ran = netbuilder("list", "resnet_50*")
    assert "77.15*" in ran.out
    assert ran.out.splitlines()[-1] == "*: not on one center crop of the net's size; --json says how"
    rows = {
        row["name"]: row["accuracy"] for row in json.loads(netbuilder("list", "resnet_50*", "--json").out)
    }
    assert rows["resnet_50"] == {
        "top1": 77.15, "top5": 93.29, "data": "imagenet", "test": "10 crops",
        "source": "He et al. 2015 (arXiv 1512.03385), table 3",
    }  # fmt: skip
    assert rows["resnet_50_stride_in_3x3"] is None


def test_a_sweep_names_the_accuracy_of_a_net_that_was_published(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    axes = "axes:\n  depth: [20, 32, 38]\nobjectives: [minimise macs, maximise depth]\n"
    Path("s.yaml").write_text(f"network: cifar_resnet\ndepth: 38\nshortcut: A\n{axes}")
    netbuilder = Command(capsys)
    ran = netbuilder("sweep", "s.yaml", "-o", "out", "--no-draw", "--jobs", "1")
    assert [line for line in ran.out.splitlines() if line.startswith("published for")] == [
        "published for rank 1: top-1 91.25 %, He et al. 2015 (arXiv 1512.03385), table 6",
        "published for rank 2: top-1 92.49 %, He et al. 2015 (arXiv 1512.03385), table 6",
    ]
    rows = json.loads(Path("out/sweep.json").read_text())["front"]
    assert [row.get("accuracy", {}).get("top1") for row in rows] == [91.25, 92.49, None]
