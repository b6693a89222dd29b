"""Random nets: Caffe's own figure of memory, and reports of whatever can be read."""

from __future__ import annotations

import json
import re

from netbuilder import counts, report
from netbuilder.engines import caffe
from netbuilder.errors import NetBuilderError
from netbuilder.measure.blocks import blocks
from netbuilder.measure.geometry import receptive_fields
from netbuilder.net import Net
from netbuilder.report.table import block_rows, layer_rows
from tests.fuzz.generate import case

NETS = 80


def read(seed: str) -> Net | None:
    try:
        return case(seed).parsed()
    except NetBuilderError:
        return None


def test_caffe_logs_the_memory_that_we_count_for_random_nets(real_caffe: caffe.Caffe) -> None:
    compared = 0
    for i in range(NETS):
        net = read(f"memory:{i}")
        if net is None:
            continue
        made = case(f"memory:{i}")
        real_caffe.load(made.text, phase=net.phase, files=made.files)
        assert real_caffe._log is not None
        real_caffe._log.seek(0)
        said = re.findall(rb"Memory required for data: (\d+)", real_caffe._log.read())
        assert counts.count(net).caffe_data_bytes == int(said[-1]), f"memory:{i}"
        compared += 1
    assert compared > NETS // 2


def test_every_net_that_can_be_read_can_be_reported() -> None:
    for net in filter(None, (read(f"report:{i}") for i in range(4 * NETS))):
        c, fields, found = counts.count(net), receptive_fields(net), blocks(net)
        assert set(fields) <= {top for layer in net for top in layer.tops}
        assert sum(len(block.layers) for block in found) == len(net)
        json.dumps(report.as_data(net, c, fields=fields, blocks=found), allow_nan=False)
        for rows in (layer_rows(c, fields), block_rows(c, found)):
            assert all(report.render(rows, form) for form in report.TEXT_FORMATS)
