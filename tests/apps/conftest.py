"""One tiny parent with room for a long prompt, and its GGUF, for the apps."""

from pathlib import Path

import pytest

from export import checkpoint, gguf
from tests.export.conftest import card  # noqa: F401  (a fixture)
from tests.export.parents import save_parent


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Parent:
    """The export tests' parent, said to be trained on 1,024 tokens."""
    folder = save_parent(tmp_path_factory.mktemp("parent") / "hf")
    config = checkpoint.read_json(folder / "config.json")
    checkpoint.write_json(folder / "config.json", config | {"max_position_embeddings": 1024})
    return checkpoint.read(folder)


@pytest.fixture(scope="session")
def gguf_file(parent: checkpoint.Parent, card: gguf.Card, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """One F16 file under its official name."""
    folder = tmp_path_factory.mktemp("gguf")
    gguf.make(parent, card, "F16", folder)
    return next(folder.glob("*.gguf"))
