"""Knows the front of the wheel: one Model for every artifact, replies as typed pieces, strict options."""

from __future__ import annotations

import operator
import os
import re
import time
import weakref
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from midm_mini import format as bundle
from midm_mini import headers
from midm_mini.backend import Backend, Chooser
from midm_mini.calls import CallFlow, Leave, Malformed, Part, Schemas, ToolCall, call_grammar, schemas
from midm_mini.constraint import Vocabulary, json_rule
from midm_mini.format import Message, MidmError
from midm_mini.sampling import TextFlow, sampler

_PLACEHOLDER = re.compile("(" + "|".join(map(re.escape, bundle.PII_PLACEHOLDERS)) + ")")


class Piece(NamedTuple):
    """One generated token. The last piece has a `finish_reason`: "stop" (end of turn, stop string) or "length"."""

    text: str  # "" while a character is unfinished
    token: int
    finish_reason: str | None
    seconds: float  # since the first piece was asked for: the first carries the time to first token


class Reply:
    """A reply while it is being written: iterate over its pieces, or over its `parts`, or take all of it with `.text`.

    tools: the schemas that its calls are held against.
    """

    def __init__(self, pieces: Iterator[Piece], tools: Schemas) -> None:
        self._pieces, self._tools = pieces, tools
        self._seen: list[Piece] = []

    def __iter__(self) -> Reply:
        return self

    def __next__(self) -> Piece:
        self._seen.append(piece := next(self._pieces))
        return piece

    @property
    def text(self) -> str:
        """The whole text as it was written, calls included; generates what is still to come, as all below do."""
        return "".join(piece.text for piece in [*self._seen, *self])

    @property
    def content(self) -> str:
        """The text beside the calls."""
        return "".join(part for part in self.parts() if isinstance(part, str))

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls that can be made: of a listed tool, with the arguments that it takes. None is ever run here."""
        return [part for part in self.parts() if isinstance(part, ToolCall)]

    @property
    def malformed(self) -> list[Malformed]:
        """What was begun as a call and is none, with the reason."""
        return [part for part in self.parts() if isinstance(part, Malformed)]

    def parts(self) -> Iterator[Part]:
        """From the beginning: text as it is written, a call or what is malformed when it has ended."""
        flow = CallFlow(self._tools)
        for piece in chain(tuple(self._seen), self):
            yield from flow.push(piece.text)
        yield from flow.rest()

    @property
    def finish_reason(self) -> str | None:
        """Why the reply ended; None while it has not."""
        return self._seen[-1].finish_reason if self._seen else None


class Model:
    """A loaded bundle. Use it in one thread at a time; a newer request ends the older reply (one cache)."""

    def __init__(self, backend: Backend, *, path: Path, format: str, templates: Collection[str]) -> None:
        self.path, self.format = path, format
        self.context, self.vocab_size, self.details = backend.context, backend.vocab_size, backend.details
        self._opened, self._turn = backend, 0
        self._finalizer = weakref.finalize(self, backend.close)  # also at exit: native libraries mind being forgotten
        self.bos = backend.bos
        ids = [self.tokenize(name, special=True) for name in bundle.CONTROL_TOKENS]
        known = all(len(found) == 1 for found in ids)
        self.chats = known and set(templates) == {bundle.CHAT_TEMPLATE}  # no other template is ever run
        self._silent = frozenset(found[0] for found in ids if len(found) == 1)
        self._spelt: dict[int, tuple[bytes, bool]] = {}  # what a token shows, and whether it ends a reply

    def stream(
        self, prompt: str | Sequence[int], *, max_tokens: int | None = None, temperature: float = 0.0,
        top_p: float = 1.0, seed: int | None = None, stop: str | Sequence[str] = (),
        json_schema: Mapping[str, Any] | None = None, grammar: str | None = None,
    ) -> Reply:  # fmt: skip
        """Continues `prompt`: plain text (as `prompt_ids`) or exact token ids. `max_tokens` None fills the context.

        json_schema or grammar (Lark as llguidance has it, or GBNF): what the text is kept to; it ends before the limit.
        Raises MidmError when prompt and `max_tokens` exceed the context, or on a schema or grammar that cannot be kept,
        ValueError on an option out of range.
        """
        if isinstance(prompt, str) and prompt.startswith(bundle.BOS):
            raise MidmError("prompt starts with BOS: use chat(messages), or stream(tokenize(prompt, special=True))")
        ids = self.prompt_ids(prompt) if isinstance(prompt, str) else self._checked(prompt)
        stops = (stop,) if isinstance(stop, str) else tuple(stop)
        if not all(stops):
            raise ValueError(f"stop={stop!r}: must be a non-empty string or several")
        room = self.context - len(ids)
        wanted = room if max_tokens is None else operator.index(max_tokens)
        if not 1 <= wanted <= room:
            raise MidmError(
                f"{len(ids)} prompt tokens leave {max(room, 0)} free in the context of {self.context}, which must hold "
                f"max_tokens={max_tokens}, at least 1; shorten the prompt, or load(..., context=) a larger one"
            )
        choose = sampler(temperature=temperature, top_p=top_p, seed=seed)
        if json_schema is not None:
            if grammar is not None:
                raise ValueError("json_schema and grammar: a reply is kept to one of them")
            grammar = f"start: {json_rule(json_schema)}"
        if grammar is not None:
            choose = self._kept(choose, grammar, limit=wanted)
        return Reply(self._pieces(ids, wanted, choose, TextFlow(stops)), {})

    def chat(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), *, passages: Sequence[str] = (),
        tool_choice: str = "auto", **options: Any,
    ) -> Reply:  # fmt: skip
        """Answers a conversation; `options` are those of `stream`. Control tokens inside a content stay plain text.

        tools: JSON schemas of the functions that may be called; see the reply's `tool_calls` and `malformed`.
        tool_choice: auto lets the model choose, and what it then calls is a listed tool with arguments that it takes
        (where llguidance is installed and knows their schemas); none hides the tools; required, or a tool's name, makes
        one valid call.
        passages: texts to answer from, given to the last user's turn.
        """
        listed, shown = schemas(tools), () if tool_choice == "none" else tools
        kept = tool_choice not in ("auto", "none") or (shown and not options.keys() & {"grammar", "json_schema"})
        if kept:
            options["grammar"] = call_grammar(listed, tool_choice)
        return Reply(self.stream(self.chat_ids(messages, shown, passages), **options), listed)

    def chat_ids(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = (), passages: Sequence[str] = ()
    ) -> list[int]:
        """Token ids of the conversation in the bundle's chat format, one BOS included; MidmError unless `chats`."""
        if not self.chats:
            raise MidmError(
                f"{self.path}: has no chat template or another than this wheel's own, which is never run; take a "
                "bundle of OpenMidm's export, or write the turns yourself and give their ids to stream()"
            )
        control, text = partial(self.tokenize, special=True), partial(self.tokenize, special=False)
        shown = bundle.with_passages(messages, passages)
        return bundle.chat_ids(shown, tools, encode_control=control, encode_text=text)

    def prompt_ids(self, text: str) -> list[int]:
        """Token ids of a plain prompt, BOS in front if the artifact has one; control tokens in it stay plain text."""
        return [self.bos] * (self.bos is not None) + self.tokenize(text, special=False)

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Token ids, no BOS added; control tokens written in `text` count as such only if `special`."""
        if special:
            return self._backend.encode(text, special=True)
        parts = enumerate(_PLACEHOLDER.split(text))  # odd parts are the placeholders
        return [token for n, part in parts if part for token in self._backend.encode(part, special=n % 2 == 1)]

    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of `ids`; control tokens have none, invalid UTF-8 becomes U+FFFD."""
        return b"".join(self._spell(token)[0] for token in self._checked(ids)).decode("utf-8", "replace")

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """float32 [T, V]: row t scores the token after ids[t]; raises MidmError when T exceeds the context."""
        checked = self._checked(ids)
        if len(checked) > self.context:
            raise MidmError(f"{len(checked)} ids exceed the context of {self.context}; score them in windows")
        self._turn += 1
        return self._backend.logits(checked)

    def follow(self, prompt: Sequence[int], path: Sequence[int]) -> np.ndarray:
        """float32 [N, V]: the scores that generation chooses each token of `path` from, made to take the one before.

        The way of `stream`, cache and kernels; raises MidmError when both exceed the context.
        """
        read, taken = self._checked(prompt), self._checked(path)
        if len(read) + len(taken) > self.context:
            raise MidmError(
                f"{len(read)} + {len(taken)} ids exceed the context of {self.context}; follow a shorter path"
            )
        self._turn += 1
        scores_V = self._backend.start(read)
        rows = [scores_V.copy(), *(self._backend.step(token).copy() for token in taken[:-1])]
        return np.stack(rows)

    def embed(self, text: str) -> np.ndarray:
        """float32 [H] of length 1 for comparing texts: the mean of the last normed states of `text`'s own tokens.

        GGUF only; raises MidmError for other formats, for an empty text and one that exceeds the context.
        """
        ids, opening = self.prompt_ids(text), int(self.bos is not None)
        if not opening < len(ids) <= self.context:
            count = len(ids) - opening
            raise MidmError(f"{count} tokens to embed: give 1 to {self.context - opening}, a long text in parts")
        self._turn += 1
        states_TH = self._backend.hidden(ids)[opening:]  # BOS draws all attention and says nothing
        mean = states_TH.mean(axis=0)
        return mean / np.linalg.norm(mean)

    def close(self) -> None:
        """Frees the model; using it afterwards is an error."""
        self._turn += 1
        self._finalizer()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _pieces(self, ids: list[int], limit: int, choose: Chooser, flow: TextFlow) -> Iterator[Piece]:
        started = time.perf_counter()
        self._turn = turn = self._turn + 1
        for count, token in enumerate(self._backend.write(ids, choose), 1):
            shown, ends = self._spell(token)
            text = flow.push(shown)
            reason = "stop" if ends or flow.stopped else "length" if count == limit else None
            yield Piece(text + flow.rest() if reason else text, token, reason, time.perf_counter() - started)
            if reason:
                return
            if turn != self._turn:
                raise MidmError("this reply was ended by a newer request or by close(); read a reply before the next")

    def _kept(self, choose: Chooser, grammar: str, *, limit: int) -> Chooser:
        if not isinstance(grammar, Leave):
            return self._vocabulary.constrained(choose, grammar, limit=limit)
        try:
            return self._vocabulary.constrained(choose, grammar, limit=None)
        except MidmError:  # no llguidance, or a schema that it does not know: calls are held against it afterwards
            return choose

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        ends = [token for token in range(self.vocab_size) if self._backend.ends(token)]
        pieces = [self._backend.token_bytes(token) for token in range(self.vocab_size)]
        encode = partial(self._backend.encode, special=False)
        return Vocabulary(pieces, control=self._silent, ends=ends, encode=encode)

    @property
    def _backend(self) -> Backend:
        if not self._finalizer.alive:
            raise MidmError(f"{self.path}: the model is closed; load it again")
        return self._opened

    def _checked(self, ids: Sequence[int]) -> list[int]:
        checked = [int(token) for token in ids]
        if not checked or not all(0 <= token < self.vocab_size for token in checked):
            raise MidmError(f"token ids: need at least one, each from 0 to {self.vocab_size - 1}")
        return checked

    def _spell(self, token: int) -> tuple[bytes, bool]:
        if token not in self._spelt:  # asking the tokenizer took 6 us, a token of demo's 220
            ends = self._backend.ends(token)
            silent = ends or token in self._silent
            self._spelt[token] = b"" if silent else self._backend.token_bytes(token), ends
        return self._spelt[token]


def load(path: str | os.PathLike[str], *, threads: int | None = None, context: int | None = None) -> Model:
    """Opens a .gguf file or an exported folder, by default with the trained context up to 4,096 tokens.

    threads: by default a GGUF file's are found by timing the first steps, which changes no bit of what it says, and an
    ONNX folder's are one for less than 20 MB of weights, else all cores.
    """
    place = Path(path)
    kind, templates = bundle.artifact_format(place), headers.check(place)  # before any native code sees it
    try:
        if kind == "gguf":
            from midm_mini.gguf_backend import GgufBackend as Chosen
        else:
            from midm_mini.onnx_backend import OnnxBackend as Chosen  # type: ignore[assignment]
        backend: Backend = Chosen(place, threads=threads, context=context)
    except ImportError as error:
        raise MidmError(f"{place}: {error}; run: pip install 'midm-mini[{kind.split('-')[0]}]'") from error
    return Model(backend, path=place, format=kind, templates=templates)
