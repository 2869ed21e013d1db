"""Knows the shared grid: matrices that are scale · level in blocks of 32, as the qad stage leaves them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export.checkpoint import CheckpointError, Parent

if TYPE_CHECKING:
    import numpy as np

SCALES = "grid.safetensors"  # beside the weights: float16 scales [rows, blocks] of each matrix; as metadata, its bits
BLOCK = 32


@dataclass(frozen=True)
class Grid:
    """Which matrices lie on the grid with how many bits, and the scales of their blocks."""

    file: Path
    bits: dict[str, int]
    scales: "dict[str, np.ndarray]"

    def split(self, name: str, weight: "np.ndarray") -> "tuple[np.ndarray, np.ndarray]":
        """Scales [rows, blocks] float16 and levels [rows, blocks, 32] int8 whose products are `weight`, bit for bit.

        Raises CheckpointError if they are not: nothing is rounded a second time.
        """
        import numpy as np

        scales, half = self.scales[name], 2 ** (self.bits[name] - 1)
        blocks, wide = weight.reshape(len(weight), -1, BLOCK), scales.astype(np.float32)[..., None]
        levels = np.rint(np.divide(blocks, wide, out=np.zeros_like(blocks), where=wide != 0))
        if not (np.abs(levels + 0.5).max() < half and np.array_equal(levels * wide, blocks)):
            raise CheckpointError(f"{self.file}: {name} is not on this grid; run the qad stage again")
        return scales, levels.astype(np.int8)


def read(parent: Parent) -> Grid:
    """The grid of a folder that the qad stage wrote; CheckpointError for any other."""
    from safetensors import SafetensorError, safe_open

    file = parent.folder / SCALES
    try:
        with safe_open(file, framework="numpy") as stored:
            bits = json.loads((stored.metadata() or {})["bits"])
            return Grid(file, bits, {name: stored.get_tensor(name) for name in bits})
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{file}: no grid ({error}); give --model the folder of the qad stage") from None
