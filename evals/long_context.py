"""Knows whether a longer context is used: facts hidden in filler text, and held-out documents by place in them."""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

FACTS = {  # language → the fact and the question's beginning
    "ko": (" {key}의 비밀번호는 {value}이다. ", " {key}의 비밀번호는"),
    "en": (" The secret number of {key} is {value}. ", " The secret number of {key} is"),
}
KEYS = {"ko": ("하늘", "바다", "나무", "구름", "노을"), "en": ("Orion", "Maple", "Falcon", "River", "Comet")}
LENGTHS, DEPTHS, DRAWS, CHOICES = (0.25, 0.5, 1.0), (0.1, 0.5, 0.9), 3, 4
DOCUMENTS = 64  # of each language, at most
SPECIAL = 3  # ids below are bos, pad, eos in every profile: they cut documents and hold no bytes
Encode = Callable[[str], list[int]]


@dataclass(frozen=True)
class Needle:
    """What the model reads, and how it might go on: the right value first. `length` is a share of the context."""

    prefix: list[int]
    choices: list[list[int]]
    lang: str
    length: float
    depth: float


def long_context(model: Any, *, tokens: Path, tokenizer: Path, context: int) -> dict[str, Any]:
    """{"needle": share found by language, share of the context and depth (chance 0.25), "bpb": by language, quarter}.

    `tokens`: tokenize folder, whose validation shards are filler and documents; `tokenizer`: folder of tokenizer.json.
    """
    from tokenizers import Tokenizer

    from models.batches import TokenShard
    from models.sampling import choice_nats, token_nats

    coder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    found: dict[str, list[bool]] = {}
    quarters: dict[str, dict[str, float]] = {}
    for lang in FACTS:
        ids = TokenShard.open(tokens, f"validation_{lang}").ids.tolist()
        for needle in needles(ids, lambda text: coder.encode(text, add_special_tokens=False).ids, lang, context):
            nats = choice_nats(model, needle.prefix, needle.choices)
            for cell in (lang, f"{needle.length:g} of the context", f"depth {needle.depth:g}"):
                found.setdefault(cell, []).append(nats[0] < min(nats[1:]))
        scored = ((document, token_nats(model, document)) for document in documents(ids, context))
        quarters[lang] = bits_by_quarter(scored, lambda token: len(str(coder.id_to_token(token))), context)
    return {"needle": {cell: round(sum(flags) / len(flags), 4) for cell, flags in found.items()}, "bpb": quarters}


def needles(filler: Sequence[int], encode: Encode, lang: str, context: int) -> Iterator[Needle]:
    """One fact each, at every length and depth: prefix and longest choice fill exactly that share of the context."""
    fact, question = FACTS[lang]
    hay = [token for token in filler if token >= SPECIAL]
    for length, depth, draw in product(LENGTHS, DEPTHS, range(DRAWS)):
        chance = random.Random(f"{lang} {length} {depth} {draw}")
        key, values = chance.choice(KEYS[lang]), chance.sample(range(1000, 10_000), CHOICES)
        told, asked = encode(fact.format(key=key, value=values[0])), encode(question.format(key=key))
        choices = [encode(f" {value}") for value in values]
        room = int(length * context) - 1 - len(told) - len(asked) - max(map(len, choices))
        start, before = chance.randrange(len(hay)), max(0, int(depth * room))
        straw = [hay[(start + n) % len(hay)] for n in range(max(0, room))]
        prefix = [0, *straw[:before], *told, *straw[before:], *asked]
        yield Needle(prefix, choices, lang, length, depth)


def documents(ids: Sequence[int], context: int) -> list[list[int]]:
    """The first documents of a shard that fill more than half of the context, bos first, cut where it ends."""
    starts = [place for place, token in enumerate(ids) if token == 0]
    whole = (list(ids[start:end]) for start, end in pairwise([*starts, len(ids)]))
    return [document[:context] for document in whole if len(document) > context / 2][:DOCUMENTS]


def bits_by_quarter(
    scored: Iterator[tuple[list[int], list[float]]], size: Callable[[int], int], context: int
) -> dict[str, float]:
    """Bits per byte of tokens in each quarter of the context, over (document, nats of its tokens after the first).

    `size`: bytes of a token, which in a byte-level vocabulary are its letters. Quarters without text are left out.
    """
    nats, own = [0.0] * 4, [0] * 4
    for document, costs in scored:
        for place, (token, cost) in enumerate(zip(document[1:], costs, strict=True)):
            if token >= SPECIAL:
                nats[place * 4 // context] += cost
                own[place * 4 // context] += size(token)
    return {f"quarter {n + 1}": round(nats[n] / own[n] / math.log(2), 4) for n in range(4) if own[n]}
