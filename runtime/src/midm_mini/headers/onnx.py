"""Knows what an ONNX decoder may hold: known operators, no subgraphs or functions, weights inside their own folder."""

import math
import os
import re
import stat
from pathlib import Path
from typing import Any

from midm_mini.headers.protobuf import FLOAT, FLOATS, SPAN, STRING, WHOLE, WHOLES, Message, Schema, Wire
from midm_mini.headers.suspect import Suspect

NODES, TENSORS, NAMES = 32_768, 16_384, 512  # optimum makes 5,500 nodes of 48 layers, the genai builder 600
WIDTH = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2, 21: 0.5, 22: 0.5}  # bytes
PLAIN = (
    "Abs Add And Cast CastLike Clip Concat Constant ConstantOfShape Cos CumSum DequantizeLinear Div "
    "DynamicQuantizeLinear Equal Erf Exp Expand Flatten Gather GatherElements GatherND Gelu Gemm Greater "
    "GreaterOrEqual Identity IsInf IsNaN LayerNormalization Less LessOrEqual Log MatMul MatMulInteger Max Min Mod Mul "
    "Neg NonZero Not Or Pow QuantizeLinear RMSNormalization Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum "
    "Relu Reshape RotaryEmbedding ScatterElements ScatterND Shape Sigmoid Sign SimplifiedLayerNormalization Sin Size "
    "Slice Softmax Split Sqrt Squeeze Sub Swish Tanh Tile Transpose Tril Trilu Unsqueeze Where"
)
MICROSOFT = (
    "DynamicQuantizeMatMul FusedMatMul GatherBlockQuantized GroupQueryAttention MatMulIntegerToFloat MatMulNBits "
    "MultiHeadAttention QuickGelu RotaryEmbedding SimplifiedLayerNormalization SkipLayerNormalization "
    "SkipSimplifiedLayerNormalization"
)
OPERATORS = {"": PLAIN.split(), "ai.onnx": PLAIN.split(), "com.microsoft": MICROSOFT.split()}  # by domain
OPSETS = {"": (11, 26), "ai.onnx": (11, 26), "com.microsoft": (1, 1)}
BOUNDS = {  # attributes that ONNX Runtime divides by or allocates with: values allowed
    "bits": (2, 4, 8), "block_size": (16, 32, 64, 128, 256), "accuracy_level": range(5), "K": range(1, 1 << 24),
    "N": range(1, 1 << 24), "num_heads": range(1, 1_025), "kv_num_heads": range(1, 1_025),
    "rotary_interleaved": (0, 1), "do_rotary": (0, 1), "gather_axis": (0,), "quantize_axis": (0, 1),
    "local_window_size": range(-1, 1 << 24), "rotary_embedding_dim": range(1_025),
}  # fmt: skip
REQUIRED = {
    "MatMulNBits": ("K", "N", "block_size"), "GatherBlockQuantized": ("block_size",),
    "GroupQueryAttention": ("num_heads", "kv_num_heads"),
}  # fmt: skip
INPUT = re.compile(r"input_ids|attention_mask|position_ids|past_key_values\.\d{1,3}\.(key|value)")
OUTPUT = re.compile(r"logits|present\.\d{1,3}\.(key|value)")
FLOATING = (1, 10, 16)

