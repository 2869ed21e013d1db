"""Knows how to ask a Hugging Face folder through torch: the only file of this room that imports it."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from midm_mini.format import BOS, STOP_TOKENS, Message, chat_ids

from evals.subject import SubjectError
from models.memory import Memory


class TorchSubject:
    """A causal language model in float32 on the fastest device at hand, behind the judge's protocol.

    With a folder `memory` it opens when first asked for logits that are not held there (models/memory.py).
    """

    def __init__(self, path: Path, memory: Path | None = None) -> None:
        from tokenizers import Tokenizer

        self.name, self._path, self._memory = path.name, path, Memory(memory, path, __file__)
        self._tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        ids: list[Any] = [self._tokenizer.token_to_id(token) for token in (BOS, *STOP_TOKENS)]
        if None in ids:
            raise SubjectError(f"{path}/tokenizer.json lacks one of {BOS} {STOP_TOKENS}; use the line's own tokenizer")
        self.bos, *self._stops = ids
        self.context = int(json.loads((path / "config.json").read_text(encoding="utf-8"))["max_position_embeddings"])
        if memory is None:
            self._model.eval()  # opened now

    def encode(self, text: str) -> list[int]:
        """Ids of plain text: no BOS, and nothing in it is read as a control token."""
        self._tokenizer.encode_special_tokens = True
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [T, V] next-token logits at every position of `ids` [T]."""
        return self._memory.recall(list(ids), lambda: {"logits": self._logits(ids)})["logits"]

    def generate(self, messages: Sequence[Message], max_tokens: int) -> tuple[str, str]:
        """Greedy reply to a chat and "stop" or "length"."""
        import torch

        ids = chat_ids(messages, encode_control=self._encode_control, encode_text=self.encode)
        room = min(max_tokens, self.context - len(ids))
        if room < 1:
            raise SubjectError(f"{self.name}: a chat of {len(ids)} tokens leaves no room in {self.context}; shorten it")
        prompt = torch.tensor([ids], device=self._model.device)
        options: dict[str, Any] = {"do_sample": False, "eos_token_id": self._stops, "pad_token_id": self._stops[-1]}
        mask = torch.ones_like(prompt)
        with torch.inference_mode():
            reply = self._model.generate(prompt, attention_mask=mask, max_new_tokens=room, **options)
        written = reply[0, len(ids) :].tolist()
        return self._tokenizer.decode(written), "stop" if written[-1] in self._stops else "length"

    def close(self) -> None:
        """Lets the weights go."""
        vars(self).pop("_model", None)

    @cached_property
    def _model(self) -> Any:
        import torch
        from transformers import AutoModelForCausalLM

        model: Any = AutoModelForCausalLM.from_pretrained(self._path, dtype=torch.float32)
        return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def _logits(self, ids: Sequence[int]) -> np.ndarray:
        import torch

        with torch.inference_mode():
            row = torch.tensor([ids], device=self._model.device)
            return self._model(row, use_cache=False).logits[0].cpu().numpy()

    def _encode_control(self, text: str) -> list[int]:
        self._tokenizer.encode_special_tokens = False
        return self._tokenizer.encode(text, add_special_tokens=False).ids
