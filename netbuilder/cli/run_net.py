"""`netbuilder run NET --weights MODEL IMAGE...`: the best classes of images, or any blobs of the net."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from netbuilder.cli.features import batches, check_output, listed, store
from netbuilder.cli.options import Verbs, add_force, add_output, add_state
from netbuilder.cli.training_options import (
    add_net,
    add_weights,
    chosen_engine,
    one_device,
    report_weights,
    require_trust,
    weights_files,
    with_python_layers,
)
from netbuilder.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from netbuilder.data.preprocess import Preprocessing, Size
    from netbuilder.net import Net

__all__ = ["add_parser"]


def add_parser(verbs: Verbs) -> None:
    """Add the verb to the command."""
    parser = verbs.add_parser(
        "run",
        description="Run a net on images in the TEST phase: the best classes of each, or any blobs as a "
        "file. Images are prepared as the net's data layer does, or as the options say.",
        epilog="example: netbuilder run deploy.prototxt --weights net.caffemodel --mean 104,117,123 "
        "--size 256 --labels synset.txt cat.jpg; netbuilder run deploy.prototxt --weights net.caffemodel "
        "--list images.txt --blobs fc7 --batch 16 -o features.h5",
    )
    add_net(parser)
    add_state(parser)
    # With "*", argparse would take the images before the first option only.
    images = parser.add_argument("images", metavar="IMAGE", nargs="+", help="a JPEG, PNG, BMP or PNM file")
    images.required = False
    parser.add_argument(
        "--list", metavar="FILE", help="the images of a list, in lines `path` or `path label`"
    )
    add_weights(parser, "to run with", required=True)
    parser.add_argument(
        "--mean", metavar="V,V,V|FILE", help="one value a channel, or a .binaryproto or .npy file"
    )
    parser.add_argument("--scale", type=float, help="a factor, after the mean is subtracted")
    parser.add_argument("--size", type=_size, metavar="N|HxW", help="resize images to this size first")
    parser.add_argument(
        "--crop", type=_size, metavar="N|HxW", help="then take the middle (default: the net's input)"
    )
    order = parser.add_mutually_exclusive_group()
    order.add_argument("--bgr", action="store_true", help="channels in the order B, G, R (the default)")
    order.add_argument("--rgb", action="store_true", help="channels in the order R, G, B")
    parser.add_argument("--labels", metavar="FILE", help="the names of the classes, one a line")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="the N best classes (default: 5)")
    parser.add_argument(
        "--blobs", "--blob", metavar="NAME,...", action="append", default=[],
        help="store these blobs instead, images along the first axis; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=_positive, default=1, metavar="N", help="images in a pass (default: 1)"
    )
    add_output(parser, "with --blobs: the file to write, FILE.h5 or, of one blob, FILE.npy", "FILE")
    add_force(parser, "replace the file")
    parser.set_defaults(run=_run)


def _size(text: str) -> tuple[int, int]:
    words = text.split("x")
    if not 1 <= len(words) <= 2 or not all(word.isdecimal() and int(word) for word in words):
        raise argparse.ArgumentTypeError(f"a size is N or HxW, got '{text}'")
    return int(words[0]), int(words[-1])


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"takes a whole number from 1 on, got '{text}'")
    return int(text)


def _run(args: argparse.Namespace) -> int:
    from netbuilder import engines
    from netbuilder.prototxt.reader import nets_of, read_net
    from netbuilder.training.plan import NetPlan
    from netbuilder.transforms.fed import fed, image_input

    blobs = [name for names in args.blobs for name in names.split(",")]
    if bool(blobs) != bool(args.output):
        raise ConfigError("--blobs NAME and -o FILE belong together", key="blobs")
    images = listed(args)
    source = nets_of(args.net, "TEST", level=args.level, stages=args.stage)[0]
    read, path = read_net(source, dialect="any", unknown="keep"), str(source.path)
    image = image_input(read)
    prepared = _preprocessing(args, read)
    shapes = _shapes(read, (args.batch, prepared.channels, *prepared.crop))
    net = with_python_layers(args, fed(read, shapes))
    if blobs:
        wanted, softmax = [_known(net, name) for name in blobs], False
        check_output(args.output, blobs, force=args.force)
    else:
        name, softmax = _scores(net)
        wanted = [name]
    labels = _labels(args.labels) if args.labels else None
    weights = weights_files(args)
    engine = chosen_engine(args)
    if not hasattr(engine, "compute"):
        raise ConfigError(f"engine '{args.engine}' cannot run nets on images", key="engine")
    plan = NetPlan(
        path=path, net=net, inline="", level=source.own_level(), stages=source.stages, weights=weights,
        iterations=1, devices=tuple(one_device(args.gpu)), threads=args.threads, dtype=args.dtype,
    )  # fmt: skip
    require_trust(args, [(path, net)])
    report_weights([net], weights)
    computed = cast(engines.Computes, engine).compute(
        plan, _blobs(net, image.name, prepared, images.files, args.batch), wanted
    )
    if blobs:
        return store(args, computed, blobs, images)
    scores = (row.reshape(-1) for out in computed for row in out[wanted[0]].reshape(args.batch, -1))
    rows = [
        {"image": file, "top": _best(row, args.top, softmax, labels)}
        for file, row in zip(images.files, scores, strict=False)
    ]
    _print(args, rows)
    return 0


# -- the net and its input -----------------------------------------------------------------------------------


def _preprocessing(args: argparse.Namespace, net: Net) -> Preprocessing:
    """What is done to images: as the options say, else as the data layer does, else for the input's size."""
    from netbuilder.data.preprocess import Preprocessing, read_mean
    from netbuilder.transforms.fed import image_input

    blob = image_input(net)
    layer = next(layer for layer in net if blob in layer.tops)
    transform, shape = layer.proto.transform_param, blob.shape
    if args.mean:
        mean = read_mean(args.mean)
    elif transform.mean_file:
        mean = read_mean(transform.mean_file)
    else:
        mean = read_mean(",".join(map(repr, transform.mean_value))) if transform.mean_value else None
    side = transform.crop_size
    crop: Size | None = args.crop or ((side, side) if side else None)
    if crop is None and shape:
        crop = shape[2], shape[3]
    resized = layer.proto.image_data_param
    size: Size | None = args.size
    if size is None and resized.new_height and resized.new_width:
        size = resized.new_height, resized.new_width
    if size is None and mean is not None and mean.ndim == 3:
        size = mean.shape[1], mean.shape[2]
    size = size or crop
    if size is None:
        raise ConfigError(
            f"the size of '{blob.name}' is not known: its data is not here", key="size",
            hint="give --size, and --crop if the net takes a part of the image",
        )  # fmt: skip
    crop = crop or size
    channels = shape[1] if shape else (len(mean) if mean is not None and len(mean) in (1, 3) else 3)
    scale = transform.scale if args.scale is None else args.scale
    return Preprocessing(size=size, crop=crop, channels=channels, mean=mean, scale=scale, rgb=args.rgb)