_PAIR: Schema = {1: ("key", STRING), 2: ("value", STRING)}
_TENSOR: Schema = {
    1: ("dims", WHOLES), 2: ("data_type", WHOLE), 4: ("float_data", FLOATS), 5: ("int32_data", WHOLES),
    7: ("int64_data", WHOLES), 8: ("name", STRING), 9: ("raw_data", SPAN), 12: ("doc_string", STRING),
    13: ("external_data", _PAIR), 14: ("data_location", WHOLE),
}  # fmt: skip
_ATTRIBUTE: Schema = {
    1: ("name", STRING), 2: ("f", FLOAT), 3: ("i", WHOLE), 4: ("s", STRING), 5: ("t", _TENSOR), 7: ("floats", FLOATS),
    8: ("ints", WHOLES), 9: ("strings", STRING), 13: ("doc_string", STRING), 20: ("type", WHOLE),
}  # fmt: skip
_NODE: Schema = {
    1: ("input", STRING), 2: ("output", STRING), 3: ("name", STRING), 4: ("op_type", STRING),
    5: ("attribute", _ATTRIBUTE), 6: ("doc_string", STRING), 7: ("domain", STRING), 9: ("metadata_props", _PAIR),
}  # fmt: skip
_DIM: Schema = {1: ("dim_value", WHOLE), 2: ("dim_param", STRING), 3: ("denotation", STRING)}
_TYPE: Schema = {1: ("tensor_type", {1: ("elem_type", WHOLE), 2: ("shape", {1: ("dim", _DIM)})})}
_VALUE: Schema = {1: ("name", STRING), 2: ("type", _TYPE), 3: ("doc_string", STRING), 4: ("metadata_props", _PAIR)}
_GRAPH: Schema = {
    1: ("node", _NODE), 2: ("name", STRING), 5: ("initializer", _TENSOR), 10: ("doc_string", STRING),
    11: ("input", _VALUE), 12: ("output", _VALUE), 13: ("value_info", _VALUE), 16: ("metadata_props", _PAIR),
}  # fmt: skip
_MODEL: Schema = {
    1: ("ir_version", WHOLE), 2: ("producer_name", STRING), 3: ("producer_version", STRING), 4: ("domain", STRING),
    5: ("model_version", WHOLE), 6: ("doc_string", STRING), 7: ("graph", _GRAPH),
    8: ("opset_import", {1: ("domain", STRING), 2: ("version", WHOLE)}), 14: ("metadata_props", _PAIR),
}  # fmt: skip


def check(file: Path) -> dict[str, tuple[int, list[int | str]]]:
    """The element type and dims of every input and output of `file`; MidmError unless it is a decoder like ours."""
    wire = Wire(file)
    model = wire.message(_MODEL, "model")
    wire.suspect.whole(wire.one(model, "ir_version", 0, "model"), "ir_version", 4, 14)
    for opset in model["opset_import"]:
        domain = wire.one(opset, "domain", "", "opset_import")
        wire.suspect.must(domain in OPSETS, "opset_import", domain, ", ".join(filter(None, OPSETS)))
        wire.suspect.whole(wire.one(opset, "version", 0, "opset_import"), f"opset of {domain!r}", *OPSETS[domain])
    graph = wire.one(model, "graph", None, "model")
    wire.suspect.must(graph, "graph", "missing", "one")
    sizes = _weights(wire, graph["initializer"])
    wire.suspect.whole(len(graph["node"]), "the number of nodes", 1, NODES)
    for node in graph["node"]:
        values = _attributes(wire, node)
        if node["op_type"] == ["MatMulNBits"]:
            _check_blocks(wire, node["input"], values, sizes)
    return _ends(wire, graph)


def _weights(wire: Wire, tensors: list[Message]) -> dict[str, int]:
    """Name → bytes of the initializers: as dims and type say, external ones in plain files, none used twice over."""
    suspect, files, used, sizes = wire.suspect, dict[str, int](), dict[str, int](), dict[str, int]()
    suspect.whole(len(tensors), "the number of initializers", 0, TENSORS)
    for tensor in tensors:
        name = wire.one(tensor, "name", "", "initializer")
        suspect.must(0 < len(name) <= NAMES and name not in sizes, "an initializer's name", name, "one of its own")
        sizes[name] = size = _size(wire, tensor, f"initializer {name}")
        if tensor["data_location"] in ([], [0]):
            _check_inside(wire, tensor, size, f"initializer {name}")
            continue
        suspect.must(
            tensor["data_location"] == [1], f"initializer {name}'s data_location", tensor["data_location"], "0, 1"
        )
        held = [field for field in ("raw_data", "float_data", "int32_data", "int64_data") if tensor[field]]
        suspect.must(not held, f"initializer {name}", held, "external data or inner data, not both")
        location = _external(wire, tensor, size, f"initializer {name}", files)
        used[location] = used.get(location, 0) + size
    for location, total in used.items():
        suspect.must(total <= files[location], f"weights in {location}", total, "its size: nothing read twice")
    return sizes


