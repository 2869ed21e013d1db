"""Small made-up benchmarks in the form of the local files, and rows in the form of the hub's."""

import gzip
import json
from pathlib import Path

TASKS = ["klue_nli", "klue_sts", "klue_ner", "nsmc", "mmlu", "piqa", "xcopa", "truthfulqa", "gsm8k", "bbh"]
NAMES = ["서울", "부산", "대구", "인천", "광주", "대전", "울산", "제주", "수원", "청주", "전주", "강릉"]
LABELS = ["entailment", "neutral", "contradiction"]
KINDS = {"PS": "김철수", "LC": "서울", "OG": "국회", "DT": "오월", "TI": "정오", "QT": "열 개"}


def write_all(folder: Path) -> Path:
    """Writes <name>.jsonl.gz for each evaluation that has a local form."""
    for name, rows in local().items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return folder


def local() -> dict[str, list[dict]]:
    """Rows by file name, with the fields of the shared files."""
    n = range(24)
    place = [NAMES[i % 12] for i in n]
    nli = [
        {"premise": f"{place[i]}에 {i}번 간다.", "hypothesis": f"{place[i]}에 간다 {i}.", "gold_label": LABELS[i % 3]}
        for i in n
    ]
    marked = [(f"{place[i]} 사람 {i}", kind, text) for i, (kind, text) in zip(n, [*KINDS.items()] * 4, strict=True)]
    arithmetic = [
        {"question": f"What is {i} + {i}?", "answer": f"It is <<{i}+{i}={2 * i}>>.\n#### {2 * i}", "split": "test"}
        for i in n
    ]
    return {
        "klue_nli": nli,
        "kornli": [{"sentence1": r["premise"], "sentence2": r["hypothesis"], "gold_label": r["gold_label"], "split": "test"} for r in nli],
        "klue_sts": [{"sentence1": f"{p} {i}", "sentence2": f"{p} {i % 5}", "labels": {"binary-label": i % 2}} for i, p in zip(n, place, strict=True)],
        "klue_ner": [{"guid": str(i), "tagged": f"{text}에서 <{entity}:{kind}>"} for i, (text, kind, entity) in enumerate(marked)]
        + [{"guid": "none", "tagged": "아무것도 없다"}],
        "nsmc_sentiment": [{"document": f"{p} 영화 {i}", "label": i % 2, "split": "test"} for i, p in zip(n, place, strict=True)]
        + [{"document": f"좋다 {i}", "label": 1, "split": "train"} for i in range(6)],
        "mmlu": [
            {"subject": ("astronomy", "virology")[i % 2], "split": ("test", "dev")[i > 18], "question": f"Which is {i}?",
             "choices": [f"a{i}", f"b{i}", f"c{i}", f"d{i}"], "answer": str(i % 4)} for i in n
        ] + [{"subject": "astronomy", "split": "test", "question": "question", "choices": ["a", "b", "c", "d"], "answer": "answer"}],
        "piqa": [{"goal": f"reach {i}", "sol1": f"walk {i} miles", "sol2": f"eat {i} stones", "label": i % 2} for i in n],
        "xcopa": [
            {"premise": f"premise {i}.", "choice1": f"One {i}", "choice2": f"Two {i}", "question": ("cause", "effect")[i % 2],
             "label": i % 2, "lang": ("zh", "id")[i % 2], "split": "test"} for i in n
        ],
        "truthfulqa": [{"Question": f"Is it {i}?", "Best Answer": f"No, {i}", "Incorrect Answers": f"Yes {i}; Maybe {i}; "} for i in n],
        "gsm8k": arithmetic,
        "bbh": [{"task": "boolean_expressions", "input": f"not {bool(i % 2)} is", "target": str(not i % 2)} for i in n],
        "ifeval": [
            {"key": 1, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
            {"key": 2, "prompt": "Two sentences.", "instruction_id_list": ["length_constraints:number_sentences"],
             "kwargs": [{"num_sentences": 2, "relation": "at least"}]},
        ],
        "humaneval": [
            {"task_id": "t/0", "prompt": "def one():\n", "entry_point": "one", "canonical_solution": "    return 1\n",
             "test": "def check(candidate):\n    assert candidate() == 1\n"},
        ],
    }  # fmt: skip
