"""Small made-up benchmarks in the form of the local files, and rows in the form of the hub's."""

import gzip
import json
from pathlib import Path

TASKS = ["klue_nli", "klue_sts", "klue_ner", "nsmc", "mmlu", "piqa", "xcopa", "gsm8k", "bbh"]
# TruthfulQA's six fixed examples exceed the tiny context, and a prompt that was cut keeps its BOS here alone.
NAMES = ["서울", "부산", "대구", "인천", "광주", "대전", "울산", "제주", "수원", "청주", "전주", "강릉"]
LABELS = ["entailment", "neutral", "contradiction"]
KINDS = {"PS": "김철수", "LC": "서울", "OG": "국회", "DT": "오월", "TI": "정오", "QT": "열 개"}
COUNT = 24


def write_all(folder: Path) -> Path:
    """Writes <name>.jsonl.gz for each evaluation that has a local form."""
    for name, rows in local().items():
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return folder


def local() -> dict[str, list[dict]]:
    """Rows by file name, with the fields of the shared files."""
    rows: dict[str, list[dict]] = {}
    for i in range(COUNT):
        for name, row in local_row(i).items():
            rows.setdefault(name, []).append(row)
    rows["klue_ner"].append({"guid": "none", "tagged": "아무것도 없다"})
    rows["nsmc_sentiment"] += [{"document": f"좋다 {i}", "label": 1, "split": "train"} for i in range(6)]
    rows["mmlu"].append(
        rows["mmlu"][0] | {"question": "question", "answer": "answer"}
    )  # a header, as the real file has
    rows["ifeval"] = [
        {"key": 1, "prompt": "No commas.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {
            "key": 2,
            "prompt": "Two sentences.",
            "instruction_id_list": ["length_constraints:number_sentences"],
            "kwargs": [{"num_sentences": 2, "relation": "at least"}],
        },
    ]
    test = "def check(candidate):\n    assert candidate() == 1\n"
    program = {"prompt": "def one():\n", "entry_point": "one", "canonical_solution": "    return 1\n", "test": test}
    return rows | {"humaneval": [program]}


def local_row(i: int) -> dict[str, dict]:
    """The i-th row of every file."""
    place, (kind, entity) = NAMES[i % 12], [*KINDS.items()][i % 6]
    premise, hypothesis, label = f"{place}에 {i}번 간다.", f"{place}에 간다 {i}.", LABELS[i % 3]
    subject, split = ("astronomy", "virology")[i % 2], ("test", "dev")[i > 18]
    effect = {"question": ("cause", "effect")[i % 2], "label": i % 2, "lang": ("zh", "id")[i % 2], "split": "test"}
    answer = f"It is <<{i}+{i}={2 * i}>>.\n#### {2 * i}"
    mmlu = {"subject": subject, "split": split, "question": f"Which is {i}?", "answer": str(i % 4)}
    return {
        "klue_nli": {"premise": premise, "hypothesis": hypothesis, "gold_label": label},
        "kornli": {"sentence1": premise, "sentence2": hypothesis, "gold_label": label, "split": "test"},
        "klue_sts": {"sentence1": f"{place} {i}", "sentence2": f"{place} {i % 5}", "labels": {"binary-label": i % 2}},
        "klue_ner": {"guid": str(i), "tagged": f"{place} 사람 {i}에서 <{entity}:{kind}>"},
        "nsmc_sentiment": {"document": f"{place} 영화 {i}", "label": i % 2, "split": "test"},
        "mmlu": mmlu | {"choices": [f"a{i}", f"b{i}", f"c{i}", f"d{i}"]},
        "piqa": {"goal": f"reach {i}", "sol1": f"walk {i} miles", "sol2": f"eat {i} stones", "label": i % 2},
        "xcopa": effect | {"premise": f"premise {i}.", "choice1": f"One {i}", "choice2": f"Two {i}"},
        "truthfulqa": {"Question": f"{i}?", "Best Answer": f"No, {i}", "Incorrect Answers": f"Yes {i}; Maybe {i}; "},
        "gsm8k": {"question": f"What is {i} + {i}?", "answer": answer, "split": "test"},
        "bbh": {"task": "boolean_expressions", "input": f"not {bool(i % 2)} is", "target": str(not i % 2)},
    }


def hub() -> dict[str, list[dict]]:
    """Two rows by evaluation, with the fields of the data sets that lm-eval's and our tasks read."""
    letters = {"A": "가", "B": "나", "C": "다", "D": "라"}
    belebele = {f"mc_answer{i}": f"a{i}" for i in range(1, 5)} | {"flores_passage": "p", "question": "q"}
    belebele |= {"correct_answer_num": "2"}
    bias = {"context": "c", "question": "q", "ans0": "A", "ans1": "B", "ans2": "Unknown", "label": 1}
    bias |= {"context_condition": "ambig", "category": "Age", "question_polarity": "neg", "example_id": 1}
    groups = {f"ans{i}": ["A", group] for i, group in enumerate(("old", "nonOld", "unknown"))}
    bias |= {"answer_info": groups, "additional_metadata": {"stereotyped_groups": ["old"]}}
    copa = {"premise": "전제", "question": "원인", "alternative_1": "가", "alternative_2": "나", "label": 0}
    rows = {
        "kmmlu": {"question": "질문", "answer": 1, **letters},
        "kmmlu_hard": {"question": "질문", "answer": 1, **letters},
        "kobest_boolq": {"paragraph": "글", "question": "질문", "label": 1},
        "kobest_copa": copa,
        "haerae": {"query": "질문", "answer": "(A)", "options": "a"},
        "hrm8k": {"question": "질문", "answer": 3, "original_answer": "3"},
        "klue_nli": {"premise": "가다", "hypothesis": "오다", "label": 2},
        "kornli": {"premise": "가다", "hypothesis": "오다", "label": 0},
        "klue_sts": {"sentence1": "가다", "sentence2": "오다", "labels": {"label": 1.0, "binary-label": 0}},
        "klue_ner": {"sentence": "<서울:LC>에서", "tokens": ["서", "울"], "ner_tags": [2, 3]},
        "nsmc": {"id": "1", "document": "좋다", "label": 1},
        "ko_ifeval": {"key": 1, "prompt": "쉼표 없이", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        "kobbq": {"context": "글", "question": "누구?", "choices": ["가", "나", "알 수 없음"], "answer": "나"},
        "mbpp": {"text": "add", "code": "def f(): pass", "test_list": ["assert f() is None"], "task_id": 1},
        "humaneval": local()["humaneval"][0],
        "piqa": local()["piqa"][0],
        "gsm8k": {"question": "1+1?", "answer": "#### 2"},
        "belebele_ko": belebele,
        "belebele_en": belebele,
        "bbq": bias,
        "crows_pairs": {"sent_more": "a b", "sent_less": "a c", "bias_type": "age"},
    }
    return {name: [row, row] for name, row in rows.items()}
