"""The relay: one process hears all cells of a pipeline, in order, to the end, and notes when one breaks off."""

import subprocess
import time

import psutil
import pytest

from pipelines import _relay

PATIENCE = 60  # seconds, on a busy machine


@pytest.fixture
def pipeline(tmp_path, monkeypatch):
    """A process that a pipeline's cells work for."""
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen(["sleep", "600"]) as process:
        birth = psutil.Process(process.pid).create_time()
        monkeypatch.setattr(_relay, "_pipeline", lambda: f"{process.pid}-{birth:.2f}")
        yield process
        process.kill()


def cell(name):
    line = _relay.connect("tests.pipelines.tape")
    line.say("open", name)
    return line


def taped(place):
    return [row.split(" ", 1) for row in (place / "tape").read_text().splitlines()]


def wait(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_cells_of_a_pipeline_are_heard_by_one_process_that_ends_with_it(pipeline, tmp_path):
    for name in ("first", "second"):
        line = cell(name)
        line.say("points", "1")
        line.say("points", "2")
        line.say("end", "FINISHED")
    listeners, told = zip(*taped(tmp_path), strict=True)
    assert list(told[:4]) == ["first opened", "first 1", "first 2", "first FINISHED"] and len(told) == 8
    assert len(set(listeners)) == 1
    assert [*tmp_path.glob(".scratch/tracker-*")]
    pipeline.kill()
    pipeline.wait()
    wait(lambda: not [*tmp_path.glob(".scratch/tracker-*")])


def test_a_line_that_breaks_off_is_a_killed_run(pipeline, tmp_path):
    line = cell("torn")
    line.say("points", "1")
    line.close()
    wait(lambda: (tmp_path / "tape").exists() and len(taped(tmp_path)) == 3)
    assert taped(tmp_path)[-1][1] == "torn KILLED"


def test_trouble_is_told_to_the_cell_that_has_it_and_to_no_other(pipeline, tmp_path):
    bad, good = cell("bad"), cell("good")
    bad.say("points", "bad")
    with pytest.raises(_relay.TrackingError, match="ValueError: no such point"):
        bad.say("end", "FINISHED")
    good.say("end", "FINISHED")
    assert taped(tmp_path)[-1][1] == "good FINISHED"


def test_a_place_where_nobody_listens_any_more_is_taken_over(pipeline, tmp_path):
    cell("first").say("end", "FINISHED")
    ((listener, _), _) = taped(tmp_path)
    old = psutil.Process(int(listener))
    old.kill()
    old.wait(PATIENCE)
    cell("second").say("end", "FINISHED")
    assert taped(tmp_path)[-1][1] == "second FINISHED" and taped(tmp_path)[-1][0] != listener
