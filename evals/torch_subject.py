"""Knows how to ask a Hugging Face folder through torch: the only file of this room that imports it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from midm_mini.format import BOS, STOP_TOKENS, Message, chat_ids

from evals.subject import SubjectError


class TorchSubject:
    """A causal language model in float32 on the fastest device at hand, behind the judge's protocol."""

    def __init__(self, path: Path) -> None:
        import torch
        from tokenizers import Tokenizer
        from transformers import AutoModelForCausalLM

        self.name = path.name
        self._tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
        ids: list[Any] = [self._tokenizer.token_to_id(token) for token in (BOS, *STOP_TOKENS)]
        if None in ids:
            raise SubjectError(f"{path}/tokenizer.json lacks one of {BOS} {STOP_TOKENS}; use the line's own tokenizer")
        self.bos, *self._stops = ids
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        self.context = int(model.config.max_position_embeddings)
        self._prompt: tuple[list[int], Any, Any] = ([], None, None)  # the last one followed: ids, cache, its last row

    def encode(self, text: str) -> list[int]:
        """Ids of plain text: no BOS, and nothing in it is read as a control token."""
        self._tokenizer.encode_special_tokens = True
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [T, V] next-token logits at every position of `ids` [T]."""
        import torch

        with torch.inference_mode():
            row = torch.tensor([ids], device=self._model.device)
            return self._model(row, use_cache=False).logits[0].cpu().numpy()

    def follow(self, prompt: Sequence[int], path: Sequence[int]) -> np.ndarray:
        """float32 [N, V] logits before each token of `path` [N] after `prompt`, read once for several paths."""
        import torch

        with torch.inference_mode():
            if self._prompt[0] != [*prompt]:
                read = self._model(torch.tensor([prompt], device=self._model.device), use_cache=True, logits_to_keep=1)
                self._prompt = [*prompt], read.past_key_values, read.logits[0]
            _, cache, rows = self._prompt
            if len(path) > 1:
                taken = torch.tensor([path[:-1]], device=self._model.device)
                rows = torch.cat([rows, self._model(taken, past_key_values=cache, use_cache=True).logits[0]])
                cache.crop(1 - len(path))  # forgets the path
            return rows.cpu().numpy()

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

    def complete(self, ids: Sequence[int], max_tokens: int, stops: Sequence[str]) -> str:
        """Greedy continuation of exact ids, up to the first stop string."""
        import torch

        def stopped(row: Any, _: Any, **__: Any) -> Any:
            text = self._tokenizer.decode(row[0, len(ids) :].tolist())
            return torch.tensor([any(stop in text for stop in stops)], device=row.device)

        prompt = torch.tensor([ids], device=self._model.device)
        options: dict[str, Any] = {"do_sample": False, "eos_token_id": self._stops, "pad_token_id": self._stops[-1]}
        options |= {"attention_mask": torch.ones_like(prompt), "stopping_criteria": [stopped]}
        with torch.inference_mode():
            written = self._model.generate(prompt, max_new_tokens=max_tokens, **options)[0, len(ids) :].tolist()
        text = self._tokenizer.decode(written)
        return text[: min((found for stop in stops if (found := text.find(stop)) >= 0), default=len(text))]

    def close(self) -> None:
        """Lets the weights go."""
        del self._model

    def _encode_control(self, text: str) -> list[int]:
        self._tokenizer.encode_special_tokens = False
        return self._tokenizer.encode(text, add_special_tokens=False).ids
