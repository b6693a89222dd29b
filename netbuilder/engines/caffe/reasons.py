"""Why Caffe ended, in plain words: the meaning of its messages, and what to do.

Each pattern matches what Caffe logs. tests/engines/test_aborts.py provokes those that need no GPU in real
Caffe.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType

from netbuilder.engines.caffe.log import GLOG, by_signal, ending, last_error, last_line, reason_of
from netbuilder.errors import EngineError, NetBuilderError
from netbuilder.storage.files import read_text

__all__ = ["death", "fault", "plain_reason"]

_MOUNT = "a container sees what is mounted: -v FOLDER:FOLDER, by the same name, and start there: -w FOLDER"
_DIFF = "`netbuilder diff` shows what differs; rename a layer whose weights should not be loaded"
_LESS = "make batch_size smaller, and iter_size larger"
_MAKE = "netbuilder data makes one; names are relative to the current directory"
_AGAIN = "it may be broken: make it again (`netbuilder data`)"
_HDF5 = "the datasets are named after the tops of the layer, and all have equally many rows"

# Caffe's message, its meaning (with the groups of the match), and what to do. The first match counts.
_GPU = (
    (
        r"Cannot use GPU in CPU-only Caffe",
        "this Caffe is built for CPUs only, and a GPU was asked for",
        "leave --gpu and solver_mode: GPU out, or name a Caffe with CUDA by NETBUILDER_CAFFE",
    ),
    (r"error == cudaSuccess \(2 vs\. 0\)", "the GPU has too little memory", _LESS),
    (
        r"error == cudaSuccess \((?:38|100) vs\. 0\)",
        "there is no GPU that CUDA can use",
        "leave --gpu out to train on the CPU; docker gives a container GPUs by --gpus all",
    ),
    (
        r"error == cudaSuccess \((?:10|101) vs\. 0\)",
        "there is no GPU of that number",
        "`nvidia-smi -L` lists them",
    ),
    (
        r"error == cudaSuccess \(35 vs\. 0\)",
        "the driver of the GPU is too old for the CUDA that this Caffe is built with",
        "renew the driver, or take a Caffe with an older CUDA",
    ),
    (
        r"error == cudaSuccess \((?:8|48|98|209) vs\. 0\)",
        "this Caffe is not built for a GPU of this kind",
        "build it for the compute capability of the GPU (CUDA_ARCH)",
    ),
    (r"error == cudaSuccess \((\d+) vs\. 0\) +(.*)", "CUDA failed: {1} (error {0})", ""),
    (r"CUDNN_STATUS_SUCCESS \((\d+) vs\. 0\) *(.*)", "cuDNN failed: {1}", f"perhaps for memory: {_LESS}"),
    (r"CUBLAS_STATUS_SUCCESS \((\d+) vs\. 0\) *(.*)", "cuBLAS failed: {1}", f"perhaps for memory: {_LESS}"),
    (r"ncclSuccess \((\d+) vs\. 0\) *(.*)", "NCCL, which joins the GPUs, failed: {1}", "try one GPU"),
    (
        r"Multi-GPU execution not available",
        "this Caffe is built without NCCL, which several GPUs need",
        "train on one GPU",
    ),
    (
        r"Layer-wise reduce is not supported for nets with shared weights",
        "a net with shared weights cannot train on several GPUs as the solver says",
        "write layer_wise_reduce: false in the solver",
    ),
)
_DATA = (
    (r"Could not decode datum", "an image in a database of the net cannot be decoded", _AGAIN),
    (r"mdb_status == 0 \(2 vs\. 0\)", "a database of the net is not there", _MAKE),
    (
        r"mdb_status == 0 \((?:13|30) vs\. 0\) *(.*)",
        "a database of the net may not be opened: {0}",
        "LMDB writes lock.mdb beside the data: whoever runs Caffe must be allowed to",
    ),
    (
        r"mdb_status == 0 \((?:12|-30792) vs\. 0\) *(.*)",
        "a database of the net does not fit into the address space: {0}",
        "`ulimit -v` limits it",
    ),
    (
        r"mdb_status == 0 \((?:-30790|11|35) vs\. 0\) *(.*)",
        "too many processes read a database of the net: {0}",
        "end those that are left over; its lock.mdb may be removed when nobody reads it",
    ),
    (r"mdb_status == 0 \((\S+) vs\. 0\) *(.*)", "a database of the net cannot be read: {1}", _AGAIN),
    (
        r"Failed to open leveldb (.*?) *IO error: lock",
        "the LevelDB '{0}' is in use: only one layer can open it",
        "convert it to an LMDB, which any number can read, or give each phase its own copy",
    ),
    (
        r"Failed to open leveldb (\S+) *(.*)",
        "the LevelDB '{0}' cannot be opened: {1}",
        "is it one? For an LMDB write backend: LMDB",
    ),
    (
        r"datum_channels > 0",
        "the first record of a database is missing, or not an image",
        _AGAIN,
    ),
    (
        r"(datum|img)_(channels|height|width) == (?:channels|height|width) \((\d+) vs\. (\d+)\)",
        "the images differ in size: {1} {2}, where the first of the batch has {3}",
        "crop_size makes them equal, and so do new_height and new_width of ImageData, and `netbuilder data`",
    ),
    (
        r"(height|width) <= (?:datum|img)_(?:height|width) \((\d+) vs\. (\d+)\)",
        "an image is smaller than crop_size, or than the first of the batch: {0} {2}, where {1} are needed",
        "make crop_size smaller, or the images larger",
    ),
    (
        r"(?:datum|img|input)_(?:height|width) >= crop_size \((\d+) vs\. (\d+)\)",
        "crop_size {1} is larger than an image of {0} pixels",
        "make crop_size smaller, or the images larger",
    ),
    (
        r"(?:datum|img|input)_(channels|height|width) == data_mean_\.\w+\(\) \((\d+) vs\. (\d+)\)",
        "the mean file does not fit the images: its {0} is {2}, and theirs is {1}",
        "`netbuilder data` writes the mean of a database, uncropped; or give mean_value for each channel",
    ),
    (
        r"Cannot specify mean_file and mean_value",
        "mean_file and mean_value are both given",
        "leave one of them out",
    ),
    (
        r"Specify either 1 mean_value or as many as channels: (\d+)",
        "mean_value must be given once, or once for each of the {0} channels",
        "",
    ),
    (
        r"Could not load (.*)",
        "the image '{0}' cannot be read: it is not there, damaged, or of a kind that OpenCV lacks",
        "fix it, or remove its line from the list",
    ),
    (
        r"label > 0 \((\S+) vs\. 0\)",
        "a window of the foreground, which overlaps by fg_threshold or more, has class {0}",
        "classes of objects count from 1 in a window file; 0 is the background",
    ),
    (r"!lines_\.empty\(\) File is empty", "the list of images is empty", ""),
    (r"Failed to open source file: (.*)", "the list '{0}' of HDF5 files cannot be read", ""),
    (r"Failed opening HDF5 file: *(.*)", "'{0}' does not exist, or is not a whole HDF5 file", ""),
    (r"Failed to find HDF5 dataset (.*)", "an HDF5 file has no dataset '{0}'", _HDF5),
    (
        r"hdf_blobs_\[i\]->shape\(0\) == num \((\d+) vs\. (\d+)\)",
        "the datasets of an HDF5 file differ in length: {0} rows and {1}",
        _HDF5,
    ),
)
_FILES = (
    (
        r"Error parsing text-format caffe\.NetParameter: (\d+):(\d+): (.*)",
        "this Caffe does not understand line {0} of the net: {2}",
        "other Caffes may: `netbuilder check` says who can load a net",
    ),
    (
        r"Error parsing text-format caffe\.SolverParameter: (\d+):(\d+): (.*)",
        "this Caffe does not understand line {0} of the solver: {2}",
        "it came after this Caffe: leave it out",
    ),
    (
        r"Failed to parse NetParameter file: (.*\S)",
        "'{0}' has no weights of Caffe in it: it is cut short, or something else",
        "",
    ),
    (
        r"ReadProtoFromBinaryFile\(filename, proto\)",
        "a binary file of the net, such as mean_file, is not a file of Caffe's, or is cut short",
        "",
    ),
    (
        r"Cannot copy param (\d+) weights from layer '(.*)'; shape mismatch\. +Source param shape is (.*?);"
        r" target param shape is (.*?)\.",
        "the weights do not fit: param {0} of layer '{1}' is {2} in the file and {3} in the net",
        _DIFF,
    ),
    (
        r"Incompatible number of blobs for layer (.*)",
        "the weights do not fit: layer '{0}' has another number of params",
        _DIFF,
    ),
    (
        r"Incorrect length of history blobs|state\.history_size\(\) == history_\.size\(\)",
        "the snapshot does not fit: it is of another net, or of another type of solver",
        "--weights begins with its weights, without the history",
    ),
    (
        r"SerializeToOstream",
        "Caffe cannot write a snapshot: the disk is full, or the file may not grow so large",
        "make room, then --resume latest goes on from the last snapshot that is whole",
    ),
    (
        r"Cannot write to snapshot prefix '(.*)'",
        "Caffe cannot write to the folder of the snapshots, '{0}'",
        "in a container it may be another user, or see the folder read-only",
    ),
    (r"Unknown learning rate policy: (.*)", "Caffe has no lr_policy '{0}'", ""),
    (r"File not found: (.*\S)", "Caffe does not find the file '{0}'", ""),
    (r"Couldn't open (?:solver state file )?(.*\S)", "Caffe does not find the file '{0}'", ""),
)
_NET = (
    (
        r"Unknown layer type: (.*?) \(",
        "this Caffe has no layer type '{0}'",
        "a fork may: `netbuilder check` says who can load a net",
    ),
    (
        r"Layer (.*) has unknown engine",
        "layer '{0}' asks for an engine that this Caffe is built without",
        "leave engine: CUDNN out",
    ),
    (
        r"boost::python::error_already_set|returned NULL without setting an error",
        "a Python layer raised an error, or its module was not found",
        "its folder must be on PYTHONPATH, where Caffe runs",
    ),
    (
        r"\*ptr host allocation of size (\d+) failed|std::bad_alloc",
        "the memory of this machine is too small",
        _LESS,
    ),
    (
        r"thread_resource_error",
        "no more threads can be started here",
        "`ulimit -u`, and the limits of a container, say how many there may be",
    ),
)
_MEANINGS = (*_GPU, *_DATA, *_FILES, *_NET)

# Signals that end a process without a message.
_SIGNALS = {
    "SIGKILL": (
        "Caffe was killed (SIGKILL), by hand or by the kernel for its memory",
        "`dmesg` names a process that the kernel killed; a smaller batch_size takes less memory; "
        "--resume latest goes on from the last snapshot",
    ),
    "SIGSEGV": ("Caffe died (SIGSEGV)", "a label that is out of range crashes Caffe, for one"),
    "SIGBUS": (
        "Caffe died (SIGBUS): a file that it reads as memory ended early",
        "a truncated database (`netbuilder data show` reports it) or a full disk causes this",
    ),
    "SIGFPE": ("Caffe died (SIGFPE): it divided by zero", "a field is 0 that must not be, such as a stride"),
    "SIGILL": (
        "Caffe died (SIGILL): it, or its OpenBLAS, is built for another processor",
        "OPENBLAS_CORETYPE=Haswell, say, chooses what OpenBLAS takes it for",
    ),
    "SIGXFSZ": (
        "Caffe cannot write a snapshot: the file may not grow so large",
        "`ulimit -f` limits it",
    ),
}


def plain_reason(reason: str) -> tuple[str, str]:
    """The meaning of Caffe's reason in plain words, and what to do ("", "" if it has no entry)."""
    for pattern, meaning, hint in _MEANINGS:
        m = re.search(pattern, reason)
        if m:
            return meaning.format(*((g or "").strip() for g in m.groups())).removesuffix(": "), hint
    return "", ""


