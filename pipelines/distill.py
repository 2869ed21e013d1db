"""Teaches the pruned model what Base knows: next-token distributions matched token by token."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines._journal import Journal
from pipelines._stage import enter
from pipelines._training import Phase, TrainingParams

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from models.batches import Packed
    from models.fit import BatchAt, Objective


class Params(TrainingParams):
    logits: Literal["online", "cached"]  # of the teacher: at each step, or drawn once and read by every student
    draws: int  # cached: of each position's distribution, at most 64
    divergence: Literal["forward_kl", "reverse_kl", "jsd"]
    temperature: float  # of both distributions
    ce_weight: float  # share of plain cross-entropy
    layers_weight: float  # online: of the distance between hidden states of pruned channels; 0 leaves it out


def main(
    *, teacher: Path, student: Path, tokens: Path, out: Path, scratch: Path, params: Params, journal: Journal
) -> None:
    """teacher: Base; student: the pruned model; tokens: tokenize folder; out: Hugging Face folder."""
    from models import checkpoints
    from models.batches import Packed, TokenShard
    from models.distillation import Distillation

    model, base = checkpoints.load(student), checkpoints.load(teacher)
    packed = Packed(TokenShard.open(tokens, "phase2"), params.context, params.seed)
    phase = Phase(params, tokenizer=student, validation=tokens, scratch=scratch, out=out, journal=journal)
    if params.logits == "cached":
        origin, root = {"teacher": teacher, "tokens": tokens}, scratch.parent.parent / "teacher"
        objective, batch_at, facts = _cached(base, model, packed, root=root, params=params, **origin)
    else:
        numbers = params.model_dump(include={"divergence", "temperature", "ce_weight", "layers_weight"})
        if params.layers_weight:
            numbers["channels"] = json.loads((student / "mapping.json").read_text(encoding="utf-8"))[0]["hidden"]
        objective, batch_at, facts = Distillation(base, model, **numbers), packed.batch, {}
    phase.train(model, objective, batch_at, **facts)


def _cached(
    base: "LlamaForCausalLM", model: "LlamaForCausalLM", packed: "Packed", *,
    teacher: Path, tokens: Path, root: Path, params: Params,
) -> tuple["Objective", "BatchAt", dict[str, Any]]:  # fmt: skip
    """Objective and batches from the teacher's draws; what `root` does not hold of them yet is drawn first."""
    from models import teacher_cache
    from models.distillation import CachedDistillation

    if params.divergence != "forward_kl" or params.layers_weight:
        asked = f"distill.divergence = {params.divergence}, distill.layers_weight = {params.layers_weight}"
        raise ValueError(f"{asked}: cached draws give forward_kl and no layers; ask for distill.logits = online")
    objective = CachedDistillation(base, model, temperature=params.temperature, ce_weight=params.ce_weight)
    origin = teacher_cache.provenance(teacher, tokens, packed, draws=params.draws, temperature=params.temperature)
    folder, windows = teacher_cache.place(root, origin), -(-max(params.tokens, params.batch_tokens) // params.context)
    teacher_cache.write(folder, origin, base, packed, windows=windows)
    cache = teacher_cache.TeacherCache.open(folder, origin, packed, windows=windows)
    return objective, cache.batch, {"teacher_bytes_per_token": round(cache.bytes_per_token, 2)}


if __name__ == "__main__":
    enter(main)
