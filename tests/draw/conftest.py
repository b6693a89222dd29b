"""Drawings need Graphviz, and the tests of the page Chromium; `make test` installs both."""

from __future__ import annotations

import importlib.util
import os

import pytest

from tests.draw.browser import browser

REQUIRE = "NETBUILDER_REQUIRE_DRAW"


def _need(reason: str) -> None:
    if reason and os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, but {reason}", pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def graphviz() -> None:
    """Skip where nets cannot be laid out, or fail where NETBUILDER_REQUIRE_DRAW=1."""
    missing = importlib.util.find_spec("pygraphviz") is None
    _need("pygraphviz is missing: pip install 'pygraphviz>=2'" if missing else "")


@pytest.fixture(scope="session")
def chromium(graphviz: None) -> None:
    """Skip where no page can be opened, or fail where NETBUILDER_REQUIRE_DRAW=1."""
    _need("" if browser() else "Chromium is missing: tools/install_chromium.sh")