def _unseen(reason: str) -> tuple[str, str] | None:
    """The meaning and hint for a file that exists but that Caffe, in a container or a root, does not find."""
    m = re.search(
        r"(File not found|Could not load|Failed opening HDF5 file|Failed to open source file):? *(.*\S)",
        reason,
    )
    if m is None or not os.path.exists(m[2]):
        return None
    if m[1] == "Could not load" and not _is_image(m[2]):
        return None
    if m[1] == "Failed opening HDF5 file" and not _is_hdf5(m[2]):
        return None
    return f"Caffe does not see the file '{m[2]}', which is there", _MOUNT


def _is_image(path: str) -> bool:
    """Whether a file is an image for Pillow, so that Caffe would have read it, too."""
    from netbuilder.data import images

    try:
        with open(path, "rb") as file:
            images.decode(file)
    except (OSError, images.Unreadable, NetBuilderError):
        return False
    return True


def _is_hdf5(path: str) -> bool:
    """Whether HDF5 opens a file, so that Caffe would have; one that is cut short it does not."""
    try:
        import h5py

        h5py.File(path, "r").close()
    except (OSError, ImportError):
        return False
    return True


def _misread(reason: str, log: str, names: Mapping[str, str]) -> EngineError | None:
    """The error for a file that Caffe cannot parse, at its place in the user's file.

    `names` are the user's files by the names of those that Caffe read, which are copies. A net inside a
    solver, and the solver itself, have other lines there: they are searched for what Caffe names.
    """
    m = re.search(r"Error parsing text-format caffe\.(Net|Solver)Parameter: (\d+):(\d+): (.*)", reason)
    read = re.search(r"Failed to parse \w+ file: (.*\S)", log)
    if m is None or read is None:
        return None
    path, line, column = names.get(os.path.basename(read[1]), read[1]), int(m[2]), int(m[3])
    if m[1] == "Solver":
        word = re.search(r'"([^".]+)"\W*$', m[4])
        line, column = _place(path, word[1]) if word else (0, 0)
    place = f"line {line} of '{path}'" if line else f"'{path}'"
    where = ":".join(str(part) for part in (path, line, column) if part)
    hint = "other Caffes may: `netbuilder check` says who can load a net"
    if m[1] == "Solver":
        hint = "it came after this Caffe: leave it out"
    return EngineError(f"this Caffe does not understand {place}: {m[4]}", where=where, hint=hint)


