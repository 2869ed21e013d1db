"""Puts public benchmarks to models, folder by folder; what is done already is kept, so a killed run goes on.

    python -m tools.judge --models artifacts/dpo artifacts/export/gguf-q4_k_m --data ../bench --out reports/judge

The first model is what the others are held against. Without --data the questions come from the Hugging Face hub.
"""

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from evals.harness import catalogue, judge, results
from evals.subject import open_subject


def main() -> None:
    """Asks every model everything, writes <out>/<model>/<evaluation>.json and <out>/table.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=Path, required=True, help="Hugging Face folders or bundles")
    parser.add_argument("--tasks", nargs="*", default=[], help="names of evals/harness/catalogue.yaml; all by default")
    parser.add_argument("--data", type=Path, help="folder of local copies, <name>.jsonl or .jsonl.gz")
    parser.add_argument("--out", type=Path, default=Path("reports/judge"))
    parser.add_argument("--limit", type=int, help="questions per evaluation, 0 for all; the catalogue's by default")
    parser.add_argument("--shots", type=int, help="examples before each question; the catalogue's by default")
    parser.add_argument("--seed", type=int, default=1234, help="draws questions and examples")
    parser.add_argument("--mix", type=Path, default=Path("reports/mix.json"), help="the account of contamination")
    asked = parser.parse_args()
    os.environ |= {"TQDM_DISABLE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}  # before anything heavy is imported
    if len({model.name for model in asked.models}) < len(asked.models):
        parser.error("two of the models have the same folder name, under which results are kept; rename one")
    names = catalogue.names_of(asked.tasks, folder=asked.data)
    records = [record for model in asked.models for record in judged(model, names, asked)]
    mix = json.loads(asked.mix.read_text(encoding="utf-8")) if asked.mix.is_file() else {}
    (asked.out / "table.md").write_text(results.page(records, mix.get("contamination")), encoding="utf-8")
    print(f"{asked.out}/table.md")


def judged(model: Path, names: list[str], asked: argparse.Namespace) -> list[dict[str, Any]]:
    """One model's records, those that stand already read back, the others asked for and written."""
    records, subject = [], None
    for name in names:
        entry = catalogue.catalogue()[name]
        file = catalogue.local_file(entry, asked.data)
        how = {"shots": entry.shots if asked.shots is None else asked.shots, "seed": asked.seed}
        how["limit"] = entry.limit if asked.limit is None else asked.limit
        mark, place = judge.fingerprint(model, name, file, **how), asked.out / model.name / f"{name}.json"
        record = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else {}
        if record.get("fingerprint") != mark:
            subject = subject or open_subject(model)
            started = time.perf_counter()
            record = judge.ask(subject, name, file, **how) | {"fingerprint": mark}
            write(place, record)
            print(f"{model.name} {name}: {record['value']:.3f} of {record['n']}, {time.perf_counter() - started:.1f} s")
        records.append(record)
    if subject:
        subject.close()
    return records


def write(place: Path, record: dict[str, Any]) -> None:
    """A whole file or none."""
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = place.with_suffix(".draft")
    draft.write_text(json.dumps(record, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(place)


if __name__ == "__main__":
    main()