def _external(wire: Wire, tensor: Message, size: int, where: str, files: dict[str, int]) -> str:
    """The name of the file beside the model in which a tensor lies; `files` learns its size when it is met first."""
    suspect, pairs = wire.suspect, tensor["external_data"]
    said = {wire.one(pair, "key", "", where): wire.one(pair, "value", "", where) for pair in pairs}
    suspect.only(said, f"{where}'s external_data", frozenset({"location", "offset", "length", "checksum"}))
    suspect.must(len(said) == len(pairs), f"{where}'s external_data", list(said), "each key once")
    location = said.get("location", "")
    if location not in files:
        files[location] = _plain_size(suspect, location, f"{where}'s location")
    numbers = [said.get("offset", "0"), said.get("length", str(size))]
    digits = all(re.fullmatch(r"[0-9]{1,15}", number) for number in numbers)
    suspect.must(digits, f"{where}'s offset and length", numbers, "decimal numbers")
    offset, length = map(int, numbers)
    suspect.must(length == size, f"{where}'s length", length, f"{size}, by dims and type")
    total = files[location]
    suspect.must(offset + length <= total, f"{where}'s end", offset + length, f"up to {total}, the end of {location}")
    return location


def _plain_size(suspect: Suspect, location: str, field: str) -> int:
    """Bytes of the file `location` beside the model.

    A link there could show any file of this machine as weights, for these have no magic of their own: plain files only
    (`dvc config cache.type` reflink or copy, the default, makes such).
    """
    bare = re.fullmatch(r"[\w][\w.\- ]{0,254}", location)
    suspect.must(bare, field, location, "the bare name of a file beside the model")
    place = suspect.file.resolve().parent / location
    status = os.lstat(place) if os.path.lexists(place) else None
    kind = "missing" if status is None else stat.filemode(status.st_mode)
    plain = status is not None and stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    suspect.must(plain, field, f"{location}, {kind}", "a regular file, neither soft nor hard link")
    return status.st_size if status else 0


def _size(wire: Wire, tensor: Message, where: str) -> int:
    """Bytes by dims and type."""
    kind = wire.one(tensor, "data_type", 0, where)
    wire.suspect.must(kind in WIDTH, f"{where}'s data_type", kind, f"one of {list(WIDTH)}")
    wire.suspect.must(len(tensor["dims"]) <= 8, f"{where}'s dims", tensor["dims"], "up to 8")
    for dim in tensor["dims"]:
        wire.suspect.whole(dim, f"{where}'s dim", 0, 1 << 40)
    return math.ceil(math.prod(tensor["dims"]) * WIDTH[kind])


def _check_inside(wire: Wire, tensor: Message, size: int, where: str) -> None:
    wire.suspect.must(not tensor["external_data"], f"{where}'s external_data", "inside", "none")
    raw = sum(span.end - span.start for span in tensor["raw_data"])
    count = sum(len(tensor[field]) for field in ("float_data", "int32_data", "int64_data"))
    elements = math.prod(tensor["dims"])
    fits = raw == size and not count if tensor["raw_data"] else count == elements
    wire.suspect.must(fits, f"{where}'s data", (raw, count), f"{size} bytes raw or {elements} numbers")


