"""Tiny models and token shards, made once for the room's tests."""

import json

import numpy as np
import pytest

from models.shapes import Shape, build

TINY = Shape(
    vocab_rows=128,
    hidden=32,
    ffn=64,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=16,
    tied=False,
    rope_theta=1e4,
    context=32,
)


@pytest.fixture(autouse=True)
def float32(monkeypatch):
    """Laws of equality are tested in float32; a test of bf16 says so."""
    monkeypatch.setenv("OPENMIDM_PRECISION", "no")


@pytest.fixture
def tiny():
    return build(TINY, seed=0)


@pytest.fixture(scope="session")
def tokens(tmp_path_factory):
    """A tokenize folder whose every phase is the same learnable walk through the vocabulary."""
    folder = tmp_path_factory.mktemp("tokens")
    ids = (np.arange(4000) * 7 % 101 + 3).astype("<u2")
    phases = {}
    for phase in ("phase1", "phase2", "validation_ko", "validation_en"):
        ids.tofile(folder / f"{phase}.bin")
        phases[phase] = {"documents": 1, "tokens": len(ids), "bytes": 8000, "starts": [0]}
    (folder / "index.json").write_text(json.dumps({"dtype": "uint16", "vocabulary": 128, "phases": phases}))
    return folder
