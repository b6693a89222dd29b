"""Without PyTorch the modules of this folder are skipped, or fail where NETBUILDER_REQUIRE_TORCH=1."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.installation import REQUIRE_TORCH, missing_torch


class Missing(pytest.Module):
    """A test module that is not imported, because it needs PyTorch."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        """Skip, or fail, with the reason."""
        reason = missing_torch()
        if os.environ.get(REQUIRE_TORCH) == "1":
            pytest.fail(f"{REQUIRE_TORCH}=1, but {reason}", pytrace=False)
        pytest.skip(reason, allow_module_level=True)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Leave out the modules that need what is missing."""
    return Missing.from_parent(parent, path=module_path) if missing_torch() else None
