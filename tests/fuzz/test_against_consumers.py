"""A small run of the fuzzer of consumers: `make fuzz-consumers` is the long one."""

from __future__ import annotations

from collections import Counter

from netbuilder.checks import consumers as targets
from netbuilder.checks.consumers.base import DEPLOYED
from netbuilder.engines.caffe import Caffe
from tests import consumers
from tests.fuzz.against_consumers import CONSUMERS, judge
from tests.fuzz.deploy_nets import case

NETS = 60


def test_the_same_seed_gives_the_same_deploy_net() -> None:
    assert [case(f"9:{i}").text for i in range(20)] == [case(f"9:{i}").text for i in range(20)]


def test_every_layer_type_that_a_consumer_has_is_drawn() -> None:
    drawn = Counter(type for i in range(10 * NETS) for type in case(f"ci:{i}").types)
    known = {type for name in CONSUMERS for type in targets.TARGETS[name].types} & DEPLOYED
    assert known - {"Input", "Python"} <= set(drawn)


def test_a_consumer_that_fails_on_a_random_net_is_reported(real_caffe: Caffe) -> None:
    for module in consumers.MODULES.values():
        consumers.require(module)
    verdicts: Counter[tuple[str, str]] = Counter()
    for i in range(NETS):
        judged = judge(case(f"ci:{i}"), real_caffe)
        if judged is None:
            continue
        assert "unreported" not in judged.verdicts.values(), str(judged)
        verdicts.update(judged.verdicts.items())
    for name in CONSUMERS:
        assert min(verdicts[name, "agrees"], verdicts[name, "reported"]) > NETS // 10, verdicts
        assert verdicts[name, "false alarm"] <= NETS // 20, verdicts
