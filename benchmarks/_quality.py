"""Knows how good a model in training is on held-out text, and how sure a mean over seeds is."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

STUDENT = {2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571}  # 97.5 % quantile of Student's t by degrees of freedom


def held_out(model: Any, tokens: Path, context: int) -> dict[str, float]:
    """Bits per byte of the validation shards, each language and both together."""
    from models.batches import INDEX
    from models.sampling import validation_loss

    index = json.loads((tokens / INDEX).read_text(encoding="utf-8"))["phases"]
    bits = {
        lang: validation_loss(model, tokens, f"validation_{lang}", context, 10**6)
        * index[f"validation_{lang}"]["tokens"] / math.log(2)
        for lang in ("ko", "en")
    }  # fmt: skip
    size = {lang: index[f"validation_{lang}"]["bytes"] for lang in bits}
    return {"bpb": sum(bits.values()) / sum(size.values())} | {f"bpb_{lang}": bits[lang] / size[lang] for lang in bits}


def whole_documents(subject: Any, texts: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Bits per byte of each language's documents and of all together, and the bytes of all."""
    from evals.metrics import weighed

    found = {lang: weighed(subject, own) for lang, own in texts.items()}
    size = sum(own["n_bytes"] for own in found.values())
    each = {f"bpb_{lang}": own["bpb"] for lang, own in found.items()}
    return {**each, "bpb": sum(own["bpb"] * own["n_bytes"] for own in found.values()) / size, "bytes": size}


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean between its 95 % bounds by Student's t over seeds; a single value has none."""
    middle = mean(values)
    half = STUDENT[len(values) - 1] * stdev(values) / math.sqrt(len(values)) if len(values) > 2 else math.inf
    return middle - half, middle, middle + half
