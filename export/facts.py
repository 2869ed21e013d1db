"""Knows what an artifact says of itself to the library that will run it: template, stops, token ids, its own card."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from midm_mini.format import artifact_format, graph_file

from export.checkpoint import read_json
from export.texts import Chat

GGUF_KEYS = {  # our word → the key in the file
    "architecture": "general.architecture",
    "basename": "general.basename",
    "finetune": "general.finetune",
    "version": "general.version",
    "license": "general.license",
    "languages": "general.languages",
    "base model": "general.base_model.0.name",
    "vocabulary": "llama.vocab_size",
    "context": "llama.context_length",
    "width": "llama.embedding_length",
    "inner width": "llama.feed_forward_length",
    "layers": "llama.block_count",
    "heads": "llama.attention.head_count",
    "key-value heads": "llama.attention.head_count_kv",
    "width of a head": "llama.attention.key_length",
    "width of a value": "llama.attention.value_length",
    "rotated width": "llama.rope.dimension_count",
    "rope base": "llama.rope.freq_base",
    "norm epsilon": "llama.attention.layer_norm_rms_epsilon",
    "pre-tokenizer": "tokenizer.ggml.pre",
    "BOS": "tokenizer.ggml.bos_token_id",
    "EOS": "tokenizer.ggml.eos_token_id",
    "end of turn": "tokenizer.ggml.eot_token_id",
    "BOS before every text": "tokenizer.ggml.add_bos_token",
    "tokens": "tokenizer.ggml.tokens",
    "kinds of tokens": "tokenizer.ggml.token_type",
    "merges": "tokenizer.ggml.merges",
}
GENAI_KEYS = {  # of genai_config.json's decoder
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "key-value heads": "num_key_value_heads",
    "width of a head": "head_size",
}
GRAPH_KEYS = {  # of its attention nodes
    "heads that attend": "num_heads",
    "heads attended to": "kv_num_heads",
    "attention scale": "scale",
    "neighbours rotated together": "rotary_interleaved",
}
ONNX_KEYS = {  # of config.json
    "vocabulary": "vocab_size",
    "context": "max_position_embeddings",
    "width": "hidden_size",
    "inner width": "intermediate_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "key-value heads": "num_key_value_heads",
    "width of a head": "head_dim",
    "rope base": "rope_theta",
    "norm epsilon": "rms_norm_eps",
    "BOS": "bos_token_id",
}


class Facts(NamedTuple):
    """`stops`: the ids at which the library ends a reply, sorted; `ids`: what its tokenizer makes of the texts.

    `chats`: the conversations as the library renders them; `said`: what else stands in the files, by our own words.
    """

    template: str
    stops: list[int]
    pad: int
    ids: list[list[int]]
    chats: list[str]
    said: dict[str, Any]


def read(bundle: Path, texts: Sequence[str], chats: Sequence[Chat]) -> Facts:
    """Asks the library that runs such a bundle in apps, so that nothing of ours can flatter it."""
    readers: dict[str, Callable[..., Facts]] = {"gguf": _of_gguf, "onnx-genai": _of_genai, "onnx": _of_onnx}
    return readers[artifact_format(bundle)](bundle, texts, chats)


def graph_of(file: Path, *, weights: bool) -> Any:
    """An ONNX file's graph, its weights with it or not; ValueError if the file is broken."""
    import onnx

    try:
        return onnx.load(file, load_external_data=weights).graph
    except Exception as error:  # onnx and protobuf raise types that share no other base
        raise ValueError(f"{file}: refused ({error}); export it again") from error


def gguf_file(file: Path) -> Any:
    """An opened GGUF file: its fields and tensors, by gguf's reader."""
    import gguf
    import numpy as np

    class Reader(gguf.GGUFReader):
        def __setattr__(self, name: str, value: Any) -> None:
            """Over a plain array: slicing np.memmap, once a token, took two thirds of the time (131k: 5.9 → 1.9 s)."""
            super().__setattr__(name, value.view(np.ndarray) if name == "data" else value)

    return Reader(file)


