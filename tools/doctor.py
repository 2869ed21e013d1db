"""Says whether this machine is fit for the pipeline: one finding a line, OK, WARN or FAIL, and what to do about it."""

import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator

from environment import PYTHON, ROOT, cpu_level, is_complete

SHOWN = ("torch", "transformers", "liger-kernel", "onnxruntime-genai", "llama-cpp-python", "mlflow", "dvc")
VERSIONS = "import importlib.metadata as m, sys\nprint('  '.join(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
LLAMA = "import llama_cpp; print(llama_cpp.llama_print_system_info().decode())"
Finding = tuple[object, str, str, str, str]  # good or not, level if not, what was looked at, found, what to do


def main() -> None:
    """Prints every finding; exits 1 when one of them is a FAIL."""
    failed = 0
    for good, level, subject, found, remedy in (*machine(), *packages(), *pipeline()):
        failed += not good and level == "FAIL"
        print(f"{'OK' if good else level:4}  {subject:10} {found}" + ("" if good else f"\n{'':17}→ {remedy}"))
    sys.exit(f"{failed} to mend" if failed else 0)


def machine() -> Iterator[Finding]:
    """Python, processor, memory, disk, accelerator, compilers."""
    new, cores = sys.version_info >= (3, 11), len(os.sched_getaffinity(0))
    yield new, "FAIL", "python", platform.python_version(), "3.11 or newer is needed: make PYTHON=python3.12 …"
    yield cores > 1, "WARN", "processor", f"{cores} cores, {cpu_level()[0]}", "one core doubles every time in make plan"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    yield memory >= 7.5, "WARN", "memory", f"{memory:.1f} GiB", "laptop wants 8 GiB: keep to PROFILE=demo"
    free = shutil.disk_usage(ROOT).free / 2**30
    yield free > 10, "FAIL", "disk", f"{free:.0f} GiB free", ".venv takes 3 GiB, artifacts/ and .dvc/cache 2: make room"
    gpus = output("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader").replace("\n", "; ")
    yield True, "", "gpu", gpus or "none: all runs on the CPU, in the profiles demo and laptop", ""
    for tool in ("git", "make", "c++"):
        version = output(tool, "--version").split("\n")[0]
        yield version, "FAIL", tool, version or "missing", "apt-get install build-essential git"


def packages() -> Iterator[Finding]:
    """The environment, its versions, and whether its compiled wheel loads on this CPU."""
    done = is_complete()
    yield done, "WARN", ".venv", "complete" if done else "missing, or made from other inputs", "make env"
    if PYTHON.exists():
        versions = output(str(PYTHON), "-c", VERSIONS, *SHOWN)
        yield versions, "FAIL", "versions", versions or "a package is missing", "rm -rf .venv; make env"
        flags = output(str(PYTHON), "-c", LLAMA).split("\n")[-1][:90]
        remedy = "built for another CPU: rm -rf .venv .wheels ~/.cache/openmidm; make env"
        yield flags, "FAIL", "llama.cpp", flags or "does not load", remedy


def pipeline() -> Iterator[Finding]:
    """The port of make ui, and the state of DVC in this clone."""
    with socket.socket() as door:
        busy = door.connect_ex(("127.0.0.1", 5000)) == 0
    yield not busy, "WARN", "port 5000", "in use" if busy else "free", "make ui runs already; or: make ui PORT=5001"
    ready, lock = (ROOT / ".dvc/config").exists(), ROOT / ".dvc/tmp/rwlock"
    yield ready, "FAIL", "dvc", "set up" if ready else "no .dvc/config", "run in a git clone of the project"
    held = lock.exists() and lock.stat().st_size > 2
    yield not held, "WARN", "dvc lock", "held" if held else "free", "another dvc runs; if none does: rm .dvc/tmp/rwlock"


def output(*command: str) -> str:
    """What a command prints, or '' when it is missing or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=ROOT).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


if __name__ == "__main__":
    main()