def _attributes(wire: Wire, node: Message) -> dict[str, Any]:
    """The whole numbers among a node's attributes, once operator and attributes are known to be sound."""
    suspect = wire.suspect
    kind, domain = wire.one(node, "op_type", "", "node"), wire.one(node, "domain", "", "node")
    if kind not in OPERATORS.get(domain, ()):
        suspect.must(False, "an operator", f"{domain}.{kind}", "those of decoders; code of others is not needed here")
    long = [name for name in (*node["input"], *node["output"], *node["name"]) if len(name) > NAMES]
    suspect.must(not long, f"a name at {kind}", long, f"up to {NAMES} letters")
    values: dict[str, Any] = {}
    for attribute in node["attribute"]:
        name = wire.one(attribute, "name", "", kind)
        suspect.must(name and name not in values, f"an attribute of {kind}", name, "each once, with a name")
        values[name] = attribute["i"][0] if attribute["i"] else None
        for tensor in attribute["t"]:
            size = _size(wire, tensor, f"{kind}.{name}")
            suspect.must(tensor["data_location"] in ([], [0]), f"{kind}.{name}", "external data", "data inside")
            _check_inside(wire, tensor, size, f"{kind}.{name}")
        if domain == "com.microsoft" and name in BOUNDS:
            suspect.must(values[name] in BOUNDS[name], f"{kind}.{name}", values[name], str(BOUNDS[name]))
    for name in REQUIRED.get(kind, ()):
        suspect.must(values.get(name), f"{kind}.{name}", "missing", "a number")
    heads, grouped = values.get("num_heads") or 1, values.get("kv_num_heads") or 1
    suspect.must(heads % grouped == 0, f"{kind}.kv_num_heads", grouped, f"a divisor of {heads}")
    return values


def _check_blocks(wire: Wire, inputs: list[str], values: dict[str, Any], sizes: dict[str, int]) -> None:
    """A quantized matrix has as many blocks as N, K and block size say: a kernel reads by these, not by the dims."""
    held = sizes.get(inputs[1], -1) if len(inputs) > 2 else -1
    block = values["block_size"]
    wanted = values["N"] * -(-values["K"] // block) * block * (values.get("bits") or 4) // 8
    wire.suspect.must(
        held == wanted, "MatMulNBits's weights", f"{held} bytes", f"{wanted}, by N, K, bits and block_size"
    )


def _ends(wire: Wire, graph: Message) -> dict[str, tuple[int, list[int | str]]]:
    found: dict[str, tuple[int, list[int | str]]] = {}
    for side, pattern in {"input": INPUT, "output": OUTPUT}.items():
        for value in graph[side]:
            name = wire.one(value, "name", "", side)
            wire.suspect.must(pattern.fullmatch(name) and name not in found, f"an {side}", name, pattern.pattern)
            found[name] = _type(wire, value, name)
    layers = sum(name.startswith("past") for name in found), sum(name.startswith("present") for name in found)
    wire.suspect.must(layers[0] == layers[1] > 0, "the cache", layers, "as many inputs as outputs")
    for name in ("input_ids", "logits"):
        wire.suspect.must(name in found, "the graph", f"without {name}", "input_ids and logits")
    for name, (element, dims) in found.items():
        ids = name.endswith(("ids", "mask"))
        wire.suspect.must(element in ((7,) if ids else FLOATING), f"type of {name}", element, "int64 ids, else floats")
        rank = 2 if ids else 3 if name == "logits" else 4
        wire.suspect.must(len(dims) == rank, f"rank of {name}", len(dims), str(rank))
        if name.startswith("past"):
            wire.suspect.whole(dims[1], f"heads of {name}", 1, 1_024)
    return found


def _type(wire: Wire, value: Message, name: str) -> tuple[int, list[int | str]]:
    """The element type and dims of a tensor; a free dim is its name."""
    kind = wire.one(value, "type", {"tensor_type": []}, name)
    tensor = wire.one(kind, "tensor_type", {"elem_type": [0], "shape": []}, name)
    shape = wire.one(tensor, "shape", {"dim": []}, name)
    dims = [wire.one(dim, "dim_value", None, name) or wire.one(dim, "dim_param", "", name) for dim in shape["dim"]]
    return wire.one(tensor, "elem_type", 0, name), dims
