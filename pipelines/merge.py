"""Merges the fine-tuned model with the one it was tuned from: what is learnt stays, what was forgotten comes back."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pipelines._journal import Journal
from pipelines._stage import StageParams, enter

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

WINDOWS = 64  # of held-out text, per language


class Weights(StageParams):
    """What each model counts."""

    base: float  # nothing in task_arithmetic, where the tuned one's counts alone
    tuned: float


class Params(StageParams):
    method: Literal["linear", "slerp", "task_arithmetic"]
    weights: Weights
    context: int  # tokens of a window of held-out text on which each is judged


def main(*, base: Path, tuned: Path, tokens: Path, out: Path, params: Params, journal: Journal) -> None:
    """base: the distilled model; tuned: the fine-tuned one; tokens: for validation; out: the model, merge.json."""
    from models import checkpoints, merging, parallel

    folders, weights = {"base": base, "tuned": tuned}, params.weights.model_dump()
    models = {name: checkpoints.load(folder) for name, folder in folders.items()}
    merging.check_alike(list(folders.values()), list(models.values()))
    losses = {name: judged(model, tokens, params.context) for name, model in models.items()}
    tensors = [parallel.weights(model) for model in models.values()]
    made, rules = merging.merged(tensors, list(weights.values()), params.method)
    model = models["tuned"]
    model.load_state_dict(made, strict=False)  # a tied head is its embeddings
    losses["merged"] = judged(model, tokens, params.context)
    checkpoints.save(model, out, tokenizer=tuned)
    inputs = {name: {"weight": weights[name], "sha256": digests(folder)} for name, folder in folders.items()}
    mapping = {"method": params.method, "inputs": inputs, "tensors": rules, "losses": losses}
    (out / "merge.json").write_text(json.dumps(mapping, indent=1) + "\n", encoding="utf-8")
    journal.conclude(**mapping)


def judged(model: "LlamaForCausalLM", tokens: Path, context: int) -> dict[str, float]:
    """Nats per token of held-out text of each language."""
    from models.sampling import validation_loss

    phases = {lang: f"validation_{lang}" for lang in ("ko", "en")}
    return {lang: round(validation_loss(model, tokens, phase, context, WINDOWS), 5) for lang, phase in phases.items()}


def digests(folder: Path) -> dict[str, str]:
    """sha256 of each file of weights."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.glob("*.safetensors"))}


if __name__ == "__main__":
    enter(main)
