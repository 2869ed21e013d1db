"""Knows what an ONNX folder may say: config, tokenizer and graph that agree, and no file or code from elsewhere."""

import re
from pathlib import Path
from typing import Any

from midm_mini.format import artifact_format
from midm_mini.headers import onnx, tokenizer
from midm_mini.headers.suspect import KIB, MIB, Suspect

CONFIG, TEMPLATE, NOTES = 64 * KIB, MIB, 4 * MIB  # bytes of config.json, a template, tokenizer_config.json
SIZES = {"context_length": 1 << 24, "vocab_size": 1 << 20, "hidden_size": 65_536, "num_hidden_layers": 512}
SIZES |= {"num_attention_heads": 1_024, "num_key_value_heads": 1_024, "head_size": 1_024}  # field → highest
HUGGING = {"context_length": "max_position_embeddings", "head_size": "head_dim"}  # genai's name → config.json's
CODE = ("auto_map", "custom_pipelines", "quantization_config")  # name code or another kind of weights
ROOT = frozenset({"model", "search"})
MODEL = frozenset({"bos_token_id", "context_length", "decoder", "eos_token_id", "pad_token_id", "type", "vocab_size"})
DECODER = frozenset({"filename", "inputs", "outputs", "session_options", *list(SIZES)[2:]})
SESSION = frozenset({"log_id", "provider_options", "intra_op_num_threads", "inter_op_num_threads"})
NAMES = {  # genai builds the names of the cache with C's printf from these
    "inputs": {"input_ids", "attention_mask", "position_ids", "past_key_values.%d.key", "past_key_values.%d.value"},
    "outputs": {"logits", "present.%d.key", "present.%d.value"},
}


def check(folder: Path) -> list[str]:
    """The chat templates in `folder`; MidmError unless its config, tokenizer and graph are sound and agree."""
    genai = artifact_format(folder) == "onnx-genai"
    suspect, said = _genai(folder) if genai else _hugging(folder)
    inner = sorted(folder.glob("onnx/*.onnx"))  # as transformers.js lays it out; opened before any other graph
    alone = len(inner) + (genai or (folder / "model.onnx").exists()) == 1
    suspect.must(alone, "the folder", f"with {len(inner)} graphs in onnx/", "one graph: in onnx/ or beside its config")
    graph = inner[0] if inner else folder / said["filename"]
    for name, highest in SIZES.items():
        suspect.whole(said.get(name), HUGGING.get(name, name) if not genai else name, 1, highest)
    ids = tokenizer.check(folder / "tokenizer.json")
    suspect.must(ids <= said["vocab_size"], "vocab_size", said["vocab_size"], f"{ids} or more, the tokenizer's")
    ends = onnx.check(graph)
    layers = sum(name.startswith("past") for name in ends) // 2
    suspect.must(
        layers == said["num_hidden_layers"], "num_hidden_layers", said["num_hidden_layers"], f"{layers}, the graph's"
    )
    for name, (_, dims) in ends.items():
        wanted = {"logits": {2: "vocab_size"}}.get(
            name, {1: "num_key_value_heads", 3: "head_size"} if "." in name else {}
        )
        for at, field in wanted.items():
            free = isinstance(dims[at], str)
            suspect.must(free or dims[at] == said[field], field, said[field], f"{dims[at]}, the graph's {name}")
    return _templates(folder)


def _genai(folder: Path) -> tuple[Suspect, dict[str, Any]]:
    """genai_config.json: a Llama's decoder on the CPU, one file in this folder, no libraries of operators."""
    suspect = Suspect(folder / "genai_config.json")
    said = suspect.json(most=CONFIG)
    suspect.only(said, "genai_config", ROOT)
    model, search = (_object(suspect, said.get(name), name) for name in ("model", "search"))
    plain = all(isinstance(value, bool | int | float) for value in search.values())
    suspect.must(plain, "search", search, "numbers and truth values")
    suspect.only(model, "model", MODEL)
    suspect.must(model.get("type") == "llama", "model.type", model.get("type"), "llama")
    decoder = _object(suspect, model.get("decoder"), "model.decoder")
    suspect.only(decoder, "model.decoder", DECODER)
    session = _object(suspect, decoder.get("session_options"), "session_options")
    suspect.only(session, "session_options", SESSION)
    suspect.must(session.get("provider_options") == [], "provider_options", session.get("provider_options"), "none")
    suspect.must(session.get("log_id", "") in ("", "onnxruntime-genai"), "log_id", session.get("log_id"), "genai's own")
    for name in ("intra_op_num_threads", "inter_op_num_threads"):
        suspect.whole(session.get(name, 1), name, 0, 1_024)
    for side, names in NAMES.items():
        given = _object(suspect, decoder.get(side), side)
        strange = [name for name in given.values() if not isinstance(name, str) or name not in names]
        suspect.must(not strange, side, strange, ", ".join(sorted(names)))
    _check_ids(suspect, model)
    file = decoder.get("filename")
    bare = isinstance(file, str) and re.fullmatch(r"\w[\w.\-]{0,254}\.onnx", file)
    suspect.must(bare, "model.decoder.filename", file, "the bare name of an .onnx file in this folder")
    return suspect, model | decoder


def _hugging(folder: Path) -> tuple[Suspect, dict[str, Any]]:
    suspect = Suspect(folder / "config.json")
    said = suspect.json(most=CONFIG)
    for field in CODE:
        suspect.must(said.get(field) is None, field, said.get(field), "none: this wheel runs no code of a bundle")
    suspect.must(said.get("model_type") == "llama", "model_type", said.get("model_type"), "llama")
    said |= {name: said.get(other) for name, other in HUGGING.items()}
    heads = suspect.whole(said.get("num_attention_heads"), "num_attention_heads", 1, 1_024)
    width = suspect.whole(said.get("hidden_size"), "hidden_size", 1, 65_536)
    _check_ids(suspect, said)
    return suspect, said | {"head_size": said["head_size"] or width // heads, "filename": "model.onnx"}


def _check_ids(suspect: Suspect, said: dict[str, Any]) -> None:
    for field in ("bos_token_id", "eos_token_id", "pad_token_id"):
        value = said.get(field)
        several = value if isinstance(value, list) else [] if value is None else [value]
        suspect.must(len(several) <= 64, field, len(several), "up to 64")
        for number in several:
            suspect.whole(number, field, 0, suspect.whole(said.get("vocab_size"), "vocab_size", 1, 1 << 20) - 1)


def _object(suspect: Suspect, value: Any, field: str) -> dict[str, Any]:
    suspect.must(isinstance(value, dict), field, type(value).__name__, "an object")
    return value


def _templates(folder: Path) -> list[str]:
    """The template file and the copy in tokenizer_config.json, as text that nobody runs."""
    found = []
    if (file := folder / "chat_template.jinja").exists() and file.stat().st_size:
        found.append(Suspect(file).text(most=TEMPLATE))
    if (file := folder / "tokenizer_config.json").exists():
        suspect = Suspect(file)
        notes = suspect.json(most=NOTES)
        suspect.must(
            "auto_map" not in notes, "auto_map", notes.get("auto_map"), "none: this wheel runs no code of a bundle"
        )
        template = notes.get("chat_template")
        found += [] if template is None else [template if isinstance(template, str) else repr(template)]
    return found
