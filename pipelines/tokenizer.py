"""Learns the vocabulary from text and chats: byte-level BPE in the reference's layout, as a Hugging Face folder."""

import json
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from corpus import bpe, morphemes, pretokens, shards, tally, turns, vocabulary
from pipelines._journal import Journal
from pipelines._stage import StageParams, enter

_GRAIN = 100  # counts are whole numbers; a weight keeps two digits behind the point
COUNTS = {"documents": pretokens.documents, "occurrences": pretokens.occurrences}
_HELD_OUT = 500_000  # characters of each language by which it is judged
_CUTS = {"morphemes": morphemes.morphemes, "particles": morphemes.particles}


class Params(StageParams):
    vocab_size: int  # ids, specials included
    min_frequency: int  # a merge must be seen this often
    max_characters: int  # training text, per language
    count: Literal["documents", "occurrences"]  # how often a word is seen: in how many texts, or at how many places
    digits: Literal["grouped", "single"]  # 1 to 3 digits a token, or one
    boundary: Literal["morphemes", "particles", "none"]  # which merges do not cross, beside the pretokenizer's
    bounded: float = Field(gt=0, le=1)  # share of the vocabulary after which they may
    spaced: float = Field(ge=0, le=1)  # share of the vocabulary after which a merge may take the space before a word
    weights: dict[str, float]  # shell pattern of language/domain → weight, the longest match, else 1; chat is a domain
    context: int  # tokens, written as model_max_length


def main(*, documents: Path, chats: Path, out: Path, scratch: Path, params: Params, journal: Journal) -> None:
    """documents: mix folder; chats: synthesize folder. Learns from phase1 only, the same number of characters of each
    language at most, and from all conversations that sft will learn."""
    weigh = partial(grains, weights=params.weights)
    recipe = tally.Recipe(COUNTS[params.count], weigh, params.max_characters)
    words, used = tally.of_folder(documents / "phase1", recipe, scratch=scratch)
    words = tally.summed(words, tally.of_texts(_said(chats / "dialogues.jsonl", weigh), recipe.measure))
    if params.digits == "single":
        words = bpe.parts(words, morphemes.digits)
    given = {"vocab_size": params.vocab_size, "min_frequency": params.min_frequency * _GRAIN}
    cuts = [(_CUTS[params.boundary], params.bounded)] if params.boundary in _CUTS else []
    cuts.append((morphemes.openings, params.spaced))
    tokenizer = bpe.learn(words, cuts=cuts, **given)
    bpe.save(tokenizer, out, context=params.context)
    held_out = list(_held_out(documents / "validation"))
    about = vocabulary.about(tokenizer, words) | {"curve": vocabulary.curve(tokenizer, held_out)}
    about["compression"] = vocabulary.compression(tokenizer, held_out)
    journal.conclude(vocabulary=tokenizer.get_vocab_size(), characters=used, words=len(words.counts), **about)


def _said(file: Path, weigh: Callable[[str, str], int]) -> Iterator[tuple[str, int]]:
    with file.open(encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            weight = weigh(record["lang"], "chat")
            yield from ((text, weight) for text in turns.written(record))


def _held_out(folder: Path) -> Iterator[dict]:
    used: dict[str, int] = {}
    for row in shards.read(folder):
        if used.setdefault(row["lang"], 0) < _HELD_OUT:
            used[row["lang"]] += len(row["text"])
            yield row


def grains(lang: str, domain: str, *, weights: dict[str, float]) -> int:
    """What a word of such a text weighs, in hundredths."""
    found = [(len(pattern), weight) for pattern, weight in weights.items() if fnmatchcase(f"{lang}/{domain}", pattern)]
    return round(_GRAIN * max(found)[1]) if found else _GRAIN


if __name__ == "__main__":
    enter(main)
