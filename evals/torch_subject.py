"""Knows how to ask a Hugging Face folder through torch: the only file of this room that imports it."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from midm_mini.constraint import Vocabulary
from midm_mini.format import BOS, CONTROL_TOKENS, STOP_TOKENS, Message
from midm_mini.format import chat_ids as ids_of_chat
from midm_mini.onnx_backend import speller
from midm_mini.sampling import greedy

from evals.subject import SubjectError, Tools
from models.memory import Memory

BATCH = 32  # replies written at once: ten times as many tokens per second as one by one, on two cores


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
        self._prompt: tuple[list[int], Any, Any] = ([], None, None)  # the last one followed: ids, cache, its last row

    def encode(self, text: str) -> list[int]:
        """Ids of plain text: no BOS, and nothing in it is read as a control token."""
        self._tokenizer.encode_special_tokens = True
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [T, V] next-token logits at every position of `ids` [T]."""
        return self._memory.recall(list(ids), lambda: {"logits": self._logits(ids)})["logits"]

    def after(self, prompts: Sequence[list[int]]) -> list[np.ndarray]:
        """float32 [1, V] logits after each prompt; those of one length are read together, and need no padding."""
        import torch

        found: dict[int, np.ndarray] = {}
        order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
        for _, group in groupby(order, key=lambda n: len(prompts[n])):
            alike = list(group)
            rows = torch.tensor([prompts[n] for n in alike], device=self._model.device)
            with torch.inference_mode():
                read = self._model(rows, use_cache=False, logits_to_keep=1).logits
            found |= zip(alike, read.cpu().numpy(), strict=True)
        return [found[n] for n in range(len(prompts))]

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

    def chat_ids(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """Ids of the rendered chat, exactly as the runtime encodes it."""
        return ids_of_chat(messages, tools, encode_control=self._encode_control, encode_text=self.encode)

    def complete(
        self, prompts: Sequence[list[int]], max_tokens: int, stops: Sequence[str] = (), grammars: Sequence[str] = ()
    ) -> list[tuple[str, str]]:
        """As long a text after each as there is room for; SubjectError if there is none. Equal lengths go together."""
        room = {n: min(max_tokens, self.context - len(ids)) for n, ids in enumerate(prompts)}
        written: dict[int, tuple[str, str]] = {}
        for limit, group in groupby(sorted(room, key=lambda n: (room[n], len(prompts[n]))), key=room.__getitem__):
            rows = list(group)
            for batch in (rows[start : start + BATCH] for start in range(0, len(rows), BATCH)):
                if limit < 1:
                    long = f"a prompt of {len(prompts[batch[0]])} tokens leaves no room in {self.context}"
                    raise SubjectError(f"{self.name}: {long}; shorten it")
                kept = {at: grammars[n] for at, n in enumerate(batch) if grammars and grammars[n]}
                written |= zip(batch, self._written([prompts[n] for n in batch], limit, stops, kept), strict=True)
        return [written[n] for n in range(len(prompts))]

    def generate(self, messages: Sequence[Message], max_tokens: int, tools: Tools = ()) -> tuple[str, str]:
        """The greedy reply to a chat."""
        return self.complete([self.chat_ids(messages, tools)], max_tokens)[0]

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

    def _written(
        self, prompts: Sequence[list[int]], limit: int, stops: Sequence[str], grammars: Mapping[int, str]
    ) -> list[tuple[str, str]]:
        import torch

        width, place = max(map(len, prompts)), self._model.device
        ids = torch.tensor([[self.bos] * (width - len(row)) + row for row in prompts], device=place)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=place)
        options: dict[str, Any] = {"do_sample": False, "eos_token_id": self._stops, "pad_token_id": self._stops[-1]}

        def stopped(rows: Any, _: Any, **__: Any) -> Any:
            ended = [self._ended(row, stops)[1] == "stop" for row in rows[:, width:].tolist()]
            return torch.tensor(ended, device=place)

        options |= {"stopping_criteria": [stopped]} if stops else {}
        options |= {"logits_processor": [self._keeper(grammars)]} if grammars else {}
        with torch.inference_mode():
            whole = self._model.generate(ids, attention_mask=mask, max_new_tokens=limit, **options)
        return [self._ended(row, stops) for row in whole[:, width:].tolist()]

    def _keeper(self, grammars: Mapping[int, str]) -> Any:
        """Leaves each of these rows the one token that it chooses within its grammar, until it has ended."""
        kept = {row: self._vocabulary.constrained(greedy, text, limit=None) for row, text in grammars.items()}

        def keep(_: Any, scores_BV: Any) -> Any:
            for row in [*kept]:
                token = kept[row](scores_BV[row].cpu().numpy())
                scores_BV[row] = -np.inf
                scores_BV[row, token] = 0
                if token in self._stops:
                    del kept[row]
            return scores_BV

        return keep

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        control = [token for token in map(self._tokenizer.token_to_id, CONTROL_TOKENS) if token is not None]
        pieces = [*map(speller(self._tokenizer), range(self._model.config.vocab_size))]
        return Vocabulary(pieces, control=control, ends=self._stops, encode=self.encode)

    def _ended(self, ids: list[int], stops: Sequence[str]) -> tuple[str, str]:
        """The text before the first stop token or string, and whether there was one."""
        end = next((n for n, token in enumerate(ids) if token in self._stops), None)
        text = self._tokenizer.decode(ids[:end])
        cut = min((found for stop in stops if (found := text.find(stop)) >= 0), default=None)
        return text[:cut], "length" if cut is None and end is None else "stop"
