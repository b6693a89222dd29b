#!/usr/bin/env python3
"""Compile netbuilder/schema/caffe.proto after an edit: write caffe.desc, and messages.pyi with its types.

    python tools/compile_schema.py [--check]

Exit codes: 0 written, or up to date with --check; 1 out of date with --check.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from netbuilder.schema.compiler import compile_schema
from netbuilder.schema.stubs import stub_text

FOLDER = Path(__file__).resolve().parents[1] / "netbuilder" / "schema"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile caffe.proto into caffe.desc and messages.pyi.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if out of date")
    check = parser.parse_args().check
    text = (FOLDER / "caffe.proto").read_text(encoding="utf-8")
    compiled = compile_schema(text, "netbuilder/schema/caffe.proto")
    files = {"caffe.desc": compiled, "messages.pyi": stub_text(compiled).encode()}
    stale = [name for name, content in files.items() if not _has(FOLDER / name, content)]
    for name in stale if not check else []:
        (FOLDER / name).write_bytes(files[name])
    print(", ".join(stale) + (" out of date" if check else " written") if stale else "up to date")
    return int(check and bool(stale))


def _has(path: Path, content: bytes) -> bool:
    return path.exists() and path.read_bytes() == content


if __name__ == "__main__":
    sys.exit(main())
