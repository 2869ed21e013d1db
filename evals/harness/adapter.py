"""Knows how lm-evaluation-harness asks any subject, torch, GGUF and ONNX alike: token by token as its own backend."""

from collections.abc import Sequence
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from evals.metrics import continuation
from evals.subject import Subject

TURNS = 64  # tokens that a chat has around its one content, at most


class SubjectLM(TemplateLM):
    """A subject as lm-eval sees a model; every sequence opens with BOS, what is too long is cut right after it.

    max_tokens: the most tokens of a written answer, whatever the task asks for. `cut` counts prompts that lost tokens.
    """

    def __init__(self, subject: Subject, *, max_tokens: int) -> None:
        super().__init__()
        self.subject, self.max_tokens, self.cut = subject, max_tokens, 0

    @property
    def eot_token_id(self) -> int:
        return self.subject.bos

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Ids of plain text after BOS, or without it if `add_special_tokens` is False."""
        return [self.subject.bos] * (add_special_tokens is not False) + self.subject.encode(string)

    def loglikelihood(self, requests: Any, disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        """Nats of every continuation after its context, and whether it is what greedy decoding would write."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[float]:
        """Nats of whole texts, in windows that overlap by one token, the first after BOS."""
        totals = []
        for request in requests:
            windows = get_rolling_token_windows(
                token_list=self.subject.encode(request.args[0]), prefix_token=self.subject.bos,
                max_seq_len=self.subject.context, context_len=1,
            )  # fmt: skip
            pairs = [("", *make_disjoint_window(window)) for window in windows]
            totals.append(sum(nats for nats, _ in self._loglikelihood_tokens(pairs)))
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = True) -> list[str]:
        """Greedy continuations of plain prompts, each up to its first stop string."""
        return [self._continue(*request.args) for request in requests]

    def _continue(self, prompt: str, options: dict[str, Any]) -> str:
        """At most `max_gen_toks` (lm-eval: 256 unless a task says otherwise), `max_tokens` and half the context."""
        wanted = min(options.get("max_gen_toks", 256), self.max_tokens, self.subject.context // 2)
        until = options.get("until") or []
        stops = [stop for stop in ([until] if isinstance(until, str) else until) if stop]
        ids = self._kept(self.tok_encode(prompt), self.subject.context - wanted)
        return self.subject.complete([ids], wanted, stops)[0][0]

    def _loglikelihood_tokens(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        return [self._score(prompt, answer) for _, prompt, answer in requests]

    def _score(self, prompt: list[int], answer: list[int]) -> tuple[float, bool]:
        """Nats of the answer's tokens (of what the context holds of them), and whether each is the likeliest one."""
        ids = self._kept([*prompt, *answer], self.subject.context + 1)
        start = max(1, len(ids) - len(answer))
        told = ids[start:]
        rows = self.subject.follow(ids[:start], told)
        return continuation(rows, told), bool((rows.argmax(axis=-1) == told).all())

    def _kept(self, ids: list[int], most: int) -> list[int]:
        if len(ids) <= most:
            return ids
        self.cut += 1
        return [ids[0], *ids[len(ids) - most + 1 :]]  # BOS stays: without it a model reads what it never met


class ChatLM(SubjectLM):
    """The same, but a prompt is one user's turn and what is written is the reply: for tasks that give instructions."""

    def _continue(self, prompt: str, options: dict[str, Any]) -> str:
        wanted = min(options.get("max_gen_toks", 256), self.max_tokens, self.subject.context // 2)
        room, length = self.subject.context - wanted - TURNS, len(self.subject.encode(prompt))
        if length > room:
            self.cut, prompt = self.cut + 1, prompt[-max(1, len(prompt) * room // length) :]
        return self.subject.generate([{"role": "user", "content": prompt}], wanted)[0]
