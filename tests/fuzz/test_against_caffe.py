"""A small run of the fuzzer: random nets, ours against real Caffe. `make fuzz` is the long one."""

from __future__ import annotations

from collections import Counter

from netbuilder.engines import caffe
from tests.fuzz.compare import VERDICTS, judge
from tests.fuzz.generate import TYPES, case

NETS = 200


def test_the_same_seed_gives_the_same_net() -> None:
    assert [case(f"9:{i}").text for i in range(20)] == [case(f"9:{i}").text for i in range(20)]


def test_every_layer_type_but_windows_and_python_is_drawn() -> None:
    drawn = Counter(type for i in range(2 * NETS) for type in case(f"ci:{i}").types)
    assert set(TYPES) - set(drawn) <= {"Input"}


def test_ours_and_caffe_agree_on_random_nets(real_caffe: caffe.Caffe) -> None:
    verdicts: Counter[str] = Counter()
    for i in range(NETS):
        verdict, finding = judge(case(f"ci:{i}"), real_caffe)
        verdicts[verdict] += 1
        assert finding is None, str(finding)
    assert min(verdicts[verdict] for verdict in VERDICTS) > NETS // 10, verdicts
