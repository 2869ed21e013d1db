"""Knows what has been computed of a checkpoint before: arrays in a folder for its very bytes."""

import hashlib
import importlib.metadata
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

LIBRARIES = ("torch", "transformers")  # whose versions a prediction depends on


class Memory:
    """What has been computed of a checkpoint: arrays by name, for the cells of a matrix that all ask the same of it.

    They stay under `root`, in a folder for these bytes of `folder`, of the files `code` and these libraries; that of
    older bytes goes. Without a root nothing stays.
    """

    def __init__(self, root: Path | None, folder: Path, *code: str) -> None:
        self._place = root and _place(root, folder, *code)

    def recall(self, asked: Any, make: "Callable[[], Mapping[str, np.ndarray]]") -> "Mapping[str, np.ndarray]":
        """What `make` gives for the JSON value `asked`, from now on without it."""
        from safetensors.numpy import load_file, save_file

        if self._place is None:
            return make()
        file = self._place / f"{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:32]}.safetensors"
        if not file.exists():
            self._place.mkdir(parents=True, exist_ok=True)
            draft = file.with_suffix(f".{os.getpid()}")
            save_file(dict(make()), draft)
            draft.replace(file)
        return load_file(file)


NOTHING = Memory(None, Path())


def _place(root: Path, folder: Path, *code: str) -> Path:
    digest = hashlib.sha256(" ".join(map(importlib.metadata.version, LIBRARIES)).encode())
    for file in [Path(__file__), *map(Path, code), folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    stem = f"{folder.name}-{Path(code[0]).stem}-"
    place = root / f"{stem}{digest.hexdigest()[:16]}"
    for old in {*root.glob(f"{stem}{'?' * 16}")} - {place}:
        shutil.rmtree(old, ignore_errors=True)
    return place
