"""Findings as SARIF 2.1.0, the form in which code hosts take them and show them at their lines.

Source: OASIS, Static Analysis Results Interchange Format (SARIF) Version 2.1.0.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from netbuilder._version import __version__
from netbuilder.checks import CODES, Finding
from netbuilder.findings import Code

__all__ = ["sarif"]

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"error": "error", "warning": "warning", "info": "note"}
_ROOT = "%SRCROOT%"


def sarif(findings: Iterable[Finding], more: Mapping[str, Code] | None = None) -> str:
    """The findings as one SARIF run; paths are relative to the working folder.

    The same findings give the same text. `more` are codes besides those of nets.
    The rules are the codes that occur. A result's fingerprint says nothing of its line, so that a code host
    knows it again when the file changes above it.
    """
    found, known = list(findings), {**CODES, **(more or {})}
    codes = [code for code in known if any(f.code == code for f in found)]
    seen: dict[tuple[str, ...], int] = {}
    results = [_result(f, codes.index(f.code), seen) for f in found]
    driver = {
        "name": "netbuilder",
        "version": __version__,
        "semanticVersion": __version__,
        "rules": [_rule(code, known[code]) for code in codes],
    }
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(code: str, known: Code) -> dict[str, Any]:
    severity, title = known
    text = f"{title} docs/checking.md explains '{code}'."
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in code.split("-")),
        "shortDescription": {"text": title},
        "fullDescription": {"text": title},
        "help": {"text": text, "markdown": f"{title}\n\n`docs/checking.md` explains `{code}`."},
        "defaultConfiguration": {"level": _LEVELS[severity]},
    }


def _result(finding: Finding, rule: int, seen: dict[tuple[str, ...], int]) -> dict[str, Any]:
    about = f"{finding.layer}: {finding.text}" if finding.layer else finding.text
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.file), "uriBaseId": _ROOT}}
    if finding.line:
        region = {"startLine": finding.line, "startColumn": finding.column}
        place["region"] = {key: n for key, n in region.items() if n}
    location: dict[str, Any] = {"physicalLocation": place}
    if finding.layer:
        location["logicalLocations"] = [{"name": finding.layer, "kind": "layer"}]
    same = (finding.file, finding.code, finding.target, finding.layer)
    seen[same] = nth = seen.get(same, 0) + 1
    key = "\n".join((finding.code, finding.target, finding.layer, str(nth)))
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{about}\nfix: {finding.fix}" if finding.fix else about},
        "locations": [location],
        "partialFingerprints": {"netbuilder/v1": hashlib.sha256(key.encode()).hexdigest()[:32]},
    }


def _uri(path: str) -> str:
    return quote(Path(os.path.relpath(path)).as_posix())