def _shapes(net: Net, image: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """The shapes of the image and of labels, which are zeros. Raises ConfigError for other inputs."""
    from netbuilder.layers import is_source, source_of
    from netbuilder.transforms.fed import image_input

    blob, shapes = image_input(net), {}
    for layer in net:
        if not is_source(layer.proto):
            continue
        source = source_of(layer.type)
        for top in layer.tops:
            if top is blob:
                shapes[top.name] = image
            elif (source and source.images and blob in layer.tops) or _is_label(net, top.name):
                shapes[top.name] = image[:1]
            else:
                raise ConfigError(
                    f"the net has another input beside its image '{blob.name}': '{top.name}'",
                    hint="netbuilder.engines.torch.module runs it in Python",
                )
    return shapes


def _is_label(net: Net, name: str) -> bool:
    """Whether layers read the blob only as class labels."""
    from netbuilder.layers import RULES

    reads = [(layer, i) for layer in net for i, b in enumerate(layer.bottoms) if b.name == name]
    return bool(reads) and all(
        i == 1 and layer.type in RULES and RULES[layer.type].traits.scores is not None for layer, i in reads
    )


def _blobs(
    net: Net, image: str, prepared: Preprocessing, files: Sequence[str], batch: int
) -> Iterator[dict[str, Any]]:
    """The input blobs for each pass."""
    import numpy as np

    zeros = {top.name: np.zeros(top.known_shape, np.float32) for top in net.inputs if top.name != image}
    for pixels in batches(map(prepared.read, files), batch):
        yield {image: pixels, **zeros}


# -- what is printed ------------------------------------------------------------------------------


def _known(net: Net, name: str) -> str:
    names = {top.name for layer in net for top in layer.tops}
    if name not in names:
        raise ConfigError(f"the net has no blob '{name}'", key="blob", hint=did_you_mean(name, names))
    return name


def _scores(net: Net) -> tuple[str, bool]:
    """The blob with the scores of the classes, and whether a softmax is still to come. Raises ConfigError."""
    import math

    from netbuilder.layers import RULES

    for blob in net.outputs:
        shape = blob.shape or ()
        if len(shape) > 1 and shape[1] > 1 and math.prod(shape[1:]) == shape[1]:
            return blob.name, False
    for layer in reversed(list(net)):
        rule = RULES.get(layer.type)
        if rule and rule.traits.scores is not None and layer.bottoms:
            name = layer.bottoms[0].name
            applied = any(
                RULES[x.type].traits.applies == "Softmax"
                for x in net if x.type in RULES and x.bottoms and x.bottoms[0].name == name
            )  # fmt: skip
            return name, applied
    raise ConfigError(
        f"no output has a score for each class: {', '.join(b.name for b in net.outputs) or 'there is none'}",
        hint="--blobs NAME -o FILE stores any blob",
    )


def _labels(path: str) -> list[str]:
    from netbuilder.storage.files import read_text

    return read_text(path).splitlines()


def _best(scores: Any, count: int, softmax: bool, labels: list[str] | None) -> list[dict[str, Any]]:
    """The best classes, the best first; of equal scores the first class."""
    import numpy as np

    if softmax:
        powers = np.exp(scores - scores.max())
        scores = powers / powers.sum()
    found = []
    for i in np.argsort(-scores, kind="stable")[: max(count, 1)]:
        row: dict[str, Any] = {"class": int(i), "score": float(scores[i])}
        if labels is not None:
            row["label"] = labels[i] if i < len(labels) else ""
        found.append(row)
    return found


def _print(args: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    from netbuilder.cli.terminal import columns_text

    if args.json:
        import json

        print(json.dumps({"version": 1, "net": args.net, "engine": args.engine, "images": rows}, indent=2))
        return
    head = ("image", "class", "score", *(("label",) if args.labels else ()))
    lines = [
        (
            row["image"],
            str(best["class"]),
            f"{best['score']:.6f}",
            *(v for k, v in best.items() if k == "label"),
        )
        for row in rows
        for best in row["top"]
    ]
    print(columns_text(head, lines, right=(1, 2)))
