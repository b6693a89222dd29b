"""Dialects: which layer types and fields a given Caffe has.

A `Net` has one dialect; `Net.append` refuses what the dialect lacks, and the readers treat a field it lacks
as unknown. All Caffes share one schema (`netbuilder.schema`), so a dialect only lists what it lacks of BVLC's
part of that schema and what it has of the forks' part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from netbuilder.errors import ConfigError, did_you_mean

__all__ = ["ANY", "BVLC", "DIALECTS", "FORK", "WRITTEN", "Dialect", "dialect", "homes"]

# In netbuilder/schema/caffe.proto, the numbers of forks' fields and enum values start here.
FORK = 10_000
# In `Dialect.reads`, all layer types.
EVERY = "*"

# Every layer type of BVLC's registry at the end of its development (2020-02).
_MASTER = frozenset(
    """
    AbsVal Accuracy ArgMax BNLL BatchNorm BatchReindex Bias Clip Concat ContrastiveLoss Convolution Crop
    Data Deconvolution Dropout DummyData ELU Eltwise Embed EuclideanLoss Exp Filter Flatten HDF5Data
    HDF5Output HingeLoss Im2col ImageData InfogainLoss InnerProduct Input LRN LSTM LSTMUnit Log MVN
    MemoryData MultinomialLogisticLoss PReLU Parameter Pooling Power Python RNN ReLU Reduction Reshape SPP
    Scale Sigmoid SigmoidCrossEntropyLoss Silence Slice Softmax SoftmaxWithLoss Split Swish TanH Threshold
    Tile WindowData
    """.split()  # noqa: SIM905 (a list of 61 strings would fill a page)
)
_SSD = frozenset(
    """
    AnnotatedData DetectionEvaluate DetectionOutput MultiBoxLoss Normalize Permute PriorBox SmoothL1Loss
    VideoData
    """.split()  # noqa: SIM905 (as above)
)


def _fields(text: str) -> frozenset[str]:
    """Lines of `Message: field field` as names `Message.field`."""
    found = []
    for line in text.strip().splitlines():
        message, _, fields = line.partition(":")
        found += [f"{message.strip()}.{field}" for field in fields.split()]
    return frozenset(found)


_SSD_FIELDS = _fields("""
    LayerParameter: annotated_data_param detection_evaluate_param detection_output_param multibox_loss_param
    LayerParameter: norm_param permute_param prior_box_param video_data_param
    TransformationParameter: crop_h crop_w resize_param noise_param distort_param expand_param emit_constraint
""")
_COS_FIELDS = _fields("""
    LayerParameter: source_class cos_data_param
    MemoryDataParameter: source dataframe_format dataframe_column_select image_encoded share_in_parallel
""")
_NV_FIELDS = _SSD_FIELDS | _fields("""
    NetParameter: default_forward_type default_backward_type default_forward_math default_backward_math
    NetParameter: global_grad_scale default_conv_algos_override reduce_buckets default_cudnn_math_override
    NetParameter: global_grad_scale_adaptive eltwise_mem_sharing
    LayerParameter: forward_type backward_type forward_math backward_math debug cudnn_math_override
    LayerParameter: detectnet_groundtruth_param detectnet_augmentation_param trt_param
    BatchNormParameter: scale_filler bias_filler scale_bias engine
    ConvolutionParameter: cudnn_convolution_algo_seeker conv_algos_override
    DataParameter: shuffle threads parser_threads cache precache
    ImageDataParameter: short_side threads cache precache dataset_share_per_node
    DropoutParameter: engine random_seed
    ELUParameter: lambda
    LossParameter: label_smoothing
    PoolingParameter: torch_pooling
    TransformationParameter: img_rand_resize_lower img_rand_resize_upper rand_resize_ratio_lower
    TransformationParameter: rand_resize_ratio_upper vertical_stretch_lower vertical_stretch_upper
    TransformationParameter: horizontal_stretch_lower horizontal_stretch_upper allow_upscale display
    TransformationParameter: use_gpu_transform random_seed num_labels var_sz_img_enabled
    TransformationParameter: interpolation_algo_down interpolation_algo_up forward_packing
