"""Turns the evidence of all stages into a page, its pictures, cards, conversations to read, one HTML file of all."""

from pathlib import Path

from corpus.sources import catalogue
from evals import abilities, ablations, cards, data_card, html, material, pictures, plots, report
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
    plots.line_of_models(models, out / "line.png")
    if examined := report.subjects(evidence, "safety"):
        plots.safety_by_category(examined, out / "safety.png")
    for name in filter(ablations.is_one, evidence):
        plots.forest(evidence[name]["effects"], out / f"{name}.png")
    drawn = sorted(file.name for file in out.iterdir())
    said = (row for _, row in material.read_jsonl(talks / "replies.jsonl"))
    pages = {
        "report": report.page(evidence, drawn),
        "model-card": cards.page(evidence),
        "data-card": data_card.page(evidence, catalogue(sources)),
        "conversations": abilities.conversations(said),
    }
    for name, text in pages.items():
        (out / f"{name}.md").write_text(text, encoding="utf-8")
    (out / "report.html").write_text(html.page("OpenMidm", pages, out), encoding="utf-8")
    for file in sorted(out.iterdir()):
        journal.attach(file)
    journal.release(name for name in models if name not in report.FIRST)
    journal.conclude(subjects=list(models), reports=len(evidence), pictures=drawn)


if __name__ == "__main__":
    enter(main)
