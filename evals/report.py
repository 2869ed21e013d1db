"""Knows how evidence reads: the stages' reports as one page of tables, nothing typed by hand."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evals import abilities, ablations, safety_report
from evals.material import MaterialError

Evidence = Mapping[str, Mapping[str, Any]]  # report name ("filter", "evaluate@mini") → its JSON

TRAINING = ("pretrain", "upscale", "midtrain", "extend", "distill", "sft", "dpo", "qad")
SIEVES = {  # stage → the keys of what came in and of what it lost
    "ingest": ("records_in", "quarantined"),
    "filter": ("documents_in", "dropped"),
    "dedup": ("documents_in", "dropped"),
}
FIRST = ("seed", "base", "taught", "mini")  # subjects in the order of the line; artifacts follow by name
HEADS = ("model", "MB", "bpb ko", "bpb en", "QA ko", "QA en", "chat ko", "chat en", "KL to parent", "top-1 as parent")

DENSITY = ("bytes_per_token", "tokens_per_word")

READING = """\
Every number comes from `reports/*.json`, which the stages wrote. bpb: bits per UTF-8 byte of held-out text, lower is
better. QA: share of four-choice questions, in phrasings never trained on, with its 95 % Wilson interval; chance is
{chance}. Chat: share of some of them, put as a chat, whose greedy reply contains the right choice. KL and top-1: mean
divergence (nats) from, and share of equal first choices with, the parent: seed for base, base for mini, mini for every
artifact. Speeds and memory depend on the machine: see the logs and MLflow."""
PAIRS = """\
What growing smaller and exporting changed: the first's share of right answers minus the second's, on the same
questions, and by how many % its bits per byte exceed the second's, on the same documents. 95 % intervals of a paired
bootstrap (10,000 draws of questions or documents): one that holds zero says that no change was found."""
CAN = """\
Each line is a kind of trial, in phrasings never trained on. Right: the one call that is due, name and arguments equal;
or a reply that says the answer and, where a passage contradicts what was learnt, not that. Well formed: in the language
and form asked for, a call where one is due and nowhere else, and ended by the model itself. Whatever it calls is kept
to the listed tools and the arguments that they take, as the wheel does: which tool, and with what, remains its own.
Conversations, as they came: [conversations.md](conversations.md)."""
ARTIFACTS = """\
The share that is right, for Mini and every artifact; most are put to fewer trials, hence the wider intervals."""
TRAINED = """\
Before and after sft and dpo, on the same items: `taught`, the last model before them, and Mini. Bits per byte, lower is
better, change in %: more on held-out text is what was forgotten. Intervals as above."""


def read(folder: Path) -> dict[str, Any]:
    """The evidence of a reports folder by name; MaterialError names a file that is no report."""
    evidence = {}
    for file in sorted(folder.glob("*.json")):
        try:
            evidence[file.stem] = {**json.loads(file.read_text(encoding="utf-8"))}
        except (TypeError, ValueError) as error:
            raise MaterialError(f"{file}: not a report ({error}); rerun its stage") from None
    return evidence


def page(evidence: Evidence, pictures: Sequence[str]) -> str:
    """The whole report in Markdown; sections without evidence are left out."""
    models, examined = subjects(evidence, "evaluate"), subjects(evidence, "safety")
    sections = ["# OpenMidm: the evidence"]
    if models:
        sections += ["## Models", READING.format(**next(iter(models.values()))), summary(evidence).strip()]
    if differences := pairs(models):
        sections += [PAIRS, table(("first − second", "QA ko", "QA en", "bpb ko", "bpb en"), differences)]
    sections += skills(models)
    if examined:
        sections += ["## Safety", *safety_report.sections(examined, table)]
    sections += ablations.sections(evidence, table)
    if flow := waterfall(evidence):
        sections += ["## Documents", table(("step", "documents"), ((name, f"{count:,}") for name, count in flow))]
    if compression := evidence.get("tokenizer", {}).get("compression"):
        rows = (
            (name, *(f"{row[key]:,.2f}" for key in DENSITY), f"{row['bytes']:,}") for name, row in compression.items()
        )
        sections += ["## Vocabulary", table(("held-out text", *DENSITY, "bytes"), rows), _kinds(evidence["tokenizer"])]
    if runs := curves(evidence):
        rows = ((name, f"{p[-1][0]:,.0f}", f"{p[0][1]:.3f}", f"{p[-1][1]:.3f}") for name, p in runs.items())
        sections += ["## Training", table(("stage", "tokens", "first loss", "last loss"), rows)]
    sections += [f"![{picture}]({picture})" for picture in pictures]
    return "\n\n".join(sections) + "\n"


def summary(evidence: Evidence) -> str:
    """The table of models alone: what the README and the end of `make repro` show."""
    rows = []
    judged = subjects(evidence, "evaluate")
    for name, r in ((name, judged[name]) for name in judged if name != "taught"):  # stands beside Mini, in `skills`
        shares = (abilities.qa_share(r, lang) for lang in ("ko", "en"))
        drift = ("–", "–") if r["kl_parent"] is None else (f"{r['kl_parent']:.3g}", f"{r['top1_parent']:.3f}")
        plain = f"{r['size_bytes'] / 1e6:.1f}", f"{r['bpb_ko']:.3f}", f"{r['bpb_en']:.3f}"
        rows.append((name, *plain, *shares, f"{r['chat_ko']:.2f}", f"{r['chat_en']:.2f}", *drift))
    return table(HEADS, rows) + "\n"


def pairs(models: Mapping[str, Mapping[str, Any]]) -> list[Sequence[str]]:
    """Rows of what Mini has more than Base, and each artifact than Mini: answers and bits per byte, in ko and en."""
    couples = [("mini", "base"), *((name, "mini") for name in models if name not in FIRST)]
    rows: list[Sequence[str]] = []
    for one, other in (couple for couple in couples if set(couple) <= set(models)):
        answers, text = zip(*(abilities.gap(models[one], models[other], lang) for lang in ("ko", "en")), strict=True)
        rows.append((f"{one} − {other}", *answers, *text))
    return rows


def skills(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Sections on what Mini can do, what its artifacts can, and what training changed."""
    if "mini" not in models or not (kinds := abilities.kinds(models)):
        return []
    heads = ("trial", "language", "right", "well formed")
    sections = ["## What Mini can do", CAN, table(heads, abilities.can_do(models["mini"]))]
    every = {name: model for name, model in models.items() if name == "mini" or name not in FIRST}
    sections += [ARTIFACTS, table(("model", "language", *kinds, "well formed"), abilities.artifacts_can(every))]
    if "taught" in models:
        changed = abilities.trained(models["taught"], models["mini"])
        sections += [TRAINED, table(abilities.CHANGE, changed)]
    return sections