def _place(path: str, word: str) -> tuple[int, int]:
    """The line and column of the only field or value of that name in a file; 0 if it is not the only one."""
    try:
        text = read_text(path)
    except NetBuilderError:
        return 0, 0
    found = list(re.finditer(rf"\b{re.escape(word)}\b", text))
    if len(found) != 1:
        return 0, 0
    at = found[0].start()
    return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)


def death(code: int, log: str, names: Mapping[str, str] = MappingProxyType({})) -> EngineError:
    """The error for a worker that died; `names` are the user's files by the names of what the worker read."""
    by = by_signal(code)
    reason, site = reason_of(log)
    layer = _at_layer(log)
    where = f"{site} in Caffe{layer and f', at {layer}'}" if site else layer and f"at {layer}"
    if not reason and by in _SIGNALS:
        text, hint = _SIGNALS[by]
        return EngineError(text, where=where if by != "SIGKILL" else "", hint=hint)
    if misread := _misread(reason, log, names):
        return misread
    plain, hint = _unseen(reason) or plain_reason(f"{last_error(log)} {reason}")
    if plain:
        reason = _python_error(log) if "error_already_set" in reason else reason
        return EngineError(plain, where=f"{where}: {reason}" if where else reason, hint=hint)
    if reason:
        return EngineError(f"Caffe ended itself: {reason}", where=where)
    return EngineError(f"Caffe died ({by or ending(code)})", where=where, hint=last_line(log))


def _at_layer(log: str) -> str:
    """The layer that was being created when the log ends; "" once the net is complete."""
    made, maker, ender = "", "", ""
    for line in log.splitlines():
        glog = GLOG.match(line)
        if glog is None:
            continue
        if m := re.match(r"Creating [Ll]ayer (.*)", glog[4]):
            made, maker = m[1], glog[2]
        elif glog[4].startswith("Network initialization done"):
            made = ""
        ender = glog[2] if glog[1] == "F" else ender
    # Another thread reads the data meanwhile, and may be the one that failed.
    return f"layer '{made}'" if made and ender in ("", maker) else ""


def _python_error(log: str) -> str:
    """What a Python layer raised: the last line of its traceback, which Caffe prints."""
    found = re.findall(r"^(\w+(?:Error|Exception)\b.*)$", log, re.MULTILINE)
    return found[-1] if found else ""


def fault(text: str, hint: str, log: str) -> EngineError:
    """The error for a fault that the worker itself reports."""
    plain, what_to_do = plain_reason(text)
    if plain:
        return EngineError(plain, where=_python_error(log) or text, hint=what_to_do)
    return EngineError(text, hint=hint)
