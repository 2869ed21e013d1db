"""Knows what the judge may ask of a model under test, whatever its format: token ids, logits, replies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from midm_mini.format import MANIFEST, Message


class SubjectError(ValueError):
    """A model that cannot be judged, or not against that parent: what, where, remedy."""


Tools = Sequence[Mapping[str, Any]]


class Subject(Protocol):
    """A model under test: `bos` opens every sequence, of which it reads at most `context` tokens.

    `encode`: ids of plain text, without BOS, nothing in it read as a control token. `chat_ids`: ids of a chat, BOS
    first, up to the assistant's turn. `logits`: float32 [T, V], row t for the token after ids[t]. `after`: the last
    row of each of several prompts, [1, V]. `follow`: the rows before each token of `path` after `prompt`,
    [len(path), V]; the same prompt given again is not read again. `complete`: what it writes greedily after each
    prompt of ids, kept to the prompt's own of `grammars` if there are any and it is not "", up to the first of `stops`,
    which is left out, and "stop" or "length". `generate`: the same after one chat. `close`: frees the memory.
    """

    name: str
    bos: int
    context: int

    def encode(self, text: str) -> list[int]: ...
    def chat_ids(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]: ...
    def logits(self, ids: Sequence[int]) -> np.ndarray: ...
    def after(self, prompts: Sequence[list[int]]) -> list[np.ndarray]: ...
    def follow(self, prompt: Sequence[int], path: Sequence[int]) -> np.ndarray: ...
    def complete(
        self, prompts: Sequence[list[int]], max_tokens: int, stops: Sequence[str] = (), grammars: Sequence[str] = ()
    ) -> list[tuple[str, str]]: ...
    def generate(self, messages: Sequence[Message], max_tokens: int, tools: Tools = ()) -> tuple[str, str]: ...
    def close(self) -> None: ...


def open_subject(path: Path, memory: Path | None = None) -> Subject:
    """Opens a bundle (it has a manifest) with the runtime, any other folder as a Hugging Face one.

    The logits of the latter are kept in the folder `memory`, if there is one: twelve bundles are held against a parent.
    """
    if (path / MANIFEST).is_file():
        from evals.bundle_subject import BundleSubject

        return BundleSubject(path)
    if not all((path / name).is_file() for name in ("config.json", "tokenizer.json")):
        raise SubjectError(f"{path}: neither {MANIFEST} nor config.json with tokenizer.json in it; give a model folder")
    from evals.torch_subject import TorchSubject

    return TorchSubject(path, memory)


def size_bytes(path: Path) -> int:
    """Bytes an app must ship: every file of a bundle, the safetensors of a Hugging Face folder."""
    pattern = "*" if (path / MANIFEST).is_file() else "*.safetensors"
    return sum(file.stat().st_size for file in path.rglob(pattern) if file.is_file())
