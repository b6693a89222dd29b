"""`netbuilder fit`: bisection finds the same net just under a budget as trying all values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from netbuilder.cli.main import main
from netbuilder.engines.memory import Nets, training_memory
from netbuilder.errors import ConfigError
from netbuilder.measure.counts import Counts, count
from netbuilder.measure.memory import memory, with_bytes
from netbuilder.networks import find_network


@pytest.fixture
def fit(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `netbuilder fit`: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str, str]:
        return (main(["fit", *args]), *capsys.readouterr())

    return run


def counted(network: str, **options: Any) -> Counts | None:
    entry = find_network(network)
    try:
        return count(entry.stitch(entry.config(**options), "train"))
    except ConfigError:
        return None


TINY = "network: resnet\nmain_branch: bottleneck\nnum_output_stage1: 64\nblocks: [2, 3]\ninput_size: 32\n"


def test_the_width_is_the_greatest_of_all_that_fit(fit: Any) -> None:
    Path("tiny.yaml").write_text(TINY)
    options = {"main_branch": "bottleneck", "blocks": (2, 3), "input_size": (32, 32)}
    widths = {n: counted("resnet", num_output_stage1=n, **options) for n in range(1, 160)}
    fitting = [n for n, c in widths.items() if c and c.macs <= 12_000_000 and c.learnable_params <= 300_000]
    code, out, _ = fit("tiny.yaml", "--macs", "12M", "--params", "300k", "--json")
    data = json.loads(out)
    assert code == 0
    assert (data["option"], data["before"]["value"]) == ("num_output_stage1", 64)
    best, above = data["after"]["value"], data["above"]["value"]
    assert best == max(fitting) > 64
    assert above == min(n for n, c in widths.items() if c and n > best)
    for value, figures in ((best, data["after"]["figures"]), (above, data["above"]["figures"])):
        whole = widths[value]
        assert whole
        assert {k: figures[k] for k in ("macs", "learnable_params", "peak_bytes")} == {
            k: getattr(whole, k) for k in ("macs", "learnable_params", "peak_bytes")
        }
    assert data["tried"] < 40


def test_the_blocks_come_as_near_to_the_budget_as_any_neighbours(fit: Any) -> None:
    Path("tiny.yaml").write_text(TINY)
    code, out, _ = fit("tiny.yaml", "--macs", "9M", "--vary", "blocks", "--json")
    data = json.loads(out)
    first, second = data["after"]["value"]
    options = {"main_branch": "bottleneck", "num_output_stage1": 64, "input_size": (32, 32)}
    near = {
        (a, b): counted("resnet", blocks=(a, b), **options)
        for a in (first - 1, first, first + 1)
        for b in (second - 1, second, second + 1)
        if min(a, b) > 0
    }
    macs = {blocks: c.macs for blocks, c in near.items() if c and c.macs <= 9_000_000}
    assert code == 0
    assert macs[first, second] == max(macs.values()) == data["after"]["figures"]["macs"]


def test_the_result_is_printed_and_written_as_a_config_that_builds_it(
    fit: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = fit("cifar10/cifar_resnet_110", "--params", "1M", "-o", "small.yaml")
    assert (code, err) == (0, "wrote small.yaml\n")
    whole = counted("cifar_resnet", depth=62)
    larger = counted("cifar_resnet", depth=68)
    assert whole
    assert larger
    lines = out.splitlines()
    assert lines[0].startswith("depth: 110 -> 62, ")
    assert lines[1] == f"with 68, learnable_params would be {larger.learnable_params:,}"
    assert lines[5].split() == [
        "learnable_params", "1,730,714", f"{whole.learnable_params:,}", "1,000,000", "95.3%",
    ]  # fmt: skip
    assert lines[-1] == "netbuilder build small.yaml -o cifar_resnet_62"
    assert Path("small.yaml").read_text().partition("\n")[2] == (
        '# cifar_resnet_110 fitted to learnable_params <= 1,000,000\nnetwork: "cifar_resnet"\ndepth: 62\n'
    )
    assert main(["build", "small.yaml", "-o", "built", "--json"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert built["counts"]["totals"]["learnable_params"] == whole.learnable_params


def test_the_command_that_is_printed_builds_the_net(fit: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = fit("resnet_50_stride_in_3x3", "--macs", "1G", "--set", "input_size=192")
    command = out.splitlines()[-1].split()
    assert command[:3] == ["netbuilder", "build", "resnet"]
    assert main([*command[1:], "--json"]) == 0
    totals = json.loads(capsys.readouterr().out)["counts"]["totals"]
    assert f" {totals['macs']:,} " in out
    assert totals["macs"] <= 10**9


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["resnet_50"],
            "the budget is missing: give one or more of --macs, --params, --activations, --memory, "
            "--working-set, --weight-memory, --training-memory\n"
            "  hint:    for example --macs 1G",
        ),
        (
            ["resnet_50", "--macs", "1x"],
            "--macs: '1x' is not a number\n  hint:    for example 1.5G, 10M or 64MiB",
        ),
        (["resnet_50", "--memory", "0"], "--memory must be above 0, got 0"),
        (
            ["resnet_50", "--macs", "1k"],
            "the budget is too small: with the smallest num_output_stage1, 4, macs is 119,946,368, but the "
            "limit is 1,000\n  hint:    raise the budget, or vary another option (--vary)",
        ),
        (
            ["cifar_resnet_20", "--memory", "1GiB", "--vary", "depth"],
            "depth up to 764 stays within the budget\n"
            "  hint:    lower the budget, or vary another option (--vary)",
        ),
        (
            ["resnet_50", "--macs", "1G", "--vary", "block"],
            "unknown option 'block' to vary\n  hint:    did you mean 'blocks'?",
        ),
        (
            ["resnet_50", "--macs", "1G", "--vary", "main_branch"],
            "main_branch cannot be varied: it is bottleneck, not a number or a list of numbers\n"
            "  hint:    numeric options are classes, input_size, num_output_stage1, blocks, cardinality, "
            "base_width",
        ),
    ],
)
def test_an_impossible_budget_is_refused(fit: Any, args: list[str], said: str) -> None:
    assert fit(*args) == (2, "", f"ConfigError: {said}\n")


def test_a_foreign_file_is_not_overwritten(fit: Any) -> None:
    Path("mine.yaml").write_text("network: resnet\n")
    code, _, err = fit("cifar_resnet_20", "--macs", "30M", "-o", "mine.yaml")
    assert (code, Path("mine.yaml").read_text()) == (2, "network: resnet\n")
    assert err == (
        "FileError: 'mine.yaml' is in the way, and netbuilder did not write it\n"
        "  hint:    choose another output folder, or use --force to replace it\n"
    )


def test_a_chip_limits_what_one_layer_works_on_in_bytes_of_its_own(fit: Any) -> None:
    Path("tiny.yaml").write_text(TINY)
    words = (
        "--working-set",
        "400Ki",
        "--weight-memory",
        "2Mi",
        "--memory",
        "1M",
        "--phase",
        "deploy",
        "--json",
    )
    found = {width: json.loads(fit("tiny.yaml", *words, "--bytes", str(width))[1]) for width in (1, 4)}
    assert found[1]["after"]["value"] > found[4]["after"]["value"]
    for width, data in found.items():
        assert data["bytes"] == width
        for side in ("after", "above"):
            value, figures = data[side]["value"], data[side]["figures"]
            config = find_network("resnet").config(
                main_branch="bottleneck", blocks=(2, 3), input_size=(32, 32), num_output_stage1=value
            )
            net = find_network("resnet").stitch(config, "deploy")
            whole = with_bytes(count(net), width)
            working = max(row.working or 0 for row in memory(net, width))
            assert (figures["working_bytes"], figures["weight_bytes"]) == (working, whole.weight_bytes)
            assert (figures["peak_bytes"], figures["train_bytes"]) == (whole.peak_bytes, whole.train_bytes)
            fits = all(figures[name] <= limit for name, limit in data["limits"].items())
            assert fits == (side == "after")


def test_a_training_within_the_memory_of_a_gpu(fit: Any) -> None:
    Path("tiny.yaml").write_text(TINY)
    words = ("--training-memory", "400M", "--batch", "64", "--json")
    data = json.loads(fit("tiny.yaml", *words)[1])
    entry, totals = find_network("resnet"), {}
    for side in ("after", "above"):
        config = entry.config(
            main_branch="bottleneck", blocks=(2, 3), input_size=(32, 32),
            num_output_stage1=data[side]["value"],
        )  # fmt: skip
        train, test = (entry.stitch(config, phase) for phase in ("train", "test"))
        totals[side] = training_memory(Nets(train, (test,)).with_batch(64), "caffe").total
        assert data[side]["figures"]["caffe_training_bytes"] == totals[side]
    assert totals["after"] <= 400_000_000 < totals["above"]
    assert fit("tiny.yaml", "--training-memory", "1G", "--batch", "0")[0] == 2
