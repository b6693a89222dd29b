"""Build a Big-Little ResNet, ResNeXt or SE-ResNeXt for ImageNet; see --help."""

from __future__ import annotations

import sys
from pathlib import Path

# Run from a clone, the script uses this clone's netbuilder, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from netbuilder.cli.main import run_script

if __name__ == "__main__":
    sys.exit(run_script("bl_resnet"))
