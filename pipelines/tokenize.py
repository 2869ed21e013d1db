"""Turns text into packed token shards: flat little-endian ids, each document between bos and eos."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus import accounts, plan, shards
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BOS_ID, EOS_ID = 0, 2


class Params(StageParams):
    documents_per_batch: int  # encoded together


def main(*, documents: Path, tokenizer: Path, out: Path, params: Params, journal: Journal) -> None:
    """documents: mix folder → phase1.bin, phase2.bin, validation_ko.bin, validation_en.bin and index.json."""
    from tokenizers import Tokenizer

    coder = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    coder.encode_special_tokens = True  # text never becomes control: a document that names <|eot_id|> ends no turn
    dtype = "uint16" if coder.get_vocab_size() <= 2**16 else "uint32"
    starts = plan.bucket_starts(documents) | {"validation_ko": [0], "validation_en": [0]}
    phases, domains = {}, {}
    for name, firsts in starts.items():
        part, _, lang = name.partition("_")
        rows: Iterable[dict] = (row for row in shards.read(documents / part) if row["lang"] == lang or not lang)
        if lang:  # of what is held out, each domain is looked at by itself
            rows = sorted(rows, key=lambda row: row["domain"])
        phases[name], domains[name] = _pack(rows, firsts, coder, out / f"{name}.bin", dtype, params)
        if phases[name]["documents"] == 0:
            raise StageError(f"{documents}/{name} holds no document; give more text or lower what mix holds out")
        if lang:
            own = Counter[str]()
            for langs in domains[name].values():
                own.update({domain: sums["tokens"] for domain, sums in langs[lang].items()})
            phases[name]["domains"] = dict(sorted(own.items()))
        journal.step(len(phases), tokens=phases[name]["tokens"])
    index = {"dtype": dtype, "vocabulary": coder.get_vocab_size(), "phases": phases}
    (out / "index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    journal.conclude(**index, domains=domains)


def _pack(
    rows: Iterable[dict], starts: Sequence[int], coder: "Tokenizer", file: Path, dtype: str, params: Params
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes a part's tokens. Returns its sums with the token at which each bucket starts, and the sums by domain."""
    import numpy as np

    sizes: list[int] = []
    groups: dict[tuple[str, ...], Counter[str]] = {}
    rest = iter(rows)
    with file.open("wb") as stream:
        while batch := list(islice(rest, params.documents_per_batch)):
            coded = coder.encode_batch_fast([row["text"] for row in batch], add_special_tokens=False)
            for row, code in zip(batch, coded, strict=True):
                ids = np.array([BOS_ID, *code.ids, EOS_ID], dtype=f"<{np.dtype(dtype).str[1:]}")
                ids.tofile(stream)
                sizes.append(len(ids))
                one = {"documents": 1, "tokens": len(ids), "characters": len(row["text"])}
                groups.setdefault(accounts.key_of(row), Counter()).update(one, bytes=len(row["text"].encode()))
    total = {
        key: sum(group[key] for group in groups.values()) for key in ("documents", "tokens", "characters", "bytes")
    }
    ends = [0, *np.cumsum(sizes).tolist()]
    return {**total, "starts": [ends[start] for start in starts]}, accounts.nested(groups)


if __name__ == "__main__":
    enter(main)
