"""The layer types of older file formats: V1 (2014) has an enum of them, V0 (2013) a string in lower case.

Source: upgrade_proto.cpp, UpgradeV1LayerType and UpgradeV0LayerType.
"""

from __future__ import annotations

from netbuilder.schema.descriptors import message

__all__ = ["C3D_TYPES", "V0_TYPES", "V1_TYPES", "type_of_v0", "type_of_v1"]

# Where today's type cannot be derived from the name of the enum value, as InnerProduct from INNER_PRODUCT.
_IRREGULAR = {
    "NONE": "",
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
_ENUM = message("V1LayerParameter").DESCRIPTOR.fields_by_name["type"].enum_type

# Today's type, by the number of the value in V1's enum.
V1_TYPES: dict[int, str] = {
    v.number: _IRREGULAR.get(v.name, v.name.title().replace("_", "")) for v in _ENUM.values
}

# Today's type, by a name in the enum of C3D 1.0, which numbers its values as BVLC numbers others.
C3D_TYPES = {
    "CONVOLUTION3D": "Convolution3D",
    "DECONVOLUTION3D": "Deconvolution3D",
    "POOLING3D": "Pooling3D",
    "VIDEO_DATA": "VideoData",
}

# The name of the value in V1's enum, by the type in V0.
V0_TYPES = {
    "conv": "CONVOLUTION",
    "images": "IMAGE_DATA",
    "innerproduct": "INNER_PRODUCT",
    "pool": "POOLING",
}
_SAME_IN_CAPITALS = (
    "accuracy bnll concat data dropout euclidean_loss flatten hdf5_data hdf5_output im2col infogain_loss lrn "
    "multinomial_logistic_loss relu sigmoid softmax softmax_loss split tanh window_data"
)
V0_TYPES |= {name: name.upper() for name in _SAME_IN_CAPITALS.split()}


def type_of_v1(number: int) -> str:
    """Today's type for a value of V1's enum, "" for a number that the enum lacks."""
    return V1_TYPES.get(number, "")


def type_of_v0(name: str) -> str:
    """Today's type for a type of V0, or the name itself if Caffe does not know it."""
    return V1_TYPES[_ENUM.values_by_name[V0_TYPES[name]].number] if name in V0_TYPES else name
