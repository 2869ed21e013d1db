"""Knows what a checkpoint predicts: its logits in float32, the truth that exported artifacts are held against."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.memory import NOTHING, Memory

if TYPE_CHECKING:
    import numpy as np


def logits(folder: Path, memory: Memory = NOTHING) -> Callable[[list[int]], "np.ndarray"]:
    """Maps ids to a Hugging Face folder's float32 logits [T, V] (row t: after ids[t]); opens it when first needed."""

    @cache
    def model() -> Any:
        from models import checkpoints

        return checkpoints.load(folder).eval().requires_grad_(False)

    def computed(ids: list[int]) -> "dict[str, np.ndarray]":
        import torch

        return {"logits": model()(input_ids=torch.tensor([ids])).logits[0].numpy()}

    return lambda ids: memory.recall(ids, lambda: computed(ids))["logits"]
