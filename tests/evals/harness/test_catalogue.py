"""Every benchmark has a task that can be built, from the hub's rows or from a folder; what is no row is counted."""

import json

import pytest

from evals.harness import catalogue
from evals.material import MaterialError
from tests.evals.harness.benchmarks import hub, local, write_all

ASKED_FOR = (
    "kmmlu kmmlu_hard kobest_boolq kobest_copa kobest_hellaswag kobest_sentineg kobest_wic haerae click hrm8k klue_nli "
    "klue_sts klue_ner kornli nsmc ko_ifeval mmlu gsm8k bbh ifeval humaneval mbpp piqa truthfulqa xcopa belebele_ko "
    "belebele_en kobbq bbq crows_pairs"
)
HOW = {"shots": 0, "limit": 0, "seed": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_all(tmp_path_factory.mktemp("bench"))


def test_every_benchmark_that_was_asked_for_is_there():
    assert set(ASKED_FOR.split()) <= set(catalogue.catalogue())


def test_every_evaluation_names_tasks_and_a_row_maker_that_exist():
    index = catalogue._manager().task_index
    for name, entry in catalogue.catalogue().items():
        assert all(task in index for task in entry.tasks), name
        assert entry.rows in catalogue.MAKERS, name


@pytest.mark.parametrize("name", sorted(hub()))
def test_rows_of_the_hub_become_questions(name, monkeypatch):
    import datasets

    rows = datasets.Dataset.from_list(hub()[name])
    splits = datasets.DatasetDict(dict.fromkeys(("train", "dev", "validation", "test"), rows))
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: splits)
    monkeypatch.setattr("evaluate.load", lambda *_, **__: None)  # kobest's F1, which the judge does not use
    drawn = catalogue.draw.__wrapped__(name, None, **HOW)
    task = next(iter(drawn.tasks.values()))
    task.build_all_requests()
    assert task.instances and all(str(value) for value in task.instances[0].args[0])


@pytest.mark.parametrize("name", [name for name, entry in catalogue.catalogue().items() if entry.file in local()])
def test_rows_of_a_folder_become_questions(name, folder):
    entry = catalogue.catalogue()[name]
    drawn = catalogue.draw(name, catalogue.local_file(entry, folder), **HOW | {"limit": 5})
    assert sum(len(task.eval_docs) for task in drawn.tasks.values()) == min(5, drawn.of)
    for task in drawn.tasks.values():
        task.build_all_requests()
        assert task.instances


def test_rows_that_are_no_question_are_left_out_with_a_reason(folder):
    drawn = catalogue.draw("mmlu", folder / "mmlu.jsonl.gz", **HOW)
    assert sum(drawn.left_out.values()) == 1 and "answer" in next(iter(drawn.left_out))


def test_a_file_without_a_question_is_an_error_that_names_it(tmp_path):
    (tmp_path / "klue_nli.jsonl").write_text(json.dumps({"other": 1}) + "\n")
    with pytest.raises(MaterialError, match=r"klue_nli\.jsonl.*gold_label"):
        catalogue.draw("klue_nli", tmp_path / "klue_nli.jsonl", **HOW)


def test_a_task_that_lm_eval_lacks_is_an_error_that_names_it(tmp_path):
    (tmp_path / "bbh.jsonl").write_text(json.dumps({"task": "no_such", "input": "a", "target": "b"}) + "\n")
    with pytest.raises(MaterialError, match="bbh_zeroshot_no_such"):
        catalogue.draw("bbh", tmp_path / "bbh.jsonl", **HOW)


def test_names_default_to_what_lies_in_the_folder_and_programs_run_only_when_named(folder):
    names = catalogue.names_of([], folder=folder)
    assert "klue_nli" in names and "kmmlu" not in names and "humaneval" not in names
    assert catalogue.names_of(["humaneval"], folder=folder) == ["humaneval"]
    with pytest.raises(ValueError, match="no evaluation nonsense"):
        catalogue.names_of(["nonsense"], folder=folder)
