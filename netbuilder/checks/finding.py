"""The codes of findings about nets, and `found`, which makes such a finding about a layer."""

from __future__ import annotations

from netbuilder.findings import Code, Finding, dashed
from netbuilder.net import Layer

__all__ = ["CODES", "Code", "Finding", "found"]


def found(code: str, layer: Layer, text: str, fix: str = "", *, target: str = "", field: str = "") -> Finding:
    """A finding about a layer, at its place, with the severity of the code; about a target, an error."""
    origin = layer.origin
    return Finding(
        "error" if target else CODES[code].severity, code, layer.name, text, fix,
        origin.line, origin.column, origin.file, target, field=field,
    )  # fmt: skip


def _codes(severity: str, **titles: str) -> dict[str, Code]:
    return {name: Code(severity, title) for name, title in dashed(titles)}


# Codes are stable. Severity is fixed per code, except that a consumer's limit is an error if it fails there.
# docs/checking.md has the same list, and a test compares them.
CODES: dict[str, Code] = {
    # What Caffe refuses when it builds the net.
    **_codes(
        "error",
        syntax="The file is not a prototxt that Caffe can parse.",
        shape="Shapes, numbers of blobs or fields do not fit; Caffe aborts.",
        field="A field has a value that Caffe does not take.",
        name_clash="Two layers give a blob of one name.",
        missing_bottom="A layer reads a blob that no layer before it gives.",
        in_place_refused="A layer writes in place where Caffe refuses it.",
        unknown_type="No Caffe has this layer type.",
        unknown_field="No Caffe has this field or label.",
        phase_shape="A parameter has another shape in TEST than in TRAIN: Caffe aborts when it tests.",
        weights_shape="The model has parameters of another number or shape: Caffe aborts.",
    ),
    # What Caffe accepts, and what is then wrong.
    **_codes(
        "error",
        in_place="The layer computes wrong values in place.",
        in_place_gradient="The layer's gradient is wrong in place.",
        in_place_chain="A layer in place overwrites values that the layer before needs for its gradient.",
        in_place_shared="A layer in place overwrites a Parameter, or what is read later by another name.",
        empty_blob="A blob has no elements.",
        pooling_outside="A pooling window lies outside the image.",
        stride_zero="A stride is 0: Caffe builds the net, and dies in its first forward pass.",
        data_filler="Caffe builds the net, and dies in its first forward pass: a data_filler cannot draw.",
        no_forward="Caffe builds the net, and aborts in its first forward pass.",
        no_backward="Caffe aborts in the backward pass: the layer has no gradient for this bottom.",
        one_value="A layer normalises over a single value: its result is constant.",
        gradient_lost="A layer looks for its gradient where it is not: what is learnt before it gets 0.",
        dropout_all="Everything is dropped, and divided by zero.",
    ),
    **_codes(
        "warning",
        no_layers="The net has no layers.",
        duplicate_name="Two layers with parameters have one name.",
        phase_field="The layer runs in the phase that it names, and is not left out of the other.",
        phase_weights="A layer of the TEST net has no counterpart in the TRAIN net.",
        ignored_param="The layer type does not read this parameter message.",
        ignored_field="The field has no effect here.",
        unused_blob="Nobody reads a blob of the net in training.",
        input_overwritten="A layer writes over the input of the net.",
        kernel_outside="The kernel is larger than the padded image.",
        lone_pair="Half of an _h/_w pair is given.",
        engine_cudnn="A Caffe without cuDNN aborts.",
        stochastic_cpu="Caffe has stochastic pooling for the GPU only.",
        batchnorm_without_scale="No Scale follows a BatchNorm.",
        batchnorm_trained="Old Caffes would train the statistics of a BatchNorm.",
        batchnorm_frozen="A BatchNorm does not update its statistics in training.",
        batchnorm_batch_stats="A BatchNorm normalises by the batch in TEST.",
        filler_not_finite="A filler gives infinity or NaN.",
        zero_weights="All weights start at zero.",
        frozen_zero="A layer that is not learnt starts at zero, and stays there without a model.",
        zero_scale="A Scale starts at zero.",
        bilinear_mixes="A bilinear filter adds up several channels.",
        double_softmax="A loss applies its own Softmax or Sigmoid to probabilities.",
        loss_without_softmax="A loss takes probabilities, and gets scores.",
        dropout_on_scores="Dropout stands right before a loss.",
        mirror_in_test="Images are mirrored at random in TEST.",
        crop_in_one_phase="Images are cropped in one phase only.",
        leveldb_default="A database that looks like LMDB is opened as LevelDB.",
        weights_missing="A layer finds no parameters in the model.",
        writes_outside="A layer writes a file outside the current folder and that of the net.",
    ),
    **_codes(
        "info",
        uncounted="The layer was not counted, and what depends on its shape was not checked.",
        bias_before_batchnorm="BatchNorm takes the bias before it away again.",
        filler_fan="A filler scales by another number of connections than is meant.",
        loss_without_top="A loss without a top is never printed.",
        weights_unused="The model has parameters that no layer takes.",
        runs_code="A layer makes Caffe run code that it names.",
    ),
    # What a consumer other than BVLC's Caffe refuses, or computes otherwise (`netbuilder.checks.consumers`).
    **_codes(
        "error",
        no_such_type="The consumer does not have this layer type.",
        no_such_field="The consumer does not have this field.",
        not_deploy="The consumer takes deploy nets: no data and no loss layers.",
        old_format="The consumer does not read files of this format.",
        old_input="The consumer does not read inputs given as `input:` fields.",
        argmax="ArgMax gives other values.",
        axpy="Axpy adds and multiplies other bottoms.",
        batch_stats="BatchNorm must use its stored statistics.",
        bias_axes="Bias takes four axes and one bottom.",
        coeff="Coefficients are ignored, or give other values.",
        concat_single="Concat of one input gives garbage.",
        crop_offset="Crop without an offset gives other values.",
        crop_rank="Crop needs two bottoms of as many axes.",
        deconv_dilation="Deconvolution ignores its dilation.",
        deconv_pad="Deconvolution with a kernel of 1 fails on its pad.",
        depthwise_dilation="A dilated filter per channel gives other values.",
        dilation_zero="A dilation of 0 fails.",
        eltwise_axes="Eltwise takes two to five axes.",
        embed="Embed gives other values.",
        flatten_axes="Flatten of some axes fails.",
        image_size="An image is too large.",
        fused="A layer is merged with the one after it, and gives other values.",
        inline_blobs="Blobs in the text add to those of the model.",
        input_tops="An Input layer with several tops fails.",
        input_unread="An input that no layer reads fails.",
        kernel_large="A kernel larger than the padded image fails.",
        log="Log gives other values, or ignores its fields.",
        lrn="LRN ignores k.",
        lrn_alpha="LRN needs its alpha.",
        lstm="LSTM fails.",
        mvn="MVN gives other values.",
        negative_axis="A negative axis fails.",
        nothing_computed="An input is an output, without a layer that computes something.",
        output_merged="An output that another layer computes as well is not given.",
        output_read="An output that a layer reads under another name is not given.",
        one_axis="A blob of one axis does not fit another, or is cropped wrongly.",
        old_axis="concat_dim and slice_dim are ignored.",
        other_tile="Tile has another interface.",
        product_axes="An InnerProduct over all axes fails, or one from the fifth axis on.",
        params_dropped="The fields of the layer are not read.",
        pool_unwritten="Global pooling needs its pool written.",
        pooling_clip="Pooling keeps a window that Caffe drops.",
        pooling_mask="The second top of a Pooling fails.",
        prelu_shared="PReLU with one slope for all channels fails.",
        reshape_axes="Reshape ignores axis and num_axes, or fails on them.",
        round_mode="Pooling rounds up, whatever round_mode says.",
        scale_axes="Scale over other axes than the channels fails.",
        scale_bias="Scale with two bottoms and a bias fails.",
        scale_scalar="Scale by one number fails.",
        scale_two_bottoms="Scale with two bottoms fails.",
        several_bottoms="One layer with several bottoms and tops fails.",
        slice_equal="Slice needs its slice_point.",
        slice_unread="Slice needs its slice_point where a piece is not read.",
        softmax_axis="Softmax over the only axis gives other values.",
        spatial_axes="A convolution over these axes fails.",
        statistics_trained="The statistics of a BatchNorm would be trained.",
        swish_beta="Swish takes beta for 1.",
        top_name="A top must be called like its layer.",
        transpose="InnerProduct ignores transpose.",
        uneven_window="Repeated kernel_size, stride or pad are not all read.",
    ),
    **_codes("warning", unread_top="The consumer does not compute a top that no layer reads."),
}
