"""Prints what a run came to: documents and judged figures from reports/, speed and memory from this machine's logs/."""

import json
from pathlib import Path

from evals import report

SPEED = {"load_seconds": "load s", "decode_tokens_per_s": "tokens/s", "peak_rss_mib": "peak MiB"}


def main() -> None:
    """The closing table of `make repro`."""
    evidence = report.read(Path("reports"))
    print("\n".join([*documents(evidence), *judged(evidence)]))


def documents(evidence: report.Evidence) -> list[str]:
    """One line per sieve: documents in, kept, and dropped by reason."""
    rows = []
    for name in report.SIEVES:
        if counts := evidence.get(name, {}).get("documents_in"):
            lost = sorted(evidence[name]["dropped"].items(), key=lambda row: (-row[1], row[0]))
            reasons = f"; dropped: {', '.join(f'{why} {n}' for why, n in lost)}" if lost else ""
            rows.append(f"{name}: {counts} documents in, {evidence[name]['documents_kept']} kept{reasons}")
    return rows


def judged(evidence: report.Evidence) -> list[str]:
    """The table of models as the report page has it, and beside it what depends on the machine, marked so."""
    subjects = report.subjects(evidence, "evaluate")
    if not subjects:
        return ["nothing is judged yet: make repro"]
    some = next(iter(subjects.values()))
    chance = f"QA: four choices, chance {some['chance']}, n = {some['n_qa_ko']} ko, {some['n_qa_en']} en, 95 % interval"
    asked = " or ".join(map(str, sorted({found["n_chat"] for found in subjects.values()})))
    chance += f"; chat: {asked} of each, right choice in the reply"
    rows = [f"{'measured here':>15}  " + "".join(f"{head:>10}" for head in SPEED.values())]
    rows[0] += "  (torch writes 32 replies at once)"
    for name in subjects:
        speed = measured(f"evaluate@{name}")
        rows.append(f"{name:>15}  " + "".join(f"{speed[key]:10.4g}" if key in speed else f"{'–':>10}" for key in SPEED))
    return ["", *aligned(report.summary(evidence)), chance, "", *rows]


def aligned(markdown: str) -> list[str]:
    """A Markdown table padded for a terminal."""
    rows = [line.strip("| ").split(" | ") for line in markdown.strip().splitlines() if not line.startswith("| ---")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def measured(name: str) -> dict[str, float]:
    """The perf/ figures in a stage's log; {} when it ran elsewhere and its outputs were pulled."""
    path = Path("logs", f"{name}.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    figures = [item for line in lines for item in json.loads(line).items() if item[0].startswith("perf/")]
    return {key.removeprefix("perf/"): value for key, value in figures}


if __name__ == "__main__":
    main()
