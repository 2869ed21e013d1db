"""Knows what a GGUF file of the llama architecture must say, so that llama.cpp never meets what it would assert on."""

from pathlib import Path

from midm_mini.headers import gguf
from midm_mini.headers.gguf import Header
from midm_mini.headers.suspect import Suspect

NUMBERS = {  # u32: lowest, highest; those of OPTIONAL may be missing
    "llama.context_length": (1, 1 << 24), "llama.embedding_length": (8, 65_536), "llama.block_count": (1, 512),
    "llama.feed_forward_length": (1, 1 << 20), "llama.attention.head_count": (1, 1_024),
    "llama.attention.head_count_kv": (1, 1_024), "llama.attention.key_length": (2, 1_024),
    "llama.attention.value_length": (2, 1_024), "llama.rope.dimension_count": (2, 1_024),
    "llama.vocab_size": (1, 1 << 20), "llama.rope.scaling.original_context_length": (1, 1 << 24),
    "general.file_type": (0, 1_024), "general.quantization_version": (0, 16), "general.alignment": (8, 65_536),
}  # fmt: skip
FLOATS = {  # f32, finite
    "llama.rope.freq_base": (1.0, 1e12), "llama.attention.layer_norm_rms_epsilon": (1e-12, 0.1),
    "llama.rope.scaling.factor": (1e-3, 1e3),
}  # fmt: skip
OTHERS = {  # key → its only type
    **dict.fromkeys(("general.architecture", "general.name", "general.type", "llama.rope.scaling.type"), "str"),
    **dict.fromkeys((f"tokenizer.{name}" for name in ("ggml.model", "ggml.pre", "chat_template")), "str"),
    **dict.fromkeys((f"tokenizer.ggml.{name}" for name in ("tokens", "merges")), "[str]"),
    **{"tokenizer.ggml.token_type": "[i32]", "tokenizer.ggml.scores": "[f32]", "llama.rope.scaling.finetuned": "bool"},
    **dict.fromkeys((f"tokenizer.ggml.add_{name}" for name in ("bos_token", "eos_token", "space_prefix")), "bool"),
}
IDS = [f"tokenizer.ggml.{name}_token_id" for name in ("bos", "eos", "eot", "eom", "unknown", "padding", "seperator")]
REQUIRED = [*list(NUMBERS)[:5], *list(FLOATS)[:2], *(f"tokenizer.ggml.{name}" for name in ("tokens", "token_type"))]
REQUIRED += ["general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.merges"]
CLOSED = ("llama.", "tokenizer.", "split.", "adapter.", "imatrix.")  # what llama.cpp acts on: no key beyond the tables
TENSORS = {  # one layer's, GGUF's order of dims: row length first
    "attn_norm": ("embed",), "attn_q": ("embed", "query"), "attn_k": ("embed", "key"), "attn_v": ("embed", "value"),
    "attn_output": ("mixed", "embed"), "ffn_norm": ("embed",), "ffn_gate": ("embed", "ffn"),
    "ffn_up": ("embed", "ffn"), "ffn_down": ("ffn", "embed"),
}  # fmt: skip


def check(file: Path) -> list[str]:
    """The chat templates in `file`, an unopened GGUF; MidmError unless it is a sound Llama with a BPE vocabulary."""
    suspect, header = gguf.read(file)
    _check_metadata(suspect, header)
    _check_vocabulary(suspect, header)
    _check_tensors(suspect, header)
    return [value for key, (_, value) in header.metadata.items() if key == "tokenizer.chat_template"]


def _check_metadata(suspect: Suspect, header: Header) -> None:
    for key in REQUIRED:
        suspect.must(key in header.metadata, key, "missing", "a value")
    for key, (kind, value) in header.metadata.items():
        if key in NUMBERS:
            suspect.must(kind == "u32", f"type of {key}", kind, "u32")
            suspect.whole(value, key, *NUMBERS[key])
        elif key in FLOATS:
            low, high = FLOATS[key]
            suspect.must(kind == "f32", f"type of {key}", kind, "f32")
            suspect.must(low <= value <= high, key, value, f"{low} to {high}")  # NaN is outside
        elif key in IDS:
            suspect.must(kind == "u32", f"type of {key}", kind, "u32")
        elif key in OTHERS:
            suspect.must(kind == OTHERS[key], f"type of {key}", kind, OTHERS[key])
        else:
            suspect.must(not key.startswith(CLOSED), "a key", key, "those that a Llama of ours needs")
    words = {"general.architecture": "llama", "general.type": "model", "tokenizer.ggml.model": "gpt2"}
    for key, word in words.items():
        found = header.metadata[key].value if key in header.metadata else word
        suspect.must(found == word, key, found, word)
    pre = header.metadata["tokenizer.ggml.pre"].value
    suspect.must(len(pre) <= 64 and pre.isascii() and pre.isprintable(), "tokenizer.ggml.pre", pre, "a short name")


