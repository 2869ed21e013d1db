"""Knows GGUF: a Llama checkpoint and its tokenizer as one file for llama.cpp, and its quantized kinds."""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_mini.format import PII_PLACEHOLDERS

from export import checkpoint
from export.checkpoint import CheckpointError, Parent

if TYPE_CHECKING:
    import gguf
    import numpy as np

LLAMA_REGEX = (  # Llama-3's pre-tokenizer, which is ours too
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PRE_TYPES = {True: "llama-bpe", False: "dbrx"}  # llama.cpp's names for that regex with and without ignore_merges
TYPES_WITHIN = {"Q8_0": ("Q8_0",), "Q4_K_M": ("Q4_K", "Q6_K")}  # what a matrix becomes when its rows fit the blocks


@dataclass(frozen=True)
class Card:
    """What an artifact says of itself; `basename`, `finetune` and `version` also make the file's name."""

    basename: str
    finetune: str
    version: str
    license: str
    languages: Sequence[str]
    base_model: str


def make(parent: Parent, card: Card, precision: str, out: Path) -> dict[str, Any]:
    """Writes one .gguf of `precision` under ggml's official name; says which matrices fell back to another type.

    K-quants need rows in multiples of 256, Q8_0 of 32; llama.cpp gives other matrices another type.
    """
    import gguf

    size = gguf.size_label(parent.parameters, 0, 0, 0)
    path = out / f"{gguf.naming_convention(None, card.basename, card.finetune, card.version, size, precision)}.gguf"
    if precision not in TYPES_WITHIN:
        convert(parent, card, precision, path)
        return {"fallback_tensors": []}
    with tempfile.TemporaryDirectory(dir=out) as folder:
        whole = Path(folder, "whole.gguf")
        convert(parent, card, "F16", whole)
        quantize(whole, path, precision)
    matrices = [tensor for tensor in gguf.GGUFReader(path).tensors if len(tensor.shape) > 1]
    other = [tensor for tensor in matrices if tensor.tensor_type.name not in TYPES_WITHIN[precision]]
    return {"fallback_tensors": [f"{row.name}: {row.tensor_type.name}, rows of {row.shape[0]}" for row in other]}


def convert(parent: Parent, card: Card, precision: str, path: Path) -> None:
    """Writes the unquantized file ("F16" or "F32"; norms stay F32), holding one tensor in memory at a time."""
    import gguf
    import numpy as np

    wide = {"F32": np.float32, "F16": np.float16}[precision]
    kinds = {name: np.dtype(wide if len(shape) > 1 else np.float32) for name, shape in parent.shapes.items()}
    official = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, parent.config["num_hidden_layers"])
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, parent, card, precision)
    _add_tokenizer(writer, parent)
    for name in checkpoint.names(parent.config):
        shape, kind = parent.shapes[name], kinds[name]
        length = int(np.prod(shape)) * kind.itemsize
        writer.add_tensor_info(str(official.get_name(name, [".weight"])), shape, kind, length)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, weight in checkpoint.tensors(parent):
        with np.errstate(over="ignore"):
            stored = _as_llama_cpp(name, weight, parent).astype(kinds[name])
        if not np.isfinite(stored).all():
            raise CheckpointError(f"{parent.folder}: {name} has values {precision} cannot hold; export F32")
        writer.write_tensor_data(stored)
    writer.close()


def quantize(source: Path, target: Path, precision: str) -> None:
    """Quantizes by llama.cpp itself; the same bytes whatever the number of threads."""
    import llama_cpp
    from llama_cpp import _logger

    said: list[str] = []

    @llama_cpp.llama_log_callback
    def listen(level: int, text: bytes, _: object) -> None:
        said.append(text.decode("utf-8", "replace").strip())

    settings = llama_cpp.llama_model_quantize_default_params()
    settings.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{precision}")
    settings.nthread = len(os.sched_getaffinity(0))
    llama_cpp.llama_log_set(listen, None)  # `listen` must outlive every call that may log: env.md, trap 4
    try:
        failed = llama_cpp.llama_model_quantize(bytes(source), bytes(target), settings)
    finally:
        llama_cpp.llama_log_set(_logger.llama_log_callback, None)
    if failed:
        raise ValueError(f"llama.cpp could not quantize {source.name} to {precision}: {' / '.join(said[-3:])}")


