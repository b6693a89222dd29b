"""Consumers that cannot be installed as packages: what their makers' pages and sources say.

Nothing here was run. Each target names its pages; docs/checking.md says which page says what.
"""

from __future__ import annotations

from collections.abc import Callable

from netbuilder.checks.consumers.base import (
    CONVOLUTIONS,
    DEPLOYED,
    NOT_DEPLOY,
    Limit,
    Target,
    types,
    uneven_window,
)
from netbuilder.checks.consumers.conditions import counts_from_end
from netbuilder.checks.fields import lone_pairs
from netbuilder.net import Layer

__all__ = ["ASCEND", "HILENS", "NCNN", "NNIE", "OPENVINO", "RKNN"]

_STOCHASTIC, _FLOOR = 2, 1
_V2 = "write it in today's format: Caffe's upgrade_net_proto_text does"


def _uses_batch(layer: Layer) -> bool:
    p = layer.proto.batch_norm_param
    return bool(p.HasField("use_global_stats") and not p.use_global_stats)


def _negative_axis(layer: Layer) -> bool:
    if all(b.shape is None or len(b.shape) == 4 for b in layer.bottoms):
        return False
    return counts_from_end(layer)


def _larger_than(limit: int) -> Callable[[Layer], bool]:
    def test(layer: Layer) -> bool:
        shapes = [b.shape for b in (*layer.bottoms, *layer.tops) if b.shape is not None]
        return any(n > limit for shape in shapes if len(shape) == 4 for n in shape[2:])

    return test


def _other_top(layer: Layer) -> bool:
    return len(layer.tops) == 1 and not layer.in_place and layer.tops[0].name != layer.name


_BATCH_STATS = Limit(
    "batch-stats",
    types("BatchNorm"),
    "use_global_stats: false is not supported",
    "leave use_global_stats out, or write true",
    _uses_batch,
)

ASCEND = Target(
    "ascend",
    "Huawei Ascend, ATC of CANN 8 and 9 (products before A2 only: A2, A3, 350 and 950 take no Caffe)",
    (
        NOT_DEPLOY,
        _BATCH_STATS,
        Limit(
            "image-size", frozenset(), "width and height may be 4096 at most", "work on smaller images",
            _larger_than(4096),
        ),
    ),
    # Its list of operators, and types that do nothing when a net is run.
    types=frozenset(
        DEPLOYED
        - types("BatchReindex", "Embed", "Filter", "Im2col", "LSTMUnit", "Parameter", "Python", "Swish")
        | types("ConvolutionDepthwise", "DepthwiseConv", "Interp", "Normalize", "PSROIPooling", "PassThrough")
        | types("Permute", "PriorBox", "Proposal", "ROIAlign", "ROIPooling", "ReLU6", "Reorg", "Reverse")
        | types("SSDDetectionOutput", "ShuffleChannel", "SpatialTransformer", "Upsample", "Yolo")
        | types("YoloV2DetectionOutput", "YoloV3DetectionOutput")
    ),
    sources=(
        "https://www.hiascend.com/doc_center/source/zh/canncommercial/800/apiref/aolapi/operatorlist_00098.html",
        "https://www.hiascend.com/document/detail/en/canncommercial/800/apiref/aolapi/operatorlist_00099.html",
        "https://www.hiascend.com/document/detail/zh/canncommercial/latest/API/aolapi/operatorlist_00104.html",
        "https://www.hiascend.com/document/detail/zh/canncommercial/latest/devaids/atctool/atlasatc_16_0044.html",
        "https://www.hiascend.com/document/detail/en/CANNCommunityEdition/910/devaids/atctool/atlasatcparam_16_0014.html",
    ),
)  # fmt: skip

HILENS = Target(
    "hilens",
    "Huawei HiLens and Atlas 300/500 (pages of 2022 and 2024)",
    (
        NOT_DEPLOY,
        Limit(
            "batch-stats",
            types("BatchNorm"),
            "use_global_stats must be given, and true",
            "write batch_norm_param { use_global_stats: true }",
            lambda layer: not layer.proto.batch_norm_param.use_global_stats,
        ),
        Limit(
            "negative-axis", frozenset(), "axis must not be negative unless the bottom has 4 axes",
            "count the axis from the front", _negative_axis,
        ),
        Limit(
            "top-name", frozenset(), "a top must be called like its layer, unless it is written in place",
            "call the top '{name}'", _other_top,
        ),
    ),
    old_format="'layers' are not supported",
    sources=(
        "https://support.huaweicloud.com/intl/en-us/usermanual-hilens/hilens_02_0059.html",
        "https://support.huaweicloud.com/mcg-atlas500app/atlasmcg_05_c30_0004.html",
        "https://support.huaweicloud.com/intl/en-us/mcg-atlas300app3000/atlasmcg_05_c30_0023.html",
    ),
)  # fmt: skip

NNIE = Target(
    "nnie",
    "HiSilicon NNIE, nnie_mapper, which is based on Caffe 1.0",
    (
        NOT_DEPLOY,
        Limit(
            "no-such-field",
            types("Pooling"),
            "Caffe 1.0 has no field round_mode",
            "leave round_mode out, and crop what is too much",
            lambda layer: layer.proto.pooling_param.HasField("round_mode"),
        ),
    ),
    types=frozenset(
        DEPLOYED - types("Clip", "Python", "Swish")
        | types("Custom", "DepthwiseConv", "Normalize", "PSROIPooling", "PassThrough", "Permute", "Proposal")
        | types("ROIPooling", "Upsample")
    ),
    sources=(
        "https://w3xue.com/exp/article/20212/69969.html",
        "http://xrefandroid.com/OpenHarmony-v4.1-Release/xref/device/soc/hisilicon/hi3516dv300/sdk_linux/sample/taurus/doc/",
        "https://blog.csdn.net/u011622208/article/details/105676120",
    ),
)  # fmt: skip