def _check_vocabulary(suspect: Suspect, header: Header) -> None:
    values = {key.rpartition(".")[2]: value for key, (_, value) in header.metadata.items() if "tokenizer.ggml" in key}
    tokens, types = values["tokens"], values["token_type"]
    rows = len(known := set(tokens))
    suspect.must(rows == len(tokens), "tokenizer.ggml.tokens", f"{len(tokens) - rows} doubled", "each token once")
    suspect.must("" not in known, "tokenizer.ggml.tokens", "an empty token", "texts")
    stated = header.metadata.get("llama.vocab_size")
    suspect.must(not stated or stated.value == rows, "llama.vocab_size", stated and stated.value, f"{rows}, the tokens")
    for key in ("token_type", "scores"):  # llama.cpp reads as many as there are tokens
        count = len(values.get(key, types))
        suspect.must(count == rows, f"count of tokenizer.ggml.{key}", count, f"{rows}, one a token")
    suspect.must(not types or 0 <= min(types) <= max(types) <= 6, "tokenizer.ggml.token_type", "another", "0 to 6")
    for key in IDS:
        if key in header.metadata:
            suspect.whole(header.metadata[key].value, key, 0, rows - 1)
    halves = " ".join(values["merges"]).split(" ") if values["merges"] else []
    twos = len(halves) == 2 * len(values["merges"]) and known.issuperset(halves)
    suspect.must(twos, "tokenizer.ggml.merges", "something else", "two tokens each, one space between")


def _check_tensors(suspect: Suspect, header: Header) -> None:
    """Exactly a Llama's tensors, in the shapes that the metadata says."""
    shapes = _shapes(suspect, header)
    optional = {"output.weight", "rope_freqs.weight"}  # a tied head has no rows of its own
    missing, strange = shapes.keys() - optional - header.tensors.keys(), header.tensors.keys() - shapes.keys()
    suspect.must(not missing, "a tensor", f"{min(missing, default='')} missing", "all tensors of a Llama")
    suspect.must(not strange, "a tensor", min(strange, default=""), "no tensor besides a Llama's")
    for name, (shape, kind) in header.tensors.items():
        suspect.must(shape == shapes[name], f"tensor {name}'s dims", shape, f"{shapes[name]}, as the metadata says")
        suspect.must(len(shape) > 1 or kind == "F32", f"tensor {name}'s type", kind, "F32 for a vector")


def _shapes(suspect: Suspect, header: Header) -> dict[str, tuple[int, ...]]:
    said = {key.rpartition(".")[2]: value for key, (_, value) in header.metadata.items() if key.startswith("llama.")}
    embed, heads = said["embedding_length"], said["head_count"]
    grouped = said.get("head_count_kv", heads)
    suspect.must(heads % grouped == 0, "llama.attention.head_count_kv", grouped, f"a divisor of head_count, {heads}")
    key, value = (said.get(f"{name}_length", embed // heads) for name in ("key", "value"))
    suspect.must(said.get("dimension_count", key) == key, "llama.rope.dimension_count", said, f"{key}, a head's width")
    suspect.must(key % 2 == 0, "llama.attention.key_length", key, "an even number")
    sizes = {"embed": embed, "query": heads * key, "key": grouped * key, "value": grouped * value}
    sizes |= {"mixed": heads * value, "ffn": said["feed_forward_length"]}
    vocabulary = (embed, len(header.metadata["tokenizer.ggml.tokens"].value))
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": vocabulary, "output.weight": vocabulary}
    shapes |= {"output_norm.weight": (embed,), "rope_freqs.weight": (key // 2,)}
    layers = range(said["block_count"])
    rows = {name: tuple(sizes[size] for size in dims) for name, dims in TENSORS.items()}
    return shapes | {f"blk.{layer}.{name}.weight": shape for layer in layers for name, shape in rows.items()}
