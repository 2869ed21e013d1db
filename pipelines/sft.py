"""Teaches Mini to answer in turns: supervised fine-tuning with loss on the assistant's tokens only."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines._journal import Journal
from pipelines._stage import StageParams, enter
from pipelines._training import DialogueParams, Phase

if TYPE_CHECKING:
    from models.lora import Weights

Matrix = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Adapter(StageParams):
    """Low-rank adapters (LoRA): they alone learn, and are merged into the weights in the end."""

    rank: int  # 0: no adapters, all weights learn
    alpha: int  # the difference counts alpha / rank times
    targets: list[Matrix]  # last names of the matrices that have one


class Params(DialogueParams):
    packing: Literal["separate", "none"]  # separate: conversations fill a row, none sees another; none: one a row
    adapter: Adapter
    replay: float  # share of each batch that is phase-2 text, against forgetting
    opening: float  # how often a reply's first token counts: it decides between an answer, a call and a refusal
    embedding_rate: float  # times the learning rate, for embeddings and head
    copies: float  # share of the training, its first, in which lists to copy from make room for all conversations


def main(
    *, student: Path, dialogues: Path, tokens: Path, out: Path, scratch: Path, params: Params, journal: Journal
) -> None:
    """student: the distilled model; dialogues: synthesize folder; tokens: for replay and validation."""
    from models import checkpoints, induction, lora
    from models.batches import Blend, Conversations, Packed, TokenShard
    from models.chat import conversation_rows
    from models.objectives import next_token

    file = dialogues / "dialogues.jsonl"
    rows_of = partial(conversation_rows, file, student, context=params.context, limit=params.max_dropped)
    rows, dropped = rows_of()
    packed = Packed(TokenShard.open(tokens, "phase2"), params.context, params.seed)
    filled = params.context if params.packing == "separate" else 0
    talks = partial(Conversations, seed=params.seed, filled=filled)
    blend = Blend(talks(rows, phase="sft"), packed, params.replay)
    if params.copies:
        lists, _ = rows_of(kind="repeat")
        fading = int(params.copies * (1 - params.replay) * params.tokens / params.context)
        blend = replace(blend, first=talks(lists, phase="copies"), fading=fading)
    objective = partial(next_token, opening=params.opening)
    phase = Phase(params, tokenizer=student, validation=tokens, scratch=scratch, out=out, journal=journal)
    model = checkpoints.load(student)
    induction.free(model.config)
    facts: dict[str, Any] = {"conversations": len(rows), "dropped": dropped}
    if not params.adapter.rank:
        return phase.train(model, objective, blend.batch, **facts)
    config = lora.add(model, **params.adapter.model_dump(), seed=params.seed)

    def settle(weights: "Weights") -> "Weights":
        lora.save(weights, config, out / "adapter")
        return lora.merged(weights, config)

    phase.train(model, objective, blend.batch, settle=settle, **facts)


if __name__ == "__main__":
    enter(main)
