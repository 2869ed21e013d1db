"""One tiny parent for all export tests."""

import pytest

from export import checkpoint, gguf
from tests.export.parents import CARD, save_parent


@pytest.fixture(scope="session")
def parent(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Parent:
    """The tiny parent checkpoint, with tokenizer and chat template."""
    return checkpoint.read(save_parent(tmp_path_factory.mktemp("parent") / "hf"))


@pytest.fixture(scope="session")
def card() -> gguf.Card:
    """What the tests' artifacts say of themselves."""
    return CARD