""")
_INTEL_FIELDS = _SSD_FIELDS | _fields("""
    NetParameter: engine bn_stats_batch_size compile_net_state multinode
    LayerParameter: engine box_annotator_ohem_param continuation_indicator_param psroi_pooling_param
    LayerParameter: quantization_param region_loss_param reorg_param roi_pooling_param smooth_l1_loss_param
    LayerParameter: spatial_dropout_param split_param eval_detection_param multinode mn_activation_param
    LayerParameter: mn_grad_compress_param
    BatchNormParameter: engine use_weight_bias bias_term filler bias_filler stats_batch_size relu
    ConcatParameter: engine per_fla_fuse
    ConvolutionParameter: relu negative_slope conv_algorithm coeff fusion_type
    ConvolutionParameter.Engine: MKL2017 MKLDNN
    DataParameter: shuffle side
    EltwiseParameter: engine
    FillerParameter: scale
    ImageDataParameter: min_height min_width
    InnerProductParameter: engine relu negative_slope
    LRNParameter.Engine: MKL2017 MKLDNN
    LossParameter: pre_fixed_normalizer label_smoothing
    LossParameter.NormalizationMode: PRE_FIXED
    PoolingParameter: avg_include_pad pad_3d kernel_size_3d stride_3d axis
    PoolingParameter.Engine: MKL2017 MKLDNN
    ReLUParameter: fuse
    ReLUParameter.Engine: MKL2017 MKLDNN
    ReshapeParameter: pixelshuffler
    TransformationParameter: random_resize_param random_aspect_ratio_param flow bgr2rgb pad
""")
# Found in many repositories (forks by the authors of a single model), but in none of the Caffes above.
_LOOSE = frozenset(
    """
    BN CenterLoss Convolution3D ConvolutionDepthwise Deconvolution3D DenseImageData DepthToSpace
    DepthwiseConvolution HardSwish ImageSegData Interp MarginInnerProduct Mul Pad Pooling3D Proposal ReLU6
    ResizeBilinear ResizeNearestNeighbor SELU SeLU SegAccuracy ShuffleChannel Squeeze Transpose Upsample
    YoloDetectionOutput Yolov3 Yolov3DetectionOutput
    """.split()  # noqa: SIM905 (as above)
)
_LOOSE_FIELDS = _fields("""
    LayerParameter: bn_param interp_param proposal_param relu6_param shuffle_channel_param upsample_param
    LayerParameter: yolov3_param yolov3_detection_output_param yolo_detection_output_param pad_param
    LayerParameter: convolution3d_param pooling3d_param dense_image_data_param seg_accuracy_param selu_param
    LayerParameter: margin_inner_product_param center_loss_param transpose_param squeeze_param mul_param
    LayerParameter: resize_nearest_neighbor_param resize_bilinear_param depth_to_space_param
    ConvolutionParameter: pad_l pad_r pad_t pad_b kernel_depth temporal_stride temporal_pad filter_group
    DropoutParameter: sample_weights_test
    ImageDataParameter: ignore_label label_type new_length show_data use_image sampling_rate use_label
    ImageDataParameter: use_temporal_jitter
    PoolingParameter: ceil_mode pad_l pad_r pad_t pad_b kernel_depth temporal_stride
    PoolingParameter.PoolMethod: AVE_EXC_PAD AVE_TF
