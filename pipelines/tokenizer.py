"""Learns the vocabulary from the training text: byte-level BPE in the reference's layout, as a Hugging Face folder."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from corpus import bpe, shards
from pipelines._journal import Journal
from pipelines._stage import StageParams, enter


class Params(StageParams):
    vocab_size: int  # ids, specials included
    min_frequency: int  # a merge must be seen this often
    max_characters: int  # training text, per language
    context: int  # tokens, written as model_max_length


def main(*, documents: Path, out: Path, params: Params, journal: Journal) -> None:
    """documents: mix folder. Learns from phase1 only, the same number of characters of each language at most."""
    used: dict[str, int] = {}
    texts = _texts(documents / "phase1", params.max_characters, used)
    tokenizer = bpe.train(texts, vocab_size=params.vocab_size, min_frequency=params.min_frequency)
    bpe.save(tokenizer, out, context=params.context)
    samples = {f"bytes_per_token_{lang}": _sample(documents, lang) for lang in ("ko", "en")}
    density = {key: round(bpe.bytes_per_token(tokenizer, texts), 4) for key, texts in samples.items()}
    journal.conclude(vocabulary=tokenizer.get_vocab_size(), characters=dict(sorted(used.items())), **density)


def _texts(folder: Path, cap: int, used: dict[str, int]) -> Iterator[str]:
    for document in shards.read(folder):
        lang = document["lang"]
        if used.get(lang, 0) < cap:
            used[lang] = used.get(lang, 0) + len(document["text"])
            yield document["text"]


def _sample(documents: Path, lang: str, limit: int = 300) -> list[str]:
    return list(islice((row["text"] for row in shards.read(documents / "validation") if row["lang"] == lang), limit))


if __name__ == "__main__":
    enter(main)
