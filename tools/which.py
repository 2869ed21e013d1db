"""Prints which exported file to take: size and distance from reports/, speed and memory as `make bench` found them."""

import json
from pathlib import Path

from evals import report

HEADS = ("file", "MB", "KL to Mini", "cold start s", "tokens/s", "threads", "peak MiB")


def main() -> None:
    """The table of README.md, `Which file should I take?`, of this machine."""
    print(table(Path("logs/bench"), report.read(Path("reports"))))


def table(folder: Path, evidence: report.Evidence) -> str:
    """A Markdown row per measured artifact, at the number of threads that writes fastest."""
    rows = []
    for file in sorted(folder.glob("*.json")):
        found = json.loads(file.read_text(encoding="utf-8"))
        best = max(found["rows"], key=lambda row: row["write_tokens_per_s"])
        distance = evidence.get(f"evaluate@{file.stem}", {}).get("kl_parent")
        cells = [found["weight_bytes"] / 1e6, distance, best["cold_s"], best["write_tokens_per_s"]]
        cells += [best["threads"], best["peak_rss_mib"]]
        rows.append([file.stem, *map(_shown, cells)])
    return report.table(HEADS, rows)


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}" if value < 1 else f"{value:,.4g}"


if __name__ == "__main__":
    main()
