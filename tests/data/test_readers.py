"""Processes that read images."""

from __future__ import annotations

import subprocess
import sys

from tests.engines.case import ROOT


def test_processes_that_read_import_no_pytorch() -> None:
    """It takes each of them seconds and 200 MB: a process imports the module of what it is given to call."""
    code = "import sys, netbuilder.data.readers, cv2\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
