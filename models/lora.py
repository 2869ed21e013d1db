"""Knows low-rank adapters (LoRA, Hu et al. 2021): put beside matrices before training, merged into them after it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig
    from transformers import LlamaForCausalLM

    Weights = dict[str, torch.Tensor]

BASE, FACTORS = ".base_layer.weight", (".lora_A.default.weight", ".lora_B.default.weight")


def add(model: "LlamaForCausalLM", *, rank: int, alpha: int, targets: Sequence[str], seed: int) -> "LoraConfig":
    """Puts adapters on every matrix whose last name is in `targets`, in place; only they have gradients from then on.

    B begins at zero, so that the model is what it was; A is drawn from `seed`. The difference is α/rank · B @ A.
    """
    import torch
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets), task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inject_adapter_in_model(config, model)
    return config


def merged(weights: "Mapping[str, torch.Tensor]", config: "LoraConfig") -> "Weights":
    """Weights of a model with adapters → those of one without, under its own names, that says the same."""
    found, scale = {}, config.lora_alpha / config.r
    for name, weight in weights.items():
        matrix = name.removesuffix(BASE)
        if matrix != name:
            a, b = (weights[matrix + factor] for factor in FACTORS)
            found[matrix + ".weight"] = weight + scale * b @ a
        elif not name.endswith(FACTORS):
            found[name] = weight
    return found


def save(weights: "Mapping[str, torch.Tensor]", config: "LoraConfig", folder: Path) -> None:
    """Writes the adapters alone, as PeftModel.from_pretrained reads them beside the model they were trained on."""
    from safetensors.torch import save_file

    factors = {name: weight.contiguous() for name, weight in weights.items() if name.endswith(FACTORS)}
    tensors = {f"base_model.model.{name.replace('.default', '')}": weight for name, weight in factors.items()}
    targets = sorted(config.target_modules or ())  # a set, whose order is chance
    said = config.to_dict() | {"inference_mode": True, "target_modules": targets}
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
