"""Knows how models lie on disk: Hugging Face folders, with every stop id and the tokenizer beside the weights."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json")


def load(folder: Path) -> "LlamaForCausalLM":
    """The float32 model of a Hugging Face folder; ValueError when the folder holds none. Never runs code from it."""
    from transformers import LlamaForCausalLM

    if not (folder / "config.json").exists():
        raise ValueError(f"{folder} holds no config.json; give a Hugging Face model folder")
    return LlamaForCausalLM.from_pretrained(folder, dtype="float32", local_files_only=True, use_safetensors=True)


def save(
    model: "LlamaForCausalLM", folder: Path, *, tokenizer: Path, weights: "dict[str, torch.Tensor] | None" = None
) -> None:
    """Writes weights (safetensors), config, generation config with every stop id, and the tokenizer's files.

    `weights` are the whole ones of a model that lies in shards (parallel.weights).
    """
    model.generation_config.eos_token_id = stop_ids(tokenizer)
    model.generation_config.pad_token_id, model.generation_config.bos_token_id = 1, 0
    model.save_pretrained(folder, state_dict=weights)
    for name in TOKENIZER_FILES:
        if (tokenizer / name).exists():
            shutil.copyfile(tokenizer / name, folder / name)


def stop_ids(tokenizer: Path) -> list[int]:
    """Ids that end a reply: end of turn first, then end of text (midm-facts: the shipped files forgot the first)."""
    from midm_mini.format import STOP_TOKENS

    rows = json.loads((tokenizer / "tokenizer.json").read_text(encoding="utf-8"))["added_tokens"]
    ids = {row["content"]: row["id"] for row in rows}
    return [ids[token] for token in STOP_TOKENS]
