"""Knows GGUF: a Llama checkpoint and its tokenizer as one file for llama.cpp, and its quantized kinds."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_mini.format import PII_PLACEHOLDERS

from export import checkpoint, facts, grid, ollama, quantizing
from export.checkpoint import CheckpointError, Parent
from export.quantizing import UNKNOWN

if TYPE_CHECKING:
    import gguf
    import numpy as np

LLAMA_REGEX = (  # Llama-3's pre-tokenizer, which is ours too
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UNROUNDED = ("F32", "F16", "Q4_0")  # written without llama.cpp
PRE_TYPES = {True: "llama-bpe", False: "dbrx"}  # llama.cpp's names for that regex with and without ignore_merges


@dataclass(frozen=True)
class Card:
    """What an artifact says of itself; `basename`, `finetune` and `version` also make the file's name."""

    basename: str
    finetune: str
    version: str
    license: str
    languages: Sequence[str]
    base_model: str


def make(
    parent: Parent, card: Card, precision: str, out: Path, *, importance: "Mapping[str, np.ndarray]" = UNKNOWN
) -> dict[str, Any]:
    """Writes one .gguf of `precision` under ggml's official name; says which matrices fell back to another type.

    "Q4_0" takes a parent on the shared grid and rounds nothing; of "1600MB" quantizing.quantize tells. `importance`
    weighs the other kinds' rounding errors by column: float32 [columns] by tensor name. K-quants and IQ4_XS need rows
    in multiples of 256, Q8_0 of 32; llama.cpp gives other matrices another type.
    """
    import gguf

    size = gguf.size_label(parent.parameters, 0, 0, 0)
    path = out / f"{gguf.naming_convention(None, card.basename, card.finetune, card.version, size, precision)}.gguf"
    modelfile = ollama.modelfile(path.name, context=parent.config["max_position_embeddings"], license=card.license)
    (out / "Modelfile").write_text(modelfile, encoding="utf-8")
    if precision in UNROUNDED:
        convert(parent, card, precision, path)
        return {"fallback_tensors": []}
    weights = {official_name(parent, name): columns for name, columns in importance.items()}
    with tempfile.TemporaryDirectory(dir=out) as folder:
        whole = Path(folder, "whole.gguf")
        convert(parent, card, "F16", whole)
        quantizing.quantize(whole, path, precision, importance=weights)
    matrices = [tensor for tensor in facts.gguf_file(path).tensors if len(tensor.shape) > 1]
    usual = quantizing.TYPES_WITHIN.get(precision, quantizing.TYPES)
    other = [tensor for tensor in matrices if tensor.tensor_type.name not in usual]
    return {"fallback_tensors": [f"{row.name}: {row.tensor_type.name}, rows of {row.shape[0]}" for row in other]}


def convert(parent: Parent, card: Card, precision: str, path: Path) -> None:
    """Writes a file without llama.cpp ("F16", "F32", "Q4_0" of the shared grid; norms stay F32), tensor by tensor."""
    import gguf
    import numpy as np
    from gguf import GGMLQuantizationType as Type

    held = grid.read(parent) if precision == "Q4_0" else None
    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer, parent, card, precision)
    _add_tokenizer(writer, parent)
    types = {name: Type[precision if len(shape) > 1 else "F32"] for name, shape in parent.shapes.items()}
    types |= {name: Type[f"Q{bits}_0"] for name, bits in held.bits.items()} if held else {}
    for name in checkpoint.names(parent.config):
        shape = gguf.quant_shape_to_byte_shape(parent.shapes[name], types[name])
        writer.add_tensor_info(official_name(parent, name), shape, np.dtype(np.uint8), int(np.prod(shape)), types[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, weight in checkpoint.tensors(parent):
        stored = packed(*held.split(name, weight), held.bits[name]) if held and name in held.bits else weight
        if stored is weight:
            with np.errstate(over="ignore"):
                stored = weight.astype(np.float16 if types[name] is Type.F16 else np.float32)
            if not np.isfinite(stored).all():
                raise CheckpointError(f"{parent.folder}: {name} has values {precision} cannot hold; export F32")
        writer.write_tensor_data(_as_llama_cpp(name, stored, parent))
    writer.close()


def packed(scales: "np.ndarray", levels: "np.ndarray", bits: int) -> "np.ndarray":
    """ggml's Q4_0, Q5_0 or Q8_0 bytes [rows, n] of float16 scales [rows, blocks] and int8 levels [rows, blocks, 32].

    A block is its scale, for 5 bits the fifth bits of its levels, then the levels; element j shares a byte with j + 16.
    """
    import numpy as np

    parts = [scales[..., None].view(np.uint8)]
    if bits == 8:
        parts.append(levels.view(np.uint8))
    else:
        codes = (levels + 2 ** (bits - 1)).astype(np.uint8)
        if bits == 5:
            parts.append(np.packbits(codes >> 4, axis=-1, bitorder="little"))
        parts.append((codes[..., :16] & 15) | (codes[..., 16:] & 15) << 4)
    return np.concatenate(parts, axis=-1).reshape(len(levels), -1)


def official_name(parent: Parent, name: str) -> str:
    """ggml's name of one of our tensors."""
    import gguf

    known = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, parent.config["num_hidden_layers"])
    return str(known.get_name(name, [".weight"]))


def _describe(writer: "gguf.GGUFWriter", parent: Parent, card: Card, precision: str) -> None:
    import gguf

    config, head_dim, size = parent.config, parent.head_dim, gguf.size_label(parent.parameters, 0, 0, 0)
    kind = gguf.LlamaFileType["ALL_F32" if precision == "F32" else f"MOSTLY_{precision}"]
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
    digests = [parent.digests[file.name] for file in checkpoint.weight_files(parent.folder)]
    writer.add_array("openmidm.parent.sha256", digests)  # of its weight files, in order, as manifest.json has them


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
