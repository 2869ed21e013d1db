"""Turns text into packed token shards: flat little-endian ids, each document between bos and eos."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from corpus import shards
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
    phases = {}
    for phase in ("phase1", "phase2"):
        phases[phase] = _pack(shards.read(documents / phase), coder, out / f"{phase}.bin", dtype, params)
    for lang in ("ko", "en"):
        rows = (row for row in shards.read(documents / "validation") if row["lang"] == lang)
        phases[f"validation_{lang}"] = _pack(rows, coder, out / f"validation_{lang}.bin", dtype, params)
    for phase, count in phases.items():
        if count["documents"] == 0:
            raise StageError(f"{documents}/{phase} holds no document; give more text or lower what mix holds out")
    index = {"dtype": dtype, "vocabulary": coder.get_vocab_size(), "phases": phases}
    (out / "index.json").write_text(json.dumps(index, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    journal.conclude(**index)


def _pack(rows: Iterable[dict[str, str]], coder: "Tokenizer", file: Path, dtype: str, params: Params) -> dict[str, Any]:
    import numpy as np

    count = Counter(documents=0, tokens=0, bytes=0)
    with file.open("wb") as stream:
        rest = (row["text"] for row in rows)
        while texts := list(islice(rest, params.documents_per_batch)):
            for text, coded in zip(texts, coder.encode_batch_fast(texts, add_special_tokens=False), strict=True):
                ids = np.array([BOS_ID, *coded.ids, EOS_ID], dtype=f"<{np.dtype(dtype).str[1:]}")
                ids.tofile(stream)
                count.update(documents=1, tokens=len(ids), bytes=len(text.encode()))
    return dict(count)


if __name__ == "__main__":
    enter(main)
