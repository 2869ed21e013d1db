"""Knows the signature step alone: 112 hashes of runs of 5 units, ours or, under the peers' interpreter, rensa's.

Prints seconds by name as one JSON line; best of three, input in memory, shingles made inside the time or before it.
"""

import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

HASHES, SHINGLE = 112, 5


def main() -> None:
    """Measures whichever of the two this interpreter has."""
    texts = Path(sys.argv[1]).read_text(encoding="utf-8").split("\n")[:-1]
    found = _rensa(texts) if importlib.util.find_spec("rensa") else _ours(texts)
    print(json.dumps(found))


def _ours(texts: list[str]) -> dict[str, float]:
    from corpus import near

    near.signatures(texts[:10], hashes=HASHES, shingle=SHINGLE)  # loads the engine
    return {"ours": _best(lambda: near.signatures(texts, hashes=HASHES, shingle=SHINGLE))}


def _rensa(texts: list[str]) -> dict[str, float]:
    from rensa import RMinHash

    sets = list(map(shingles, texts))
    return {
        "rensa, same job": _best(lambda: RMinHash.digest_matrix_from_token_sets(list(map(shingles, texts)), HASHES, 1)),
        "rensa, shingles ready": _best(lambda: RMinHash.digest_matrix_from_token_sets(sets, HASHES, 1)),
        "rensa rho, shingles ready": _best(lambda: RMinHash.digest_matrix_from_token_sets_rho(sets, HASHES, 1)),
    }


def shingles(text: str) -> list[str]:
    """Runs of units, as strings."""
    units = text.split(" ")
    return [" ".join(units[at : at + SHINGLE]) for at in range(max(len(units) - SHINGLE + 1, 1))]


def _best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
