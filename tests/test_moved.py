"""The former paths of public modules."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from netbuilder._moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_a_former_path_gives_the_same_module_and_warns(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"^{old} is now {MOVED[old]}$"):
        former = importlib.import_module(old)
    assert former is importlib.import_module(MOVED[old])
    assert former.__spec__ is not None
    assert former.__spec__.name == former.__name__ == MOVED[old]


def test_documented_imports_of_the_first_version_still_work() -> None:
    code = (
        "from netbuilder import Net, Blob, Layer, checks, counts, prototxt, report\n"
        "from netbuilder.blocks import blocks\n"
        "from netbuilder.geometry import receptive_fields\n"
        "from netbuilder.examine import Wanted, examine_text\n"
        "from netbuilder.rebatch import rebatched\n"
        "from netbuilder.proto import NetParameter, SolverParameter\n"
        "from netbuilder.engines.caffe import Caffe, CaffeRefused\n"
        "import netbuilder.counts\n"
        "print(netbuilder.counts is counts)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_an_unknown_module_is_still_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'netbuilder\.count'"):
        importlib.import_module("netbuilder.count")
