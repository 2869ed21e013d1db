"""Makes small sound files by hand (GGUF, safetensors, ONNX folder), in parts that a test can spoil one at a time."""

import json
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from midm_mini.format import CHAT_TEMPLATE, CONTROL_TOKENS
from midm_mini.headers import llama
from midm_mini.headers.safetensors import check as check_safetensors
from midm_mini.headers.tokenizer import LETTERS, LLAMA3
from midm_mini.headers.tokenizer import check as check_tokenizer

EMBED, HEADS, GROUPS, WIDTH, FFN, LAYERS = 32, 4, 2, 32, 64, 2
TOKENS = [*CONTROL_TOKENS, *sorted(LETTERS), "ab"]  # bytes and one merge
ROWS = len(TOKENS)


def u32(value: int) -> bytes:
    return struct.pack("<II", 4, value)


def f32(value: float) -> bytes:
    return struct.pack("<If", 6, value)


def raw(value: str | bytes) -> bytes:
    """A string without its type: 8 bytes of length, then UTF-8."""
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(data)) + data


def text(value: str | bytes) -> bytes:
    return struct.pack("<I", 8) + raw(value)


def texts(values: list[Any], *, count: int | None = None) -> bytes:
    return struct.pack("<IIQ", 9, 8, len(values) if count is None else count) + b"".join(map(raw, values))


def i32s(values: list[int]) -> bytes:
    return struct.pack(f"<IIQ{len(values)}i", 9, 5, len(values), *values)


def metadata() -> dict[str, bytes]:
    """Key → type and value as they stand in the file."""
    numbers = {"context_length": 64, "embedding_length": EMBED, "block_count": LAYERS, "feed_forward_length": FFN}
    numbers |= {"attention.head_count": HEADS, "attention.head_count_kv": GROUPS, "attention.key_length": WIDTH}
    numbers |= {"attention.value_length": WIDTH, "rope.dimension_count": WIDTH, "vocab_size": ROWS}
    found = {"general.architecture": text("llama"), "general.name": text("crafted")}
    found |= {f"llama.{name}": u32(value) for name, value in numbers.items()}
    found |= {"llama.rope.freq_base": f32(10_000.0), "llama.attention.layer_norm_rms_epsilon": f32(1e-5)}
    found |= {"tokenizer.ggml.model": text("gpt2"), "tokenizer.ggml.pre": text("llama-bpe")}
    found |= {"tokenizer.ggml.tokens": texts(TOKENS), "tokenizer.ggml.merges": texts(["a b"])}
    found |= {"tokenizer.ggml.token_type": i32s([3 if token in CONTROL_TOKENS else 1 for token in TOKENS])}
    found |= {"tokenizer.ggml.bos_token_id": u32(0), "tokenizer.ggml.eos_token_id": u32(2)}
    return found | {"tokenizer.chat_template": text(CHAT_TEMPLATE)}


def tensors() -> dict[str, list[Any]]:
    """Name → [dims, type, offset], all float32."""
    query, group = HEADS * WIDTH, GROUPS * WIDTH
    layer = {"attn_norm": [EMBED], "attn_q": [EMBED, query], "attn_k": [EMBED, group], "attn_v": [EMBED, group]}
    layer |= {"attn_output": [query, EMBED], "ffn_norm": [EMBED], "ffn_gate": [EMBED, FFN], "ffn_up": [EMBED, FFN]}
    layer |= {"ffn_down": [FFN, EMBED]}
    shapes = {"token_embd.weight": [EMBED, ROWS], "output_norm.weight": [EMBED]}
    shapes |= {f"blk.{n}.{name}.weight": shape for n in range(LAYERS) for name, shape in layer.items()}
    found, offset = {}, 0
    for name, shape in shapes.items():
        found[name] = [shape, 0, offset]
        offset += 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    return found


