"""Proves that a spoilt ONNX folder is refused by name of the field, before onnxruntime or tokenizers are imported."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from midm_mini import MidmError, headers, load
from midm_mini.format import CHAT_TEMPLATE
from midm_mini.headers.tokenizer import LLAMA3

from corpus import pretokens
from tests.runtime import crafted

Edit = Callable[[Any], Any]


def at(*path: Any, to: Any) -> Edit:
    """Sets one value inside nested objects and lists."""

    def edit(part: Any) -> None:
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = to

    return edit


def around(name: str, **more: Any) -> dict[str, Any]:
    """A post-processor that puts a token before a text."""
    single = [{"SpecialToken": {"id": name, "type_id": 0}}]
    token = {"id": "<pad>", "ids": [1], "tokens": ["<pad>"]}
    return {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {"<pad>": token}} | more


def external(**values: str | None) -> Edit:
    """Sets or removes (None) entries of the external tensor's data."""

    def edit(model: Any) -> None:
        entries = model.graph.initializer[0].external_data
        said = {entry.key: entry.value for entry in entries} | values
        del entries[:]
        for key, value in said.items():
            if value is not None:
                entries.add(key=key, value=value)

    return edit


def graph(change: str, **names: Any) -> Edit:
    """Runs one of the changes below on the model's graph."""
    return lambda model: CHANGES[change](model, **names)


def _node(model: Any, kind: str = "If", domain: str = "", **attributes: Any) -> None:
    from onnx import helper

    model.graph.node.append(helper.make_node(kind, ["input_ids"], ["more"], domain=domain, **attributes))


def _subgraph(model: Any) -> None:
    _node(model, "Identity", body=model.graph)


def _function(model: Any) -> None:
    model.functions.add(name="f", domain="local")


def _sparse(model: Any) -> None:
    model.graph.sparse_initializer.add().values.name = "sparse"


