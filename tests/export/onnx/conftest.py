"""Without onnx and onnxruntime these tests are skipped, or fail where NETBUILDER_REQUIRE_ONNX=1."""

from __future__ import annotations

import pytest

from tests.installation import require_onnx


@pytest.fixture(autouse=True)
def _onnx() -> None:
    require_onnx()
