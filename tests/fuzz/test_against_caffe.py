"""A small run of the fuzzer: random nets, ours against real Caffe. `make fuzz` is the long one."""

from __future__ import annotations

import random
from collections import Counter

from netbuilder.engines import caffe
from netbuilder.layers.fillers import FILLERS
from netbuilder.schema import FillerParameter
from tests.fuzz.compare import VERDICTS, judge
from tests.fuzz.generate import TYPES, Maker, case
from tests.fuzz.generate.fillers import UNKNOWN, fill

NETS = 200


def test_the_same_seed_gives_the_same_net() -> None:
    assert [case(f"9:{i}").text for i in range(20)] == [case(f"9:{i}").text for i in range(20)]


def test_every_layer_type_but_windows_and_python_is_drawn() -> None:
    drawn = Counter(type for i in range(2 * NETS) for type in case(f"ci:{i}").types)
    assert set(TYPES) - set(drawn) <= {"Input"}


def test_fillers_are_drawn_that_fit_and_that_do_not() -> None:
    made = Maker(random.Random("fillers"))
    drawn = [FillerParameter() for _ in range(3000)]
    for filler in drawn:
        fill(made, filler)
    assert {filler.type for filler in drawn} == {*FILLERS, *UNKNOWN}
    for type, broken in (
        ("gaussian", lambda f: not f.std > 0),
        ("uniform", lambda f: not f.min <= f.max),
        ("constant", lambda f: f.value != f.value),
        ("xavier", lambda f: f.sparse >= 0),
    ):
        share = [broken(filler) for filler in drawn if filler.type == type]
        assert 0 < sum(share) < len(share) / 5, type


def test_every_field_of_transform_param_that_caffe_has_is_drawn() -> None:
    layers = [layer for i in range(600) for layer in case(f"ci:{i}").proto.layer]
    fields = {field.name for layer in layers for field, _ in layer.transform_param.ListFields()}
    assert fields == {"scale", "mirror", "crop_size", "mean_file", "mean_value", "force_color", "force_gray"}


def test_ours_and_caffe_agree_on_random_nets(real_caffe: caffe.Caffe) -> None:
    verdicts: Counter[str] = Counter()
    for i in range(NETS):
        verdict, finding = judge(case(f"ci:{i}"), real_caffe)
        verdicts[verdict] += 1
        assert finding is None, str(finding)
    assert min(verdicts[verdict] for verdict in VERDICTS) > NETS // 10, verdicts