def _constant(model: Any) -> None:
    """An attribute's tensor with its data in another file."""
    from onnx import TensorProto

    tensor = TensorProto(name="x", data_type=1, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    _node(model, "Constant", value=tensor)


def _attribute(model: Any, name: str, value: int) -> None:
    for attribute in model.graph.node[1].attribute:
        if attribute.name == name:
            attribute.i = value


def _twice(model: Any) -> None:
    model.graph.initializer.append(model.graph.initializer[0])
    model.graph.initializer[-1].name = "again"


CHANGES: dict[str, Callable[..., Any]] = {"node": _node, "attribute": _attribute}
GRAPHS: dict[str, tuple[Edit, str]] = {  # what is wrong → the change of the model, the field named
    "an ir version of 99": (lambda model: setattr(model, "ir_version", 99), "ir_version"),
    "a domain of custom operators": (lambda model: model.opset_import.add(domain="evil", version=1), "opset_import"),
    "an opset of 2^40": (lambda model: setattr(model.opset_import[0], "version", 1 << 40), "opset of ''"),
    "no graph": (lambda model: model.ClearField("graph"), "graph"),
    "an operator with subgraphs": (graph("node", kind="Loop"), "an operator"),
    "an operator of another domain": (graph("node", kind="Identity", domain="evil"), "an operator"),
    "a subgraph as an attribute": (_subgraph, "a field of model.graph.node.attribute"),
    "functions": (_function, "a field of model"),
    "a sparse initializer, which escaped the folder once": (_sparse, "a field of model.graph"),
    "a constant that reads another file": (_constant, "Constant.value"),
    "K of 0, which divides": (graph("attribute", name="K", value=0), "MatMulNBits.K"),
    "blocks of 0": (graph("attribute", name="block_size", value=0), "MatMulNBits.block_size"),
    "3 bits": (graph("attribute", name="bits", value=3), "MatMulNBits.bits"),
    "N of -1": (graph("attribute", name="N", value=-1), "MatMulNBits.N"),
    "N of more rows than the weights have": (graph("attribute", name="N", value=1 << 20), "MatMulNBits's weights"),
    "no block size": (lambda model: model.graph.node[1].attribute.pop(), "MatMulNBits"),
    "a location above the folder": (external(location="../model.onnx.data"), "table's location"),
    "an absolute location": (external(location="/etc/passwd"), "table's location"),
    "a location in Windows' words": (external(location="..\\secret"), "table's location"),
    "a location with a NUL": (external(location="model.onnx.data\0x"), "table's location"),
    "a location that is not there": (external(location="absent"), "table's location"),
    "no location": (external(location=None), "table's location"),
    "a negative offset": (external(offset="-4"), "table's offset"),
    "an offset beyond the file": (external(offset="4096"), "table's end"),
    "an offset of 30 digits": (external(offset="9" * 30), "table's offset"),
    "a length that is not the dims'": (external(length="4"), "table's length"),
    "an unknown entry of external data": (external(command="rm"), "table's external_data"),
    "the same bytes for two tensors": (_twice, "weights in model.onnx.data"),
    "a negative dim": (lambda model: model.graph.initializer[1].dims.append(-1), "initializer B's dim"),
    "dims of 2^40 each": (lambda model: model.graph.initializer[1].dims.extend([1 << 40] * 3), "initializer B's data"),
    "strings as weights": (
        lambda model: setattr(model.graph.initializer[1], "data_type", 8),
        "initializer B's data_type",
    ),
    "weights cut short": (lambda model: setattr(model.graph.initializer[1], "raw_data", b"\0"), "initializer B's data"),
    "a doubled initializer": (lambda model: model.graph.initializer.append(model.graph.initializer[1]), "initializer"),
    "an input of another name": (lambda model: setattr(model.graph.input[0], "name", "__class__"), "an input"),
    "no logits": (lambda model: model.graph.output.pop(0), "the graph"),
    "ids as floats": (
        lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", 1),
        "type of input_ids",
    ),
    "a cache without heads": (
        lambda model: setattr(model.graph.input[1].type.tensor_type.shape.dim[1], "dim_value", 0),
        "heads of past",
    ),
    "a cache that is never given back": (lambda model: model.graph.output.pop(), "the cache"),
}
SPLIT = ("pre_tokenizer", "pretokenizers", 0)
SESSION = ("model", "decoder", "session_options")
PARTS: dict[str, tuple[str, Edit, str]] = {  # what is wrong → part, its change, the field named
    "a regex that never ends": ("tokenizer", at(*SPLIT, "pattern", to={"Regex": "(a+)+$"}), "pre_tokenizer's pattern"),
    "an unknown pre-tokenizer": ("tokenizer", at(*SPLIT, "type", to="Evil"), "pre_tokenizer's type"),
    "no pre-tokenizer": ("tokenizer", at("pre_tokenizer", to=None), "pre_tokenizer"),
    "a normalizer that rewrites": ("tokenizer", at("normalizer", to={"type": "Replace"}), "normalizer's type"),
    "silent truncation": ("tokenizer", at("truncation", to={"max_length": 1}), "truncation"),
    "a post-processor of unknown tokens": ("tokenizer", at("post_processor", to=around("<|evil|>")), "single's piece"),
    "a post-processor of other fields": (
        "tokenizer",
        at("post_processor", to=around("", code="")),
        "TemplateProcessing",
    ),
    "a WordPiece model": ("tokenizer", at("model", "type", to="WordPiece"), "model.type"),
    "dropout": ("tokenizer", at("model", "dropout", to=0.5), "model.dropout"),
    "an id of 2^40": ("tokenizer", at("model", "vocab", "ab", to=1 << 40), "the ids"),
    "a negative id": ("tokenizer", at("model", "vocab", "ab", to=-1), "the ids"),
    "two tokens of one id": ("tokenizer", at("model", "vocab", "ab", to=9), "the ids"),
    "an id as a text": ("tokenizer", at("model", "vocab", "ab", to="9"), "model.vocab"),
    "a token that is no bytes": ("tokenizer", at("model", "vocab", "한", to=crafted.ROWS), "model.vocab's letters"),
    "a merge of three": ("tokenizer", at("model", "merges", to=[["a", "b", "c"]]), "model.merges"),
    "a merge that makes no token": ("tokenizer", at("model", "merges", to=["a c"]), "model.merges"),
    "a merge of numbers": ("tokenizer", at("model", "merges", to=[[1, 2]]), "model.merges"),
    "an added token without text": ("tokenizer", at("added_tokens", 0, "content", to=""), r"added_tokens\[0\].content"),
    "an added token of another id": ("tokenizer", at("added_tokens", 0, "id", to=5), "added_tokens"),
    "an unknown field": ("tokenizer", at("plugins", to=[]), "the tokenizer"),
    "more tokens than rows": ("genai", at("model", "vocab_size", to=10), "vocab_size|pad_token_id|eos_token_id"),
    "a library of operators": ("genai", at(*SESSION, "custom_ops_library", to="./x.so"), "session_options"),
    "another provider": ("genai", at(*SESSION, "provider_options", to=[{"cuda": {}}]), "provider_options"),
    "another model type": ("genai", at("model", "type", to="decoder-pipeline"), "model.type"),
    "a second graph": ("genai", at("model", "encoder", to={"filename": "x.onnx"}), "model has"),
    "a graph above the folder": ("genai", at("model", "decoder", "filename", to="../model.onnx"), "filename"),
    "a format string of C": ("genai", at("model", "decoder", "inputs", to={"past_key_names": "%n%s"}), "inputs"),
    "a search option that is a text": ("genai", at("search", "max_length", to="%s"), "search"),
    "another number of layers": ("genai", at("model", "decoder", "num_hidden_layers", to=2), "num_hidden_layers"),
    "heads of another width": ("genai", at("model", "decoder", "head_size", to=64), "head_size"),
    "an end beyond the vocabulary": ("genai", at("model", "eos_token_id", to=[1 << 30]), "eos_token_id"),
    "code named in config.json": ("config", at("auto_map", to={"AutoModel": "evil.py"}), "auto_map"),
    "no context": ("config", at("max_position_embeddings", to=0), "max_position_embeddings"),
    "no heads, which divides": ("config", at("num_attention_heads", to=0), "num_attention_heads"),
    "a vocabulary that is true": ("config", at("vocab_size", to=True), "vocab_size"),
    "code named in tokenizer_config.json": ("notes", at("auto_map", to={}), "auto_map"),
}
TEXTS = {  # what is wrong → a JSON file's whole text, what is named
    "an unfinished object": ("{", "no sound JSON"),
    "a list": ("[]", "the JSON"),
    "a doubled key": ('{"model": 1, "model": 2}', "twice"),
    "depth that a parser may not survive": ("[" * 200_000, "no sound JSON"),
    "a million lists": ("[" + "[]," * 1_000_000 + "[]]", "number of"),
    "a number of 100,000 digits": ('{"x": ' + "9" * 100_000 + "}", "no sound JSON"),
    "NaN": ('{"x": NaN}', "no sound JSON"),
    "bytes that are no text": (b"\xff\xfe{", "UTF-8"),
    "nothing": ("", "the file"),
    "21 MB": (" " * (21 << 20), "its size"),
}


def refused(folder: Path, field: str) -> None:
    with pytest.raises(MidmError, match=field) as caught:
        load(folder)
    assert (
        str(folder) in str(caught.value) and "pip install" not in str(caught.value) and len(str(caught.value)) < 1_000
    )


@pytest.mark.parametrize("plain", [True, False])
def test_the_crafted_folder_is_sound_until_it_is_spoilt(tmp_path: Path, plain: bool) -> None:
    assert headers.check(crafted.folder(tmp_path, plain=plain)) == [CHAT_TEMPLATE]
    with load(tmp_path, threads=1) as model:
        assert model.chats and model.vocab_size == crafted.ROWS
        assert not plain or model.logits([0, 5]).shape == (2, crafted.ROWS)  # the graph is too little for genai


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("what", GRAPHS)
def test_a_spoilt_graph_is_refused(tmp_path: Path, what: str) -> None:
    edit, field = GRAPHS[what]
    refused(crafted.folder(tmp_path, graph=edit), field)


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("what", PARTS)
def test_a_spoilt_document_is_refused(tmp_path: Path, what: str) -> None:
    part, edit, field = PARTS[what]
    refused(crafted.folder(tmp_path, plain=part == "config", **{part: edit}), field)


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("file", ["tokenizer.json", "genai_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("what", TEXTS)
def test_what_is_no_sound_json_is_refused(tmp_path: Path, file: str, what: str) -> None:
    content, field = TEXTS[what]
    crafted.folder(tmp_path)
    (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(tmp_path, f"{file}: .*({field}|its size)")


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize("link", ["soft", "hard"])
def test_weights_that_are_a_link_are_refused(tmp_path: Path, link: str) -> None:
    (secret := tmp_path / "secret").write_bytes(b"\0" * (4 * crafted.ROWS * crafted.EMBED))
    (tmp_path / "bundle").mkdir()
    weights = crafted.folder(tmp_path / "bundle") / "model.onnx.data"
    weights.unlink()
    weights.symlink_to(secret) if link == "soft" else os.link(secret, weights)
    refused(tmp_path / "bundle", "table's location")


@pytest.mark.usefixtures("no_native_code")
@pytest.mark.parametrize(
    "wire", [b"\x08" + b"\xff" * 11, b"\x3a\xff\xff\xff\xff\x0f", b"\x0b", b"\x00\x00", b"\x3a\x02\x0a"]
)
def test_a_broken_wire_is_refused(tmp_path: Path, wire: bytes) -> None:
    crafted.folder(tmp_path)
    (tmp_path / "model.onnx").write_bytes(wire)
    refused(tmp_path, "model.onnx: (a field|a number|wire)")


def test_the_regex_of_our_own_tokenizers_is_a_known_one() -> None:
    assert pretokens.PRETOKENIZER == LLAMA3


def test_a_tokenizer_that_puts_a_known_token_before_a_text_passes(tmp_path: Path) -> None:
    headers.check(crafted.folder(tmp_path, tokenizer=at("post_processor", to=around("<pad>"))))


@pytest.mark.parametrize("plain", [True, False])
def test_a_second_graph_that_nobody_checked_is_refused(tmp_path: Path, plain: bool) -> None:
    crafted.folder(tmp_path, plain=plain)
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model_q4.onnx").write_bytes(b"evil")
    refused(tmp_path, "the folder")


def test_a_folder_as_transformers_js_has_it_passes_and_its_graph_is_read(tmp_path: Path) -> None:
    crafted.folder(tmp_path, plain=True)
    (tmp_path / "onnx").mkdir()
    for name in ("model.onnx", "model.onnx.data"):
        (tmp_path / name).rename(tmp_path / "onnx" / name)
    assert headers.check(tmp_path) == [CHAT_TEMPLATE]
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"evil")
    refused(tmp_path, "model.onnx")


def test_a_folder_behind_a_link_is_as_good_as_itself(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    crafted.folder(tmp_path / "bundle")
    (tmp_path / "link").symlink_to(tmp_path / "bundle")
    assert headers.check(tmp_path / "link") == [CHAT_TEMPLATE]
    assert json.loads((tmp_path / "link" / "genai_config.json").read_text())
