"""Knows how to ask an exported bundle: the runtime's Model, GGUF and ONNX alike, exactly as an app loads it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import midm_mini
import numpy as np
from midm_mini.format import Message, MidmError


class BundleSubject:
    """A bundle behind the judge's protocol (evals/subject.py)."""

    def __init__(self, path: Path) -> None:
        self._model = midm_mini.load(path)
        if self._model.bos is None:
            raise MidmError(f"{path}: a model without BOS; the judge scores text after one")
        self.name, self.bos, self.context = path.name, self._model.bos, self._model.context
        self.encode = partial(self._model.tokenize, special=False)
        self.logits, self.close = self._model.logits, self._model.close
        self._read: tuple[list[int], np.ndarray] = ([], np.empty((0, 0)))

    def follow(self, prompt: Sequence[int], path: Sequence[int]) -> np.ndarray:
        """float32 [N, V] before each token of `path` [N]; paths of one token share the reading of their prompt.

        Read anew otherwise: steps along a cached prompt cost more here than they save (docs/decisions/harness.md).
        """
        ids = [*prompt, *path[:-1]]
        if ids != self._read[0]:
            self._read = ids, self._model.logits(ids)
        return self._read[1][len(prompt) - 1 :]

    def generate(self, messages: Sequence[Message], max_tokens: int) -> tuple[str, str]:
        """As long a reply as there is room for; the runtime's own error if there is none at all."""
        room = self.context - len(self._model.chat_ids(messages))
        reply = self._model.chat(messages, max_tokens=max(1, min(room, max_tokens)))
        return reply.text, reply.finish_reason or "length"

    def complete(self, ids: Sequence[int], max_tokens: int, stops: Sequence[str]) -> str:
        """Greedy continuation of exact ids, up to the first stop string."""
        return self._model.stream(ids, max_tokens=max_tokens, stop=stops).text
