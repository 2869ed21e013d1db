"""Knows the parent: a Hugging Face Llama folder, its config, its tokenizer's ids and its tensors one at a time."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from midm_mini.format import BOS, EOS, EOT, PAD, STOP_TOKENS, MidmError
from midm_mini.headers import safetensors

if TYPE_CHECKING:
    import numpy as np

# What llama.cpp takes for the end of a turn by its name alone, whatever a config says: so every artifact does.
ENDS = (EOT, EOS, "<|eom_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>")
SIZES = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("vocab_size", "max_position_embeddings", "rms_norm_eps"),
)


class CheckpointError(ValueError):
    """A parent folder that cannot be exported; the message says where, what is wrong and the remedy."""


@dataclass(frozen=True)
class Parent:
    """A checkpoint as far as export needs it: `ids` maps each token's text to its id, `shapes` each tensor's name.

    `stops` are the tokens that end a reply, by rising id; `bos` is None where the model knows none.
    """

    folder: Path
    config: dict[str, Any]
    generation: dict[str, Any]
    tokenizer: dict[str, Any]
    template: str
    ids: dict[str, int]
    shapes: dict[str, tuple[int, ...]]
    stops: dict[str, int]
    bos: int | None
    pad: int

    @property
    def rope_theta(self) -> float:
        """The rotary base; transformers 5 keeps it in rope_parameters, 4 at top level."""
        return float((self.config.get("rope_parameters") or self.config)["rope_theta"])

    @property
    def head_dim(self) -> int:
        """Width of a head, which need not be hidden / heads."""
        return head_dim(self.config)

    @property
    def adds_bos(self) -> bool:
        """True if its tokenizer puts BOS before every text by itself, as Llama's does and ours does not."""
        from tokenizers import Tokenizer

        return bool(Tokenizer.from_file(str(self.folder / "tokenizer.json")).encode("").ids)

    @cached_property
    def digests(self) -> dict[str, str]:
        """sha256 of the config, the tokenizer and the weight files, by file name; they are read once."""
        own = self.folder / "config.json", self.folder / "tokenizer.json"
        return {path.name: sha256(path) for path in (*own, *weight_files(self.folder))}

    @property
    def parameters(self) -> int:
        """Number of weights, tied rows counted once."""
        return sum(map(prod, self.shapes.values()))


def read(folder: Path) -> Parent:
    """Reads and checks a LlamaForCausalLM folder; raises CheckpointError if it would export to something else."""
    config, tokenizer = read_json(folder / "config.json"), read_json(folder / "tokenizer.json")
    generation = folder / "generation_config.json"
    asked = config, read_json(generation) if generation.is_file() else {}
    ids = tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    stops, pads = _stops(ids, asked), [ids.get(PAD), *(settings.get("pad_token_id") for settings in asked)]
    bos = ids.get(BOS, config.get("bos_token_id"))
    template = _template(folder)
    slices = {name: file.get_slice(name) for name, file in _homes(folder).items()}
    if config.get("tie_word_embeddings"):
        slices.pop("lm_head.weight", None)
    shapes = {name: tuple(piece.get_shape()) for name, piece in slices.items()}
    rope = config.get("rope_parameters") or config | (config.get("rope_scaling") or {})
    kind, partial = rope.get("rope_type", rope.get("type", "default")), rope.get("partial_rotary_factor", 1)
    unsaid = [name for name in SIZES if config.get(name) is None]
    lost = [token for token in STOP_TOKENS if token in template and token not in ids]
    coded = sorted({piece.get_dtype() for piece in slices.values()} - {"F32", "F16", "BF16"})
    strange = [] if unsaid else sorted(dict(layout(config).items() ^ shapes.items()))
    faults = {
        "config.json is not of a LlamaForCausalLM; give one": config.get("architectures") != ["LlamaForCausalLM"],
        f"config.json has no {', '.join(unsaid)}: readers would guess; write it": unsaid,
        f"rope is scaled ({kind}); extend by rope_theta instead": (kind, partial) != ("default", 1),
        "no rope_theta: readers would guess; write it": "rope_theta" not in rope,
        "biases are not exported; train without them": config.get("attention_bias") or config.get("mlp_bias"),
        "its activation is not silu; give a Llama": config.get("hidden_act", "silu") != "silu",
        "tokenizer.json is not a plain byte-level BPE; no artifact could hold it": not _plain(tokenizer),
        f"fewer embedding rows than {len(ids)} tokens; resize the embeddings": max(ids.values())
        >= config["vocab_size"],
        f"tokenizer.json has no {', '.join(lost)}, so no reply could end; train it anew": lost,
        "no eos_token_id and no end of turn among the tokens: no reply could end; write eos_token_id": not stops,
        f"its weights are {', '.join(coded)}; give them as float32, float16 or bfloat16": coded,
        f"missing, unknown or misshapen tensors {', '.join(strange[:4])}; save the whole model": strange,
        "chat_template.jinja is missing; save the tokenizer again": not template,
    }
    if found := [complaint for complaint, wrong in faults.items() if wrong]:
        raise CheckpointError(f"{folder}: {found[0]}")
    pad = next((pad for pad in pads if pad is not None), min(stops.values()))
    return Parent(folder, *asked, tokenizer, template, ids, shapes, stops, bos, pad)