def gguf(
    keys: Mapping[str, bytes], infos: Mapping[str, list[Any]], *, magic: bytes = b"GGUF", version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:  # fmt: skip
    """The whole file; weights are zeros."""
    head = magic + struct.pack("<IQQ", version, *(counts or (len(infos), len(keys))))
    head += b"".join(raw(key) + value for key, value in keys.items())
    for name, (dims, kind, offset) in infos.items():
        head += raw(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
    weights = (
        4 * sum(EMBED * dims[1] if len(dims) > 1 else dims[0] for dims, *_ in tensors().values()) + 4 * FFN * EMBED * 9
    )
    return head + b"\0" * (-len(head) % 32 + weights)


def safetensors(header: Any, data: bytes = b"\0" * 16, *, length: int | None = None) -> bytes:
    """`header` is an object or JSON text."""
    written = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(written) if length is None else length) + written + data


def tokenizer() -> dict[str, Any]:
    """tokenizer.json as an object."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    split = {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    special = [{"id": n, "content": name, "special": True, **flags} for n, name in enumerate(CONTROL_TOKENS)]
    vocab = {name: n for n, name in enumerate(TOKENS)}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocab, "merges": [["a", "b"]], "ignore_merges": True},
    }  # fmt: skip


def config() -> dict[str, Any]:
    """config.json as an object."""
    shape = {"hidden_size": EMBED, "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "head_dim": WIDTH}
    return shape | {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": ROWS, "num_hidden_layers": 1,
        "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": [2, 3], "pad_token_id": 1,
    }  # fmt: skip


def genai() -> dict[str, Any]:
    """genai_config.json as an object."""
    said = config()
    shared = ("hidden_size", "num_attention_heads", "num_key_value_heads", "num_hidden_layers")
    decoder = {name: said[name] for name in shared} | {"head_size": WIDTH, "filename": "model.onnx"}
    decoder |= {"session_options": {"log_id": "onnxruntime-genai", "provider_options": []}}
    decoder |= {"inputs": {"input_ids": "input_ids"}, "outputs": {"logits": "logits"}}
    model = {name: said[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id", "vocab_size")}
    model |= {"type": "llama", "context_length": 64, "decoder": decoder}
    return {"model": model, "search": {"max_length": 64, "do_sample": False}}


def graph() -> Any:
    """A decoder's outside with the least inside, an onnx.ModelProto: embedding in model.onnx.data, a quantized head."""
    from onnx import TensorProto, helper

    cache = [[1, GROUPS, f"{side}_sequence", WIDTH] for side in ("past", "total")]
    names = [f"{n}.{kind}" for n in range(1) for kind in ("key", "value")]
    ends = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])]
    ends += [helper.make_tensor_value_info(f"past_key_values.{name}", TensorProto.FLOAT, cache[0]) for name in names]
    out = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", ROWS])]
    out += [helper.make_tensor_value_info(f"present.{name}", TensorProto.FLOAT, cache[1]) for name in names]
    table = TensorProto(
        name="table", data_type=TensorProto.FLOAT, dims=[ROWS, EMBED], data_location=TensorProto.EXTERNAL
    )
    for key, value in {"location": "model.onnx.data", "offset": "0", "length": str(4 * ROWS * EMBED)}.items():
        table.external_data.add(key=key, value=value)
    head = [helper.make_tensor(name, kind, dims, b"\0" * size, raw=True) for name, kind, dims, size in HEAD]
    options = {"K": EMBED, "N": ROWS, "bits": 4, "block_size": 32, "accuracy_level": 4}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["hidden"], name="embed"),
        helper.make_node("MatMulNBits", ["hidden", "B", "scales"], ["logits"], domain="com.microsoft", **options),
        *(helper.make_node("Identity", [f"past_key_values.{name}"], [f"present.{name}"]) for name in names),
    ]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_graph(nodes, "crafted", ends, out, initializer=[table, *head])
    return helper.make_model(made, opset_imports=opsets, ir_version=10)


HEAD = [("B", 2, [ROWS, 1, 16], 16 * ROWS), ("scales", 1, [ROWS], 4 * ROWS)]


def large_gguf() -> bytes:
    """As many tokens and merges as are allowed; refused for a vocabulary size that is not theirs."""
    keys = metadata() | {"tokenizer.ggml.merges": texts(["a b"] * 700_000)}
    return gguf(keys | {"tokenizer.ggml.tokens": texts([f"{n:x}" for n in range(700_000)])}, tensors())


def large_safetensors() -> bytes:
    """As many tensors as are allowed, of long names; refused for its last bytes."""
    starts = range(0, 16 * 16_384, 16)
    rows = {f"{'x' * 200}{n}": {"dtype": "F32", "shape": [4], "data_offsets": [n, n + 16]} for n in starts}
    return safetensors(rows, b"\0" * (16 * 16_384 - 4))


def large_tokenizer() -> bytes:
    """Near the limits of what json may build, in wide letters; refused for its last merge."""
    said = tokenizer()
    said["model"]["merges"] = [["a", "b"]] * 650_000 + [["a", "c"]]
    said["model"]["vocab"] |= {"😀" * 9 + str(n): ROWS + n for n in range(100_000)}
    return json.dumps(said, ensure_ascii=False).encode()


LARGEST: dict[str, tuple[Callable[[Path], Any], Callable[[], bytes]]] = {  # file → its check, its bytes
    "x.gguf": (llama.check, large_gguf),
    "x.safetensors": (check_safetensors, large_safetensors),
    "tokenizer.json": (check_tokenizer, large_tokenizer),
}


def folder(place: Path, *, plain: bool = False, **edits: Callable[[Any], Any]) -> Path:
    """Writes an ONNX folder; an edit gets its part (tokenizer, config, genai, graph, notes) before it is written."""
    parts = {"tokenizer": tokenizer(), "graph": graph(), "notes": {"chat_template": CHAT_TEMPLATE}}
    parts |= {"config": config()} if plain else {"genai": genai()}
    for name, edit in edits.items():
        edit(parts[name])
    files = {"tokenizer": "tokenizer.json", "config": "config.json", "genai": "genai_config.json"}
    files |= {"notes": "tokenizer_config.json"}
    for name, file in files.items():
        if name in parts:
            (place / file).write_text(json.dumps(parts[name]), encoding="utf-8")
    (place / "model.onnx").write_bytes(parts["graph"].SerializeToString())
    (place / "model.onnx.data").write_bytes(b"\0" * (4 * ROWS * EMBED))
    return place
