"""Knows how work on shards is spread: one Daft plan that runs in this machine's processes, or on a Ray cluster.

Where it runs is the machine's business and never stands in params: `DAFT_RUNNER=ray` (and `RAY_ADDRESS` for a cluster
that runs already; without it Ray starts on this machine). The results are the same everywhere.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def over(tasks: Mapping[str, T], work: Callable[[T], R], *, done: Path) -> Iterator[tuple[str, R]]:
    """Yields (name, work(task)) for every named task, in the order in which they are finished.

    `work` writes what is large and returns what is small. Its result is kept in the folder `done`, by the task's name,
    so that after a kill only the unfinished tasks are worked on; a half-written result is never taken for a whole one.
    """
    done.mkdir(parents=True, exist_ok=True)
    finished = {name for name in tasks if (done / name).exists()}
    for name in sorted(finished):
        yield name, pickle.loads((done / name).read_bytes())
    for name, result in _run({name: task for name, task in tasks.items() if name not in finished}, work):
        draft = done / f".{name}"
        draft.write_bytes(result)
        draft.rename(done / name)
        yield name, pickle.loads(result)


def _run(tasks: Mapping[str, T], work: Callable[[T], R]) -> Iterator[tuple[str, bytes]]:
    workers = min(len(os.sched_getaffinity(0)), len(tasks))
    on_ray = os.environ.get("DAFT_RUNNER") == "ray"
    if workers <= 1 and not on_ray:
        yield from ((name, pickle.dumps(work(task))) for name, task in tasks.items())
        return
    daft = quiet_daft()
    binary = daft.DataType.binary()

    @daft.cls(use_process=True, max_concurrency=workers, **({"cpus": 1} if on_ray else {}))
    class Worker:
        def __init__(self, work: Callable[[T], R]) -> None:
            self.work = work

        @daft.method.batch(return_dtype=binary, batch_size=1)
        def results(self, tasks):
            return [_result_or_error(self.work, task) for task in tasks.to_pylist()]

    frame = daft.from_pydict({"name": list(tasks), "task": [pickle.dumps(task) for task in tasks.values()]})
    frame = frame.into_partitions(len(tasks)) if on_ray else frame
    for row in frame.select(daft.col("name"), Worker(work).results(daft.col("task")).alias("result")).iter_rows():
        if isinstance(error := pickle.loads(row["result"]), Exception):
            raise error
        yield row["name"], row["result"]


def _result_or_error(work: Callable[[T], R], task: bytes) -> bytes:
    try:
        return pickle.dumps(work(pickle.loads(task)))
    except (ValueError, OSError) as error:  # bad input, told as what it is and not as a failure of the engine
        return pickle.dumps(error)


def quiet_daft() -> Any:
    """The module daft, which must not report use nor draw bars into the log."""
    os.environ.setdefault("DAFT_ANALYTICS_ENABLED", "0")
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    import daft

    return daft
