"""A parent that would export to something else is refused before any work, with the file and the remedy."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export import checkpoint


def edited(parent: checkpoint.Parent, to: Path, name: str, edit: Callable[[dict[str, Any]], Any]) -> Path:
    shutil.copytree(parent.folder, to)
    value = json.loads((to / name).read_text(encoding="utf-8"))
    edit(value)
    (to / name).write_text(json.dumps(value), encoding="utf-8")
    return to


CONFIG_FAULTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another architecture": (lambda c: c.update(architectures=["MistralForCausalLM"]), "LlamaForCausalLM"),
    "a scaled rope": (lambda c: c["rope_parameters"].update(rope_type="llama3"), "llama3"),
    "no rope base": (lambda c: c["rope_parameters"].pop("rope_theta"), "rope_theta"),
    "biases": (lambda c: c.update(attention_bias=True), "biases"),
    "another activation": (lambda c: c.update(hidden_act="gelu"), "silu"),
    "an epsilon left to the reader": (lambda c: c.pop("rms_norm_eps"), "rms_norm_eps: readers would guess"),
    "heads of another width": (lambda c: c.update(head_dim=64), "misshapen tensors .*k_proj"),
    "too few rows": (lambda c: c.update(vocab_size=100), "rows"),
    "a layer too many": (lambda c: c.update(num_hidden_layers=3), r"model.layers.2"),
    "an untied head that is not there": (lambda c: c.update(tie_word_embeddings=False), r"lm_head"),
}


@pytest.mark.parametrize("fault", CONFIG_FAULTS)
def test_a_config_that_would_mislead_a_reader_is_refused(parent: checkpoint.Parent, tmp_path: Path, fault: str) -> None:
    edit, words = CONFIG_FAULTS[fault]
    with pytest.raises(checkpoint.CheckpointError, match=words):
        checkpoint.read(edited(parent, tmp_path / "hf", "config.json", edit))


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors"])
def test_a_missing_file_is_named(parent: checkpoint.Parent, tmp_path: Path, name: str) -> None:
    shutil.copytree(parent.folder, tmp_path / "hf")
    (tmp_path / "hf" / name).unlink()
    with pytest.raises(checkpoint.CheckpointError, match=name.split(".")[0]):
        checkpoint.read(tmp_path / "hf")


def test_broken_json_is_named(parent: checkpoint.Parent, tmp_path: Path) -> None:
    shutil.copytree(parent.folder, tmp_path / "hf")
    (tmp_path / "hf" / "config.json").write_text("{")
    with pytest.raises(checkpoint.CheckpointError, match=r"config.json: .*save the checkpoint again"):
        checkpoint.read(tmp_path / "hf")


def test_a_tokenizer_that_changes_its_text_first_is_refused(parent: checkpoint.Parent, tmp_path: Path) -> None:
    folder = edited(parent, tmp_path / "hf", "tokenizer.json", lambda t: t.update(normalizer={"type": "NFC"}))
    with pytest.raises(checkpoint.CheckpointError, match="not a plain byte-level BPE"):
        checkpoint.read(folder)


def test_a_tensor_in_two_files_is_refused(parent: checkpoint.Parent, tmp_path: Path) -> None:
    shutil.copytree(parent.folder, tmp_path / "hf")
    shutil.copyfile(tmp_path / "hf" / "model.safetensors", tmp_path / "hf" / "model-stale.safetensors")
    with pytest.raises(checkpoint.CheckpointError, match="stands in another file too"):
        checkpoint.read(tmp_path / "hf")


def test_quantized_weights_are_refused_and_rotary_tables_dropped(parent: checkpoint.Parent, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "hf"
    shutil.copytree(parent.folder, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = np.ones(4, np.float32)
    save_file(weights, folder / "model.safetensors")
    assert checkpoint.read(folder).shapes == parent.shapes
    weights["model.layers.0.mlp.up_proj.weight"] = weights["model.layers.0.mlp.up_proj.weight"].astype(np.int8)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(checkpoint.CheckpointError, match="its weights are I8"):
        checkpoint.read(folder)


def test_parameters_and_stops_are_read_from_the_folder(parent: checkpoint.Parent) -> None:
    assert parent.parameters == 1_230_080
    assert set(parent.stops) == {"<|end_of_text|>", "<|eot_id|>"}
    assert parent.head_dim == 32
