"""Knows how a printed number is followed to a file: every number of a text, and whether some value rounds to it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
NUMBER = re.compile(r"(?<![\w.\-])[+−-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w]|\.\d)")


def numbers(text: str) -> list[str]:
    """Numbers as printed; digits inside a word, such as gguf-q4_0 or phase1, are none."""
    return NUMBER.findall(text)


def stands(text: str, report: Any, scales: tuple[float, ...] = (1, 1e-6)) -> bool:
    """True if some number of the report, or a millionth of it (bytes as MB), rounds to what is printed."""
    plain = text.replace(",", "").replace("−", "-")
    mantissa, _, exponent = plain.partition("e")
    half = 0.5000001 * 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return any(abs(value * scale - float(plain)) <= half for value in values(report) for scale in scales)


def values(report: Any) -> Iterator[float]:
    """Every number of a report, however deep."""
    if isinstance(report, dict | list):
        for inner in report.values() if isinstance(report, dict) else report:
            yield from values(inner)
    elif isinstance(report, int | float) and not isinstance(report, bool):
        yield report
