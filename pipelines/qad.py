"""Teaches Mini to be itself on the grid that GGUF and ONNX share: quantization-aware distillation."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from export import grid
from pipelines._journal import Journal
from pipelines._stage import enter
from pipelines._training import DialogueParams, Phase, Probe

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


class Params(DialogueParams):
    bits: float = Field(ge=4.5)  # per weight, scales counted: each matrix has 4, or 5 or 8 where that spares most
    text: Literal["phase1", "phase2"]  # of the token folder
    calibration_windows: int  # of that text, by which matrices are rounded before any training
    replay: float  # share of each batch that is text, the rest is dialogues


def main(
    *, model: Path, dialogues: Path, tokens: Path, out: Path, scratch: Path, params: Params, journal: Journal
) -> None:
    """model: Mini, teacher and student; dialogues: synthesize folder; out: the same on the grid, with its scales."""
    from safetensors.torch import save_file

    from models import checkpoints, kernels
    from models.batches import Blend, Conversations, Packed, TokenShard
    from models.calibration import EXAMPLES
    from models.chat import conversation_rows
    from models.distillation import Distillation
    from models.quantization import OnGrid
    from models.sampling import validation_loss

    talks, dropped = conversation_rows(
        dialogues / "dialogues.jsonl", model, context=params.context, limit=params.max_dropped
    )
    rows = [(ids, [1] * len(ids)) for ids, _ in talks]  # itself in what it is told, too
    packed = Packed(TokenShard.open(tokens, params.text), params.context, params.seed)
    blend = Blend(Conversations(rows, params.seed, "qad"), packed, params.replay)
    windows = [packed.batch(step, EXAMPLES)["ids"] for step in range(params.calibration_windows // EXAMPLES)]
    student = checkpoints.load(model).to(kernels.device())  # type: ignore[arg-type]
    plain: dict[str, Any] = {"divergence": "forward_kl", "temperature": 1.0, "ce_weight": 0.0}
    from_itself = Distillation(checkpoints.load(model), student, **plain)
    on_grid = OnGrid(from_itself, student, windows, bits=params.bits)

    def settle(trained: "LlamaForCausalLM") -> dict[str, float]:
        on_grid.settle(trained)  # here, so that what is judged and saved is what will be exported
        held_out: dict[str, Any] = {"context": params.context, "windows": Probe.WINDOWS, "objective": from_itself}
        kl = {f"kl_{lang}": validation_loss(trained, tokens, f"validation_{lang}", **held_out) for lang in ("ko", "en")}
        return {"bits_per_weight": round(on_grid.bits_per_weight, 3)} | {key: round(x, 5) for key, x in kl.items()}

    phase = Phase(params, tokenizer=model, validation=tokens, scratch=scratch, out=out, journal=journal)
    phase.train(student, on_grid, blend.batch, judge=settle, conversations=len(rows), dropped=dropped)
    scales = {name: scale.cpu().contiguous() for name, scale in on_grid.scales.items()}
    save_file(scales, out / grid.SCALES, {"bits": json.dumps(on_grid.bits)})


if __name__ == "__main__":
    enter(main)
