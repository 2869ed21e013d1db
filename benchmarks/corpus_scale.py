"""Knows how the data line behaves as text grows, and that neither order of files nor workers nor runner change it.

    python -m benchmarks.corpus_scale --data ../shared/data/corpus --megabytes 32 --times 1 2 4 8

The four stages run as dvc.yaml calls them, on the laptop profile. Versions of a text share no runs of words
(benchmarks/_texts.py), so that eight times the documents are not one text and seven copies. The base must hold a full
shard (8 MiB) for each worker, or memory at 1 x is that of idle workers.
"""

import argparse
import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks import _frame, _texts, corpus_speed

GOAL = "at 8 x: peak <= 1.3 x and <= 2048 MiB, time <= 9 x; 1 digest of the mixture, the records, and an order's bytes"
ORDERS: dict[str, Callable[[str], str]] = {  # a file's new name, which keeps the old one behind a folder
    "as named": lambda name: name,
    "reversed": lambda name: f"{bytes(255 - byte for byte in name.encode()).hex()}/{name}",
    "by hash": lambda name: f"{_digest([name.encode()])}/{name}",
}
RAY = {"DAFT_RUNNER": "ray", "RAY_AUTH_MODE": "disabled"}


def main() -> None:
    """Measures, prints, records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--megabytes", type=float, default=32, help="of text at 1 x")
    parser.add_argument("--times", type=int, nargs="*", default=[1, 2, 4, 8])
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="openmidm-texts-") as name:
        base, versions = Path(name, "base"), Path(name, "versions")
        _texts.thin(flags.data, base, flags.megabytes)
        _texts.multiply(base, versions, max(flags.times, default=1))
        scale = [_scaled(Path(name, f"{times}"), versions, times) for times in flags.times]
        same = list(_same(Path(name), base))
    ratio = {key: scale[-1][key] / scale[0][key] for key in ("seconds", "peak_mib") if scale}
    for key in ("mixture", "records"):
        ratio[f"digests of {key}"] = len({row[key] for row in same})
    ratio["digests of an order's bytes"] = max(
        len({row["bytes"] for row in same if row["order"] == order}) for order in ORDERS
    )
    _frame.report("corpus_scale", goal=GOAL, rows=[*scale, *same], ratio=ratio)


def _scaled(text: Path, versions: Path, times: int) -> dict[str, Any]:
    for version in range(times):
        _texts.by_name(versions / f"{version}", text / f"{version}", str)
    with _frame.workspace(text) as folder:
        return {"times": times, "mb": round(_texts.size(text), 1)} | corpus_speed.ours(folder)


def _same(place: Path, base: Path) -> Iterator[dict[str, Any]]:
    """Rows of every order, one worker and all, and of Ray, with digests of what was written."""
    runs = [(order, "all", {}, 0) for order in ORDERS] + [("as named", "1", {}, 1), ("by hash", "ray", RAY, 0)]
    for number, (order, workers, env, cores) in enumerate(runs):
        text = place / f"order{number}"
        _texts.by_name(base, text, ORDERS[order])
        with _frame.workspace(text) as folder:
            row = {"order": order, "workers": workers} | corpus_speed.ours(folder, env=env, cores=cores)
            yield row | digests(folder / "artifacts")


def digests(out: Path) -> dict[str, str]:
    """What the stages wrote: the mixture in bytes, all that follow it or not; and all records, in whatever order.

    Shards before mix lie in reading order, so there the records are the same and not the files.
    """
    files = [file for name in corpus_speed.STAGES for file in sorted((out / name).rglob("*")) if file.is_file()]
    lots = [file for file in files if file.suffix in (".parquet", ".jsonl") and file.parent.name != "quarantine"]
    records = (f"{file.relative_to(out).parent}{row}".encode() for file in lots for row in _records(file))
    return {
        "mixture": _digest(file.read_bytes() for file in files if file.is_relative_to(out / "mix")),
        "records": _digest(sorted(hashlib.blake2b(record).digest() for record in records)),
        "bytes": _digest(file.read_bytes() for file in files),
    }


def _records(file: Path) -> list[Any]:
    return pq.read_table(file).to_pylist() if file.suffix == ".parquet" else file.read_text().splitlines()


def _digest(parts: Any) -> str:
    whole = hashlib.blake2b(digest_size=6)
    for part in parts:
        whole.update(hashlib.blake2b(part).digest())
    return whole.hexdigest()


if __name__ == "__main__":
    main()
