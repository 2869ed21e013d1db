"""sft and dpo, small and whole: what each stage leaves, and that SIGKILL costs nothing of it."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from models import checkpoints
from models.chat import conversation_rows
from pipelines import sft
from tests.pipelines import lives


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder in which every training of tests/pipelines/lives.py ran whole, and killed and resumed."""
    root = tmp_path_factory.mktemp("lives")
    own = {
        "OPENMIDM_DEVICE": "cpu",
        "OPENMIDM_PRECISION": "no",
        "PYTHONPATH": os.pathsep.join(["runtime/src", *sys.path]),
    }
    command = [sys.executable, "-m", "tests.pipelines.lives", root]
    done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return root


def report(place, name):
    return json.loads((place / name / f"whole/reports/{name}.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("name", lives.TRAININGS)
def test_a_training_that_sigkill_ended_and_was_resumed_leaves_the_same_bytes(place, name):
    found = json.loads((place / "found.json").read_text())[name]
    assert found["ends"] == [0, -9, 0]
    assert found["states"] == ["step-00000000", "step-00000004"]  # two steps were lost, and done again
    assert "out/model.safetensors" in found["whole"] and f"reports/{name}.json" in found["whole"]
    assert found["resumed"] == found["whole"]


@pytest.mark.slow
def test_sft_counts_what_it_learnt_from_and_what_it_dropped(place):
    said = report(place, "sft")
    assert (said["conversations"], said["dropped"], said["steps"]) == (24, {"longer than context": 0}, 12)
    assert said["curve"][-1]["loss"] < said["curve"][0]["loss"] - 1


@pytest.mark.slow
def test_sft_opens_with_lists_that_make_room_for_all_conversations(place, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(
        sft.Phase, "train", lambda _self, _model, _objective, batch_at, **_facts: taken.append(batch_at)
    )
    inputs = {"student": place / "student", "dialogues": place / "talks", "tokens": place / "tokens"}
    params = lives.SFT.model_copy(update={"replay": 0.0, "copies": 0.5})
    sft.main(**inputs, out=tmp_path, scratch=tmp_path, params=params, journal=None)

    def learnt(batch, kind):
        rows, _ = conversation_rows(place / "talks/dialogues.jsonl", place / "student", context=64, limit=0, kind=kind)
        return sum(str(ids[:-1])[1:-1] in str(row) for ids, _ in rows for row in batch)

    first, *rest = (taken[0](step, 4)["ids"].tolist() for step in range(12))
    assert learnt(first, "repeat") > 2 * learnt(first, "fact")
    late = [row for batch in rest[5:] for row in batch]  # half of the steps are over: all conversations in turn
    assert learnt(late, "fact") > 1.5 * learnt(late, "repeat") > 0


@pytest.mark.slow
def test_adapters_leave_an_ordinary_folder_and_touch_their_targets_alone(place):
    before, after = (
        load_file(folder / "model.safetensors") for folder in (place / "student", place / "lora/whole/out")
    )
    assert before.keys() == after.keys()
    changed = {name.split(".")[-2] for name, weight in before.items() if not torch.equal(weight, after[name])}
    assert changed == {"q_proj", "down_proj"}
    assert report(place, "lora")["curve"][-1]["loss"] < report(place, "lora")["curve"][0]["loss"]


@pytest.mark.slow
def test_the_adapter_beside_it_is_what_was_merged(place):
    from peft import PeftModel

    ids = torch.arange(3, 35)[None]
    beside = PeftModel.from_pretrained(checkpoints.load(place / "student"), place / "lora/whole/out/adapter")
    merged = checkpoints.load(place / "lora/whole/out")
    torch.testing.assert_close(beside(ids).logits, merged(ids).logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_dpo_asks_the_reference_once_and_moves_towards_the_chosen_replies(place):
    said = report(place, "dpo")
    assert (said["pairs"], said["dropped"]) == (24, {"longer than context": 0})
    assert said["curve"][-1]["loss"] < said["curve"][0]["loss"] - 0.5
    kept = [path.name for path in (place / "dpo/killed/scratch/reference").iterdir()]
    assert kept == ["step-00000000"]  # the resumed life took it up


@pytest.mark.slow
def test_pairs_of_the_users_own_are_learnt_beside_the_others(place, tmp_path):
    row = {
        "chosen": "\n\nHuman: which capital?\n\nAssistant: Seoul",
        "rejected": "\n\nHuman: which capital?\n\nAssistant: Han",
    }
    (tmp_path / "talks").symlink_to(place / "talks"), (tmp_path / "given").mkdir()
    for name in ("student", "tokens"):
        (tmp_path / name).symlink_to(place / name)
    (tmp_path / "given/mine.jsonl").write_text(json.dumps(row) + "\n" + json.dumps({"chosen": "?"}) + "\n")
    lives.train(tmp_path, "dpo", tmp_path / "house")
    said = json.loads((tmp_path / "house/reports/dpo.json").read_text())
    assert said["pairs"] == 25 and said["dropped"] == {"longer than context": 0, "no 'chosen' and 'rejected'": 1}
