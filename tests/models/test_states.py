"""A state is whole or absent: whatever ends a save, and wherever, an older or the new one is found, bit for bit."""

import errno
import functools
import json
import os
import shutil

import pytest
import torch

from models import states

OWN = {"plan": "a", "code": "b"}
CALLS = ("open", "write", "fsync", "close", "rename", "mkdir", "unlink", "rmdir")


def tensors(seed):
    draw = torch.Generator().manual_seed(seed)
    wide = torch.randn(16, 8, generator=draw)
    odd = {"odd": torch.arange(seed, seed + 3, dtype=torch.uint8), "half": wide[:3, :3].bfloat16()}
    return {"wide": wide, "step": torch.tensor(float(seed)), **odd}


def save(folder, step, own=OWN):
    states.save(folder, step, tensors=tensors(step), facts={"step": step}, identity=own)


def found(folder, own=OWN):
    """The step of the newest state, after its content was compared with what that step wrote."""
    state = states.newest(folder, identity=own)
    if state is None:
        return None
    read, facts = state
    expected = tensors(facts["step"])
    assert read.keys() == expected.keys() and all(torch.equal(read[name], expected[name]) for name in read)
    return facts["step"]


def killed_at(folder, kill, action):
    """Runs `action` in a child that dies at its `kill`-th call of the system (half a write done); False if it ended."""
    child = os.fork()
    if child == 0:
        left = [kill]

        def counted(call, *arguments, **options):
            left[0] -= 1
            if left[0] < 0:
                if call is real["write"]:
                    call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                os._exit(9)
            return call(*arguments, **options)

        real = {name: getattr(os, name) for name in CALLS}
        for name, call in real.items():
            setattr(os, name, functools.partial(counted, call))
        try:
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status == 9


@pytest.mark.parametrize("saved, step", [((4, 8), 12), ((4, 8), 8), ((), 4)])
def test_a_kill_at_every_call_of_a_save_leaves_the_old_state_or_the_new_one(tmp_path, saved, step):
    kill, seen = 0, set()
    while True:
        folder = tmp_path / f"{kill}"
        for earlier in saved:
            save(folder, earlier)
        ended = not killed_at(folder, kill, lambda folder=folder: save(folder, step))
        seen.add(found(folder))
        save(folder, 16)  # what a kill leaves behind is in nobody's way
        assert found(folder) == 16
        if ended:
            break
        kill += 1
    assert kill > 15 and seen == {saved[-1] if saved else None, step}


@pytest.mark.parametrize("name", ["state.safetensors", "facts.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "miss"])
def test_a_damaged_generation_is_refused_and_the_one_before_is_taken(tmp_path, capsys, name, damage):
    save(tmp_path, 4), save(tmp_path, 8)
    file = tmp_path / "step-00000008" / name
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 16
    file.write_bytes(data if damage == "flip" else data[:-1])
    if damage == "miss":
        file.unlink()
    assert found(tmp_path) == 4
    assert name in capsys.readouterr().out
    save(tmp_path, 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000004", "step-00000008"]


def test_without_any_good_state_the_run_begins_anew_and_says_so(tmp_path, capsys):
    assert states.newest(tmp_path / "none", identity=OWN) is None
    save(tmp_path, 4)
    (tmp_path / "step-00000004/facts.json").write_text("{}")
    assert found(tmp_path) is None
    assert "from the beginning" in capsys.readouterr().out


def test_a_state_of_another_run_is_not_taken_up(tmp_path, capsys):
    save(tmp_path, 4, OWN | {"code": "other"})
    assert found(tmp_path) is None
    assert "of another run (code differ)" in capsys.readouterr().out


def test_a_step_saved_again_stands_beside_the_first_until_it_is_whole(tmp_path):
    for _ in range(4):
        save(tmp_path, 8)
        assert found(tmp_path) == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000008.002", "step-00000008.003"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_state_with_nonsense_is_ever_written(tmp_path, bad):
    with pytest.raises(ArithmeticError, match=r"optimizer0\.1"):
        states.save(tmp_path, 4, tensors={"optimizer0.1": torch.tensor([bad])}, facts={}, identity=OWN)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", range(3))
def test_a_full_disk_leaves_the_last_good_state_and_says_what_to_do(tmp_path, monkeypatch, failing):
    save(tmp_path, 4)
    left, write = [failing], os.write

    def full(handle, data):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="make room") as caught:
        save(tmp_path, 8)
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert found(tmp_path) == 4 and len(list(tmp_path.iterdir())) == 1


def test_the_file_is_one_that_the_library_would_write(tmp_path):
    from safetensors import safe_open

    save(tmp_path, 4)
    with safe_open(tmp_path / "step-00000004/state.safetensors", "pt") as file:
        assert set(file.keys()) == set(tensors(4))
    manifest = json.loads((tmp_path / "step-00000004/manifest.json").read_text())
    assert set(manifest["files"]) == {"state.safetensors", "facts.json"} and manifest["fingerprints"] == OWN


def test_code_that_changes_has_another_fingerprint(tmp_path, monkeypatch):
    room = tmp_path / "room"
    shutil.copytree(os.path.dirname(states.__file__), room)
    monkeypatch.setattr(states, "__file__", str(room / "states.py"))
    before = states.code_fingerprint()
    (room / "fit.py").write_text("other")
    assert states.code_fingerprint() != before
