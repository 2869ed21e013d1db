"""A GGUF file is the parent: same numbers, same ids, same stops, under the official name."""

import dataclasses
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from export import checkpoint, facts, gguf, quantizing, verify
from models import calibration, reference
from tests.export.parents import ROPE_THETA, save_parent, sentences

OFFICIAL = re.compile(  # the validation pattern of ggml's naming convention (docs/gguf.md)
    r"^(?P<BaseName>[A-Za-z0-9\s]*(?:(?:-(?:(?:[A-Za-z\s][A-Za-z0-9\s]*)|(?:[0-9\s]*)))*))-(?:(?P<SizeLabel>(?:\d+x)?"
    r"(?:\d+\.)?\d+[A-Za-z](?:-[A-Za-z]+(\d+\.)?\d+[A-Za-z]+)?)(?:-(?P<FineTune>[A-Za-z0-9\s-]+))?)?-"
    r"(?:(?P<Version>v\d+(?:\.\d+)*))(?:-(?P<Encoding>(?!LoRA|vocab)[\w_]+))?(?:-(?P<Type>LoRA|vocab))?"
    r"(?:-(?P<Shard>\d{5}-of-\d{5}))?\.gguf$"
)


def made(parent: checkpoint.Parent, card: gguf.Card, precision: str, out: Path) -> Path:
    out.mkdir()
    gguf.make(parent, card, precision, out)
    return next(out.glob("*.gguf"))


def logits_f32_cache(path: Path, ids: list[int]) -> np.ndarray:
    """llama.cpp with an F32 cache: its default F16 one alone costs 2e-3 here."""
    import llama_cpp

    model = llama_cpp.Llama(
        str(path), n_ctx=256, type_k=0, type_v=0, flash_attn=False, logits_all=True, n_threads=1, verbose=False
    )
    try:
        model.eval(ids)
        return np.array(model.scores[: len(ids)])
    finally:
        model.close()


def test_f32_logits_equal_torch_within_1e_3(parent: checkpoint.Parent, card: gguf.Card, tmp_path: Path) -> None:
    ids = np.random.RandomState(0).randint(3, len(parent.ids), size=200).tolist()
    found = logits_f32_cache(made(parent, card, "F32", tmp_path / "f32"), ids)
    truth = reference.logits(parent.folder)(ids)
    assert truth.std() > 0.5, "a flat parent would make this test pass by itself"
    assert np.abs(found - truth).max() < 1e-3


def test_an_untied_bfloat16_parent_in_two_shards_equals_torch_too(card: gguf.Card, tmp_path: Path) -> None:
    parent = checkpoint.read(save_parent(tmp_path / "hf", tied=False, dtype="bfloat16", shard="1MB"))
    assert len(checkpoint.weight_files(parent.folder)) > 1
    ids = np.random.RandomState(1).randint(3, len(parent.ids), size=64).tolist()
    found = logits_f32_cache(made(parent, card, "F32", tmp_path / "f32"), ids)
    assert np.abs(found - reference.logits(parent.folder)(ids)).max() < 1e-3


def test_token_ids_equal_hugging_face_on_3000_strings(
    parent: checkpoint.Parent, card: gguf.Card, tmp_path: Path
) -> None:
    texts = [*verify.HARD_TEXTS, *sentences(3000, seed=2)]
    made(parent, card, "F16", tmp_path / "f16")
    assert facts.read(tmp_path / "f16", texts, ()).ids == verify.parent_ids(parent, texts)


def test_the_file_carries_what_a_reader_would_otherwise_guess(
    parent: checkpoint.Parent, card: gguf.Card, tmp_path: Path
) -> None:
    import gguf as format

    path = made(parent, card, "F16", tmp_path / "f16")
    reader = format.GGUFReader(path)
    value = {key: field.contents() for key, field in reader.fields.items()}
    assert value["llama.rope.freq_base"] == ROPE_THETA
    assert value["llama.attention.key_length"] == value["llama.rope.dimension_count"] == 32
    assert value["tokenizer.ggml.add_bos_token"] is False
    assert value["tokenizer.ggml.pre"] == "llama-bpe"
    assert value["tokenizer.chat_template"] == parent.template
    assert (value["general.license"], value["general.languages"]) == ("mit", ["ko", "en"])
    assert value["general.base_model.0.name"] == "midm-base-test"
    weights = (parent.folder / "model.safetensors").read_bytes()
    assert value["openmidm.parent.sha256"] == [hashlib.sha256(weights).hexdigest()]
    assert "output.weight" not in {tensor.name for tensor in reader.tensors}, "tied rows are stored once"
    kinds = dict(zip(value["tokenizer.ggml.tokens"], value["tokenizer.ggml.token_type"], strict=True))
    assert kinds["<|eot_id|>"] == format.TokenType.CONTROL
    assert kinds["#@이름@#"] == format.TokenType.USER_DEFINED
    assert kinds[f"[PAD{len(parent.ids)}]"] == format.TokenType.UNUSED


