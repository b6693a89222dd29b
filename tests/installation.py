"""A wheel of netbuilder in an environment of its own, for tests of what an installation brings."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = [
    "REQUIRE_TORCH",
    "missing_onnx",
    "missing_torch",
    "require_onnx",
    "require_torch",
    "run",
    "shared_wheel",
]

ROOT = Path(__file__).parents[1]
REQUIRE = "NETBUILDER_REQUIRE_WHEEL"  # set to 1, a wheel that cannot be made or installed is a failure
REQUIRE_TORCH = "NETBUILDER_REQUIRE_TORCH"  # set to 1, tests that need PyTorch fail without it
REQUIRE_ONNX = "NETBUILDER_REQUIRE_ONNX"  # set to 1, tests that need onnx and onnxruntime fail without them
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    """What a command prints, without the variables of Python and netbuilder that are set here."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "NETBUILDER"))}
    done = subprocess.run(
        [str(c) for c in command], cwd=cwd, env={**kept, **env}, text=True, timeout=120,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode != 0:
        raise RuntimeError(f"{command[-1]}: exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def shared_wheel(folder: Path) -> Path:
    """Install the wheel in this folder unless another process has; return the folder of its programs."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = folder / "installed"
        if not installed.exists():
            _install_wheel(folder)
            installed.touch()
    return folder / "env" / "bin"


def _install_wheel(folder: Path) -> None:
    """Make a wheel from a copy of the clone and install it."""
    source = folder / "source"
    for name in ("app", "configs", "legos", "netbuilder"):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
        )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    try:
        run(*PIP, "--quiet", "wheel", "--no-deps", "--wheel-dir", folder, source, cwd=folder)
        run(sys.executable, "-m", "venv", "--without-pip", folder / "env", cwd=folder)
        python = folder / "env" / "bin" / "python"
        (wheel,) = folder.glob("*.whl")
        run(*PIP, "--quiet", "--python", python, "install", "--no-compile", wheel, cwd=folder)
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        if os.environ.get(REQUIRE) == "1":
            pytest.fail(f"{REQUIRE}=1, but no wheel could be installed: {error}", pytrace=False)
        pytest.skip(f"no wheel could be made and installed by pip: {str(error).splitlines()[0]}")


def require_torch() -> None:
    """Skip the test if it cannot use PyTorch, or fail it where it must."""
    reason = missing_torch()
    if reason and os.environ.get(REQUIRE_TORCH) == "1":
        pytest.fail(f"{REQUIRE_TORCH}=1, but {reason}", pytrace=False)
    if reason:
        pytest.skip(reason, allow_module_level=True)


def missing_torch() -> str:
    """Why tests that need PyTorch are left out; "" if they are not."""
    if os.environ.get("TORCH") == "no":
        return "TORCH=no leaves out the tests that need PyTorch"
    if importlib.util.find_spec("torch") is None:
        return "PyTorch is not installed; `make torch` installs it"
    return ""


def missing_onnx() -> str:
    """Why tests of ONNX files are left out; "" if they are not."""
    missing = [name for name in ("onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    return f"{' and '.join(missing)} not installed; `pip install onnx onnxruntime`" if missing else ""


def require_onnx() -> None:
    """Skip the test if it cannot make and run ONNX files, or fail it where it must."""
    reason = missing_onnx()
    if reason and os.environ.get(REQUIRE_ONNX) == "1":
        pytest.fail(f"{REQUIRE_ONNX}=1, but {reason}", pytrace=False)
    if reason:
        pytest.skip(reason, allow_module_level=True)
