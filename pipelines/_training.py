"""Knows what every training stage shares: its numbers, its journal lines, and the probe of a model under way."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipelines._journal import Journal
from pipelines._stage import StageParams

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

    from models.fit import BatchAt, Objective
    from models.lora import Weights


class TrainingParams(StageParams):
    """The numbers of one training phase; hardware is not among them (batch is given in tokens)."""

    tokens: int  # training tokens of this phase
    batch_tokens: int  # tokens per optimizer step
    context: int  # tokens per example
    optimizer: Literal["muon", "muon_polar", "adamw"]  # muon…: hidden matrices by Muon, the rest by AdamW
    schedule: Literal["wsd", "cosine"]
    learning_rate: float  # peak
    warmup: float  # fraction of the steps
    decay: float  # last fraction of the steps, linear (wsd)
    weight_decay: float
    clip: float  # gradient norm
    save_every: int  # steps between saved states (what a kill can cost)
    seed: int  # order of examples


class TextParams(TrainingParams):
    """The numbers of a phase that learns text."""

    packing: Literal["joined", "separate"]  # separate: no attention from a document into another, positions begin again
    z_loss: float  # weight of logsumexp², which keeps logits from drifting (PaLM, section 5)


class DialogueParams(TrainingParams):
    """The numbers of a phase that learns conversations or pairs of them."""

    max_dropped: float  # share of the records that may be longer than the context; none is cut


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One training phase: its numbers, the folder whose tokenizer it keeps, held-out tokens, and where things go."""

    params: TrainingParams = field(kw_only=False)
    tokenizer: Path
    validation: Path
    scratch: Path
    out: Path
    journal: Journal

    def learn(self, model: "LlamaForCausalLM", tokens: Path, phase: str, **facts: Any) -> None:
        """Trains `model` on the next tokens of a tokenize folder's phase, and saves it."""
        from functools import partial

        from models.batches import Packed, TokenShard
        from models.objectives import next_token

        params = self.params
        assert isinstance(params, TextParams)
        packed = Packed(TokenShard.open(tokens, phase), params.context, params.seed, params.packing)
        self.train(model, partial(next_token, z_loss=params.z_loss), packed.batch, **facts)

    def train(
        self, model: "LlamaForCausalLM", objective: "Objective", batch_at: "BatchAt", *,
        judge: Callable[["LlamaForCausalLM"], dict[str, Any]] = lambda _: {},
        settle: Callable[["Weights"], "Weights"] = lambda weights: weights, **facts: Any,
    ) -> None:  # fmt: skip
        """Trains, saves what `settle` makes of the weights into `out`, and concludes with curve, steps, shape,
        validation loss, `facts` and what `judge` says of the trained model."""
        from models import checkpoints, parallel, states
        from models.fit import Plan, fit
        from models.shapes import describe, shape_of

        params, examples = self.params, max(1, self.params.batch_tokens // self.params.context)
        steps = max(1, params.tokens // (examples * params.context))
        fields = params.model_dump(include=set(Plan.__dataclass_fields__))
        plan = Plan(steps=steps, batch=examples, log_every=max(1, steps // 100), **fields)
        ranks = parallel.ranks()
        samples = (self.scratch if ranks.is_main_process else self.out.parent) / "samples.jsonl"
        probe = Probe(self.tokenizer, self.validation, context=params.context, samples=samples)

        def look(model: "LlamaForCausalLM", step: int) -> dict[str, float]:
            if step == steps:  # here, as a model in shards cannot be asked later
                facts.update(judge(model))
            return probe(model, step)

        calls: dict[str, Any] = {"on_step": self.journal.step, "probe": look, "plan": plan}
        own = {"code": states.code_fingerprint(), "data": self.scratch.name}  # which is a digest of params and inputs
        curve = fit(model, objective, batch_at, state=self.scratch / "state", fingerprints=own, **calls)
        weights = parallel.weights(model)  # all ranks gather
        if ranks.is_main_process:
            checkpoints.save(model, self.out, tokenizer=self.tokenizer, weights=settle(weights))
        ranks.wait_for_everyone()
        shutil.copyfile(probe.samples, self.out / "samples.jsonl")
        self.journal.attach(self.out / "samples.jsonl")
        self.journal.conclude(curve=curve, steps=steps, shape=describe(shape_of(model.config)), **probe.last, **facts)


class Probe:
    """Looks at a model under way: validation loss per language and replies to fixed prompts in both."""

    PROMPTS = (
        "프랑스의 수도는",
        "질문: 하루는 몇 시간인가?\n답:",
        "The capital of France is",
        "Question: How many days are in a week?\nAnswer:",
    )
    WINDOWS = 8  # of the context's length, per language
    DOMAIN_WINDOWS = 4  # and of each domain that is long enough

    def __init__(self, tokenizer: Path, validation: Path, *, context: int, samples: Path) -> None:
        self.tokenizer, self.validation, self.context, self.samples = tokenizer, validation, context, samples
        self.last: dict[str, float] = {}

    def __call__(self, model: "LlamaForCausalLM", step: int) -> dict[str, float]:
        from models.batches import domains_of
        from models.sampling import greedy, shard_loss, validation_loss

        losses = {
            f"loss_{lang}": validation_loss(model, self.validation, f"validation_{lang}", self.context, self.WINDOWS)
            for lang in ("ko", "en")
        }
        self.last = {name: round(loss, 5) for name, loss in losses.items()}
        domains = {
            f"loss_{lang}_{domain}": shard_loss(model, shard, self.context, self.DOMAIN_WINDOWS)
            for lang in ("ko", "en")
            for domain, shard in domains_of(self.validation, f"validation_{lang}").items()
            if len(shard.ids) > 2 * self.context
        }
        replies = greedy(model, self.tokenizer, list(self.PROMPTS), tokens=12)
        rows = [{"step": step, "prompt": p, "reply": r} for p, r in zip(self.PROMPTS, replies, strict=True)]
        earlier = self.samples.read_text(encoding="utf-8").split("\n") if self.samples.exists() else []
        fresh = [line for line in earlier if line and json.loads(line)["step"] < step]
        lines = fresh + [json.dumps(row, ensure_ascii=False) for row in rows]
        self.samples.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return {f"eval/{name}": value for name, value in (self.last | domains).items()}
