"""What all tests share: real Caffe, an installed wheel, and the flag that rewrites goldens.

`make test` runs one pytest process per core (pytest-xdist). Each has its own real Caffe; all share a wheel.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbuilder.engines import caffe
from netbuilder.errors import EngineError
from tests.installation import shared_wheel

REQUIRE = "NETBUILDER_REQUIRE_CAFFE"

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before PyTorch or NumPy starts its threads: one process runs per core.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens", action="store_true", help="rewrite the golden files from what the code does now"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs real Caffe, so that `pytest -m 'not caffe'` is the fast suite."""
    for item in items:
        if "real_caffe" in getattr(item, "fixturenames", ()):
            item.add_marker("caffe")


@pytest.fixture(scope="session")
def update_goldens(pytestconfig: pytest.Config) -> bool:
    """True if a golden is to be rewritten rather than compared."""
    return bool(pytestconfig.getoption("--update-goldens"))


@pytest.fixture(scope="session")
def real_caffe() -> Iterator[caffe.Caffe]:
    """A running real Caffe. Missing, the test is skipped, or fails where NETBUILDER_REQUIRE_CAFFE=1."""
    try:
        running = caffe.Caffe()
    except EngineError as error:
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{REQUIRE}=1, but {error}", pytrace=False)
        pytest.skip(f"{error.text}; install it by `{caffe.INSTALL_COMMAND}`")
    with running:
        yield running


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with netbuilder from a wheel, and what it needs. Read-only."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # shared by the processes of this run
    return shared_wheel(folder / "wheel")
