"""Knows the parent: a Hugging Face Llama folder, its config, its tokenizer's ids and its tensors one at a time."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_mini.format import STOP_TOKENS, MidmError
from midm_mini.headers import safetensors

if TYPE_CHECKING:
    import numpy as np

LAYER = (
    *("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)


class CheckpointError(ValueError):
    """A parent folder that cannot be exported; the message says where, what is wrong and the remedy."""


@dataclass(frozen=True)
class Parent:
    """A checkpoint as far as export needs it: `ids` maps each token's text to its id, `shapes` each tensor's name."""

    folder: Path
    config: dict[str, Any]
    tokenizer: dict[str, Any]
    template: str
    ids: dict[str, int]
    shapes: dict[str, tuple[int, ...]]

    @property
    def rope_theta(self) -> float:
        """The rotary base; transformers 5 keeps it in rope_parameters, 4 at top level."""
        return float((self.config.get("rope_parameters") or self.config)["rope_theta"])

    @property
    def head_dim(self) -> int:
        """Width of a head, which need not be hidden / heads."""
        return int(self.config.get("head_dim") or self.config["hidden_size"] // self.config["num_attention_heads"])

    @property
    def parameters(self) -> int:
        """Number of weights, tied rows counted once."""
        return sum(map(prod, self.shapes.values()))

    @property
    def stops(self) -> dict[str, int]:
        """The tokens that end a reply, with their ids."""
        return {token: self.ids[token] for token in STOP_TOKENS}


def read(folder: Path) -> Parent:
    """Reads and checks a LlamaForCausalLM folder; raises CheckpointError if it would export to something else."""
    config, tokenizer = read_json(folder / "config.json"), read_json(folder / "tokenizer.json")
    template = folder / "chat_template.jinja"
    ids = tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    shapes = {name: tuple(file.get_slice(name).get_shape()) for name, file in _homes(folder).items()}
    if config.get("tie_word_embeddings"):
        shapes.pop("lm_head.weight", None)
    rope = config.get("rope_parameters") or config | (config.get("rope_scaling") or {})
    kind = rope.get("rope_type", "default")
    lost = [token for token in STOP_TOKENS if token not in ids]
    strange = sorted(set(names(config)) ^ set(shapes))
    faults = {
        "config.json is not of a LlamaForCausalLM; give one": config.get("architectures") != ["LlamaForCausalLM"],
        f"rope is scaled ({kind}); extend by rope_theta instead": kind != "default",
        "no rope_theta: readers would guess; write it": "rope_theta" not in rope,
        "biases are not exported; train without them": config.get("attention_bias") or config.get("mlp_bias"),
        f"fewer embedding rows than {len(ids)} tokens; resize the embeddings": config["vocab_size"] < len(ids),
        "tokenizer.json needs ignore_merges as llama-bpe has it": not tokenizer["model"].get("ignore_merges"),
        f"tokenizer.json has no {', '.join(lost)}, so no reply could end; train it anew": lost,
        f"missing or unknown tensors {', '.join(strange[:4])}; save the whole model": strange,
        "chat_template.jinja is missing; save the tokenizer again": not template.is_file(),
    }
    if found := [complaint for complaint, wrong in faults.items() if wrong]:
        raise CheckpointError(f"{folder}: {found[0]}")
    return Parent(folder, config, tokenizer, template.read_text(encoding="utf-8"), ids, shapes)


def tensors(parent: Parent) -> Iterator[tuple[str, "np.ndarray"]]:
    """Yields (name, float32 weight) in the order of `names`, one in memory at a time."""
    import ml_dtypes  # noqa: F401 (teaches numpy the name bfloat16)

    homes = _homes(parent.folder)
    for name in names(parent.config):
        yield name, homes[name].get_tensor(name).astype("float32")


def names(config: dict[str, Any]) -> list[str]:
    """The tensors such a model must have, in reading order; a tied head is no tensor of its own."""
    layers = [f"model.layers.{layer}.{name}.weight" for layer in range(config["num_hidden_layers"]) for name in LAYER]
    head = [] if config.get("tie_word_embeddings") else ["lm_head.weight"]
    return ["model.embed_tokens.weight", *layers, "model.norm.weight", *head]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, in order."""
    if files := sorted(folder.glob("model*.safetensors")):
        return files
    raise CheckpointError(f"{folder}: no model*.safetensors; save the model with transformers' save_pretrained")


def write_tokenizer(parent: Parent, out: Path) -> None:
    """Copies the tokenizer byte for byte, its config so that transformers 4 and 5 and transformers.js read it."""
    settings = read_json(parent.folder / "tokenizer_config.json")
    settings |= {"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": parent.template}
    write_json(out / "tokenizer_config.json", {key: value for key, value in settings.items() if key != "backend"})
    shutil.copyfile(parent.folder / "tokenizer.json", out / "tokenizer.json")
    (out / "chat_template.jinja").write_text(parent.template, encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Reads a JSON object; raises CheckpointError that names the file if it is missing or broken."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: {error}; save the checkpoint again") from None


def write_json(path: Path, value: Any) -> None:
    """Writes JSON whose bytes depend on `value` only."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _homes(folder: Path) -> dict[str, Any]:
    """Each tensor's name → its safetensors file, opened; no weight is read."""
    from safetensors import SafetensorError, safe_open

    try:
        for path in weight_files(folder):
            safetensors.check(path)  # before the library sees it
        files = [safe_open(path, framework="numpy") for path in weight_files(folder)]
    except (MidmError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: {error}; save the model again") from None
    return {name: file for file in files for name in file.keys()}  # noqa: SIM118 (a safetensors file is no dict)
