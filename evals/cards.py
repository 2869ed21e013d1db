"""Knows how Mini reads as a model card in Hugging Face's form: front matter, and figures that each name their file."""

from collections.abc import Iterator, Mapping
from typing import Any

from evals.abilities import qa_share, share
from evals.report import FIRST, TRAINING, Evidence, subjects, table

NAME = "OpenMidm Mini"
PAGE = """\
---
{matter}
---

# {name}

Every figure below stands in the file named in its row, under `reports/` of the repository; nothing is typed by hand.

## Intended use

A small Korean and English model made to be studied: every step from raw text to this file can be read, rerun and
measured. It answers short questions about the small world it was taught, in a browser, on a phone or on two CPU cores.
It is no adviser, no source of facts about the real world, and no basis for decisions about people.

## Data

Sources, licences, filters, contamination and gaps: the data card beside this page (`data-card.md`).

{data}

## Training

Seed, grown deeper to Base, pruned and distilled to Mini, then tuned to answer; the loss is that of the stage's own
objective, so stages cannot be compared by it.

{training}

## Evaluation

bpb: bits per UTF-8 byte of held-out text, lower is better. QA: share of four-choice questions about taught facts in
phrasings never trained on, with its Wilson interval. Chat: share of them answered in free text. KL: mean divergence
from the parent in nats. An interval that holds chance shows no ability.

{evaluation}

## Safety

NUR: risky prompts refused. NOR: harmless prompts answered. ASR: attacked risky prompts not refused. Rates with their
Wilson intervals, and the precision and recall of the judge that gave them.

{safety}

## Limitations

- It repeats what it was taught and invents the rest; a fluent reply is no sign of a right one.
- The questions are about facts that training taught: they measure what growing, pruning and rounding keep, not what
  generalises to a fact never read.
- Refusals follow topics more than meaning; an attack in a form it never saw mostly passes.
- Groups and registers that its text leaves out (data card, known gaps) it serves badly.

## Licence

{license} for the weights, as every artifact's `manifest.json` says. Text keeps the licences that the data card lists.

## Citation

```bibtex
@software{{openmidm, title = {{OpenMidm: from raw Korean and English text to a quantized small language model}},
  author = {{The OpenMidm contributors}}, note = {{an open rebuild after the published design of Mi:dm 2.0}}}}
```
"""


def page(evidence: Evidence) -> str:
    """The model card in Markdown; Mini must have been judged."""
    models, examined = subjects(evidence, "evaluate"), subjects(evidence, "safety")
    said = sorted({str(report["license"]) for name, report in evidence.items() if "license" in report})
    tables = {
        "data": (("part", "documents", "tokens", "file"), _data(evidence)),
        "training": (
            ("stage", "parameters", "layers", "tokens", "first loss", "last loss", "file"),
            _training(evidence),
        ),
        "evaluation": (
            ("model", "MB", "bpb ko", "bpb en", "QA ko", "QA en", "n", "chance", "chat ko", "chat en", "KL", "file"),
            _evaluation(models),
        ),
        "safety": (("model", "NUR", "NOR", "ASR", "judge: precision", "recall", "n", "file"), _safety(examined)),
    }
    license = said[0] if len(said) == 1 else "unknown"
    filled = {key: table(heads, rows) for key, (heads, rows) in tables.items()}
    return PAGE.format(name=NAME, license=license, matter=_matter(models.get("mini", {}), license), **filled)


def _matter(mini: Mapping[str, Any], license: str) -> str:
    """The YAML that the hub reads: what it is, and Mini's own results."""
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type="openmidm-questions",
            dataset_name=f"Held-out phrasings of taught facts ({lang})",
            dataset_config=lang,
            metric_type="accuracy",
            metric_name="four-choice accuracy",
            metric_value=mini[f"qa_{lang}"],
            metric_args={key: mini[f"{name}_{lang}{end}"] for key, name, end in INTERVAL},
        )
        for lang in ("ko", "en")
        if mini
    ]
    data = ModelCardData(
        language=["ko", "en"],
        license=license.lower(),
        library_name="transformers",
        tags=["korean", "distillation", "quantization", "gguf", "onnx"],
        pipeline_tag="text-generation",
        model_name=NAME,
        eval_results=results,
    )
    return str(data.to_yaml()).strip()


INTERVAL = (("low", "qa", "_low"), ("high", "qa", "_high"), ("n", "n_qa", ""))


def _data(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    for part, documents in sorted(evidence.get("mix", {}).get("documents", {}).items()):
        tokens = evidence.get("tokenize", {}).get("phases", {}).get(part, {}).get("tokens")
        files = _files("mix", *(["tokenize"] if tokens else []))
        yield part, f"{documents:,}", f"{tokens:,}" if tokens else "–", files


def _training(evidence: Evidence) -> Iterator[tuple[str, ...]]:
    for name in (name for name in TRAINING if evidence.get(name, {}).get("shape")):
        shape, curve = evidence[name]["shape"], evidence[name].get("curve")
        ends = (f"{curve[-1]['tokens']:,}", *(f"{curve[at]['loss']:.3f}" for at in (0, -1))) if curve else ("–",) * 3
        yield name, f"{shape['parameters']:,}", str(shape["layers"]), *ends, _files(name)


def _evaluation(models: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for name, r in models.items():
        shares = (qa_share(r, lang) for lang in ("ko", "en"))
        sizes = f"{r['size_bytes'] / 1e6:.1f}", f"{r['bpb_ko']:.3f}", f"{r['bpb_en']:.3f}"
        counts = " + ".join(str(r[f"n_qa_{lang}"]) for lang in ("ko", "en")), str(r["chance"])
        drift = "–" if r["kl_parent"] is None else f"{r['kl_parent']:.3g}"
        chat = f"{r['chat_ko']:.2f}", f"{r['chat_en']:.2f}"
        title = name if name in FIRST else f"`{name}`"
        yield title, *sizes, *shares, *counts, *chat, drift, _files(f"evaluate@{name}")


def _safety(examined: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for name, r in examined.items():
        rates = (share(r[key]) for key in ("nur", "nor", "asr"))
        judge = f"{r['judge']['precision']:.3f}", f"{r['judge']['recall']:.3f}", str(r["judge"]["n"])
        yield name if name in FIRST else f"`{name}`", *rates, *judge, _files(f"safety@{name}")


def _files(*names: str) -> str:
    return " ".join(f"`{name}.json`" for name in names)
