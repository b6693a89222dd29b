"""`netbuilder check FILE...`: what Caffe would refuse or silently get wrong, and who can load them."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from netbuilder.checks import consumers as targets
from netbuilder.checks import fixes
from netbuilder.checks.examine import PHASES, Examined, Wanted, examine, examine_text
from netbuilder.cli.net_files import NET, is_held, model_file, net_files
from netbuilder.cli.options import Verbs, add_debug, add_force, add_format, add_input, add_state, given_inputs
from netbuilder.cli.terminal import add_color, error_text, in_color, say, width
from netbuilder.errors import ConfigError, FileError, NetBuilderError, PrototxtError, printable
from netbuilder.findings import Finding
from netbuilder.prototxt.solver_file import SolverFile, is_solver, parse_solver
from netbuilder.report.findings import also, finding_lines, summary, totals
from netbuilder.storage.files import read_text, write_files
from netbuilder.weights.model import Model, joined, model_files, read_model

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "check",
        description="What Caffe would refuse or silently get wrong in a file, and who else can load it.",
        epilog="example: netbuilder check train_val.prototxt --target opencv --fix. "
        "Exit code: 0 no errors, 1 errors, 2 a file cannot be read, or is not a prototxt.",
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help=f"{NET}, a solver file, or a folder")
    parser.add_argument(
        "--phase",
        action="append",
        choices=PHASES,
        default=[],
        help="look at this phase only (default: all that the file has layers for)",
    )
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="TARGET",
        help="a consumer that must load the file, besides Caffe; a Caffe named here takes the place of "
        f"{targets.DEFAULT}, and any stands for all of them (may be repeated; --targets lists them)",
    )
    parser.add_argument("--targets", action="store_true", help="list the targets, and end")
    parser.add_argument(
        "--weights", metavar="MODEL",
        help="a .caffemodel, or latest: report which layers its weights fit by name; several, joined by "
        "commas, are loaded in turn",
    )  # fmt: skip
    parser.add_argument(
        "--fill",
        metavar="FILE",
        help="with --weights: write the model with the fixed filters that it leaves out, and check that",
    )
    add_input(parser)
    add_state(parser)
    parser.add_argument(
        "--fix",
        action="store_true",
        help="write what can be fixed to net.fixed.prototxt beside net.prototxt, and check that",
    )
    add_force(parser, "with --fix and --fill: replace files that netbuilder did not write")
    add_format(parser, ("text", "json", "sarif"))
    add_color(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _list_targets(args: argparse.Namespace) -> int:
    rows = [
        (t.name, "cited" if t.sources else "run" if t.dialect is None else "Caffe", t.about)
        for t in targets.TARGETS.values()
    ]
    if args.format == "json":
        listed = [{"target": name, "how": how, "about": about} for name, how, about in rows]
        print(json.dumps({"version": 1, "targets": listed}, indent=2))
        return 0
    width = max(map(len, targets.TARGETS))
    for name, how, about in rows:
        print(f"{name:<{width}}  {how:<5}  {about}")
    return 0


@dataclasses.dataclass(frozen=True)
class _Checked:
    """A file that was checked; if it was fixed, `examined` is the fixed one."""

    file: str
    examined: Examined
    fixed: str = ""
    mended: fixes.Mended | None = None


def _run(args: argparse.Namespace) -> int:
    if args.targets:
        return _list_targets(args)
    if not args.files:
        raise ConfigError(
            "check takes a FILE", hint="for example netbuilder check train_val.prototxt --target opencv --fix"
        )
    args.files = net_files(args.files, solvers=True)
    if args.fix and (held := [file for file in args.files if is_held(file)]):
        raise ConfigError(
            f"--fix writes beside a file, and {held[0]} is not one", hint="write the net into a file first"
        )
    models = model_files(model_file(args.weights, args.files[0])) if args.weights else []
    wanted = Wanted(
        phases=tuple(p for p in PHASES if p in args.phase),
        targets=tuple(dict.fromkeys(args.target)),
        model=_model(args, models),
        inputs=given_inputs(args),
        level=args.level,
        stages=tuple(args.stage),
    )
    checked: list[_Checked] = []
    unread: list[NetBuilderError] = []
    for file in args.files:
        try:
            examined = _examined(file, wanted)
        except FileError as error:
            if len(args.files) == 1:
                raise
            unread.append(error)
            continue
        checked += [_mended(e, args) if args.fix and not e.inline else _Checked(e.path, e) for e in examined]
    if args.format != "json":
        checked = _each_once(checked)
    findings = [f for c in checked for f in c.examined.findings]
    if args.format == "json":
        print(json.dumps(_as_data(checked, models), indent=2))
    elif args.format == "sarif":
        from netbuilder.report.sarif import sarif
        from netbuilder.solvers import CODES

        print(sarif(findings, CODES))
    else:
        for c in checked:
            print("".join(f"{line}\n" for line in _lines(c, args)), end="")
    sys.stdout.flush()
    for missing in unread:
        print(error_text(missing), file=sys.stderr)
    for c in checked:
        for line in c.examined.fit.lines() if c.examined.fit else ():
            say(f"{c.file}: {line}" if len(checked) > 1 else line)
        if args.fix:
            inline = c.examined.inline  # of a solver, which is named for itself
            if not inline:
                print(
                    printable(f"wrote {c.fixed}" if c.fixed else f"{c.file}: nothing to mend"),
                    file=sys.stderr,
                )
    print(summary(findings), file=sys.stderr)
    if unread or any(f.code == "syntax" for f in findings):
        return 2
    return 1 if any(f.severity == "error" for f in findings) else 0


def _each_once(checked: list[_Checked]) -> list[_Checked]:
    """Without what was found before: a folder has the net that its solver names too."""
    phases: dict[tuple[str, str, Finding], set[str]] = {}
    kept = []
    for c in checked:
        keys = [(c.file, c.examined.inline, dataclasses.replace(f, phases=())) for f in c.examined.findings]
        findings = list(zip(keys, c.examined.findings, strict=True))
        new = tuple(f for key, f in findings if key not in phases or not phases[key].issuperset(f.phases))
        for key, finding in findings:
            phases.setdefault(key, set()).update(finding.phases)
        kept.append(dataclasses.replace(c, examined=dataclasses.replace(c.examined, findings=new)))
    return kept


def _model(args: argparse.Namespace, files: list[str]) -> Model | None:
    """The models to check, as loaded in turn; with --fill, the one that is written first."""
    if not args.fill:
        return joined([read_model(file) for file in files]) if files else None
    if len(files) != 1 or len(args.files) != 1:
        raise ConfigError("--fill needs --weights with one model, and one file", key="fill")
    from netbuilder.prototxt import read
    from netbuilder.weights.fill import fill_model

    net = read(args.files[0], "TEST", dialect="any", unknown="keep", inputs=given_inputs(args))
    names = fill_model(net, files[0], args.fill, force=args.force)
    print(printable(f"wrote {args.fill}: {', '.join(names) or 'nothing'} filled in"), file=sys.stderr)
    return read_model(args.fill)


def _examined(file: str, wanted: Wanted) -> list[Examined]:
    """What was examined in a file; of a solver that is the solver itself, then its nets."""
    text = read_text(file)
    if not is_solver(text):
        return [examine_text(text, file, wanted)]  # a pipe cannot be read twice
    try:
        read = parse_solver(text, file)
    except PrototxtError:
        return examine(file, wanted)
    findings = _of_solver(read, wanted)
    refused = {f.field for f in findings if f.code == "net-format"}
    nets = [e for e in examine(file, wanted) if e.inline not in refused] if read.nets() else []
    return [Examined(file, text, {}, tuple(findings), wanted=wanted), *nets]


def _of_solver(read: SolverFile, wanted: Wanted) -> list[Finding]:
    """The findings about a solver for each of the Caffes that must load it."""
    from netbuilder.prototxt.reader import read_net
    from netbuilder.training.preflight import NetInUse, preflight

    nets = []
    for source in read.nets(level=wanted.level, stages=wanted.stages):
        try:
            if source.used:
                nets.append(NetInUse(source, read_net(source, dialect="any", unknown="keep")))
        except NetBuilderError:
            continue  # a finding about the net says why
    dialects = [d.name for name in wanted.caffes if (d := targets.find_target(name).dialect)]
    found: dict[Finding, None] = {}
    for dialect in dialects:
        found.update(dict.fromkeys(preflight(read, nets, dialect=dialect)))
    return list(found)


def _mended(examined: Examined, args: argparse.Namespace) -> _Checked:
    """Write the fixed file beside the old one, and examine it as it stands there."""
    wanted = examined.wanted
    if not examined.nets:
        return _Checked(examined.path, examined)
    mended = fixes.mend(examined, wanted)
    if not mended.done:
        return _Checked(examined.path, examined)
    old = Path(examined.path)
    new = old.with_name(f"{old.stem}.fixed{old.suffix}")
    above = fixes.header(examined.path, mended)
    text = above + mended.text
    with old.open("rb") as file:
        windows = b"\r\n" in file.read()
    write_files({new: text.replace("\n", "\r\n") if windows else text}, force=args.force)
    return _Checked(examined.path, mended.written(above, str(new)), str(new), mended)


# -- text ----------------------------------------------------------------------------------------------------


def _lines(checked: _Checked, args: argparse.Namespace) -> list[str]:
    lines = []
    for remedy, (first, *others) in checked.mended.by_remedy().items() if checked.mended else ():
        lines.append(printable(f"{checked.file}:{first.line}: mended: {first.layer}: {remedy}"))
        lines += also(others)
    examined = checked.examined
    excerpts = None
    columns = width() or (100 if args.color == "always" else None)
    if columns and examined.findings:
        from netbuilder.report.excerpts import Excerpts

        mended = {finding for finding, _ in _mendable(examined)}
        excerpts = Excerpts(
            examined.text, columns, color=in_color(args), mended=mended, path=str(examined.path)
        )
    return lines + finding_lines(
        examined.findings, file=examined.path, phases=len(examined.nets), excerpts=excerpts
    )


def _mendable(examined: Examined) -> tuple[tuple[Finding, str], ...]:
    """What --fix would mend."""
    if examined.inline or not examined.nets or not any(f.code in fixes.FIXES for f in examined.findings):
        return ()
    return fixes.mend(examined, examined.wanted).done


# -- JSON ----------------------------------------------------------------------------------------------------


def _as_data(checked: list[_Checked], models: list[str]) -> dict[str, Any]:
    findings = [f for c in checked for f in c.examined.findings]
    return {
        "version": 1,
        "files": [
            {
                "file": c.file,
                "phases": list(c.examined.nets),
                "fixed": c.fixed or None,
                "mended": [
                    {"code": f.code, "target": f.target, "layer": f.layer, "line": f.line, "told": remedy}
                    for f, remedy in (c.mended.done if c.mended else ())
                ],
                "findings": [f.as_data() for f in c.examined.findings],
            }
            | ({"model": c.examined.fit.as_data(models)} if c.examined.fit else {})
            for c in checked
        ],
        "totals": totals(findings),
    }
