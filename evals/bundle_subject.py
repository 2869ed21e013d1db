"""Knows how to ask an exported bundle: the runtime's Model, GGUF and ONNX alike, exactly as an app loads it."""

from collections.abc import Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

import midm_mini
import numpy as np
from midm_mini.format import Message, MidmError

from evals.subject import Tools


class BundleSubject:
    """A bundle behind the judge's protocol (evals/subject.py)."""

    def __init__(self, path: Path) -> None:
        self._model = midm_mini.load(path)
        if self._model.bos is None:
            raise MidmError(f"{path}: a model without BOS; the judge scores text after one")
        self.name, self.bos, self.context = path.name, self._model.bos, self._model.context
        self.encode = partial(self._model.tokenize, special=False)
        self.chat_ids, self.logits, self.close = self._model.chat_ids, self._model.logits, self._model.close
        self._read: tuple[list[int], np.ndarray] = ([], np.empty((0, 0)))

    def after(self, prompts: Sequence[list[int]]) -> list[np.ndarray]:
        """float32 [1, V] logits after each prompt."""
        return [self.logits(ids)[-1:] for ids in prompts]

    def follow(self, prompt: Sequence[int], path: Sequence[int]) -> np.ndarray:
        """float32 [N, V] before each token of `path` [N]; paths of one token share the reading of their prompt.

        Read anew otherwise: steps along a cached prompt cost more here than they save (docs/decisions/0008-harness.md).
        """
        ids = [*prompt, *path[:-1]]
        if ids != self._read[0]:
            self._read = ids, self._model.logits(ids)
        return self._read[1][len(prompt) - 1 :]

    def complete(
        self, prompts: Sequence[list[int]], max_tokens: int, stops: Sequence[str] = (), grammars: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        """As long a text after each as there is room for; the runtime's own error if there is none at all.

        In the prompts' order: neighbours that begin alike (the same tools, the same shots) are read once.
        """
        written = []
        for ids, grammar in zip_longest(prompts, grammars):
            room = max(1, min(self.context - len(ids), max_tokens))
            reply = self._model.stream(ids, max_tokens=room, stop=stops, grammar=grammar or None)
            written.append((reply.text, reply.finish_reason or "length"))
        return written

    def generate(self, messages: Sequence[Message], max_tokens: int, tools: Tools = ()) -> tuple[str, str]:
        """The greedy reply to a chat."""
        return self.complete([self.chat_ids(messages, tools)], max_tokens)[0]
