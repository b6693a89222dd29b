"""The README and docs are true today: links lead somewhere, code runs, output is what is printed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from netbuilder.cli.build import script_parser
from netbuilder.cli.main import verb_parser
from netbuilder.config import all_configs
from netbuilder.measure.counts import count
from netbuilder.net import Net
from netbuilder.networks import options
from netbuilder.report import headline
from tests import consumers
from tests.installation import require_onnx, require_torch

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "bench" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
# Its block needs real Caffe and weights, its session names a folder: tests/engines tries what it says.
NOT_RUN = {"real-caffe.md"}
# They need weights and images; tests/test_roads.py follows them.
NOT_RUN |= {"road-bl-net-to-mnn.md", "road-old-caffemodel.md", "road-torchvision-to-opencv.md"}
IN_PYTORCH = {"training-data.md", "training-in-pytorch.md", "add-an-operator.md", "pycaffe.md", "pytorch.md"}

IN_ONNX = {"onnx.md", "hand-over.md"}
IN_CONSUMERS = {"hand-over.md"}

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| (\w+) \| `(-[^`]*)` \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
COUNTS_ROW = re.compile(r"^\| (\S+)[^|]* \| `(-[^`]*)` \| ([\d,]+) \| ([\d,]+) \| ([\d,]+) \|$", re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [text for name, text in FENCE.findall(page.read_text(encoding="utf-8")) if name == language]


def files(page: Path) -> dict[str, str]:
    """The blocks that are files, for the commands of the page: their first line says `# file: NAME`."""
    texts = [text for language in ("yaml", "python") for text in blocks(page, language)]
    return {m[1]: text for text in texts if (m := re.match(r"# file: (\S+)\n", text))}


def with_blocks(language: str) -> list[Path]:
    return [page for page in PAGES if page.name not in NOT_RUN and blocks(page, language)]


def run(command: list[str], folder: Path) -> str:
    """What a command prints on both streams, told as a user would see it."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    links = [link.partition("#")[0] for link in LINK.findall(text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_index_links_to_every_page_and_the_readme_to_the_index() -> None:
    links = set(LINK.findall((ROOT / "docs" / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"} <= links
    assert "docs/README.md" in LINK.findall((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_number_of_configs_is_that_of_the_shipped_ones(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"\b(\d+) (?:shipped )?configs\b", text) if page.name != "CHANGELOG.md" else []
    assert {int(number) for number in named} <= {len(all_configs())}


@pytest.mark.parametrize("page", with_blocks("python"), ids=lambda p: p.name)
def test_the_python_blocks_of_a_page_run_one_after_another(page: Path, tmp_path: Path) -> None:
    if page.name in IN_PYTORCH:
        require_torch()
    if page.name in IN_ONNX:
        require_onnx()
    if page.name in IN_CONSUMERS:
        for module in consumers.MODULES.values():
            consumers.require(module)
    # In a process of its own, since a page may register a rule or a branch.
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks(page, "python")), encoding="utf-8")
    command = [sys.executable, "-c", "import runpy; runpy.run_path('page.py'); print('done')"]
    assert run(command, tmp_path).endswith("done\n")


def test_the_readmes_python_prints_what_it_says(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    said = re.search(r"^This prints `([^`]*)`", readme, re.MULTILINE)
    assert said
    (code,) = blocks(ROOT / "README.md", "python")
    assert run([sys.executable, "-c", code], tmp_path) == f"{said[1]}\n"


def test_the_error_on_the_lego_page_is_the_one_that_is_raised(tmp_path: Path) -> None:
    page = ROOT / "docs" / "add-a-lego.md"
    (said,) = blocks(page, "text")
    printed = run([sys.executable, "-c", "\n".join(blocks(page, "python"))], tmp_path)
    place = re.compile(r"where: .*?,")
    assert place.sub("where:,", printed) == place.sub("where:,", said)


@pytest.mark.parametrize("page", with_blocks("console"), ids=lambda p: p.name)
def test_commands_print_what_the_page_says(page: Path, tmp_path: Path) -> None:
    (tmp_path / "app").symlink_to(ROOT / "app")
    for name, text in files(page).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, said = part.partition("\n")
            words = shlex.split(line)
            python = {"python": [sys.executable], "netbuilder": [sys.executable, "-m", "netbuilder.cli.main"]}
            printed = run([*python[words[0]], *words[1:]], tmp_path)
            if said.endswith("\n...\n"):  # cut short
                assert printed.startswith(said.removesuffix("...\n")), line
            else:
                assert sorted_notes(printed) == sorted_notes(said), line


NOT_RUN_MARK = "# not run by the tests: "


def sh_blocks(page: Path) -> list[str]:
    return blocks(page, "sh")


def commands(block: str) -> list[list[str]]:
    """The commands of a block that netbuilder reads, without variables before them and comments."""
    lines = block.replace("\\\n", " ").splitlines()
    words = (shlex.split(line, comments=True) for line in lines)
    return [w for w in words if w[:1] == ["netbuilder"] or w[:2] == ["python", "app/cifar10/whiten.py"]]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if sh_blocks(page)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_shell_blocks_of_a_page_run_or_say_why_not_and_their_options_exist(
    page: Path, tmp_path: Path
) -> None:
    for block in sh_blocks(page):
        for name, *words in commands(block):
            if name == "netbuilder":
                verb_parser(words).parse_args(words[: words.index(">")] if ">" in words else words)
        first = block.partition("\n")[0]
        if page.name.startswith("road-"):
            continue  # tests/test_roads.py follows it
        if first.startswith(NOT_RUN_MARK):
            assert len(first) > len(NOT_RUN_MARK) + 10, f"{page.name}: say why"
            continue
        command = tmp_path / "netbuilder"
        command.write_text(f'#!/bin/sh\nexec {sys.executable} -m netbuilder.cli.main "$@"\n')
        command.chmod(0o755)
        env = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        bash = ["bash", "-e", "-c", block]
        done = subprocess.run(bash, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}:\n{block}\n{done.stderr}"


def sorted_notes(text: str) -> list[str]:
    """The lines, those of stderr last: the order of the two streams is not fixed when both are captured."""
    return sorted(text.splitlines(), key=lambda line: line.startswith("wrote "))


@pytest.mark.parametrize(
    ("name", "flags", "params", "flops"), ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))
)
def test_the_readmes_table_is_right(name: str, flags: str, params: str, flops: str) -> None:
    net = train_net(name, flags)
    assert net.name == name
    assert headline(count(net)) == f"Number of params: {params} Million\nNumber of flops: {flops} Million"


@pytest.mark.parametrize(
    ("name", "flags", "params", "macs", "activations"),
    COUNTS_ROW.findall((ROOT / "docs" / "big-little.md").read_text(encoding="utf-8")),
)
def test_the_table_of_the_big_little_page_is_right(
    name: str, flags: str, params: str, macs: str, activations: str
) -> None:
    counts = count(train_net(name, flags))
    assert [f"{counts.learnable_params:,}", f"{counts.macs:,}", f"{counts.activations:,}"] == [
        params, macs, activations,
    ]  # fmt: skip


def train_net(name: str, flags: str) -> Net:
    """The train net that these flags give with the script of this net."""
    families = {"cifar": "cifar_resnet", "bl": "bl_resnet"}
    network = families.get(re.split("[-_]", name.lower())[0], "resnet")
    args = vars(script_parser(network).parse_args([*flags.split(), "-o", "unused"]))
    entry = args["entry"]
    values = {field.name: args[field.name] for field in options(entry.config)}
    return entry.stitch(entry.config(**values), "train")


def test_the_tables_are_found() -> None:
    assert len(ROW.findall((ROOT / "README.md").read_text(encoding="utf-8"))) == 22
    page = (ROOT / "docs" / "big-little.md").read_text(encoding="utf-8")
    assert len(COUNTS_ROW.findall(page)) == 14
