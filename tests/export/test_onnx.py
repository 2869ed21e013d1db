"""A GenAI folder is the parent: ids, stops, template by GenAI itself, and the same bytes every time."""

import json
import re
from pathlib import Path

import pytest
from midm_mini.format import BOS, EOS, render_chat

from export import checkpoint, facts, gguf, onnx, verify
from tests.export.parents import BLOCKS, save_parent, sentences
from tests.runtime.test_format import LONG_CHAT, TOOLS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(parent: checkpoint.Parent, card: gguf.Card, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("int4")
    onnx.make(parent, card, "int4", out, blocks=BLOCKS)
    return out


def test_token_ids_equal_hugging_face_on_3000_strings(parent: checkpoint.Parent, folder: Path) -> None:
    texts = [*verify.HARD_TEXTS, *sentences(3000, seed=3)]
    assert facts.read(folder, texts, ()).ids == verify.parent_ids(parent, texts)


def test_transformers_llama_cpp_and_genai_render_the_template_as_we_do(parent: checkpoint.Parent, folder: Path) -> None:
    import onnxruntime_genai
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter
    from transformers import AutoTokenizer

    hugging_face, genai = AutoTokenizer.from_pretrained(parent.folder), onnxruntime_genai.Tokenizer(str(folder))
    llama_cpp = Jinja2ChatFormatter(parent.template, EOS, BOS)
    for length in range(1, len(LONG_CHAT) + 1):
        for tools in ([], [tool.get("function", tool) for tool in TOOLS]):  # genai cuts schemas in OpenAI's form short
            chat, given = LONG_CHAT[:length], json.dumps(tools, ensure_ascii=False) if tools else None
            opened = chat[-1]["role"] != "assistant"
            options = {"add_generation_prompt": opened}
            expected = render_chat(chat, tools)
            assert hugging_face.apply_chat_template(chat, tools=tools, tokenize=False, **options) == expected
            text = json.dumps(chat, ensure_ascii=False)
            assert genai.apply_chat_template(text, tools=given, **options) == expected
            if opened:
                assert llama_cpp(messages=chat, tools=tools).prompt == expected


def test_generation_ends_at_end_of_turn_and_end_of_text_and_pads_with_pad(
    parent: checkpoint.Parent, folder: Path
) -> None:
    model = json.loads((folder / "genai_config.json").read_text(encoding="utf-8"))["model"]
    assert set(model["eos_token_id"]) == {parent.ids["<|eot_id|>"], parent.ids["<|end_of_text|>"]}
    assert model["pad_token_id"] == parent.ids["<pad>"]
    assert model["decoder"]["head_size"] == 32


def test_genai_itself_loads_and_generates(parent: checkpoint.Parent, folder: Path) -> None:
    import onnxruntime_genai

    model = onnxruntime_genai.Model(str(folder))
    settings = onnxruntime_genai.GeneratorParams(model)
    settings.set_search_options(max_length=24, do_sample=False)
    generator = onnxruntime_genai.Generator(model, settings)
    generator.append_tokens([0, 5, 6, 7])
    while not generator.is_done():
        generator.generate_next_token()
    assert 4 < len(generator.get_sequence(0)) <= 24


@pytest.mark.parametrize("precision", ["int4", "int8"])
def test_a_second_build_gives_the_same_bytes_and_knows_no_place_or_commit(
    parent: checkpoint.Parent, card: gguf.Card, tmp_path: Path, precision: str
) -> None:
    import onnx as format

    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        onnx.make(parent, card, precision, tmp_path / name, blocks=BLOCKS)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert {"chat_template.jinja", "genai_config.json", "model.onnx", "model.onnx.data", "tokenizer.json"} <= set(files)
    for name in files:
        content = (tmp_path / "first" / name).read_bytes()
        assert content == (tmp_path / "second" / name).read_bytes()
        assert str(parent.folder).encode() not in content
    graph = format.load(tmp_path / "first" / "model.onnx", load_external_data=False)
    ours = (Path(".git") / "HEAD").exists() and re.search(r"\+[0-9a-f]{7}$", graph.producer_version)
    assert not ours or "genai" in graph.producer_name, "a commit here must be the tool's own, never ours"


def test_head_and_tied_embedding_share_one_int8_matrix(folder: Path) -> None:
    import onnx as format

    graph = format.load(folder / "model.onnx", load_external_data=False).graph
    head = next(node for node in graph.node if node.name.startswith("/lm_head/") and node.op_type == "MatMulNBits")
    bits = {attribute.name: attribute.i for attribute in head.attribute}
    assert (bits["bits"], bits["accuracy_level"], bits["block_size"]) == (8, 4, 32)
    assert not any("embed_tokens.weight" in tensor.name for tensor in graph.initializer)


def test_an_untied_parent_is_built_with_both_matrices(card: gguf.Card, tmp_path: Path) -> None:
    import midm_mini

    parent = checkpoint.read(save_parent(tmp_path / "hf", tied=False))
    (tmp_path / "out").mkdir()
    onnx.make(parent, card, "int8", tmp_path / "out", blocks=BLOCKS)
    with midm_mini.load(tmp_path / "out", threads=1) as artifact:
        assert artifact.logits([0, 9, 8]).shape == (3, parent.config["vocab_size"])
