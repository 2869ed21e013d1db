"""A tokenize folder as tests need it: every phase the same learnable walk through a small vocabulary."""

import json

import numpy as np

PHASES = ("phase1", "phase2", "validation_ko", "validation_en")


def write(folder, *, tokens, period, vocabulary):
    """`tokens` ids 3 … period + 2, uint16, in each phase of `folder`, and the index that says so."""
    folder.mkdir(exist_ok=True)
    ids = (np.arange(tokens) * 7 % period + 3).astype("<u2")
    for phase in PHASES:
        ids.tofile(folder / f"{phase}.bin")
    known = {"documents": 1, "tokens": tokens, "bytes": 8000, "starts": [0]}
    index = {"dtype": "uint16", "vocabulary": vocabulary, "phases": dict.fromkeys(PHASES, known)}
    (folder / "index.json").write_text(json.dumps(index))
    return folder
