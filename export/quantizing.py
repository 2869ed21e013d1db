"""Knows how llama.cpp rounds a GGUF file: to one of its kinds, or to a size, each matrix by what its errors cost."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from export import facts
from models.sharing import share

if TYPE_CHECKING:
    import numpy as np

TYPES_WITHIN = {  # what a matrix becomes when its rows fit the blocks
    "Q8_0": ("Q8_0",),
    "Q6_K": ("Q6_K",),
    "Q5_K_M": ("Q5_K", "Q6_K"),
    "Q4_K_M": ("Q4_K", "Q6_K"),
    "IQ4_XS": ("IQ4_XS", "Q5_K", "Q6_K"),
}
TYPES = {  # what a matrix may become where a size is asked for, and llama.cpp's kind of file that is mostly of it
    "Q3_K": "Q3_K_S",
    "IQ4_XS": "IQ4_XS",
    "Q4_K": "Q4_K_S",
    "Q5_K": "Q5_K_S",
    "Q6_K": "Q6_K",
    "Q8_0": "Q8_0",
}
SIZE = re.compile(r"([1-9]\d*)(KB|MB|GB)")  # decimal, as files are sold
ALIGNMENT, ROWS = 32, 8192  # bytes at which a tensor starts; rows read at once
UNKNOWN = MappingProxyType[str, Any]({})


def quantize(source: Path, target: Path, precision: str, *, importance: "Mapping[str, np.ndarray]" = UNKNOWN) -> None:
    """Quantizes by llama.cpp itself; the same bytes whatever the number of threads. `importance` by official names.

    `precision` is one of its kinds or a size such as "1600MB", that the file does not exceed: then `importance` must be
    what errors cost (calibration.loss_weights), and each matrix gets the type that makes their sum least.
    """
    if not (size := SIZE.fullmatch(precision)):
        return _run(source, target, precision, importance)
    most = int(size[1]) * 1000 ** ("KB", "MB", "GB").index(size[2]) * 1000
    types = _chosen(source, target, most, importance)
    commonest = max(TYPES, key=list(types.values()).count)
    exactly = {f"^{re.escape(name)}$": kind for name, kind in types.items()}
    _run(source, target, TYPES[commonest], importance, exactly)


def _chosen(source: Path, draft: Path, most: int, weights: "Mapping[str, np.ndarray]") -> dict[str, str]:
    """The type of each matrix, by trying all on all; ValueError if even the smallest make a larger file than `most`."""
    whole = {tensor.name: tensor for tensor in facts.gguf_file(source).tensors if len(tensor.shape) > 1}
    offers: dict[str, dict[str, tuple[int, float]]] = {name: {} for name in whole}
    for kind, mostly in TYPES.items():
        _run(source, draft, mostly, weights, {".*": kind})
        for tensor in facts.gguf_file(draft).tensors:
            if tensor.name in whole:
                size = -(-tensor.n_bytes // ALIGNMENT) * ALIGNMENT
                offers[tensor.name][kind] = size, _cost(tensor, whole[tensor.name], weights[tensor.name])
        rest = draft.stat().st_size - sum(offer[kind][0] for offer in offers.values())
    least = rest + sum(min(offer.values())[0] for offer in offers.values())
    if least > most:
        raise ValueError(f"no file of {most:,} bytes: the smallest possible has {least:,}; ask for that or more")
    return share(most - rest, offers)


def _cost(tensor: Any, whole: Any, weights: "np.ndarray") -> float:
    """Squared errors of a rounded tensor, each column as heavy as its weight."""
    import gguf
    import numpy as np

    parts = (slice(start, start + ROWS) for start in range(0, len(whole.data), ROWS))
    pairs = ([gguf.dequantize(it.data[part], it.tensor_type) for it in (tensor, whole)] for part in parts)
    return sum(float((np.square(rounded - exact) @ weights).sum(dtype=np.float64)) for rounded, exact in pairs)


def _run(
    source: Path, target: Path, kind: str, importance: "Mapping[str, np.ndarray]", types: Mapping[str, str] = UNKNOWN
) -> None:
    """llama.cpp's call; `types` by patterns of names go before what is usual for the kind."""
    import ctypes

    import llama_cpp
    import numpy as np
    from gguf import GGMLQuantizationType as Type
    from llama_cpp import _logger

    said: list[str] = []

    @llama_cpp.llama_log_callback
    def listen(level: int, text: bytes, _: object) -> None:
        said.append(text.decode("utf-8", "replace").strip())

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind}")
    settings.nthread = len(os.sched_getaffinity(0))
    override = llama_cpp.llama_model_tensor_override
    patterns = [override(pattern.encode(), Type[name]) for pattern, name in types.items()]
    settings.tt_overrides = (override * (len(patterns) + 1))(*patterns)  # llama.cpp reads arrays up to an empty row
    columns = {name: np.ascontiguousarray(values, np.float32) for name, values in importance.items()}
    if columns:
        row, floats = llama_cpp.llama_model_imatrix_data, ctypes.POINTER(ctypes.c_float)
        rows = [row(name.encode(), values.ctypes.data_as(floats), len(values)) for name, values in columns.items()]
        settings.imatrix = (row * (len(rows) + 1))(*rows)
        about: Any = (llama_cpp.llama_model_kv_override * 3)()
        about[0].tag, about[0].key = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_STR, b"quantize.imatrix.dataset"
        about[0].value.val_str = b"training text, Korean and English"
        about[1].tag, about[1].key = llama_cpp.LLAMA_KV_OVERRIDE_TYPE_INT, b"quantize.imatrix.entries_count"
        about[1].value.val_i64 = len(rows)
        settings.kv_overrides = about
    llama_cpp.llama_log_set(listen, None)  # `listen` must outlive every call that may log: env.md, trap 4
    try:
        failed = llama_cpp.llama_model_quantize(bytes(source), bytes(target), settings)
    finally:
        llama_cpp.llama_log_set(_logger.llama_log_callback, None)
    if failed:
        raise ValueError(f"llama.cpp could not quantize {source.name} to {kind}: {' / '.join(said[-3:])}")
