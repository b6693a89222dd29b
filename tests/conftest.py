"""What all tests share: real Caffe, and the flag that rewrites goldens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from netbuilder.engines import caffe
from netbuilder.errors import EngineError
from tests.installation import install_wheel

REQUIRE = "NETBUILDER_REQUIRE_CAFFE"


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
    """The programs of an environment in which nothing is but netbuilder, from a wheel, and what it needs."""
    return install_wheel(tmp_path_factory.mktemp("wheel"))