def _of_gguf(bundle: Path, texts: Sequence[str], chats: Sequence[Chat]) -> Facts:
    """llama.cpp as its programs use it: a BOS is added if the file asks for one, special tokens are recognised."""
    import llama_cpp
    from llama_cpp._internals import LlamaModel
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    file = next(bundle.glob("*.gguf"))
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = LlamaModel(path_model=str(file), params=params, verbose=False)
    try:
        stops = [token for token in range(model.n_vocab()) if llama_cpp.llama_vocab_is_eog(model.vocab, token)]
        ids = [model.tokenize(text.encode("utf-8"), True, True) for text in texts]
        template, pad = model.metadata().get("tokenizer.chat_template", ""), llama_cpp.llama_vocab_pad(model.vocab)
    finally:
        model.close()
    fields = gguf_file(file).fields
    said = {word: fields[key].contents() if key in fields else None for word, key in GGUF_KEYS.items()}
    render: Any = Jinja2ChatFormatter(template, "", "")
    shown = [render(messages=chat.messages, tools=chat.tools or None).prompt for chat in chats]
    return Facts(template, stops, pad, ids, shown, said)


def _of_genai(bundle: Path, texts: Sequence[str], chats: Sequence[Chat]) -> Facts:
    import onnxruntime_genai as genai

    genai.disable_telemetry_events()
    tokenizer, settings = genai.Tokenizer(str(bundle)), read_json(bundle / "genai_config.json")
    model = settings["model"]
    ids = [tokenizer.encode(text).tolist() for text in texts]
    shown = [
        tokenizer.apply_chat_template(_json(chat.messages), tools=_json(chat.tools) if chat.tools else None)
        for chat in chats
    ]
    said = {word: model["decoder"].get(key) for word, key in GENAI_KEYS.items()}
    said |= {"architecture": model["type"], "vocabulary": model["vocab_size"], "context": model["context_length"]}
    said |= {"BOS": model["bos_token_id"], "search": settings["search"], "tokenizer": _tokenizer(bundle)}
    said |= _of_graph(graph_file(bundle))
    stops = sorted(map(int, tokenizer.eos_token_ids))
    return Facts(_template(bundle), stops, int(tokenizer.pad_token_id), ids, shown, said)


def _of_graph(file: Path) -> dict[str, Any]:
    """What the nodes of genai's graph say, where all of a kind say the same, else all that is said."""
    graph, found = graph_of(file, weights=False), dict[str, set[float]]()
    for node in graph.node:
        for row in node.attribute:
            found.setdefault(f"{node.op_type}.{row.name}", set()).add(row.f or row.i)
    epsilons = found["SkipSimplifiedLayerNormalization.epsilon"] | found["SimplifiedLayerNormalization.epsilon"]
    heads = {word: found.get(f"GroupQueryAttention.{key}", set()) for word, key in GRAPH_KEYS.items()}
    said = {"norm epsilon": epsilons} | heads
    return {word: next(iter(values)) if len(values) == 1 else sorted(values) for word, values in said.items()}


def _of_onnx(bundle: Path, texts: Sequence[str], chats: Sequence[Chat]) -> Facts:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(bundle, local_files_only=True)
    config, generation = read_json(bundle / "config.json"), read_json(bundle / "generation_config.json")
    opened = {"tokenize": False, "add_generation_prompt": True}
    shown = [tokenizer.apply_chat_template(chat.messages, tools=chat.tools or None, **opened) for chat in chats]
    said = {word: config.get(key) for word, key in ONNX_KEYS.items()}
    said |= {"architecture": config["model_type"], "tokenizer": _tokenizer(bundle)}
    said |= {"stops in config.json": sorted(config["eos_token_id"]), "pad in config.json": config["pad_token_id"]}
    stops, ids = sorted(generation["eos_token_id"]), tokenizer(list(texts), verbose=False)["input_ids"]
    return Facts(_template(bundle), stops, generation["pad_token_id"], ids, shown, said)


def _template(bundle: Path) -> str:
    """The template file, which must say the same as the copy that older readers take from tokenizer_config.json."""
    written = (bundle / "chat_template.jinja").read_text(encoding="utf-8")
    return written if read_json(bundle / "tokenizer_config.json").get("chat_template") == written else ""


def _tokenizer(bundle: Path) -> dict[str, Any]:
    return read_json(bundle / "tokenizer.json")


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
