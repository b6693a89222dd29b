"""`Feed`: the batches that real Caffe reads, Caffe's distributions in TRAIN, ranks, and resuming."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from netbuilder import prototxt
from netbuilder.data import images
from netbuilder.data.datum import pack_encoded, pack_planes
from netbuilder.engines.caffe import Caffe
from netbuilder.engines.torch import module
from netbuilder.engines.torch.feed import Feed
from netbuilder.errors import EngineError, NetBuilderError
from netbuilder.schema import message
from tests.databases import noise, write_lmdb

MANY = 1 << 40  # bytes to hold: all sets


def layer(type: str, fields: str, tops: tuple[str, ...] = ("data", "label"), more: str = "") -> str:
    named = " ".join(f'top: "{top}"' for top in tops)
    return f'layer {{ name: "d" type: "{type}" {named} {fields} }} {more}'


def data_layer(batch: int, transform: str = "", more: str = "") -> str:
    return layer(
        "Data",
        f'data_param {{ source: "db" backend: LMDB batch_size: {batch} }} transform_param {{ {transform} }}',
        more=more,
    )


def net_of(folder: Path, text: str) -> Path:
    path = folder / "net.prototxt"
    path.write_text(text)
    return path


def feed(folder: Path, text: str, phase: str = "TRAIN", **options: Any) -> Feed:
    options = {"device": "cpu", "seed": 3, **options}
    return Feed(module(net_of(folder, text), phase=phase), **options)


def records_of(place: Path, records: list[bytes]) -> None:
    import lmdb

    place.parent.mkdir(exist_ok=True)
    with lmdb.open(str(place), map_size=1 << 26) as env, env.begin(write=True) as opened:
        for i, record in enumerate(records):
            opened.put(b"%08d" % i, record)


def encoded(pixels: np.ndarray[Any, Any]) -> list[bytes]:
    return [
        pack_encoded(images.encode(np.ascontiguousarray(p.transpose(1, 2, 0)), "png"), i)
        for i, p in enumerate(pixels)
    ]


# -- what Caffe reads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", [0, MANY], ids=["streamed", "held"])
@pytest.mark.parametrize(
    "transform",
    ["", 'crop_size: 4 mean_file: "mean.binaryproto" scale: 0.25', "crop_size: 5 mean_value: 3 scale: 0.1"],
)
@pytest.mark.parametrize("kind", ["raw", "png", "float"])
def test_a_database_in_test_is_what_caffe_reads(
    real_caffe: Caffe, tmp_path: Path, transform: str, kind: str, hold: int
) -> None:
    pixels = noise(5, 3, 7, 8)
    if kind == "raw":
        write_lmdb(tmp_path / "db", pixels, [0, 7, 1000, 2**31 - 1, 128])
    elif kind == "png":
        records_of(tmp_path / "db", encoded(pixels))
    else:
        floats = [
            message("Datum")(channels=3, height=7, width=8, float_data=(p.ravel() / np.float32(7)).tolist())
            for p in pixels
        ]
        records_of(tmp_path / "db", [record.SerializeToString() for record in floats])
    mean = np.random.default_rng(3).random((3, 7, 8)).astype(np.float32) * 200
    blob = message("BlobProto")(num=1, channels=3, height=7, width=8, data=mean.ravel().tolist())
    (tmp_path / "mean.binaryproto").write_bytes(blob.SerializeToString())
    text = data_layer(4, transform)
    files = {name: (tmp_path / name).read_bytes() for name in ("db/data.mdb", "mean.binaryproto")}
    theirs = real_caffe.run(text, files=files).outputs
    ours = next(feed(tmp_path, text, "TEST", hold=hold))
    assert list(ours) == ["data", "label"]
    for name, values in theirs.items():
        assert ours[name].dtype == torch.float32
        if name == "label" or transform == "" or kind == "float":
            np.testing.assert_array_equal(ours[name].numpy(), values)
        np.testing.assert_allclose(ours[name].numpy(), values, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("hold", [0, MANY], ids=["streamed", "held"])
def test_a_list_in_test_is_what_caffe_reads(real_caffe: Caffe, tmp_path: Path, hold: int) -> None:
    files = {"list.txt": b"in/a b.png 3\nin/1.png -2\nin/2.png 7x\n"}
    for name, planes in zip(("a b", "1", "2"), noise(3, 3, 8, 9), strict=True):
        image = np.ascontiguousarray(planes.transpose(1, 2, 0))
        files[f"in/{name}.png"] = images.encode(image, "png")
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    text = layer(
        "ImageData",
        'image_data_param { source: "list.txt" batch_size: 5 new_height: 6 new_width: 7 } '
        "transform_param { crop_size: 4 mean_value: 9 scale: 0.5 }",
    )
    theirs = real_caffe.run(text, files=files).outputs
    ours = next(feed(tmp_path, text, "TEST", hold=hold))
    for name, values in theirs.items():
        np.testing.assert_array_equal(ours[name].numpy(), values)


# -- what is drawn in TRAIN --------------------------------------------------------------------------------


@pytest.mark.parametrize("hold", [0, MANY], ids=["streamed", "held"])
def test_crops_are_uniform_and_half_are_mirrored(tmp_path: Path, hold: int) -> None:
    write_lmdb(tmp_path / "db", noise(1, 1, 5, 6), [3])
    image = noise(1, 1, 5, 6)[0].astype(np.float32)
    data = next(feed(tmp_path, data_layer(6000, "crop_size: 4 mirror: true"), hold=hold))["data"].numpy()
    seen = Counter(crop.tobytes() for crop in data)
    places = [image[:, y : y + 4, x : x + 4] for y in range(2) for x in range(3)]
    possible = [p.tobytes() for p in places] + [p[:, :, ::-1].tobytes() for p in places]
    assert set(seen) == set(possible)
    # Chi squared of 12 equally likely outcomes: 11 degrees of freedom, 99.99 % below 37.4.
    assert sum((seen[p] - 500) ** 2 / 500 for p in possible) < 37.4


@pytest.mark.parametrize("transform", ["crop_size: 4 mirror: true mean_value: 7", "mirror: true scale: 0.5"])
@pytest.mark.parametrize("kind", ["raw", "png"])
def test_where_images_are_cut_does_not_change_the_numbers(tmp_path: Path, transform: str, kind: str) -> None:
    pixels = noise(7, 3, 6, 9)
    write_lmdb(tmp_path / "db", pixels, range(7)) if kind == "raw" else records_of(
        tmp_path / "db", encoded(pixels)
    )
    text = data_layer(5, transform)
    held, streamed = (feed(tmp_path, text, hold=hold) for hold in (MANY, 0))
    spread = feed(tmp_path, text, hold=0, workers=2)
    for a, b, c in islice(zip(held, streamed, spread, strict=True), 4):
        assert torch.equal(a["data"], b["data"])
        assert torch.equal(a["data"], c["data"])
        assert torch.equal(a["label"], b["label"])
        assert torch.equal(a["label"], c["label"])
    for opened in (held, streamed, spread):
        opened.close()


def test_the_mean_image_is_subtracted_where_the_crop_is(tmp_path: Path) -> None:
    pixels = noise(3, 2, 6, 7)
    write_lmdb(tmp_path / "db", pixels, range(3))
    mean = np.random.default_rng(1).random((2, 6, 7)).astype(np.float32) * 255
    blob = message("BlobProto")(num=1, channels=2, height=6, width=7, data=mean.ravel().tolist())
    (tmp_path / "mean").write_bytes(blob.SerializeToString())
    for hold in (0, MANY):
        data = next(feed(tmp_path, data_layer(300, 'crop_size: 4 mirror: true mean_file: "mean"'), hold=hold))
        for i, crop in enumerate(data["data"].numpy()):
            whole = pixels[i % 3].astype(np.float32) - mean
            windows = [whole[:, y : y + 4, x : x + 4] for y in range(3) for x in range(4)]
            assert any(np.array_equal(crop, w) or np.array_equal(crop, w[:, :, ::-1]) for w in windows)


# -- epochs, ranks, resuming -------------------------------------------------------------------------------


def hdf5(place: Path, **sets: np.ndarray[Any, Any]) -> None:
    with h5py.File(place, "w") as file:
        for name, values in sets.items():
            file[name] = values


def a_database(folder: Path, shuffle: bool) -> str:
    write_lmdb(folder / "db", noise(13, 1, 3, 3), range(13))
    return data_layer(4)


def cropped(text: str) -> str:
    return (
        text.replace("transform_param {  }", "").strip()[:-1]
        + "transform_param { crop_size: 2 mirror: true } }"
    )


def a_list(folder: Path, shuffle: bool) -> str:
    for i in range(13):
        (folder / f"{i}.png").write_bytes(images.encode(np.full((2, 2), i, np.uint8), "png"))
    (folder / "list.txt").write_text("".join(f"{i}.png {i}\n" for i in range(13)))
    shuffled = "shuffle: true" if shuffle else ""
    return layer("ImageData", f'image_data_param {{ source: "list.txt" batch_size: 4 {shuffled} }}')


def some_hdf5(folder: Path, shuffle: bool) -> str:
    hdf5(folder / "a.h5", data=np.arange(5.0), label=np.arange(5))
    hdf5(folder / "b.h5", data=np.arange(5.0, 13), label=np.arange(5, 13))
    (folder / "list.txt").write_text("a.h5\nb.h5\n")
    shuffled = "shuffle: true" if shuffle else ""
    return layer("HDF5Data", f'hdf5_data_param {{ source: "list.txt" batch_size: 4 {shuffled} }}')


MAKERS: dict[str, Callable[[Path, bool], str]] = {
    "Data": a_database,
    "ImageData": a_list,
    "HDF5Data": some_hdf5,
}


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("kind", MAKERS)
def test_all_ranks_together_read_each_record_once_an_epoch(
    tmp_path: Path, kind: str, shuffle: bool, ranks: int
) -> None:
    text = MAKERS[kind](tmp_path, shuffle)
    net = module(net_of(tmp_path, text), phase="TRAIN")
    labels = []
    for rank in range(ranks):
        own = Feed(net, device="cpu", seed=5, rank=rank, ranks=ranks)
        assert own.records == 13
        labels.append(torch.cat([batch["label"] for batch in islice(own, 13)]).tolist())
    # The order in which the ranks were dealt their records: one each, again and again.
    dealt = [int(label) for turn in zip(*labels, strict=True) for label in turn]
    epochs = [dealt[i : i + 13] for i in range(0, 13 * 4 * ranks - 12, 13)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert (len({tuple(epoch) for epoch in epochs}) > 1) == (shuffle and kind != "Data")


@pytest.mark.parametrize("hold", [0, MANY], ids=["streamed", "held"])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_feed_resumes_bit_by_bit(tmp_path: Path, kind: str, hold: int) -> None:
    text = MAKERS[kind](tmp_path, True)
    if kind != "HDF5Data":
        text = cropped(text)
    net = module(net_of(tmp_path, text), phase="TRAIN")
    whole = Feed(net, device="cpu", seed=9, hold=hold)
    batches = list(islice(whole, 9))
    first = Feed(net, device="cpu", seed=9, hold=hold)
    for _ in range(5):
        next(first)  # a streamed feed has read further by now
    state = first.state_dict()
    later = Feed(net, device="cpu", seed=9, hold=hold)
    later.load_state_dict(state)
    for expected in batches[5:]:
        assert all(torch.equal(expected[name], value) for name, value in next(later).items())
    later.rewind()
    assert all(torch.equal(batches[0][name], value) for name, value in next(later).items())
    for opened in (whole, first, later):
        opened.close()


def test_ranks_and_seeds_draw_other_crops(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(1, 1, 40, 40), [0])
    net = module(net_of(tmp_path, data_layer(8, "crop_size: 8")), phase="TRAIN")
    found = {
        (seed, rank): next(Feed(net, device="cpu", seed=seed, rank=rank, ranks=2))["data"].numpy().tobytes()
        for seed in (1, 2)
        for rank in (0, 1)
    }
    assert len(set(found.values())) == 4


def test_a_state_of_other_ranks_or_another_seed_is_refused(tmp_path: Path) -> None:
    net = module(net_of(tmp_path, a_database(tmp_path, False)))
    state = Feed(net, device="cpu", seed=1, ranks=2).state_dict()
    with pytest.raises(EngineError, match="the state is of 2 ranks, and this feed is one of 1"):
        Feed(net, device="cpu", seed=1).load_state_dict(state)
    with pytest.raises(EngineError, match="the state has the seed 1, and this feed 2"):
        Feed(net, device="cpu", seed=2, ranks=2).load_state_dict(state)


def test_rand_skip_begins_the_first_epoch_somewhere(tmp_path: Path) -> None:
    text = a_list(tmp_path, False).replace("batch_size: 4", "batch_size: 13 rand_skip: 13")
    firsts = set()
    for seed in range(40):
        labels = next(feed(tmp_path, text, seed=seed))["label"].tolist()
        firsts.add(labels[0])
        assert labels == [(labels[0] + i) % 13 for i in range(13)]
    assert len(firsts) > 8


def test_dummy_data_draws_anew_in_each_pass_and_repeats_with_the_seed(tmp_path: Path) -> None:
    text = layer(
        "DummyData",
        "dummy_data_param { shape { dim: 50 dim: 40 } shape { dim: 3 } "
        "data_filler { type: 'gaussian' mean: 2 } data_filler { value: 4 } }",
        ("x", "y"),
    )
    one, two = feed(tmp_path, text), feed(tmp_path, text)
    first, second = next(one), next(one)
    assert float(first["x"].mean()) == pytest.approx(2, abs=0.1)
    assert not torch.equal(first["x"], second["x"])
    assert torch.equal(first["x"], next(two)["x"])
    assert first["y"].tolist() == [4, 4, 4]
    other = feed(tmp_path, text, rank=1, ranks=2)
    assert not torch.equal(next(other)["x"], first["x"])


def test_memory_data_is_given_by_the_caller(tmp_path: Path) -> None:
    text = layer("MemoryData", "memory_data_param { batch_size: 2 channels: 1 height: 1 width: 1 }")
    rows = {"data": np.arange(4.0).reshape(4, 1, 1, 1), "label": np.arange(4)}
    own = feed(tmp_path, text, memory=rows)
    assert [next(own)["label"].tolist() for _ in range(3)] == [[0, 1], [2, 3], [0, 1]]
    with pytest.raises(EngineError, match=r"given \[3\] rows, and reads 2 a pass"):
        feed(tmp_path, text, memory={name: values[:3] for name, values in rows.items()})
    assert next(feed(tmp_path, text)) == {}  # and else left to the pass


def test_two_layers_with_one_set_each_stay_together(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "db", noise(5, 1, 2, 2), range(5))
    write_lmdb(tmp_path / "labels", noise(5, 3, 1, 1), range(5))
    text = layer("Data", 'data_param { source: "db" backend: LMDB batch_size: 3 }', ("data", "a")) + layer(
        "Data", 'data_param { source: "labels" backend: LMDB batch_size: 3 }', ("target", "b")
    ).replace('"d"', '"e"')
    own = feed(tmp_path, text)
    for _ in range(4):
        batch = next(own)
        assert batch["a"].tolist() == batch["b"].tolist()
        assert batch["target"].shape == (3, 3, 1, 1)


# -- bulk loading ------------------------------------------------------------------------------------------


def test_records_of_several_layouts_are_loaded_as_they_are_walked(tmp_path: Path) -> None:
    from netbuilder.data.packed import load
    from netbuilder.data.stored import Database

    datum = message("Datum")
    pixels = noise(8, 2, 5, 5)
    labels = [0, 5, 127, 128, 16384, -3, 2**31 - 1, 6]
    records = []
    for i, (planes, label) in enumerate(zip(pixels, labels, strict=True)):
        if i % 2:
            records.append(pack_planes((2, 5, 5), planes.tobytes(), label))
        else:  # the label left out, or the fields in another order
            written = datum(channels=2, height=5, width=5, data=planes.tobytes()).SerializeToString()
            records.append(datum(label=label).SerializeToString() + written if label else written)
    records_of(tmp_path / "db", records)
    found = load(Database(tmp_path / "db"))
    assert found is not None
    np.testing.assert_array_equal(found[0], pixels)
    assert found[1].tolist() == labels


@pytest.mark.parametrize("other", [encoded(noise(1, 3, 2, 2))[0], pack_planes((1, 2, 3), bytes(6), 1)])
def test_a_database_of_several_kinds_is_not_loaded_whole(tmp_path: Path, other: bytes) -> None:
    from netbuilder.data.packed import load
    from netbuilder.data.stored import Database

    records_of(tmp_path / "db", [pack_planes((1, 2, 2), bytes(4), 0), other])
    assert load(Database(tmp_path / "db")) is None


# -- bad input ---------------------------------------------------------------------------------------------


def refused(folder: Path, text: str, why: str, **options: Any) -> None:
    with pytest.raises(NetBuilderError) as caught:
        next(feed(folder, text, **options))
    assert why in str(caught.value)


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    refused(tmp_path, data_layer(2), "Data 'd': its database, 'db', does not exist")
    write_lmdb(tmp_path / "db", noise(3, 1, 6, 6), range(3))
    refused(tmp_path, data_layer(2, "crop_size: 7"), "crop_size 7 is larger than the images, 6x6")
    refused(tmp_path, data_layer(2, "mean_value: 1 mean_value: 2"), "mean_value")
    refused(tmp_path, data_layer(2, 'mean_file: "m"'), "mean_file 'm' is not there")


@pytest.mark.parametrize("hold", [0, MANY])
def test_a_mean_that_changed_since_the_net_was_read_is_named(tmp_path: Path, hold: int) -> None:
    write_lmdb(tmp_path / "db", noise(3, 1, 6, 6), range(3))

    def write(height: int) -> None:
        blob = message("BlobProto")(num=1, channels=1, height=height, width=6, data=[0.0] * 6 * height)
        (tmp_path / "m").write_bytes(blob.SerializeToString())

    write(6)
    net = module(net_of(tmp_path, data_layer(2, 'mean_file: "m"')))
    write(5)
    own = Feed(net, device="cpu", hold=hold)
    with pytest.raises(EngineError, match="the mean in 'm' is 1x5x6, and an image 1x6x6"):
        next(own)
    (tmp_path / "m").write_bytes(b"\xff\xff\xff")
    with pytest.raises(NetBuilderError, match="m' is not a mean image"):
        Feed(net, device="cpu", hold=hold)
    (tmp_path / "m").unlink()
    with pytest.raises(EngineError, match="its mean_file, 'm', does not exist"):
        Feed(net, device="cpu", hold=hold)


@pytest.mark.parametrize("hold", [0, MANY])
def test_a_truncated_database_is_named(tmp_path: Path, hold: int) -> None:
    write_lmdb(tmp_path / "db", noise(40, 3, 30, 30), range(40))
    whole = (tmp_path / "db/data.mdb").read_bytes()
    (tmp_path / "db/data.mdb").write_bytes(whole[: len(whole) // 2])
    net = net_of(tmp_path, data_layer(2))
    read = prototxt.read(net, inputs={"data": (2, 3, 30, 30), "label": (2,)})
    with pytest.raises(NetBuilderError, match="it is cut short: it needs"):
        Feed(module(read), device="cpu", seed=0, hold=hold)


@pytest.mark.parametrize(("hold", "workers"), [(0, 0), (MANY, 0), (0, 1)])
def test_images_of_several_sizes_need_a_crop(tmp_path: Path, hold: int, workers: int) -> None:
    sizes = [(4, 5), (4, 5), (6, 7), (9, 4)]
    records_of(tmp_path / "db", [pack_planes((1, h, w), bytes(h * w), i) for i, (h, w) in enumerate(sizes)])
    options: dict[str, Any] = {"hold": hold, "workers": workers}
    refused(tmp_path, data_layer(4), "record 2 of 'db' is 1x6x7, and the first of its batch 1x4x5", **options)
    own = feed(tmp_path, data_layer(4, "crop_size: 4"), **options)
    assert next(own)["data"].shape == (4, 1, 4, 4)
    own.close()


def test_an_image_smaller_than_the_crop_is_named(tmp_path: Path) -> None:
    records_of(tmp_path / "db", [pack_planes((1, s, s), bytes(s * s), 0) for s in (8, 9, 6)])
    own = feed(tmp_path, data_layer(1, "crop_size: 7"))
    next(own)
    next(own)
    with pytest.raises(EngineError, match="record 2 of 'db': crop_size 7 is larger than an image of 6x6"):
        next(own)
    own.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_record_is_named_when_its_turn_comes(tmp_path: Path, workers: int) -> None:
    good = encoded(noise(30, 3, 4, 4))
    records_of(tmp_path / "db", [*good[:21], pack_encoded(b"none", 0), *good[21:]])
    own = feed(tmp_path, data_layer(20), workers=workers)
    assert next(own)["label"].tolist() == list(range(20))
    for _ in range(2):
        with pytest.raises(EngineError, match="Data 'd': record 21 of 'db': it is not a JPEG"):
            next(own)
    own.close()


@pytest.mark.parametrize("label", [4, -1])
@pytest.mark.parametrize("hold", [0, MANY], ids=["streamed", "held"])
def test_a_label_without_a_score_is_named(tmp_path: Path, label: int, hold: int) -> None:
    write_lmdb(tmp_path / "db", noise(5, 1, 2, 2), [0, 3, 1, label, 2])
    loss = (
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" '
        "inner_product_param { num_output: 4 } } "
        'layer { name: "again" type: "Split" bottom: "label" top: "one" top: "two" } '
        'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "two" top: "loss" IGNORE }'
    )
    own = feed(tmp_path, data_layer(3, more=loss.replace("IGNORE", "")), hold=hold)
    next(own)
    with pytest.raises(
        EngineError, match=f"the label of record 3 of 'db' is {label}, and SoftmaxWithLoss 'loss'"
    ):
        next(own)
    own.close()
    ignoring = loss.replace("IGNORE", f"loss_param {{ ignore_label: {label} }}")
    own = feed(tmp_path, data_layer(3, more=ignoring), hold=hold)
    assert [next(own)["label"].tolist() for _ in range(2)][1] == [label, 2, 0]
    own.close()


@pytest.mark.parametrize("hold", [0, MANY], ids=["streamed", "held"])
def test_a_leveldb_is_read_like_an_lmdb(tmp_path: Path, hold: int) -> None:
    plyvel = pytest.importorskip("plyvel")
    pixels = noise(7, 3, 6, 6)
    write_lmdb(tmp_path / "db", pixels, range(7))
    with plyvel.DB(str(tmp_path / "level"), create_if_missing=True) as opened:
        for i in reversed(range(7)):
            opened.put(b"%05d" % i, pack_planes((3, 6, 6), pixels[i].tobytes(), i))
    before = sorted(p.name for p in (tmp_path / "level").iterdir())
    text = data_layer(4, "crop_size: 4 mirror: true")
    lmdb, level = (
        feed(tmp_path, t, hold=hold)
        for t in (text, text.replace('"db"', '"level"').replace("LMDB", "LEVELDB"))
    )
    for a, b in islice(zip(lmdb, level, strict=True), 4):
        assert torch.equal(a["data"], b["data"])
        assert torch.equal(a["label"], b["label"])
    assert sorted(p.name for p in (tmp_path / "level").iterdir()) == before
    lmdb.close()
    level.close()