@pytest.mark.parametrize("precision", ["F16", *quantizing.TYPES_WITHIN])
def test_the_name_follows_the_official_pattern_and_the_bytes_are_a_function_of_the_parent(
    parent: checkpoint.Parent, card: gguf.Card, tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = made(parent, card, precision, tmp_path / "first")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0})
    second = made(parent, card, precision, tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()
    found = OFFICIAL.match(first.name)
    assert found
    assert (found["SizeLabel"], found["FineTune"], found["Encoding"]) == ("1.2M", "instruct", precision)


@pytest.fixture(scope="module")
def importance(parent: checkpoint.Parent) -> dict[str, np.ndarray]:
    windows = np.random.RandomState(3).randint(3, len(parent.ids), size=(16, 64)).tolist()
    return calibration.input_squares(parent.folder, windows)


def error(path: Path, parent: checkpoint.Parent, importance: dict[str, np.ndarray]) -> float:
    """Sum over matrices of squared rounding errors, each column as heavy as `importance` says, shares of the whole."""
    import gguf as format

    stored = {
        tensor.name: format.dequantize(tensor.data, tensor.tensor_type) for tensor in format.GGUFReader(path).tensors
    }
    shares = []
    for name, weight in checkpoint.tensors(parent):
        if name in importance:
            ours = gguf._as_llama_cpp(name, weight, parent)
            gap = (stored[gguf.official_name(parent, name)] - ours) ** 2 @ importance[name]
            shares.append(gap.sum() / (ours**2 @ importance[name]).sum())
    return float(np.mean(shares))


@pytest.mark.parametrize("precision", ["Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS"])
def test_columns_that_matter_are_rounded_better_with_an_importance_matrix(
    parent: checkpoint.Parent, card: gguf.Card, importance: dict[str, np.ndarray], tmp_path: Path, precision: str
) -> None:
    """Where columns differ: here one in eight is a hundred times as heavy as measured."""
    import gguf as format

    tilted = {name: columns * np.where(np.arange(len(columns)) % 8, 1, 100) for name, columns in importance.items()}
    plain = made(parent, card, precision, tmp_path / "plain")
    (tmp_path / "weighed").mkdir()
    gguf.make(parent, card, precision, tmp_path / "weighed", importance=tilted)
    weighed = next((tmp_path / "weighed").glob("*.gguf"))
    assert error(weighed, parent, tilted) < 0.97 * error(plain, parent, tilted)
    said = {key: field.contents() for key, field in format.GGUFReader(weighed).fields.items()}
    assert said["quantize.imatrix.entries_count"] == len(importance) == 15
    assert not any("imatrix" in key for key in format.GGUFReader(plain).fields)


def test_importance_is_the_mean_square_of_what_each_column_is_given(
    parent: checkpoint.Parent, importance: dict[str, np.ndarray]
) -> None:
    """Of the first layer's queries: the normed embeddings, which numpy can compute alone."""
    weights = dict(checkpoint.tensors(parent))
    ids = np.random.RandomState(3).randint(3, len(parent.ids), size=(16, 64))
    rows = weights["model.embed_tokens.weight"][ids.ravel()].astype(np.float64)
    normed = rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-5)
    expected = ((normed * weights["model.layers.0.input_layernorm.weight"]) ** 2).mean(0)
    np.testing.assert_allclose(importance["model.layers.0.self_attn.q_proj.weight"], expected, rtol=1e-4)
    assert {name: len(columns) for name, columns in importance.items()} == {
        name: shape[1] for name, shape in parent.shapes.items() if len(shape) > 1
    }


def test_a_column_that_never_acts_does_not_break_a_file(
    parent: checkpoint.Parent, card: gguf.Card, importance: dict[str, np.ndarray], tmp_path: Path
) -> None:
    dead = {name: np.where(np.arange(len(columns)) < 64, 0, columns) for name, columns in importance.items()}
    gguf.make(parent, card, "IQ4_XS", tmp_path, importance=dead)
    assert np.isfinite(logits_f32_cache(next(tmp_path.glob("*.gguf")), [0, 5, 6])).all()


def test_rows_that_do_not_fit_k_quants_are_named(card: gguf.Card, tmp_path: Path) -> None:
    parent = checkpoint.read(save_parent(tmp_path / "hf", hidden=96, ffn=256))
    (tmp_path / "out").mkdir()
    notes = gguf.make(parent, card, "Q4_K_M", tmp_path / "out")
    assert any(note.startswith("blk.0.attn_q.weight: ") and "rows of 96" in note for note in notes["fallback_tensors"])
    assert not any("ffn_down" in note for note in notes["fallback_tensors"]), "rows of 256 fit"


def test_values_beyond_f16_are_refused_by_name(
    parent: checkpoint.Parent, card: gguf.Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint.tensors
    monkeypatch.setattr(checkpoint, "tensors", lambda p: ((name, weight * 1e7) for name, weight in real(p)))
    with pytest.raises(checkpoint.CheckpointError, match=r"embed_tokens.*F16"):
        made(parent, card, "F16", tmp_path / "f16")


def test_a_broken_file_is_a_clear_error_with_llama_cpp_s_words(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(ValueError, match=r"broken.gguf to Q8_0"):
        quantizing.quantize(tmp_path / "broken.gguf", tmp_path / "out.gguf", "Q8_0")


def test_the_card_is_plain_data(card: gguf.Card) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.license = "other"  # type: ignore[misc]
