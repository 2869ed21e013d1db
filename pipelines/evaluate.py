"""Judges one subject: held-out text, four-choice questions, chat answers, distance to its parent."""

import time
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from corpus import shards
from evals import material, metrics
from evals import questions as quiz
from evals.subject import open_subject, size_bytes
from pipelines._journal import Journal, peak_mib
from pipelines._stage import StageParams, enter

GREETINGS = {"ko": "안녕하세요? 당신은 누구인가요?", "en": "Hello! Who are you?"}


class Params(StageParams):
    """What is measured, and how much of it."""

    max_questions: int  # per language, drawn by `seed`
    max_validation_bytes: int  # UTF-8 bytes of held-out text per language: whole documents, at least one
    kl_tokens: int  # positions of held-out text (languages taking turns) at which subject and parent are compared
    sample_prompts: int  # chat answers per language kept to be read, besides one greeting
    chat_questions: int  # per language, put as a chat; fewer where there are fewer questions
    max_new_tokens: int  # tokens per reply
    seed: int


def main(
    *, subject: str, model: Path, parent: Path | None = None, documents: Path, questions: Path,
    out: Path, memory: Path | None = None, params: Params, journal: Journal,
) -> None:  # fmt: skip
    """model, parent: HF folders or bundles (a model is no parent of itself); documents: mix; questions: synthesize."""
    pool, limit = quiz.read_questions(questions / "questions.jsonl"), params.max_validation_bytes
    asked = {lang: quiz.sample(pool, lang=lang, n=params.max_questions, seed=params.seed) for lang in GREETINGS}
    texts = {lang: material.held_out_texts(documents / "validation", lang=lang, max_bytes=limit) for lang in GREETINGS}
    started = time.perf_counter()
    judged = open_subject(model)
    journal.step(0, **{"perf/load_seconds": time.perf_counter() - started})
    n_chat, started = min(params.chat_questions, *map(len, asked.values())), time.perf_counter()
    talks = {
        lang: quiz.converse(judged, asked[lang][:n_chat], greeting=greeting, max_tokens=params.max_new_tokens)
        for lang, greeting in GREETINGS.items()
    }
    seconds, rows = time.perf_counter() - started, [*chain.from_iterable(talks.values())]
    tokens = sum(len(judged.encode(row["reply"])) + (row["finish_reason"] == "stop") for row in rows)
    journal.step(0, **{"perf/decode_tokens_per_s": tokens / seconds})
    read = chain.from_iterable(talk[: 1 + params.sample_prompts] for talk in talks.values())
    shards.write_lines(out / "samples.jsonl", read)
    journal.attach(out / "samples.jsonl")
    result: dict[str, Any] = {"chance": quiz.CHANCE, "size_bytes": size_bytes(model), "n_chat": n_chat}
    for lang, talk in talks.items():
        bits, size = metrics.bits_per_byte(judged, texts[lang])
        marks, chat = quiz.ask(judged, asked[lang]), metrics.rate(quiz.told(talk))["value"]
        share = metrics.rate(marks)
        result |= {f"bpb_{lang}": bits, f"n_bytes_{lang}": size, f"qa_{lang}": share["value"], f"chat_{lang}": chat}
        result |= {f"marks_{lang}": "".join("01"[mark] for mark in marks)}  # so that subjects can be paired
        result |= {f"n_qa_{lang}": share["n"], f"qa_{lang}_low": share["low"], f"qa_{lang}_high": share["high"]}
        journal.step(0, **{f"eval/{key}_{lang}": result[f"{key}_{lang}"] for key in ("bpb", "qa", "chat")})
    journal.step(0, **{"perf/peak_rss_mib": peak_mib()})
    result |= {"kl_parent": None, "kl_parent_p999": None, "top1_parent": None, "n_positions": 0}
    if parent and parent != model:
        elder, turns = open_subject(parent, memory), filter(None, chain.from_iterable(zip_longest(*texts.values())))
        result |= metrics.divergence(judged, elder, turns, max_positions=params.kl_tokens)
        elder.close()
    judged.close()
    journal.conclude(**result)


if __name__ == "__main__":
    enter(main)