def _describe(writer: "gguf.GGUFWriter", parent: Parent, card: Card, precision: str) -> None:
    import gguf

    config, head_dim, size = parent.config, parent.head_dim, gguf.size_label(parent.parameters, 0, 0, 0)
    kind = {"F32": gguf.LlamaFileType.ALL_F32, "F16": gguf.LlamaFileType.MOSTLY_F16}[precision]
    said = asdict(card) | {"type": "model", "name": f"{card.basename} {size}", "size_label": size}
    writer.add_base_model_name(0, said.pop("base_model"))
    said |= {"base_model_count": 1, "file_type": kind, "quantization_version": gguf.GGML_QUANT_VERSION}
    said |= {"vocab_size": config["vocab_size"], "context_length": config["max_position_embeddings"]}
    said |= {"embedding_length": config["hidden_size"], "feed_forward_length": config["intermediate_size"]}
    said |= {"block_count": config["num_hidden_layers"], "head_count": config["num_attention_heads"]}
    said |= {"head_count_kv": config["num_key_value_heads"], "key_length": head_dim, "value_length": head_dim}
    said |= {"rope_dimension_count": head_dim, "rope_freq_base": parent.rope_theta}
    said |= {"layer_norm_rms_eps": config["rms_norm_eps"]}
    for key, value in said.items():
        getattr(writer, f"add_{key}")(value)


def _add_tokenizer(writer: "gguf.GGUFWriter", parent: Parent) -> None:
    from gguf import TokenType

    rows = parent.config["vocab_size"]
    texts = [f"[PAD{row}]" for row in range(rows)]  # rows beyond the tokenizer (padding to 64) are never produced
    types = [TokenType.UNUSED] * rows
    for text, row in parent.ids.items():
        texts[row], types[row] = text, TokenType.NORMAL
    for token in parent.tokenizer["added_tokens"]:
        control = token["special"] and token["content"] not in PII_PLACEHOLDERS  # placeholders stay visible text
        types[token["id"]] = TokenType.CONTROL if control else TokenType.USER_DEFINED
    pairs = parent.tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_type(parent))
    writer.add_token_list(texts)
    writer.add_token_types(types)
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in pairs])
    first, *others = sorted(parent.stops.values())
    roles = {"bos": parent.bos, "eos": first, "eot": others[-1] if others else None, "pad": parent.pad}
    for role, token_id in roles.items():
        if token_id is not None:
            getattr(writer, f"add_{role}_token_id")(token_id)
    writer.add_add_bos_token(parent.adds_bos)  # said, for llama.cpp guesses true; ours writes BOS in its template
    writer.add_chat_template(parent.template)


def _pre_type(parent: Parent) -> str:
    """llama.cpp's name for how this tokenizer cuts text; it knows them by name only, so others are refused."""
    steps = parent.tokenizer["pre_tokenizer"]
    cuts = [step["pattern"].get("Regex") for step in steps.get("pretokenizers", [steps]) if step["type"] == "Split"]
    if cuts != [LLAMA_REGEX]:
        raise CheckpointError(f"{parent.folder}: llama.cpp has no name for its pre-tokenizer {cuts}; export it as ONNX")
    return PRE_TYPES[bool(parent.tokenizer["model"].get("ignore_merges"))]


def _as_llama_cpp(name: str, weight: "np.ndarray", parent: Parent) -> "np.ndarray":
    """llama.cpp rotates neighbouring pairs, transformers the two halves of a head: rows of Q and K are re-ordered."""
    key = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
    if key is None:
        return weight
    return weight.reshape(parent.config[key], 2, parent.head_dim // 2, -1).swapaxes(1, 2).reshape(weight.shape)
