"""A page opened in headless Chromium, with a script that does what a person would and says what it saw."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Seen", "browser", "visit"]

# What the page runs for a test, as soon as its own script has; `said` is what the test reads.
_HOOK = """
<script>
addEventListener("load", () => {
  const said = {};
  const click = (found) => found.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  const key = (found, name) =>
    found.dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
  const node = (name) => [...document.querySelectorAll("svg g.node")].find((found) =>
    found.getAttribute("aria-label").split(", ")[0] === name);
  const names = () => [...document.querySelectorAll("svg g.node")].map((found) =>
    found.getAttribute("aria-label").split(", ")[0]);
  try { (() => { STEPS })(); } catch (error) { said.error = String(error.stack || error); }
  said.fetched = performance.getEntriesByType("resource").map((entry) => entry.name);
  document.documentElement.replaceChildren(JSON.stringify(said));
});
</script>
</body>"""
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>\n')


class Seen(NamedTuple):
    """What the script of a test said, and the lines of the browser's console."""

    said: dict[str, Any]
    console: list[str]


def browser() -> str | None:
    """The command of an installed Chromium."""
    names = (os.environ.get("NETBUILDER_CHROMIUM", "chromium"), "chromium-browser", "google-chrome")
    return next((path for name in names if (path := shutil.which(name))), None)


def visit(page: Path, steps: str, address: str = "") -> Seen:
    """Open a copy of the page that lacks its policy, which would refuse the script of the test."""
    text = _POLICY.sub("", page.read_text(encoding="utf-8"), count=1)
    before, body, after = text.rpartition("</body>")
    assert body
    copy = page.with_suffix(".visited.html")
    copy.write_text(before + _HOOK.replace("STEPS", steps) + after, encoding="utf-8")
    dom, console = opened(copy, address)
    found = re.search(r">(\{.*\})<", dom, re.DOTALL)
    assert found, dom[-2000:]
    text = (
        found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u00a0").replace("&amp;", "&")
    )
    return Seen(json.loads(text), console)


def opened(page: Path, address: str = "") -> tuple[str, list[str]]:
    """The document after its scripts ran, and the lines of the console."""
    command = browser()
    assert command
    done = subprocess.run(
        [
            command, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--no-first-run", f"--user-data-dir={page.parent / 'profile'}", "--window-size=1300,850",
            "--enable-logging=stderr", "--dump-dom", page.as_uri() + address,
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
