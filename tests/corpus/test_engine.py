"""The engine: the same results from one process, from several and from Ray; nothing done twice, errors as they are."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from corpus import engine
from tests import house

TASKS = {f"shard-{n}": n for n in range(7)}
CALL = (
    "import sys; from pathlib import Path; from corpus import engine\n"
    "from tests.corpus.test_engine import TASKS, square\n"
    "print(sorted(engine.over(TASKS, square, done=Path(sys.argv[1]))))"
)


def square(number):
    """What a task of the tests does."""
    if number < 0:
        raise ValueError(f"task {number}: negative; give a number that is not")
    return {"square": number**2}


@pytest.mark.parametrize("workers", [{0}, {0, 1}])
def test_results_do_not_depend_on_the_number_of_workers(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: workers)
    assert sorted(engine.over(TASKS, square, done=tmp_path)) == [(name, {"square": n**2}) for name, n in TASKS.items()]


def test_a_finished_task_is_not_done_again(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    calls = []

    def counted(number):
        calls.append(number)
        return square(number)

    half = dict(list(TASKS.items())[:3])
    first = dict(engine.over(half, counted, done=tmp_path))
    (tmp_path / ".shard-5").write_bytes(b"half a res")  # what a kill may leave
    whole = dict(engine.over(TASKS, counted, done=tmp_path))
    assert sorted(calls) == sorted(TASKS.values())
    assert whole | first == whole == {name: square(n) for name, n in TASKS.items()}


@pytest.mark.parametrize("workers", [{0}, {0, 1}])
def test_an_error_of_bad_input_is_told_as_it_is(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: workers)
    with pytest.raises(ValueError, match="task -1: negative"):
        dict(engine.over({"a": 1, "b": -1}, square, done=tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("ray"), reason="ray is not installed: pip install ray")
def test_ray_gives_the_same_results(tmp_path):
    said = {}
    for name, runner in (("here", {}), ("ray", {"DAFT_RUNNER": "ray", "RAY_AUTH_MODE": "disabled"})):
        call = [sys.executable, "-c", CALL, str(tmp_path / name)]
        done = subprocess.run(
            call, cwd=house.ROOT, env={**os.environ, **runner}, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr[-2000:]
        said[name] = done.stdout.splitlines()[-1]
    assert said["ray"] == said["here"]
