"""Knows how to ask an exported bundle: the runtime's Model, GGUF and ONNX alike, exactly as an app loads it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import midm_mini
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

    def generate_all(self, prompts: Sequence[list[int]], max_tokens: int) -> list[tuple[str, str]]:
        """As long a text after each as there is room for; the runtime's own error if there is none at all.

        In the prompts' order: neighbours that begin alike (the same tools, the same shots) are read once.
        """
        written = []
        for ids in prompts:
            reply = self._model.stream(ids, max_tokens=max(1, min(self.context - len(ids), max_tokens)))
            written.append((reply.text, reply.finish_reason or "length"))
        return written

    def generate(self, messages: Sequence[Message], max_tokens: int, tools: Tools = ()) -> tuple[str, str]:
        """The greedy reply to a chat."""
        return self.generate_all([self.chat_ids(messages, tools)], max_tokens)[0]
