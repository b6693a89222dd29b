"""The codes of findings about jobs of CaffeOnSpark; docs/caffeonspark.md has the same table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from netbuilder import findings
from netbuilder.findings import dashed

__all__ = ["CODES", "Code", "found"]


@dataclass(frozen=True)
class Code(findings.Code):
    """A kind of finding, with the rule of the page that it breaks, and who reports the fault.

    `told` is "driver" if the driver refuses the files as it starts. It is "later" if the driver accepts them,
    and the job fails or ends without training when it already holds the executors. It is "nobody" if nothing
    is reported and the result is worse.
    """

    rule: int
    told: str


def _codes(rule: int, severity: str, told: str, **titles: str) -> dict[str, Code]:
    return {name: Code(severity, title, rule, told) for name, title in dashed(titles)}


CODES: dict[str, Code] = {
    **_codes(
        1, "error", "driver",
        solver_syntax="The solver is no text of CaffeOnSpark's schema.",
        solver_field="The solver has a field that CaffeOnSpark's Caffe lacks.",
        no_net="The solver names no net.",
        train_net="The solver gives a net by another field than `net`.",
        net_file="The file of the net is not beside the solver.",
    ),
    **_codes(1, "error", "later", net_path="`net` is not a bare file name."),
    **_codes(2, "error", "driver", test_iter="`test_iter` is not given exactly once."),
    **_codes(
        2, "error", "later",
        snapshot_prefix="`snapshot_prefix` is missing, or not a bare name.",
        max_iter="`max_iter` is not above 0.",
        cpu_devices="The CPU is more than one device to an executor.",
        lr_policy="Stock Caffe has no such `lr_policy`.",
        solver_value="A value of the solver is one that Caffe refuses, or with which nothing is learnt.",
    ),
    **_codes(
        2, "warning", "nobody",
        solver_odd="A value of the solver has no effect, or a late one.",
        iter_size="`iter_size` runs the same images again, and no more of them.",
        no_snapshot="There are no snapshots, and a lost executor loses all.",
    ),
    **_codes(
        3, "error", "driver",
        net_syntax="The net is no text of CaffeOnSpark's schema.",
        unknown_field="The net has a field that no Caffe has, or another fork.",
        newer_field="The net has a field that BVLC brought after CaffeOnSpark's Caffe.",
        old_format="The net is written in `layers`, the format of 2014.",
    ),
    **_codes(3, "error", "later", net_build="The net does not build: Caffe aborts in every executor."),
    **_codes(
        4, "error", "driver",
        phase_missing="No layer has `include { phase }` of a phase; the driver runs off the end of the net.",
        exclude_ignored="A data layer is left to one phase by `exclude`, which the driver does not see.",
    ),
    **_codes(
        4, "error", "later",
        wrong_data_layer="The driver takes another layer for the data layer.",
        data_layer_place="The data layers are not layers 0 and 1.",
        data_layer_rule="A data layer has more than one rule, or one with more than a phase.",
    ),
    **_codes(
        5, "error", "later",
        data_type="A data layer is neither MemoryData nor CoSData.",
        source_class_missing="A data layer has no `source_class`.",
    ),
    **_codes(5, "error", "driver", source_class="There is no such `source_class` for this layer type."),
    **_codes(
        6, "error", "later",
        source="A data layer has no `source`.",
        batch_size="A data layer has no `batch_size`.",
    ),
    **_codes(
        6, "warning", "nobody",
        lmdb_copied="The whole LMDB is copied to every node.",
        lmdb_relative="The path of the LMDB depends on the folder in which an executor runs.",
    ),
    **_codes(
        7, "error", "later",
        memory_size="MemoryData lacks channels, height or width.",
        memory_tops="MemoryData must have two tops, images and labels.",
    ),
    **_codes(
        7, "warning", "nobody",
        share_in_parallel="MemoryData does not say `share_in_parallel: false`.",
        tops_differ="The data layers of the two phases have tops of other names.",
    ),
    **_codes(
        8, "error", "later",
        crop_size="The height and width of MemoryData are not its `crop_size`.",
        mean_values="There are neither one nor `channels` mean_values, or a mean_file besides.",
        mean_file="The mean file is not a bare name, or not beside the net.",
    ),
    **_codes(8, "warning", "nobody", resize_crop="-resize leaves nothing of the random crop."),
    **_codes(8, "info", "later", image_size="Without a crop every image must have the size of the layer."),
    **_codes(9, "error", "later", data_column="The selection of columns leaves the images or labels out."),
    **_codes(
        9, "warning", "later",
        label_type="ImageDataFrame takes labels as text only, and none is selected as such.",
        encoded_column="ImageDataFrame needs a column `encoded`, and none is selected.",
    ),
    **_codes(
        10, "error", "later",
        cos_tops="CoSData's tops and top blocks do not match.",
        cos_size="The size after the transformation is not the one that the transformation gives.",
        cos_transform="An image has no transformation, or something else has one.",
        cos_axes="`sample_num_axes` is above 3, or not 1 with `transpose`.",
    ),
    **_codes(10, "warning", "nobody", cos_shuffle="`shuffle` does nothing."),
    **_codes(
        11, "error", "nobody",
        batchnorm_trained="The solver would train the statistics of a BatchNorm.",
        batchnorm_global_stats="`use_global_stats` holds in both phases of one file.",
    ),
    **_codes(11, "error", "later", other_data_layer="There is a data layer besides the two."),
    **_codes(
        12, "error", "later",
        train_images="There are fewer training images than one round between two tests takes.",
        test_images="There are fewer test images than one test takes.",
        partitions="There are fewer partitions than executors.",
    ),
    **_codes(
        12, "warning", "nobody",
        outputs_differ="An output of the TRAIN net is none of the TEST net.",
    ),
    **_codes(
        12, "info", "nobody",
        test_part="Some of the test images are never tested.",
        sizes_unknown="The size of a data set is not given, and was not checked.",
    ),
    **_codes(
        13, "error", "driver",
        snapshot_weights="-snapshot is given without -weights.",
        name_clash="Two files of the job have one bare name.",
        file_name="The name of a file has a comma.",
    ),
    **_codes(
        13, "error", "later",
        connection="-connection is missing, which means InfiniBand.",
        cpu_connection="On the CPU executors are joined by ethernet alone.",
        model_url="-model has no folder, into which snapshots go.",
        features_blob="The TEST net has no blob of this name.",
    ),
    **_codes(
        13, "warning", "later",
        infiniband="A CaffeOnSpark built without InfiniBand aborts.",
    ),
    **_codes(
        13, "warning", "nobody",
        model_local="The model stays on the machine of the first executor.",
        features_and_test="-features beats -test.",
    ),
    **_codes(14, "warning", "nobody", learning_rate="base_lr is not that of the recipe for this batch."),
}  # fmt: skip

# found(code, text, fix, ...): a finding with the severity of its code.
found = partial(findings.find, CODES)