""")

# Messages that forks read in more layer types than BVLC: detection_output_layer.cpp and its kin.
_SSD_READS = {"transform_param": frozenset({"DetectionOutput"})}
# base_data_layer.cpp reads threads and batch sizes of both; net.cpp takes for a data layer what has a
# transform_param.
_NV_READS = {
    "transform_param": frozenset({EVERY}),
    "data_param": frozenset({"ImageData", "MemoryData", "WindowData"}),
    "image_data_param": frozenset({"AnnotatedData", "Data", "MemoryData", "VideoData", "WindowData"}),
}
_NV_FILLERS = frozenset(
    f"{name}static" for name in ("bilinear", "gaussian", "msra", "positive_unitball", "uniform", "xavier")
)
# The loss layers' Forward_cpu; mkldnn_base.cpp, which every layer of MKL-DNN derives from.
_INTEL_READS = {
    **_SSD_READS,
    "loss_param": frozenset({"ContrastiveLoss", "EuclideanLoss", "HingeLoss", "MultinomialLogisticLoss"}),
    "quantization_param": frozenset({EVERY}),
}

# Fields that BVLC added after the forks split off, by layer type.
_ROUND_MODE: dict[str, tuple[str, ...]] = {"Pooling": ("pooling_param.round_mode",)}
_NO_2017 = {**_ROUND_MODE, "InfogainLoss": ("infogain_loss_param.axis",)}


class Dialect(NamedTuple):
    """A named set of layer types and fields.

    `lacks` maps a layer type to the fields of BVLC's schema that this Caffe does not read, each written
    `message_field.field` (`pooling_param.round_mode`). `adds` names what it has of the forks' part of the
    schema: `Message.field` of a message that BVLC has too, or `Message.Enum.LABEL`; a message that BVLC lacks
    is implied by the field that holds it. `cudnn` is true if the build has cuDNN: one without aborts on
    `engine: CUDNN`, while the default engine uses cuDNN wherever it is available.
    `reads` has the layer types that read a parameter message which the same types of BVLC ignore, by the
    message's field; `EVERY` stands for all types. `fillers` are those that it has besides BVLC's.
    `guards_statistics` is true if its BatchNorm never lets the solver change statistics, `scales` if its
    default engine gives a BatchNorm scale and shift of its own.
    """

    name: str
    about: str
    types: frozenset[str]
    lacks: dict[str, tuple[str, ...]]
    adds: frozenset[str] = frozenset()
    cudnn: bool = False
    reads: Mapping[str, frozenset[str]] = MappingProxyType({})
    fillers: frozenset[str] = frozenset()
    guards_statistics: bool = False
    scales: bool = False

    def reads_too(self, type: str, field: str) -> bool:
        """Whether layers of this type read a parameter message that the same type of BVLC ignores."""
        types = self.reads.get(field, frozenset())
        return type in self.types and (type in types or EVERY in types)

    def has_field(self, type: str, path: str) -> bool:
        """Whether layers of this type have a BVLC field, written `message_field.field`."""
        return type in self.types and path not in self.lacks.get(type, ())


_OWN = (
    Dialect(
        "caffe-1.0",
        "BVLC Caffe 1.0 (April 2017) and everything after it",
        _MASTER - {"Clip", "Swish"},
        _ROUND_MODE,
    ),
    Dialect("caffe-master", "BVLC Caffe's last state (2020), and Debian's package", _MASTER, {}),
    Dialect("caffe-cudnn", "BVLC Caffe's last state, built with cuDNN", _MASTER, {}, cudnn=True),
)
_FORKS = (
    Dialect(
        "caffeonspark",
        "CaffeOnSpark with yahoo/caffe (2016), whose driver refuses every field it does not know",
        _MASTER - {"Clip", "Swish"} | {"CoSData"},
        _NO_2017,
        _COS_FIELDS,
    ),
    Dialect(
        "nvcaffe",
        "NVIDIA/caffe 0.17 (2021)",
        _MASTER - {"Clip", "Swish", "Parameter"}
        | _SSD
        | {"Axpy", "DetectNetTransformation", "L1Loss", "TRT"},
        _NO_2017,
        _NV_FIELDS,
        cudnn=True,
        reads=_NV_READS,
        fillers=_NV_FILLERS,
        guards_statistics=True,
    ),
    Dialect(
        "intel",
        "intel/caffe (2022)",
        _MASTER - {"Clip"}
        | _SSD
        | {"Axpy", "BoxAnnotatorOHEM", "BoxData", "ContinuationIndicator", "EvalDetection", "MKLBatchNorm"}
        | {"MnActivation", "PSROIPooling", "ROIPooling", "RegionLoss", "Reorg", "SmoothL1LossOHEM"}
        | {"SoftmaxWithLossOHEM", "SpatialDropout"},
        _ROUND_MODE,
        _INTEL_FIELDS,
        reads=_INTEL_READS,
        fillers=frozenset({"gabor"}),
        guards_statistics=True,
        scales=True,
    ),
    Dialect(
        "ssd", "weiliu89/caffe, branch ssd (2018)", _MASTER - {"Clip", "Swish"} | _SSD, _NO_2017,
        _SSD_FIELDS, cudnn=True, reads=_SSD_READS,
    ),
)  # fmt: skip

ANY = Dialect(
    "any",
    "all of these, and layer types found in many forks: to read a file whose Caffe is unknown",
    frozenset().union(_LOOSE, *(d.types for d in (*_OWN, *_FORKS))),
    {},
    frozenset().union(_LOOSE_FIELDS, *(d.adds for d in _FORKS)),
    cudnn=True,
    reads={
        field: frozenset().union(*(d.reads.get(field, ()) for d in _FORKS))
        for field in sorted({field for d in _FORKS for field in d.reads})
    },
    # Synopsys' has `diagonal`.
    fillers=frozenset({"diagonal"}).union(*(d.fillers for d in _FORKS)),
)

DIALECTS = {d.name: d for d in (*_OWN, *_FORKS, ANY)}

# The names of BVLC's dialects, and of those a net can be written for: all that stand for one Caffe.
BVLC = tuple(d.name for d in _OWN)
WRITTEN = tuple(name for name in DIALECTS if name != ANY.name)


def dialect(name: str) -> Dialect:
    """The dialect with this name; raises ConfigError if it is unknown."""
    if name not in DIALECTS:
        raise ConfigError(
            f"unknown dialect '{name}': there are {', '.join(DIALECTS)}",
            key="dialect",
            hint=did_you_mean(name, DIALECTS),
        )
    return DIALECTS[name]


def homes(has: Callable[[Dialect], bool]) -> str:
    """The names of the dialects that satisfy `has`, for hints: only BVLC's if there are any."""
    names = [d.name for d in DIALECTS.values() if has(d)]
    return ", ".join([name for name in names if name in BVLC] or names)
