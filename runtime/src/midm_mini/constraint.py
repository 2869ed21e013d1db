"""Knows how a reply of any format is kept to a JSON schema or a grammar: llguidance tells which tokens may be next."""

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from midm_mini.backend import Chooser
from midm_mini.format import MidmError

if TYPE_CHECKING:
    from llguidance import LLMatcher

GRAMMAR_CHARACTERS = 1 << 16
LIMITS: Mapping[
    str, Any
] = {  # llguidance's, lowered so that no stranger's schema takes seconds or 100 MB (its own: 500,000, 250,000 …)
    **{"max_grammar_size": 50_000, "max_lexer_states": 20_000, "initial_lexer_fuel": 500_000},
    "verbose_errors": False,  # they would quote what was written
}
WRITING = {  # as the chat template writes JSON, and with no space that a model could repeat for ever
    **{"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False},
    "coerce_one_of": True,
}
CLOSING = (b"}", b"]", b'"', b",")  # what leads to the end of a JSON text, the shortest way first
ROOM = 128  # tokens before the limit from which on a reply is watched so that it can still be ended


def json_rule(schema: Mapping[str, Any]) -> str:
    """The grammar rule of JSON that fits `schema`; a MidmError if that is no JSON."""
    try:
        return f"%json {json.dumps({**schema, 'x-guidance': WRITING}, ensure_ascii=False, allow_nan=False)}"
    except (TypeError, ValueError, RecursionError) as error:
        raise MidmError(f"the JSON schema cannot be written as JSON ({error})") from None


class Vocabulary:
    """A model's tokens as llguidance knows them.

    pieces: each token's bytes. control: those that no text can hold. ends: those that end a reply. encode: text to ids.
    Raises MidmError without llguidance, or on a vocabulary that it cannot work with.
    """

    def __init__(
        self,
        pieces: Sequence[bytes],
        *,
        control: Collection[int],
        ends: Sequence[int],
        encode: Callable[[str], list[int]],
    ) -> None:
        try:
            from llguidance import LLTokenizer, TokenizerWrapper
        except ImportError as error:
            raise MidmError(f"{error}; run: pip install 'midm-mini[grammar]'") from error
        self.size, self.ends = len(pieces), frozenset(ends)
        marked = [b"\xff" * (n in self.ends or n in control) + piece for n, piece in enumerate(pieces)]
        try:
            self.marks = [pieces.index(mark) for mark in CLOSING]
            tokens = _Tokens(marked, min(ends), encode)
            self.tokenizer = LLTokenizer(TokenizerWrapper(tokens), eos_token=list(ends))
        except ValueError as error:
            raise MidmError(f"no reply of this model can be kept to a grammar, for its tokens ({error})") from error

    def constrained(self, choose: Chooser, grammar: str, *, limit: int | None) -> Chooser:
        """`choose` kept to a grammar (Lark as llguidance has it, or GBNF) for a reply of at most `limit` tokens, in
        which it ends; None: it may be cut.

        Raises MidmError on a grammar that is unsound, too large or allows no text.
        """
        from llguidance import LLMatcher, LLParserLimits
        from llguidance.gbnf_to_lark import any_to_lark

        if len(grammar) > GRAMMAR_CHARACTERS:
            raise MidmError(f"the schema or grammar has {len(grammar)} characters; {GRAMMAR_CHARACTERS} are the most")
        try:
            grammar.encode("utf-8")
            lark = any_to_lark(grammar)
        except Exception as error:  # of a parser that names no type of its own
            raise MidmError(f"the schema or grammar is no text that can be read ({error!s:.300})") from None
        limits = LLParserLimits(**LIMITS)
        matcher = LLMatcher(self.tokenizer, LLMatcher.grammar_from_lark(lark), log_level=0, limits=limits)
        matcher.compute_bitmask()
        if matcher.is_error() or matcher.is_stopped():
            why = matcher.get_error().partition("\n")[0] or "it allows no text"
            raise MidmError(f"the schema or grammar is refused: {why:.300}")
        return Constraint(self, matcher, choose, marks=self.marks if "%json" in lark else (), limit=limit)


class Constraint:
    """Chooses a reply's tokens, one after the other, among those that its grammar allows.

    Two rules bring a reply to an end that fits: where the model itself would end it, the nearest end is taken, and
    before the limit, from the token after which an end would not fit in, the quickest way to one is taken.
    """

    def __init__(
        self, vocabulary: Vocabulary, matcher: "LLMatcher", choose: Chooser, *, marks: Sequence[int], limit: int | None
    ) -> None:
        self._matcher, self._choose, self._hurries = matcher, choose, False
        self._left = math.inf if limit is None else limit
        self._size, self._ends, self._marks = vocabulary.size, vocabulary.ends, marks

    def __call__(self, logits_V: np.ndarray) -> int:
        allowed_V = self._allowed(self._matcher)
        token = self._choose(np.where(allowed_V, logits_V, -np.inf))
        if int(logits_V.argmax()) in self._ends:
            token = self._closing(allowed_V, token)
        self._left -= 1
        self._hurries = self._hurries or (self._left < ROOM and not self._ends_within(int(self._left), token))
        if self._hurries:
            token = self._quickest(self._matcher)
        if not self._matcher.consume_token(token):
            raise MidmError(f"the reply can no longer be kept to its grammar: {self._matcher.get_error():.300}")
        return token

    def _allowed(self, matcher: "LLMatcher") -> np.ndarray:
        """bool [V]."""
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        if matcher.is_error():
            raise MidmError(f"the reply cannot be kept to its grammar: {matcher.get_error():.300}")
        return np.unpackbits(bits, count=self._size, bitorder="little").astype(bool)

    def _closing(self, allowed_V: np.ndarray, otherwise: int) -> int:
        marks = self._marks
        if marks and allowed_V[marks[0]] and allowed_V[marks[1]]:  # only within a string may both brackets stand
            marks = marks[2:3]
        return next((token for token in (*self._ends, *marks) if allowed_V[token]), otherwise)

    def _quickest(self, matcher: "LLMatcher") -> int:
        """The next token of the shortest text that is known to end."""
        if forced := matcher.compute_ff_tokens():
            return forced[0]
        allowed_V = self._allowed(matcher)
        return self._closing(allowed_V, int(allowed_V.argmax()))

    def _ends_within(self, count: int, token: int) -> bool:
        """Whether the quickest way from `token` on takes at most `count` tokens more."""
        probe = self._matcher.deep_copy()
        while token not in self._ends:
            if count <= 0 or not probe.consume_token(token):
                return False
            count, token = count - 1, self._quickest(probe)
        return True


class _Tokens:
    """What llguidance asks of a tokenizer."""

    bos_token_id = None
    special_token_ids: Sequence[int] = ()

    def __init__(self, tokens: Sequence[bytes], eos: int, encode: Callable[[str], list[int]]) -> None:
        self.tokens, self.eos_token_id, self._encode = tokens, eos, encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)