def tensors(parent: Parent) -> Iterator[tuple[str, "np.ndarray"]]:
    """Yields (name, float32 weight) in the order of `layout`, one in memory at a time."""
    import ml_dtypes  # noqa: F401 (teaches numpy the name bfloat16)

    homes = _homes(parent.folder)
    for name in layout(parent.config):
        yield name, homes[name].get_tensor(name).astype("float32")


def layout(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The tensors such a model must have with their shapes, in reading order; a tied head is none of its own."""
    hidden, ffn, rows = (
        config["hidden_size"],
        config["intermediate_size"],
        (config["vocab_size"], config["hidden_size"]),
    )
    queries, keys = (config[f"num_{kind}_heads"] * head_dim(config) for kind in ("attention", "key_value"))
    layer = {"input_layernorm": (hidden,), "self_attn.q_proj": (queries, hidden), "self_attn.k_proj": (keys, hidden)}
    layer |= {"self_attn.v_proj": (keys, hidden), "self_attn.o_proj": (hidden, queries)}
    layer |= {"post_attention_layernorm": (hidden,), "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden)}
    layer |= {"mlp.down_proj": (hidden, ffn)}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": rows}
    for number in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    head = {} if config.get("tie_word_embeddings") else {"lm_head.weight": rows}
    return shapes | {"model.norm.weight": (hidden,)} | head


def names(config: dict[str, Any]) -> list[str]:
    """The tensors of `layout` by name, in reading order."""
    return list(layout(config))


def head_dim(config: dict[str, Any]) -> int:
    """Width of a head: what the config says, else hidden / heads."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a checkpoint, in order."""
    if files := sorted(folder.glob("model*.safetensors")):
        return files
    raise CheckpointError(f"{folder}: no model*.safetensors; save the model with transformers' save_pretrained")


def sha256(path: Path) -> str:
    """The file's digest in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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


def _stops(ids: dict[str, int], asked: Sequence[dict[str, Any]]) -> dict[str, int]:
    """What the configs name and what is an end by name: the released Mini's configs forget the end of turn."""
    named = [eos if isinstance(eos, list) else [eos] for eos in (settings.get("eos_token_id") for settings in asked)]
    wanted = {token for row in named for token in row} | {ids[token] for token in ENDS if token in ids}
    return dict(sorted(((text, token) for text, token in ids.items() if token in wanted), key=lambda row: row[1]))


def _template(folder: Path) -> str:
    """The chat template, which transformers 4 keeps in tokenizer_config.json; empty if there is none."""
    if (file := folder / "chat_template.jinja").is_file():
        return file.read_text(encoding="utf-8")
    template = read_json(folder / "tokenizer_config.json").get("chat_template")
    return template if isinstance(template, str) else ""


def _plain(tokenizer: dict[str, Any]) -> bool:
    """True for a BPE over bytes of the text as it is; a normalizer or SentencePiece's bytes would be lost."""
    model, steps = tokenizer["model"], [tokenizer.get("pre_tokenizer") or {}]
    steps = steps[0].get("pretokenizers", steps)
    bytewise = any(step.get("type") == "ByteLevel" and not step["add_prefix_space"] for step in steps)
    return model["type"] == "BPE" and bytewise and not (model.get("byte_fallback") or tokenizer.get("normalizer"))


def _homes(folder: Path) -> dict[str, Any]:
    """Each tensor's name → its safetensors file, opened; no weight is read."""
    from safetensors import SafetensorError, safe_open

    homes: dict[str, Any] = {}
    for path in weight_files(folder):
        try:
            safetensors.check(path)  # before the library sees it
            file = safe_open(path, framework="numpy")
        except (MidmError, SafetensorError) as error:
            raise CheckpointError(f"{path}: {error}; save the model again") from None
        names = [name for name in file.keys() if not name.endswith("rotary_emb.inv_freq")]  # noqa: SIM118 (no dict)
        if twice := [name for name in names if name in homes]:
            raise CheckpointError(f"{path}: {twice[0]} stands in another file too; remove the stale one")
        homes |= dict.fromkeys(names, file)
    return homes
