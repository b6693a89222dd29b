"""`python -m netbuilder.pycaffe SCRIPT ...`: run a script in which `caffe` means netbuilder.pycaffe."""

from __future__ import annotations

import os
import runpy
import sys

USAGE = """usage: python -m netbuilder.pycaffe [--shadow] SCRIPT [ARGUMENT ...]
       python -m netbuilder.pycaffe [--shadow] -m MODULE [ARGUMENT ...]
       python -m netbuilder.pycaffe [--shadow] -c CODE [ARGUMENT ...]

Run an unchanged script of pycaffe: `import caffe` gives netbuilder.pycaffe.

  --shadow  also where a real Caffe is installed, which is then not used
"""


def main(words: list[str]) -> int:
    """Run the script of a command line; 2 for a mistake in it."""
    shadow = words[:1] == ["--shadow"]
    words = words[shadow:]
    if not words or words[0] in ("-h", "--help"):
        print(USAGE, end="", file=sys.stdout if words else sys.stderr)
        return 0 if words else 2
    kind, what = (words[0], words[1:]) if words[0] in ("-m", "-c") else ("", words)
    if not what or (not kind and what[0].startswith("-")):
        print(f"not a script: {' '.join(words)}\n{USAGE}", end="", file=sys.stderr)
        return 2
    if not kind and not os.path.exists(what[0]):
        print(f"there is no script '{what[0]}'", file=sys.stderr)
        return 2
    try:
        from netbuilder.pycaffe.installing import install

        install(shadow=shadow)
    except Exception as error:
        print(error, file=sys.stderr)
        return 2
    _run(kind, what)
    return 0


def _run(kind: str, words: list[str]) -> None:
    sys.argv = [kind if kind == "-c" else words[0], *words[1:]]
    if kind == "-c":
        sys.path[0] = ""
        exec(compile(words[0], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    elif kind == "-m":
        sys.path[0] = os.getcwd()
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(words[0]))
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
