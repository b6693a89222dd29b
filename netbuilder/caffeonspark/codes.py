"""The codes of findings about jobs of CaffeOnSpark; docs/caffeonspark.md has the same table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from netbuilder import findings
from netbuilder.findings import dashed

__all__ = ["CODES", "Code", "found"]


@dataclass(frozen=True)
class Code(findings.Code):
    """A kind of finding, with the number of the rule that it breaks, and who reports the fault.

    `told` is "driver" if the driver refuses the files at startup; "later" if the driver accepts them, and the
    job fails or ends without training after it has allocated the executors; "nobody" if CaffeOnSpark reports
    nothing and the result is worse.
    """

    rule: int
    told: str


def _codes(rule: int, severity: str, told: str, **titles: str) -> dict[str, Code]:
    return {name: Code(severity, title, rule, told) for name, title in dashed(titles)}


CODES: dict[str, Code] = {
    **_codes(
        1, "error", "driver",
        solver_syntax="The solver does not parse by CaffeOnSpark's schema.",
        solver_field="The solver has a field that CaffeOnSpark's Caffe lacks.",
        no_net="The solver names no net.",
        train_net="The solver names a net in a field other than `net`.",
        net_file="The file of the net is not beside the solver.",
    ),
    **_codes(1, "error", "later", net_path="`net` is not a bare file name."),
    **_codes(2, "error", "driver", test_iter="`test_iter` is not given exactly once."),
    **_codes(
        2, "error", "later",
        snapshot_prefix="`snapshot_prefix` is missing, or not a bare name.",
        max_iter="`max_iter` is not above 0.",
        cpu_devices="On the CPU, an executor has one device.",
        lr_policy="Stock Caffe has no such `lr_policy`.",
        solver_value="Caffe refuses a value of the solver, or learns nothing with it.",
    ),
    **_codes(
        2, "warning", "nobody",
        solver_odd="A value of the solver takes effect late or never.",
        iter_size="`iter_size` repeats the same images and adds none.",
        no_snapshot="The solver writes no snapshots: a lost executor loses all progress.",
    ),
    **_codes(
        3, "error", "driver",
        net_syntax="The net does not parse by CaffeOnSpark's schema.",
        unknown_field="The net has a field that exists in no Caffe, or only in another fork.",
        newer_field="The net has a field that BVLC added after CaffeOnSpark's Caffe.",
        old_format="The net uses `layers`, the format of 2014.",
    ),
    **_codes(3, "error", "later", net_build="The net does not build: Caffe aborts in every executor."),
    **_codes(
        4, "error", "driver",
        phase_missing="A phase has no layer with `include { phase }`; the driver runs off the end of the "
        "net.",
        exclude_ignored="A data layer is limited to one phase by `exclude`, which the driver ignores.",
    ),
    **_codes(
        4, "error", "later",
        wrong_data_layer="The driver takes another layer for the data layer.",
        data_layer_place="The data layers are not layers 0 and 1.",
        data_layer_rule="A data layer has several rules, or one that keeps it out of its own phase.",
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
        6, "error", "driver",
        lmdb_local="The LMDB is a local folder without `file:`, which the driver refuses to copy.",
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
        share_in_parallel="MemoryData lacks `share_in_parallel: false`.",
        tops_differ="The data layers of the two phases name their tops differently.",
    ),
    **_codes(
        8, "error", "later",
        crop_size="The height and width of MemoryData differ from its `crop_size`.",
        mean_values="The number of `mean_value`s is neither 1 nor `channels`, or a `mean_file` is given too.",
        mean_file="The mean file is given with a folder, or is not beside the net.",
    ),
    **_codes(8, "warning", "nobody", resize_crop="-resize defeats the random crop."),
    **_codes(8, "info", "later", image_size="Without a crop every image must have the size of the layer."),
    **_codes(9, "error", "later", data_column="The selection of columns omits the images or the labels."),
    **_codes(
        9, "warning", "later",
        label_type="ImageDataFrame accepts labels only as text, and the selection has none.",
        encoded_column="ImageDataFrame needs a column `encoded`, and the selection has none.",
    ),
    **_codes(
        10, "error", "later",
        cos_tops="CoSData's tops and top blocks do not match.",
        cos_size="The stated size after the transformation is not the actual one.",
        cos_transform="An image has no transformation, or a top that is not an image has one.",
        cos_axes="`sample_num_axes` is above 3, or not 1 with `transpose`.",
    ),
    **_codes(10, "warning", "nobody", cos_shuffle="`shuffle` has no effect."),
    **_codes(
        11, "error", "nobody",
        batchnorm_trained="The solver would train the statistics of a BatchNorm.",
        batchnorm_global_stats="`use_global_stats` is set in a file for both phases.",
    ),
    **_codes(11, "error", "later", other_data_layer="The net has a third data layer."),
    **_codes(
        12, "error", "later",
        train_images="The training set is smaller than one round between two tests.",
        test_images="The test set is smaller than one test.",
        partitions="The data has fewer partitions than the job has executors.",
        resume_hangs="A training with tests that resumes from this snapshot waits for ever.",
    ),
    **_codes(
        12, "warning", "nobody",
        snapshot_hangs="A training with tests that resumes from a later snapshot waits for ever.",
    ),
    **_codes(
        12, "warning", "nobody",
        outputs_differ="An output of the TRAIN net is not an output of the TEST net.",
    ),
    **_codes(
        12, "info", "nobody",
        test_part="A test leaves out some of the test images.",
        sizes_unknown="The size of a data set is unknown and was not checked.",
    ),
    **_codes(
        13, "error", "driver",
        snapshot_weights="-snapshot is given without -weights.",
        name_clash="Two files of the job have the same bare name.",
        file_name="A file name contains a comma.",
    ),
    **_codes(
        13, "error", "later",
        connection="-connection is missing, which means InfiniBand.",
        cpu_connection="On the CPU, executors communicate over ethernet only.",
        model_url="-model lacks the folder into which snapshots are copied.",
        features_blob="The TEST net has no blob of this name.",
    ),
    **_codes(
        13, "warning", "later",
        infiniband="Executors fail if CaffeOnSpark was built without InfiniBand.",
    ),
    **_codes(
        13, "warning", "nobody",
        model_local="The model stays on the machine of the executor of rank 0.",
        features_and_test="-features overrides -test.",
    ),
    **_codes(14, "warning", "nobody", learning_rate="base_lr differs from the recipe's rate for this batch."),
}  # fmt: skip

# found(code, text, fix, ...): a finding with the severity of its code.
found = partial(findings.find, CODES)
