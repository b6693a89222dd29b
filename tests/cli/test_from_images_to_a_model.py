"""The road that docs/training.md begins with: from a folder of images to a tested model, by real Caffe."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from netbuilder.cli.main import main
from netbuilder.engines.caffe import Caffe

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


def test_the_commands_of_the_page_train_a_net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], real_caffe: Caffe
) -> None:
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8").partition("## From a folder of images\n")[2]
    images, commands = re.findall(r"^```(?:python|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[:2]
    exec(compile(images, "make_images.py", "exec"), {})
    lines = [shlex.split(line) for line in commands.splitlines() if not line.startswith("#")]
    assert [words[:2] for words in lines] == [
        ["netbuilder", verb] for verb in ("data", "data", "build", "solver", "train", "test")
    ]
    for words in lines[:-1]:
        assert main(words[1:]) == 0, words
    capsys.readouterr()
    assert main([*lines[-1][1:], "--json"]) == 0
    # Two colours: a net that learns anything tells them apart.
    assert json.loads(capsys.readouterr().out)["outputs"]["accuracy"] == [1.0]
