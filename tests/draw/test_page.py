"""The page of `netbuilder draw` in a real browser: what it shows, what clicks do, what no file can do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from netbuilder import Net, prototxt
from netbuilder.config import load
from netbuilder.draw import draw
from netbuilder.transforms.train_val import dumps_train_val
from tests.command import Command
from tests.draw.browser import opened, visit

ZOO = Path(__file__).parents[1] / "zoo"
HOSTILE = (
    "<script>document.title='run'</script>", "</script><script>document.title='run'</script>", "<!--<script>",
    '"><img src=x onerror="document.title=1">', "'quoted'", "back\\slash\\N", "&lt;&amp;", "\u2028line",
    "@DATA@", "@SCRIPT@", "n" * 500,
)  # fmt: skip


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(capsys)


@pytest.fixture(scope="session")
def resnet(tmp_path_factory: pytest.TempPathFactory, graphviz: None) -> Path:
    """The page of a config, drawn once."""
    from netbuilder.cli.main import main

    page = tmp_path_factory.mktemp("page") / "resnet_50.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(page.parent)  # a folder resnet_50 would be drawn instead
        assert main(["draw", "resnet_50", "-o", str(page)]) == 0
    return page


def data_of(page: Path) -> dict[str, Any]:
    """The data that the page carries."""
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL
    )
    assert found
    data: dict[str, Any] = json.loads(found[1])
    for net in data["nets"]:
        for phase in net["phases"].values():
            phase.update(
                {name: rows_of(phase[name], data["values"]) for name in ("layers", "units", "blocks")}
            )
    return data


def rows_of(columns: dict[str, list[int]], values: list[Any]) -> list[dict[str, Any]]:
    """The rows of a table, which holds the numbers of its values by column."""
    rows = zip(*columns.values(), strict=True)
    return [{key: values[n] for key, n in zip(columns, row, strict=True) if n >= 0} for row in rows]


@pytest.mark.parametrize("width", ["4", "1"])
def test_the_figures_of_the_page_are_those_of_count(
    tmp_path: Path, run: Command, graphviz: None, width: str
) -> None:
    page = tmp_path / "net.html"
    file = ZOO / "se_blocks.prototxt"
    assert run("draw", file, "-o", page, "--bytes", width).code == 0
    (net,) = data_of(page)["nets"]
    for phase, shown in net["phases"].items():
        both = [
            json.loads(run("count", file, "--phase", phase, "--bytes", width, *words, "--json").out)
            for words in (("--receptive-field",), ("--memory",))
        ]
        counted = both[0]
        for mine, other in zip(counted["layers"], both[1]["layers"], strict=True):
            mine["memory"] = other["memory"]
        assert shown["bytes"] == int(width)
        assert shown["peak_layer"] == both[1]["peak_layer"]
        # A block has what the layer needs that needs most.
        for key in ("working_bytes", "alive_bytes"):
            assert shown["blocks"][0]["memory"][key] == max(x["memory"][key] for x in counted["layers"])
        for key in ("name", "phase", "batch", "totals", "complete", "uncounted"):
            assert shown[key] == counted[key]
        for mine, other in zip(shown["layers"], counted["layers"], strict=True):
            assert {key: mine[key] for key in other} == other
        # A group's figures are the sums of the layers inside, and the outermost has the totals.
        assert {key: shown["blocks"][0][key] for key in ("learnable_params", "macs", "flops")} == {
            key: counted["totals"][key] for key in ("learnable_params", "macs", "flops")
        }


def test_a_click_opens_a_block_and_the_panel_and_table_follow(resnet: Path, chromium: None) -> None:
    seen = visit(
        resnet,
        """
        said.before = names();
        click(node("stage0_block0"));
        said.after = names();
        said.expanded = node("stage0_block0").getAttribute("aria-expanded");
        click(node("eltwise_stage0_block0"));
        said.panel = document.getElementById("side").textContent;
        said.row = document.querySelector("tr[aria-selected]").cells[1].textContent;
        document.querySelector('tr[data-row="6"]').click();
        said.picked = document.querySelector("svg g.picked").getAttribute("aria-label");
        click(node("stage0_block0"));
        said.closed = names();
        """,
    )
    said = seen.said
    assert "error" not in said, said
    assert "stage0_block0" in said["before"]
    assert "eltwise_stage0_block0" not in said["before"]
    assert {"eltwise_stage0_block0", "conv_stage0_block0_proj_shortcut"} <= set(said["after"])
    assert said["expanded"] == "true"
    assert "Eltwise" in said["panel"]
    assert "bottom: " in said["panel"]
    assert said["row"] == "eltwise_stage0_block0"
    assert said["picked"].startswith("conv_stage0_block0_proj_shortcut, Convolution 256, 1x1")
    assert sorted(said["closed"]) == sorted(said["before"])
    assert said["fetched"] == []
    assert seen.console == []


def test_the_table_sorts_filters_and_shows_blocks(resnet: Path, chromium: None) -> None:
    seen = visit(
        resnet,
        """
        const table = document.getElementById("table");
        const column = (c) => [...table.tBodies[0].rows].map((row) => row.cells[c].textContent);
        const header = (name) =>
          [...table.tHead.rows[0].cells].findIndex((cell) => cell.textContent.startsWith(name));
        table.tHead.rows[0].cells[header("MACs")].firstChild.click();
        said.down = column(header("MACs"));
        said.order = table.tHead.rows[0].cells[header("MACs")].getAttribute("aria-sort");
        table.tHead.rows[0].cells[header("MACs")].firstChild.click();
        said.up = column(header("MACs"));
        table.tHead.rows[0].cells[header("layer")].firstChild.click();
        const filter = document.getElementById("filter");
        filter.value = "stage3 7x7 pooling";
        filter.dispatchEvent(new Event("input"));
        said.none = column(1);
        filter.value = "conv 3x3/2";
        filter.dispatchEvent(new Event("input"));
        said.kept = column(1);
        said.rows = document.getElementById("rows").textContent;
        filter.value = "";
        document.getElementById("tab-blocks").click();
        said.blocks = column(1);
        """,
    )
    said = seen.said
    assert "error" not in said, said
    macs = [int(text.replace(",", "")) for text in said["down"]]
    assert len(macs) == 229
    assert macs == sorted(macs, reverse=True)
    assert macs[0] > 0
    assert said["order"] == "descending"
    assert [int(text.replace(",", "")) for text in said["up"]] == sorted(macs)
    assert said["none"] == []
    assert said["kept"] == []  # of this net, stage3's stride is in a 1x1
    assert said["rows"] == "0 of 229 rows"
    assert {"stem", "stage0", "stage0_block0"} <= set(said["blocks"])
    assert seen.console == []


def test_keys_search_phase_and_colour(resnet: Path, chromium: None) -> None:
    seen = visit(
        resnet,
        """
        const svg = document.querySelector("svg");
        said.first = document.querySelectorAll('svg g.node[tabindex="0"]').length;
        key(svg, "ArrowDown");
        said.walked = document.activeElement.getAttribute("aria-label");
        const here = () => document.activeElement.getAttribute("aria-label");
        for (let i = 0; i < 60 && !here().startsWith("stage1_block0"); i++) key(svg, "ArrowDown");
        key(svg, "Enter");
        said.opened = document.activeElement.getAttribute("aria-expanded");
        key(svg, "Escape");
        said.closed = document.activeElement.getAttribute("aria-expanded");
        const search = document.getElementById("search");
        search.value = "conv_stage3_block2_branch2b";
        search.dispatchEvent(new Event("change"));
        said.found = document.getElementById("side").querySelector("h2").textContent;
        said.picked = document.querySelector("svg g.picked").getAttribute("aria-label");
        const colour = document.getElementById("colour");
        said.colours = [...colour.options].map((option) => option.textContent);
        colour.value = "learnable_params";
        colour.dispatchEvent(new Event("change"));
        said.params = document.querySelector("svg g.picked").getAttribute("aria-label");
        const phase = document.getElementById("phase");
        said.phases = [...phase.options].map((option) => option.value);
        phase.value = "train";
        phase.dispatchEvent(new Event("change"));
        said.rows = document.getElementById("rows").textContent;
        const theme = document.documentElement.dataset.theme;
        document.getElementById("theme").click();
        said.themes = [theme, document.documentElement.dataset.theme].sort();
        said.unnamed = [...document.querySelectorAll("button, select, input")].filter((e) =>
          !(e.textContent || e.getAttribute("aria-label") || e.labels && e.labels.length)).map((e) => e.id);
        """,
    )
    said = seen.said
    assert "error" not in said, said
    assert said["first"] == 1  # one stop of the tab key in the graph
    assert said["walked"].startswith("data, Input")
    assert (said["opened"], said["closed"]) == ("true", "false")
    assert said["found"] == "conv_stage3_block2_branch2b"
    assert "of MACs" in said["picked"]
    assert said["colours"] == ["MACs", "Parameters", "Activations", "Working set", "Nothing"]
    assert "of Parameters" in said["params"]
    assert said["phases"] == ["deploy", "train"]
    assert said["rows"].endswith(" rows")
    assert said["themes"] == ["dark", "light"]
    assert said["unnamed"] == []
    assert seen.console == []


def test_the_page_as_it_is_needs_nothing_else_and_runs_under_its_own_policy(
    resnet: Path, chromium: None
) -> None:
    text = resnet.read_text("utf-8")
    assert set(re.findall(r"https?://[^\"'\s]*", text)) == {"http://www.w3.org/2000/svg"}  # a namespace
    assert not re.search(r"\s(?:src|href)=|@import|url\(", text)
    dom, console = opened(resnet, "#open=stage0_block0&select=conv_stage0_block0_branch2b")
    assert console == []
    assert "<title>resnet_50 - netbuilder</title>" in dom
    assert "conv_stage0_block0_branch2b, Convolution 64, 3x3 p1" in dom  # its block was opened


def test_names_of_a_hostile_file_run_nothing(tmp_path: Path, run: Command, chromium: None) -> None:
    net = Net("<script>document.title='run'</script>", dialect="caffe-master")
    x = net.add("Input", name="data", shape={"dim": [1, 2, 4, 4]})
    for name in HOSTILE:
        x = net.add("Convolution", x, name=name, num_output=2, kernel_size=1)
        x = net.add("Convolution", x, name=name + "/1", num_output=2, kernel_size=1)
    file, page = tmp_path / "<b>net.prototxt", tmp_path / "net.html"
    prototxt.write(net, file)
    file.write_text(file.read_text("utf-8") + "\n# </script><script>document.title='run'</script>", "utf-8")
    assert run("draw", file, "-o", page).code == 0
    text = page.read_text("utf-8")
    assert text.lower().count("<script") == 2  # the data and the page's own
    assert text.lower().count("</script") == 2
    assert text.count("<!--") == 1
    seen = visit(
        page,
        """
        for (let i = 0; i < 5; i++) document.getElementById("open").click();
        said.title = document.title;
        said.scripts = document.scripts.length;
        said.images = document.images.length;
        said.rows = [...document.querySelectorAll("#table tbody tr")].map((row) => row.cells[1].textContent);
        document.querySelectorAll("#table tbody tr").forEach((row) => row.click());
        """,
    )
    assert "error" not in seen.said, seen.said
    assert seen.said["title"] == f"{file.name} - netbuilder"
    assert (seen.said["scripts"], seen.said["images"]) == (3, 0)  # the third is the test's
    assert set(HOSTILE) <= set(seen.said["rows"])
    assert seen.console == []
    for kind in ("svg", "png", "pdf"):
        picture = tmp_path / f"net.{kind}"
        assert run("draw", file, "-o", picture).code == 0
        assert kind != "svg" or "<script" not in picture.read_text("utf-8")


def test_what_is_not_known_is_no_zero(tmp_path: Path, run: Command, chromium: None) -> None:
    page = tmp_path / "net.html"
    ran = run("draw", ZOO / "siamese.prototxt", "-o", page)
    assert "give them, as in --input pair_data=" in ran.err
    seen = visit(
        page,
        """
        said.side = document.getElementById("side").textContent;
        const rows = [...document.querySelectorAll("#table tbody tr")];
        const row = rows.find((found) => found.cells[1].textContent === "conv1");
        said.row = [...row.cells].map((cell) => cell.textContent);
        """,
    )
    assert "Totals, at least" in seen.said["side"]
    assert seen.said["row"][4:11] == ["?"] * 7
    assert seen.said["row"][11].startswith("≥ ")
    assert seen.console == []


def test_measured_times_stand_beside_the_macs(tmp_path: Path, run: Command, chromium: None) -> None:
    file, page, times = ZOO / "cifar10_quick.prototxt", tmp_path / "net.html", tmp_path / "times.json"
    layers = prototxt.read(file, "TEST", dialect="any", unknown="keep").layers
    rows = [{"name": x.name, "forward_ms": i + 0.5, "backward_ms": 0.25} for i, x in enumerate(layers)]
    times.write_text(json.dumps({"version": 1, "phase": "TEST", "layers": rows}), "utf-8")
    assert run("draw", file, "--phase", "TEST", "--times", times, "-o", page).code == 0
    shown = data_of(page)["nets"][0]["phases"]["TEST"]
    assert [(x["forward_ms"], x["backward_ms"]) for x in shown["layers"]] == [
        (row["forward_ms"], row["backward_ms"]) for row in rows
    ]
    assert shown["blocks"][0]["forward_ms"] == sum(i + 0.5 for i in range(len(rows)))
    seen = visit(
        page,
        """
        said.head = [...document.querySelectorAll("#table th")].map((cell) => cell.textContent);
        said.colours = [...document.getElementById("colour").options].map((option) => option.value);
        """,
    )
    assert {"ms", "% of time", "time : MACs"} <= set(seen.said["head"])
    assert "time" in seen.said["colours"]
    refused = run("draw", file, "--phase", "TRAIN", "--times", times, "-o", page)
    assert refused.code == 2
    assert "phase TEST" in refused.err
    times.write_text("{}", "utf-8")
    assert "not the JSON of `netbuilder time`" in run("draw", file, "--times", times, "-o", page).err


def test_a_page_opens_in_the_phase_that_was_timed(tmp_path: Path, run: Command, chromium: None) -> None:
    file, page, times = tmp_path / "net.prototxt", tmp_path / "net.html", tmp_path / "times.json"
    loaded = load("cifar_resnet_20")
    file.write_text(dumps_train_val(loaded.stitch("train"), loaded.stitch("test")), "utf-8")
    rows = [{"name": x.name, "forward_ms": 1, "backward_ms": 2} for x in loaded.stitch("train")]
    times.write_text(json.dumps({"version": 1, "phase": "TRAIN", "layers": rows}), "utf-8")
    assert run("draw", file, "--times", times, "-o", page).code == 0
    seen = visit(
        page,
        """
        said.phases = [...document.getElementById("phase").options].map((option) => option.value);
        said.phase = document.getElementById("phase").value;
        said.shares = document.querySelectorAll("svg text.share").length;
        """,
    )
    assert set(seen.said["phases"]) == {"TRAIN", "TEST"}
    assert seen.said["phase"] == "TRAIN"
    assert seen.said["shares"] > 0


def test_two_nets_side_by_side_have_their_differences_marked(
    tmp_path: Path, run: Command, chromium: None
) -> None:
    first = ZOO / "cifar10_quick.prototxt"
    text = first.read_text("utf-8")
    second, page = tmp_path / "second.prototxt", tmp_path / "both.html"
    second.write_text(
        text.replace("num_output: 64", "num_output: 65").replace('"pool3"', '"pool_3"'), "utf-8"
    )
    assert run("draw", first, second, "-o", page).code == 0
    seen = visit(
        page,
        """
        said.marks = [...document.querySelectorAll(".pane")].map((pane) =>
          [...pane.querySelectorAll("g.node[class*=mark-]")].map((found) =>
            found.getAttribute("aria-label").split(", ")[0] + " " + found.classList[1]));
        said.side = document.getElementById("side").textContent;
        const rows = [...document.querySelectorAll("#table tbody tr")];
        rows.find((row) => row.cells[1].textContent === "conv2").click();
        said.picked = document.querySelectorAll("g.picked").length;
        rows.find((row) => row.cells[1].textContent === "ip1").click();
        said.changed = document.getElementById("side").textContent;
        """,
    )
    said = seen.said
    assert "error" not in said, said
    assert 'A fields: type: "InnerProduct"' in said["changed"]
    assert "num_output: 65" in said["changed"]
    assert any(mark.startswith("pool3") for mark in said["marks"][0])
    assert any(mark.startswith("pool_3") for mark in said["marks"][1])
    assert "do not fit B" in said["side"]
    assert said["picked"] == 2  # the same layer of both
    assert seen.console == []


def test_the_memory_is_a_timeline_a_colour_and_columns(
    resnet: Path, tmp_path: Path, run: Command, chromium: None
) -> None:
    assert run("build", "resnet_50", "-o", tmp_path).code == 0
    counted = json.loads(run("count", tmp_path / "deploy.prototxt", "--memory", "--json").out)
    memory = [layer["memory"] for layer in counted["layers"]]
    seen = visit(
        resnet,
        """
        const side = () => document.getElementById("side");
        const plot = document.querySelector("svg.timeline");
        said.plot = plot.getAttribute("aria-label");
        said.steps = plot.querySelector("path").getAttribute("d").split("H").length - 1;
        said.peaks = [...document.querySelectorAll("[data-peak]")].map((found) => found.dataset.peak);
        said.net = { layers: views[0].net.layers, totals: views[0].net.totals };
        const colour = document.getElementById("colour");
        colour.value = "working";
        colour.dispatchEvent(new Event("change"));
        document.querySelector("[data-peak]").click();
        said.panel = side().textContent;
        said.node = document.querySelector("svg g.picked").getAttribute("aria-label");
        const head = [...document.querySelectorAll("#table th")].map((cell) => cell.textContent);
        const rows = [...document.querySelectorAll("#table tbody tr")];
        said.columns = ["working set", "alive"].map((name) =>
          rows.map((row) => row.cells[head.indexOf(name)].textContent));
        """,
    )
    said = seen.said
    assert "error" not in said, said
    peak = counted["peak_layer"]
    assert said["plot"].startswith("Memory alive while each layer runs; the peak is 9.19 MiB at " + peak)
    assert said["steps"] == len(memory)
    largest = max(counted["layers"], key=lambda layer: layer["memory"]["working_bytes"])["name"]
    assert said["peaks"] == [peak, largest]
    for mine, other in zip(said["net"]["layers"], counted["layers"], strict=True):
        assert {key: mine[key] for key in other} == other  # as the script of the page has them
    assert said["net"]["totals"] == counted["totals"]
    assert f"alive while it runs{counted['totals']['peak_bytes']:,}" in said["panel"]
    assert "of the largest working set" in said["node"]
    assert said["columns"] == [
        [f"{layer[key]:,}" for layer in memory] for key in ("working_bytes", "alive_bytes")
    ]
    assert seen.console == []


def test_what_two_phases_share_is_stored_once(tmp_path: Path, run: Command, graphviz: None) -> None:
    page = tmp_path / "large.html"
    assert run("draw", "assemble_resnet152", "-o", page).code == 0
    assert page.stat().st_size < 2.5e6  # 4,174 layers in two phases
    phases = data_of(page)["nets"][0]["phases"]
    assert [len(phase["layers"]) for phase in phases.values()] == [2157, 2017]


def test_a_net_of_a_thousand_layers_is_small_and_opens_at_once(tmp_path: Path, chromium: None) -> None:
    net = Net("long", dialect="caffe-master")
    x = net.add("Input", name="data", shape={"dim": [1, 8, 32, 32]})
    for i in range(250):
        name = f"stage{i // 50}_block{i}"
        with net.scope(f"stage{i // 50}"), net.scope(name):
            y = net.add("Convolution", x, name=f"conv_{name}", num_output=8, kernel_size=3, pad=1)
            y = net.add("BatchNorm", y, name=f"bn_{name}", in_place=True)
            y = net.add("Scale", y, name=f"scale_{name}", in_place=True)
            x = net.add("Eltwise", x, y, name=f"sum_{name}")
    assert len(net) == 1001
    page = tmp_path / "long.html"
    draw(net, page)
    assert page.stat().st_size < 3e6
    seen = visit(
        page,
        """
        said.milliseconds = performance.now();
        said.rows = document.getElementById("rows").textContent;
        """,
    )
    assert seen.said["rows"] == "1001 rows"
    assert seen.said["milliseconds"] < 10_000  # 0.5 s to 2 s, but not on a machine that has other work
