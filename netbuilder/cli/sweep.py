"""`netbuilder sweep FILE -o DIR`: count many nets of a family, keep the best of those within a budget."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from netbuilder.cli.config_options import add_choice_of_config
from netbuilder.cli.going_on import print_command
from netbuilder.cli.options import Verbs, add_debug, add_force, add_json, add_output_folder
from netbuilder.cli.progress import Progress
from netbuilder.cli.terminal import fitted_lines, table_text
from netbuilder.errors import ConfigError, FileError, counted, printable
from netbuilder.networks.building import stitch_phases, write_nets
from netbuilder.networks.flags import describe
from netbuilder.storage.files import write_files

if TYPE_CHECKING:
    from netbuilder.designing.journal import Journal
    from netbuilder.designing.outcome import Outcome

__all__ = ["add_parser"]

FILES = ("sweep.json", "front.csv", "front.png", "front.svg")
JOURNAL = "sweep.journal"
ROWS = 20


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "sweep",
        description="Count every net that the axes of a sweep file give, and list the front: the nets that "
        "satisfy "
        "its constraints and that no other net surpasses in all objectives.",
        epilog="example: netbuilder sweep half.yaml -o half. You can stop it at any time; the same command "
        "resumes. For sweep files see "
        "docs/designing-to-a-budget.md.",
    )
    parser.add_argument("file", metavar="FILE", help="a sweep file: a config with axes")
    add_output_folder(parser, f"folder for {', '.join(FILES)} and the journal")
    parser.add_argument(
        "--jobs", type=_at_least_one, metavar="N", help="number of processes (default: one per processor)"
    )
    parser.add_argument(
        "--limit", type=_at_least_one, metavar="N", help="count a sample of N candidates, always the same"
    )
    parser.add_argument(
        "--build", nargs="*", type=_at_least_one, metavar="RANK",
        help="also write the prototxt files of the front, or of these ranks",
    )  # fmt: skip
    parser.add_argument(
        "--draw", action=argparse.BooleanOptionalAction, default=True,
        help="draw the front (default: yes)",
    )  # fmt: skip
    add_choice_of_config(parser)
    add_force(parser, "start over, and replace files that netbuilder did not write")
    add_json(parser)
    add_debug(parser)
    parser.set_defaults(run=_run)


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


_at_least_one.__name__ = "number"  # how argparse names the option in an error


def _run(args: argparse.Namespace) -> int:
    import json

    from netbuilder.designing import outcome
    from netbuilder.designing.journal import Journal
    from netbuilder.designing.plan import read_sweep
    from netbuilder.designing.running import chunks_of, processors, run

    sweep = read_sweep(args.file, args.set, args.configs, args.limit)
    folder = args.output_folder
    _check_free(folder, args.force)
    journal = Journal(folder / JOURNAL, sweep.digest, chunks_of(sweep), anew=args.force)
    progress = Progress("candidates counted", len(sweep.numbers))
    try:
        tally = run(sweep, journal, args.jobs or processors(), _counting(progress, journal))
    except KeyboardInterrupt:
        progress.close()
        print_command(args, flags=["--force"])
        raise
    finally:
        journal.close()
        progress.close()
    building = Progress("nets of the front verified", len(tally.front))
    found = outcome.outcome(sweep, tally, building.at)
    building.close()
    data = outcome.as_data(found)
    files: dict[Path, str | bytes] = {
        folder / "sweep.json": json.dumps(data, indent=2) + "\n",
        folder / "front.csv": outcome.as_csv(found),
    }
    if args.draw:
        files |= _pictures(found, folder)
    chosen = _chosen(found, args.build)
    write_files(files, force=True)  # the journal shows that they are ours
    if args.json:
        print(json.dumps(data, indent=2))
    else:
        print(table_text(outcome.as_table(found, ROWS)))
        for line in outcome.as_lines(found, ROWS):
            print("\n".join(fitted_lines(line)))
    for path in files:
        print(printable(f"wrote {path}"), file=sys.stderr)
    for one in chosen:
        _build(found, one, folder / f"{one.rank:03}_{one.config.title}", args.force)
    return 0


def _pictures(found: Outcome, folder: Path) -> dict[Path, str | bytes]:
    """The front as SVG, and as PNG if Pillow is there."""
    from netbuilder.designing.drawing import front_picture

    canvas = front_picture(found)
    files: dict[Path, str | bytes] = {folder / "front.svg": canvas.svg()}
    try:
        files[folder / "front.png"] = canvas.png()
    except ConfigError as error:
        print(f"no front.png: {error.text}; {error.hint}", file=sys.stderr)
    return files


def _counting(progress: Progress, journal: Journal) -> Callable[[int], None]:
    """A function that shows progress; it receives the number of newly counted candidates."""
    done = sum(tally.counted for tally in journal.tallies.values())
    if done:
        progress.line(f"resuming after {done:,} of {progress.total:,} {progress.what}")
    progress.at(done)

    def more(count: int) -> None:
        nonlocal done
        done += count
        progress.at(done)

    return more


def _check_free(folder: Path, force: bool) -> None:
    """Raise FileError if files with the outcome's names exist that no sweep wrote."""
    if force or (folder / JOURNAL).exists():
        return
    for name in FILES:
        if (folder / name).exists():
            raise FileError(
                f"'{folder / name}' is in the way, without a {JOURNAL} beside it",
                hint="choose another output folder, or use --force to replace it",
            )


def _chosen(found: Any, ranks: list[int] | None) -> list[Any]:
    """The nets of the front to write."""
    if ranks is None:
        return []
    last = len(found.front)
    for rank in ranks:
        if rank > last:
            raise ConfigError(f"--build {rank}: the front has {counted(last, 'net')}", key="build")
    return [one for one in found.front if not ranks or one.rank in ranks]


def _build(found: Any, one: Any, folder: Path, force: bool) -> None:
    from netbuilder.designing.writing import as_yaml

    loaded = found.sweep.loaded
    with loaded.located():
        nets = stitch_phases(loaded.entry, one.config)
    write_nets(nets, folder, header=describe(loaded.entry, one.config), force=force)
    path = folder / "config.yaml"
    about = [f"rank {one.rank} of the sweep {loaded.found.name}"]
    write_files({path: as_yaml(loaded, one.config, path, about)}, force=force)
    print(printable(f"wrote {folder}"), file=sys.stderr)
