"""Without PyTorch the modules of this folder are skipped, or fail where NETBUILDER_REQUIRE_TORCH=1."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.installation import missing_torch, require_torch


class Missing(pytest.Module):
    """A test module that is not imported, because it needs PyTorch."""

    def collect(self) -> list[pytest.Item | pytest.Collector]:
        """Skip, or fail, with the reason."""
        require_torch()
        return []


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Leave out the modules that need what is missing."""
    return Missing.from_parent(parent, path=module_path) if missing_torch() else None
