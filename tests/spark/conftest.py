"""Tests that start Spark need pyspark, Java and PyTorch; `make test` installs them."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from tests.installation import require_torch
from tests.spark.case import make_job

REQUIRE = "NETBUILDER_REQUIRE_SPARK"


@pytest.fixture(scope="session")
def spark() -> None:
    """Skip where Spark cannot start, or fail where NETBUILDER_REQUIRE_SPARK=1."""
    missing = [name for name in ("pyspark", "pandas", "pyarrow") if importlib.util.find_spec(name) is None]
    home = os.environ.get("JAVA_HOME")
    if not shutil.which("java", path=f"{home}/bin" if home else None):
        missing.append("Java 17")
    if missing and os.environ.get(REQUIRE) == "1":
        pytest.fail(f"{REQUIRE}=1, but {', '.join(missing)} is missing", pytrace=False)
    if missing:
        pytest.skip(f"{', '.join(missing)} is missing: make spark")
    require_torch()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small training, which the test is in."""
    make_job(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
