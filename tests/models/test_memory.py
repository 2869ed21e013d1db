"""What a checkpoint predicts is computed once, and anew when its bytes change."""

import numpy as np

from models.memory import Memory


def folder(place, weights=b"1"):
    place.mkdir(exist_ok=True)
    (place / "config.json").write_text("{}")
    (place / "model.safetensors").write_bytes(weights)
    return place


def test_an_answer_is_made_once_for_each_question_and_is_the_same_bits_again(tmp_path):
    asked, found = [], np.array([[0.1, np.nan], [-0.0, 1e-45]], np.float32)

    def make():
        asked.append(1)
        return {"logits": found}

    for _ in range(2):
        memory = Memory(tmp_path / "memory", folder(tmp_path / "model"), __file__)
        assert memory.recall([1, 2], make)["logits"].tobytes() == found.tobytes()
    assert len(asked) == 1
    memory.recall([1, 2, 3], make)
    assert len(asked) == 2


def test_other_weights_other_code_or_another_folder_have_another_memory_and_older_weights_lose_theirs(tmp_path):
    root, code = tmp_path / "memory", tmp_path / "code.py"
    code.write_text("1")

    def recalled(model, value):
        made = {"x": np.array([value], np.float32)}
        return float(Memory(root, model, str(code)).recall("x", lambda: made)["x"][0])

    a, b = folder(tmp_path / "a"), folder(tmp_path / "b")
    assert [recalled(a, 1), recalled(b, 2), recalled(a, 3)] == [1, 2, 1]
    folder(a, b"2")
    assert [recalled(a, 4), recalled(b, 5)] == [4, 2]
    assert len([*root.iterdir()]) == 2
    code.write_text("2")
    assert recalled(a, 6) == 6


def test_without_a_root_nothing_stays(tmp_path):
    memory = Memory(None, tmp_path)
    assert [float(memory.recall("x", lambda value=value: {"x": np.array(value)})["x"]) for value in (1.0, 2.0)] == [
        1,
        2,
    ]
