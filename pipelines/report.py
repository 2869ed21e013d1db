"""Turns the evidence of all stages into one page, its pictures, the corpus's data card and conversations to read."""

from pathlib import Path

from corpus.sources import catalogue
from evals import abilities, data_card, material, pictures, report
from pipelines._journal import Journal
from pipelines._stage import StageError, StageParams, enter


class Params(StageParams):
    """Nothing to choose: the page is a function of the evidence."""


def main(*, reports: Path, sources: Path, talks: Path, out: Path, params: Params, journal: Journal) -> None:
    """reports: the folder of every stage's JSON; sources: the descriptions of sources; talks: Mini's evaluate."""
    evidence = {name: found for name, found in report.read(reports).items() if name != "report"}
    models = report.subjects(evidence, "evaluate")
    if not models:
        raise StageError(f"{reports}: holds no evaluate@….json; run dvc repro evaluate first")
    pictures.size_and_quality(models, out / "pareto.png")
    if curves := report.curves(evidence):
        pictures.loss_over_tokens(curves, out / "loss.png")
    if flow := report.waterfall(evidence):
        pictures.filter_waterfall(flow, out / "documents.png")
    if falls := evidence.get("filter", {}).get("waterfall"):
        pictures.filter_shares(falls, out / "filter.png")
    if curve := report.vocabulary_curve(evidence):
        pictures.vocabulary_curve(curve, out / "vocabulary.png")
    drawn = sorted(file.name for file in out.iterdir())
    (out / "report.md").write_text(report.page(evidence, drawn), encoding="utf-8")
    (out / "data-card.md").write_text(data_card.page(evidence, catalogue(sources)), encoding="utf-8")
    said = (row for _, row in material.read_jsonl(talks / "replies.jsonl"))
    (out / "conversations.md").write_text(abilities.conversations(said), encoding="utf-8")
    for name in ("report.md", "data-card.md", "conversations.md", *drawn):
        journal.attach(out / name)
    journal.conclude(subjects=list(models), reports=len(evidence), pictures=drawn)


if __name__ == "__main__":
    enter(main)