RKNN = Target(
    "rknn",
    "Rockchip RKNN Toolkit 1.7 and RKNN Toolkit2",
    (
        Limit(
            "no-such-type",
            types("DetectionOutput"),
            "there is no layer type DetectionOutput",
            "end the net before it, and decode the boxes outside",
        ),
    ),
    old_format="files of the V0 and V1 format are refused",
    sources=(
        "https://github.com/rockchip-linux/rknn-toolkit/issues/431",
        "https://github.com/rockchip-linux/rknn-toolkit2/issues/138",
    ),
)

# The types whose fields caffe2ncnn writes; for others it writes only the name.
_NCNN_READ = types(
    "BN", "BatchNorm", "Concat", "Convolution", "ConvolutionDepthwise", "Crop", "Deconvolution",
    "DepthwiseConvolution", "DetectionOutput", "Dropout", "ELU", "Eltwise", "Embed", "InnerProduct", "Input",
    "Interp", "LRN", "LSTM", "MVN", "MemoryData", "Normalize", "PReLU", "PSROIPooling", "Permute", "Pooling",
    "Power", "PriorBox", "Python", "ROIAlign", "ROIPooling", "ReLU", "ReLU6", "Reorg", "Reshape", "Scale",
    "ShuffleChannel", "Slice", "Softmax", "Threshold", "YoloDetectionOutput", "Yolov3DetectionOutput",
)  # fmt: skip


def _drops_fields(layer: Layer) -> bool:
    if layer.type in _NCNN_READ:
        return False
    own = [value for field, value in layer.proto.ListFields() if field.name.endswith("_param")]
    return any(f.name != "engine" for message in own for f, _ in message.ListFields())


NCNN = Target(
    "ncnn",
    "Tencent ncnn, tools/caffe/caffe2ncnn",
    (
        Limit(
            "lone-pair", CONVOLUTIONS, "half of an _h/_w pair is ignored", "write both halves",
            lambda layer: bool(lone_pairs(layer)),
        ),
        Limit(
            "uneven-window", CONVOLUTIONS,
            "of repeated kernel_size, stride, pad and dilation the first is read",
            "write the _h/_w pairs; there are none for dilation", uneven_window,
        ),
        Limit(
            "round-mode", types("Pooling"), "round_mode is not read: sizes are rounded up",
            "leave round_mode out, and crop what is too much",
            lambda layer: layer.proto.pooling_param.round_mode == _FLOOR,
        ),
        Limit(
            "transpose", types("InnerProduct"), "transpose is not read", "store the weights untransposed",
            lambda layer: layer.proto.inner_product_param.transpose,
        ),
        Limit(
            "lrn", types("LRN"), "k is not read", "keep k at 1",
            lambda layer: layer.proto.lrn_param.k != 1,
        ),
        Limit("batch-stats", types("BatchNorm"), "use_global_stats: false is not read",
              "leave use_global_stats out", _uses_batch),
        Limit(
            "params-dropped", frozenset(), "the fields of {type} are not written to the ncnn model",
            "express it by other layers, or edit the ncnn .param file", _drops_fields,
        ),
    ),
    old_format="only 'layer' is read: of older files nothing",
    old_input="'input:' fields are not read: the net has no input then",
    sources=(
        "https://github.com/Tencent/ncnn/blob/01853010eae3fbd367a51eeed0f5540958cb8fe7/tools/caffe/caffe2ncnn.cpp",
        "https://github.com/Tencent/ncnn/issues/393",
        "https://github.com/Tencent/ncnn/issues/440",
    ),
)  # fmt: skip

OPENVINO = Target(
    "openvino",
    "OpenVINO 2023.3, Model Optimizer (mo); its support for Caffe ended with 2024",
    (
        NOT_DEPLOY,
        Limit(
            "round-mode", types("Pooling"), "round_mode is not read: sizes are rounded up",
            "leave round_mode out, and crop what is too much",
            lambda layer: layer.proto.pooling_param.round_mode == _FLOOR,
        ),
        Limit(
            "no-such-field", types("Pooling"), "pool: STOCHASTIC is refused", "use MAX or AVE",
            lambda layer: layer.proto.pooling_param.pool == _STOCHASTIC,
        ),
    ),
    # Types that it has an extractor for or that its page lists, and Silence, which does nothing.
    types=frozenset(
        DEPLOYED
        - types("AbsVal", "BNLL", "BatchReindex", "Clip", "Embed", "Exp", "Filter", "Im2col", "LSTM")
        - types("LSTMUnit", "Log", "Parameter", "RNN", "Reduction", "SPP", "Swish", "Threshold")
        | types("Axpy", "BN", "Binarization", "CTCGreedyDecoder", "ConvolutionBinary", "DetectionOutput")
        | types("GRN")
        | types("Interp", "Normalize", "PSROIPooling", "Permute", "PriorBox", "PriorBoxClustered", "Proposal")
        | types("ROIPooling", "ReLU6", "RegionYolo", "ReorgYolo", "Resample", "ShuffleChannel")
    ),
    sources=(
        "https://docs.openvino.ai/2022.1/openvino_docs_MO_DG_prepare_model_Supported_Frameworks_Layers.html",
        "https://docs.openvino.ai/2023.3/openvino_docs_MO_DG_prepare_model_convert_model_Convert_Model_From_Caffe.html",
        "https://github.com/openvinotoolkit/openvino/tree/releases/2023/3/tools/mo/openvino/tools/mo/front/caffe",
    ),
)  # fmt: skip
