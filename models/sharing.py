"""Knows how room is shared out among matrices that may be stored in several ways: the least cost that fits."""

from collections.abc import Mapping
from typing import TypeVar

import numpy as np

STEPS = 100_000  # in which the room is counted: each name may waste one
K = TypeVar("K")  # a way to store a matrix


def share(most: int, offers: Mapping[str, Mapping[K, tuple[int, float]]]) -> dict[str, K]:
    """The choice by name whose costs add up to the least and whose sizes to at most `most`; offers: (size, cost) each.

    Exact (a knapsack by dynamic programming), but what is spent above the smallest sizes is counted in STEPS.
    """
    smallest = {name: min(offer.values())[0] for name, offer in offers.items()}
    spare = most - sum(smallest.values())
    step = max(1, spare // STEPS)
    best, taken = np.zeros(spare // step + 1), list[np.ndarray]()  # least cost of the names so far in 0, 1, 2 … steps
    for name, offer in offers.items():
        rows = np.full((len(offer), len(best)), np.inf)
        for row, (size, cost) in zip(rows, offer.values(), strict=True):
            if (steps := -((smallest[name] - size) // step)) < len(best):
                row[steps:] = best[: len(best) - steps] + cost
        best = rows.min(0)
        taken.append(rows.argmin(0))
    left, found = len(best) - 1, dict[str, K]()
    for name, choices in zip(reversed([*offers]), reversed(taken), strict=True):
        found[name] = list(offers[name])[choices[left]]
        left += (smallest[name] - offers[name][found[name]][0]) // step
    return found
