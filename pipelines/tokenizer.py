"""Learns the vocabulary from the training text: byte-level BPE in the reference's layout, as a Hugging Face folder."""

from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import Literal

from pydantic import Field

from corpus import bpe, morphemes, pretokens, shards
from pipelines._journal import Journal
from pipelines._stage import StageParams, enter

_GRAIN = 100  # counts are whole numbers; a weight keeps two digits behind the point
_CUTS = {"morphemes": morphemes.morphemes, "particles": morphemes.particles, "none": None}
_BATCH = 1024  # documents whose words are counted together


class Params(StageParams):
    vocab_size: int  # ids, specials included
    min_frequency: int  # a merge must be seen this often
    max_characters: int  # training text, per language
    boundary: Literal["morphemes", "particles", "none"]  # which merges do not cross, beside the pretokenizer's
    bounded: float = Field(gt=0, le=1)  # share of the vocabulary after which they may
    weights: dict[str, float]  # shell pattern of language/domain → weight of its words; the longest match, else 1
    context: int  # tokens, written as model_max_length


def main(*, documents: Path, out: Path, params: Params, journal: Journal) -> None:
    """documents: mix folder. Learns from phase1 only, the same number of characters of each language at most."""
    used: dict[str, int] = {}
    groups: dict[float, list[str]] = {}
    words = Counter[str]()

    def count(weight: float) -> None:
        found = pretokens.count([groups.pop(weight)])
        for word, times in found.items():
            words[word] += times * round(_GRAIN * weight)

    for row in _rows(documents / "phase1", params.max_characters, used):
        weight = _weight(f"{row['lang']}/{row['domain']}", params.weights)
        groups.setdefault(weight, []).append(row["text"])
        if len(groups[weight]) == _BATCH:
            count(weight)
    for weight in list(groups):
        count(weight)
    given = {"vocab_size": params.vocab_size, "min_frequency": params.min_frequency * _GRAIN}
    tokenizer = bpe.learn(words, cut=_CUTS[params.boundary], bounded=params.bounded, **given)
    bpe.save(tokenizer, out, context=params.context)
    samples = {f"bytes_per_token_{lang}": _sample(documents, lang) for lang in ("ko", "en")}
    density = {key: round(bpe.bytes_per_token(tokenizer, texts), 4) for key, texts in samples.items()}
    journal.conclude(vocabulary=tokenizer.get_vocab_size(), characters=dict(sorted(used.items())), **density)


def _rows(folder: Path, cap: int, used: dict[str, int]) -> Iterator[dict]:
    for document in shards.read(folder):
        lang = document["lang"]
        if used.get(lang, 0) < cap:
            used[lang] = used.get(lang, 0) + len(document["text"])
            yield document


def _weight(cell: str, weights: dict[str, float]) -> float:
    found = [(len(pattern), weight) for pattern, weight in weights.items() if fnmatchcase(cell, pattern)]
    return max(found)[1] if found else 1.0


def _sample(documents: Path, lang: str, limit: int = 300) -> list[str]:
    return list(islice((row["text"] for row in shards.read(documents / "validation") if row["lang"] == lang), limit))


if __name__ == "__main__":
    enter(main)
