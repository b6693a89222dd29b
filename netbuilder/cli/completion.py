"""`netbuilder completion SHELL`: what completes verbs, options, their words and configs in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import NamedTuple

from netbuilder.cli.main import VERBS, verb_parser
from netbuilder.cli.net_files import NET
from netbuilder.cli.options import Verbs, add_debug

__all__ = ["add_parser"]

_HOW = {
    "bash": 'eval "$(netbuilder completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(netbuilder completion zsh)" in ~/.zshrc, after compinit',
    "fish": "netbuilder completion fish > ~/.config/fish/completions/netbuilder.fish",
}


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "completion",
        description="Print what completes the command in a shell: " + "; ".join(_HOW.values()) + ".",
        epilog="example: netbuilder completion bash",
    )
    parser.add_argument("shell", metavar="SHELL", choices=tuple(_HOW), help=", ".join(_HOW))
    add_debug(parser)
    parser.set_defaults(run=_run)


class _Place(NamedTuple):
    """What may follow some words such as `data lmdb`: sub-commands, and options with what they take."""

    path: str
    words: tuple[str, ...]
    options: dict[str, tuple[str, ...]]


def _run(args: argparse.Namespace) -> int:
    from netbuilder.config import all_configs

    configs = tuple(found.name for found in all_configs())
    places = [_Place("", (*VERBS, "help"), {"--help": (), "--version": ()})]
    for verb in VERBS:
        top = verb_parser([verb])
        places += _places(verb, _inner(top)[verb], configs)
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell](places), end="")
    return 0


def _inner(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of the sub-commands, by name."""
    found = [a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(found[0]) if found else {}


def _places(path: str, parser: argparse.ArgumentParser, configs: tuple[str, ...]) -> Iterator[_Place]:
    inner = _inner(parser)
    words = list(inner)
    options: dict[str, tuple[str, ...]] = {}
    for action in parser._actions:
        choices = tuple(map(str, action.choices or ()))
        for option in action.option_strings:
            options[option] = choices
        if not action.option_strings and not inner:
            words += choices
        if "CONFIG" in str(action.metavar) or NET in (action.help or ""):
            words += configs
    yield _Place(path, tuple(dict.fromkeys(words)), options)
    for name, sub in inner.items():
        yield from _places(f"{path} {name}", sub, configs)


def _cases(places: list[_Place]) -> str:
    """The cases of bash and zsh: by the words before, what may follow them."""
    lines = []
    for place in places:
        every = " ".join((*place.words, *place.options))
        for option, choices in place.options.items():
            if choices:
                lines.append(f"    '{place.path}:{option}') found='{' '.join(choices)}' ;;")
        lines.append(f"    '{place.path}:'*) found='{every}' ;;")
    return "\n".join(lines)


def _subcommands(places: list[_Place]) -> str:
    """A pattern of all paths, by which a word belongs to the path before it."""
    return " | ".join(f"'{place.path}'" for place in places if place.path)


def _bash(places: list[_Place]) -> str:
    return f"""\
_netbuilder() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} last=${{COMP_WORDS[COMP_CWORD-1]}} path='' found='' word
  for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
    case "${{path:+$path }}$word" in {_subcommands(places)}) path="${{path:+$path }}$word" ;; esac
  done
  case "$path:$last" in
{_cases(places)}
  esac
  COMPREPLY=($(compgen -W "$found" -- "$current"))
}}
complete -o default -F _netbuilder netbuilder
"""


def _zsh(places: list[_Place]) -> str:
    return f"""\
#compdef netbuilder
_netbuilder() {{
  local last=${{words[CURRENT-1]}} place='' found='' word
  for word in "${{(@)words[2,CURRENT-1]}}"; do
    case "${{place:+$place }}$word" in {_subcommands(places)}) place="${{place:+$place }}$word" ;; esac
  done
  case "$place:$last" in
{_cases(places)}
  esac
  compadd -- ${{=found}}
  [[ -n $place ]] && _files
}}
compdef _netbuilder netbuilder
"""


def _fish(places: list[_Place]) -> str:
    lines = []
    for place in places:
        seen = [f"__fish_seen_subcommand_from {word}" for word in place.path.split()]
        when = "; and ".join(seen) or "__fish_use_subcommand"
        if place.words:
            lines.append(f"complete -c netbuilder -n '{when}' -a '{' '.join(place.words)}'")
        for option, choices in place.options.items():
            flag = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            takes = f" -x -a '{' '.join(choices)}'" if choices else ""
            lines.append(f"complete -c netbuilder -n '{when}' {flag}{takes}")
    return "\n".join(lines) + "\n"
