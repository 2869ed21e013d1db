"""Knows how a claim is measured: this machine, a command's time and memory, our stages, and the record of it."""

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from pipelines._stage import PARAMS_FILE

ROOT = Path(__file__).resolve().parent.parent
PYTHON = sys.executable
QUIET = {"OPENMIDM_TRACKING": "off", "PYTHONPATH": f"{ROOT}:{ROOT}/runtime/src", "OMP_NUM_THREADS": "1"}
SAMPLES_PER_SECOND = 10  # of memory, at most; a peak that lives less than a tenth of a second is not seen
WATCHING = 0.05  # of a core, at most: to add up the pages of a large process takes 20 ms


class Run(NamedTuple):
    """What a command took: wall and processor seconds, peak memory of its whole tree in MiB, and what it printed."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def machine() -> dict[str, Any]:
    """Processor, cores, memory, load, Python, and what two short probes reach now, for machines and hours differ."""
    import numpy as np

    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    square, block = np.ones((1024, 1024), np.float32), np.ones(1 << 24)
    gemm, copy = _best(lambda: square @ square), _best(block.copy)
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "ram_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "load": round(os.getloadavg()[0], 2),
        "gemm_gflops": round(2 * 1024**3 / gemm / 1e9, 1),
        "copy_gb_per_second": round(2 * block.nbytes / copy / 1e9, 1),
    }


def measure(command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, cores: int = 0) -> Run:
    """Runs a command (on the first `cores` cores, if named); RuntimeError with its last words if it fails.

    Memory is the sum of the tree's proportional set sizes, so that pages shared by workers count once; of a process
    that does not show them, its resident size.
    """
    pin = ["taskset", "-c", ",".join(map(str, sorted(os.sched_getaffinity(0))[:cores]))] if cores else []
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said, tempfile.TemporaryFile("w+", encoding="utf-8") as told:
        start = time.monotonic()
        child = subprocess.Popen([*pin, *command], cwd=cwd, env={**os.environ, **(env or {})}, stdout=said, stderr=told)
        peak, cpu, done = [0.0], dict[int, float](), threading.Event()
        watch = threading.Thread(target=_watch, args=(child.pid, peak, cpu, done))
        watch.start()
        status = child.wait()
        seconds = time.monotonic() - start
        done.set()
        watch.join()
        said.seek(0), told.seek(0)
        if status:
            raise RuntimeError(f"{shlex.join(command)} ended with {status}:\n{told.read()[-2000:]}")
        return Run(round(seconds, 2), round(sum(cpu.values()), 2), round(peak[0], 1), said.read())


@contextmanager
def workspace(text: Path, *, profile: str = "laptop") -> Iterator[Path]:
    """A folder outside the clone where our stages run as the plan says, on `text` and with a profile's numbers."""
    with tempfile.TemporaryDirectory(prefix="openmidm-bench-") as name:
        folder = Path(name)
        shutil.copyfile(ROOT / "profiles" / f"{profile}.yaml", folder / PARAMS_FILE)
        change(folder, lambda params: params["ingest"].update(text=str(text.resolve())))
        (folder / "data").symlink_to(ROOT / "data")
        yield folder


def numbers(file: Path) -> dict[str, Any]:
    """A profile's or a workspace's numbers."""
    from ruamel.yaml import YAML

    return YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))


def change(folder: Path, edit: Callable[[dict], object]) -> None:
    """Edits the workspace's numbers."""
    from ruamel.yaml import YAML

    reader, file = YAML(), folder / PARAMS_FILE
    numbers = reader.load(file)
    edit(numbers)
    reader.dump(numbers, file)


def stage(name: str, folder: Path, *, env: Mapping[str, str] | None = None, cores: int = 0) -> Run:
    """Runs a stage's own `cmd` of the floor plan in a workspace, its journal kept to files."""
    own, plan = numbers(folder / PARAMS_FILE), numbers(ROOT / "dvc.yaml")
    command = re.sub(r"\$\{(\w+)\.(\w+)\}", lambda it: str(own[it[1]][it[2]]), plan["stages"][name]["cmd"])
    words = [PYTHON if word in ("python", "python3") else word for word in shlex.split(command)]
    return measure(words, cwd=folder, env=QUIET | dict(env or {}), cores=cores)


def conclusion(folder: Path, name: str) -> dict[str, Any]:
    """The report that a stage left in a workspace."""
    return json.loads((folder / "reports" / f"{name}.json").read_text(encoding="utf-8"))


def report(name: str, *, goal: str, rows: list[dict[str, Any]], ratio: Mapping[str, float]) -> None:
    """Prints the rows as a table with ratio and goal, and writes both with machine, commit and date to results/."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_shown(row.get(key, "")) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    print("\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in cells))
    print(f"ratio: {'  '.join(f'{key} {value:.4g}' for key, value in ratio.items())}\ngoal:  {goal}")
    commit = _output("git", "describe", "--always", "--dirty", "--abbrev=12")
    about = {"machine": machine(), "commit": commit, "date": time.strftime("%Y-%m-%d %H:%M")}
    file = ROOT / "benchmarks" / "results" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    record = {"name": name, "goal": goal, "ratio": dict(ratio), "rows": rows, **about}
    file.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _watch(pid: int, peak: list[float], cpu: dict[int, float], done: threading.Event) -> None:
    import psutil

    pause = 1 / SAMPLES_PER_SECOND
    while not done.wait(pause):
        before = time.thread_time()
        with suppress(psutil.Error):
            tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
            peak[0] = max(peak[0], sum(map(_memory, tree)) / 2**20)
            cpu |= {process.pid: sum(process.cpu_times()[:2]) for process in tree}
        pause = max(1 / SAMPLES_PER_SECOND, (time.thread_time() - before) / WATCHING)


def _memory(process: Any) -> float:
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii")
        return int(re.search(r"^Pss: +(\d+)", lines, re.MULTILINE)[1]) * 1024  # type: ignore[index]
    except PermissionError:
        return process.memory_info().rss
    except (OSError, TypeError):  # it ended while it was asked
        return 0


def _best(work: Any) -> float:
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _output(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()