def subjects(evidence: Evidence, stage: str) -> dict[str, Mapping[str, Any]]:
    """The reports of `stage` by subject: seed, base, mini, then the artifacts by name."""
    found = {name.split("@", 1)[1]: report for name, report in evidence.items() if name.startswith(f"{stage}@")}
    order = sorted(found, key=lambda name: (FIRST.index(name) if name in FIRST else len(FIRST), name))
    return {name: found[name] for name in order}


def curves(evidence: Evidence) -> dict[str, list[tuple[float, float]]]:
    """(tokens, loss) points of every training stage that has them, in the order of the line."""
    found = {name: evidence[name]["curve"] for name in TRAINING if evidence.get(name, {}).get("curve")}
    return {name: [(point["tokens"], point["loss"]) for point in curve] for name, curve in found.items()}


def waterfall(evidence: Evidence) -> list[tuple[str, int]]:
    """Documents into every sieve, and as negative counts those it lost, reason by reason; last those kept."""
    steps: list[tuple[str, int]] = []
    for name, (entered, lost) in SIEVES.items():
        if name in evidence:
            steps.append((f"into {name}", evidence[name][entered]))
            steps += [(f"{name}: {why}", -count) for why, count in sorted(evidence[name][lost].items())]
    kept = steps[0][1] + sum(min(0, count) for _, count in steps) if steps else 0
    return [*steps, ("kept", kept)] if steps else []


def vocabulary_curve(evidence: Evidence) -> dict[str, dict[str, float]]:
    """Bytes per token of each language for the vocabulary and for its first merges, by "name (size)"."""
    found = evidence.get("tokenizer", {}).get("curve", {})
    return {f"ours ({size})": {f"bytes/token {lang}": row[lang] for lang in row} for size, row in found.items()}


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows))


def _kinds(about: Mapping[str, Any]) -> str:
    kinds = ((name, f"{count:,}", f"{about['unused'].get(name, 0):,}") for name, count in about["kinds"].items())
    return table(("tokens that are", "all", "never used by the training text"), kinds)
