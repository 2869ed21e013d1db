"""Tiny models and token shards, made once for the room's tests."""

import pytest
import torch

from models.shapes import Shape, build
from tests import token_folder

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


def heard(model):
    """The model with small embeddings, so that its untrained layers count for as much as the token."""
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(0.02)
    return model


@pytest.fixture
def tiny():
    return build(TINY, seed=0)


@pytest.fixture(scope="session")
def tokens(tmp_path_factory):
    """A tokenize folder whose every phase is the same learnable walk through the vocabulary."""
    return token_folder.write(tmp_path_factory.mktemp("tokens"), tokens=4000, period=101, vocabulary=128)
