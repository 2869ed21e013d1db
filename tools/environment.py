"""Makes .venv from the locked lists, at once done when it is right; knows pip, uv and the one wheel built here."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV, LOG = ROOT / ".venv", ROOT / ".venv.log"
PYTHON, STAMP = VENV / "bin" / "python", VENV / "complete"
PIP = [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]
MAIN, LLAMA = ROOT / "constraints/main.txt", ROOT / "constraints/llama.txt"
INPUTS = (MAIN, LLAMA, ROOT / "runtime/pyproject.toml", Path(__file__))
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
UV = "uv==0.13.9"
NOISE = re.compile(r"is ignored: it is neither a file nor a directory|new release of pip|root user")
PIP_TO_UV = {"find-links": "UV_FIND_LINKS", "index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX"}
WIDE = {"avx", "avx2", "fma", "f16c", "bmi2"}  # x86-64-v3: every x86 server and laptop since about 2015
# Parts of llama.cpp that nothing here calls, and tuning to the building CPU, which would not run elsewhere.
TRIMMED = ("LLAMA_BUILD_TOOLS", "LLAMA_BUILD_EXAMPLES", "LLAMA_BUILD_TESTS", "LLAMA_BUILD_SERVER", "LLAMA_OPENSSL")
TRIMMED += ("LLAVA_BUILD", "GGML_NATIVE")
STARTED = time.monotonic()


def main() -> None:
    """Leaves a whole .venv behind or says in one line why not; an interrupted call is simply made again."""
    if sys.version_info < (3, 11):  # noqa: UP036 (this is the one file that an older Python may meet)
        stop(f"Python {platform.python_version()} is too old, 3.11 or newer is needed: make PYTHON=python3.12 …")
    if is_complete():
        return
    say("making .venv (once; safe to interrupt; waits here while another make does it)")
    with (ROOT / ".venv.lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)  # a child that outlives a killed parent keeps the next call waiting
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_complete():
            build()


def is_complete() -> bool:
    """True when .venv was finished from exactly today's inputs by this Python."""
    return PYTHON.exists() and STAMP.exists() and STAMP.read_text() == fingerprint()


def fingerprint() -> str:
    """Hash of everything that decides what .venv contains."""
    about = f"{sys.version}\n{platform.machine()}\n{VENV}\n".encode()
    return hashlib.sha256(about + b"".join(path.read_bytes() for path in INPUTS)).hexdigest()


def build() -> None:
    """From nothing to a stamped .venv."""
    python = os.path.realpath(sys.executable)  # not .venv's own, which is deleted on the next line
    shutil.rmtree(VENV, ignore_errors=True)
    run([python, "-m", "venv", str(VENV)], "an empty environment")
    install = installer()
    run([*install, "-r", str(MAIN)], "the locked packages (torch is most of the download)")
    wheel = llama_wheel()
    run([*install, "--no-deps", str(wheel)], f"{wheel.name} from {wheel.parent}")
    run([*install, "--no-deps", "-e", str(ROOT / "runtime")], "the runtime midm-mini, editable")
    run([str(PYTHON), "-c", "import llama_cpp, midm_mini"], "proof that the compiled parts load on this CPU")
    STAMP.write_text(fingerprint())  # last; a torn stamp equals no hash
    say("ready")


def installer() -> list[str]:
    """The install command: uv (20 s instead of 4 minutes), told what pip is configured to use here, or else pip."""
    if subprocess.run([*PIP, "install", "-q", UV], capture_output=True, check=False).returncode:
        say(f"{UV} is not to be had here, going on with pip (slower)")
        return [*PIP, "install", "--progress-bar", "off"]
    settings = subprocess.run([*PIP, "config", "list"], capture_output=True, text=True, check=True).stdout
    for option, variable in PIP_TO_UV.items():
        if values := re.findall(rf"^\S+\.{option}='(.*)'$", settings, flags=re.MULTILINE):
            os.environ.setdefault(variable, " ".join(dict.fromkeys(" ".join(values).replace("\\n", " ").split())))
    os.environ.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")  # pip's own rule: the best version of all indexes
    return [str(VENV / "bin" / "uv"), "pip", "install", "--no-progress", "--python", str(PYTHON)]


def llama_wheel() -> Path:
    """The llama-cpp-python wheel for this kind of machine: one kept earlier, or one built now and kept."""
    pinned = re.search(r"^llama-cpp-python==(\S+)", LLAMA.read_text(), flags=re.MULTILINE)
    version = pinned.group(1) if pinned else stop(f"{LLAMA} pins no llama-cpp-python version")
    level, flags = cpu_level()
    recipe = hashlib.sha256(flags.encode()).hexdigest()[:6]
    key = f"{version}-{sysconfig.get_config_var('SOABI')}-{''.join(platform.libc_ver())}-{level}-{recipe}"
    given = Path(os.environ.get("OPENMIDM_WHEELS") or ROOT / ".wheels")
    for place in (given / key, given, CACHE / "openmidm/wheels" / key, ROOT / ".wheels"):
        for wheel in sorted(place.glob(f"llama_cpp_python-{version}-*.whl")):
            return wheel
    return build_wheel(version, flags, CACHE / "openmidm/wheels" / key)


def cpu_level() -> tuple[str, str]:
    """(instruction level to build for, CMake flags): x86-64-v3 where the CPU has it, else what all of its kind run."""
    cpuinfo = Path("/proc/cpuinfo")
    intel = platform.machine() == "x86_64"
    wide = intel and cpuinfo.exists() and set(cpuinfo.read_text().split()) >= WIDE
    flags = [f"-D{name}=OFF" for name in TRIMMED]
    flags += [f"-DGGML_{name.upper()}={'ON' if wide else 'OFF'}" for name in sorted(WIDE) if intel]
    return platform.machine() + ("-v3" if wide else "-base"), " ".join(flags)


def build_wheel(version: str, flags: str, place: Path) -> Path:
    """Builds the wheel and puts it in its place by a rename, so that half a wheel is never found."""
    if missing := [tool for tool in ("cc", "c++", "make") if not shutil.which(tool)]:
        stop(f"no {', '.join(missing)} to build llama-cpp-python with; on Debian: apt-get install build-essential")
    flags += " " + shlex.quote(f"-DCMAKE_PROJECT_INCLUDE={LLAMA.with_suffix('.cmake')}")
    os.environ.update(CMAKE_ARGS=flags, CMAKE_BUILD_PARALLEL_LEVEL=str(os.cpu_count() or 1))
    command = [*PIP, "wheel", "--no-deps", "-v", "-w", str(VENV / "wheel"), f"llama-cpp-python=={version}"]
    run(command, f"llama-cpp-python, compiled (4-12 minutes once, kept in {place})")
    wheel = next((VENV / "wheel").glob("*.whl"))
    place.mkdir(parents=True, exist_ok=True)
    draft = place / f"{os.getpid()}.draft"
    shutil.copyfile(wheel, draft)
    return draft.rename(place / wheel.name)


def run(command: list[str], what: str) -> None:
    """Runs a step with a sign of life every 20 seconds; on failure shows its last lines and where the log is."""
    say(what)
    with LOG.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, close_fds=False)
    while process.returncode is None:
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            say(f"  … {log_end(1)[:100]}")
    if process.returncode:
        stop(f"that failed (exit {process.returncode}); the whole log is {LOG}. Its end:\n{log_end(15)}")


def log_end(count: int) -> str:
    """The log's last lines that say something."""
    lines = LOG.read_text(errors="replace").splitlines()
    return "\n".join([line.strip() for line in lines if line.strip() and not NOISE.search(line)][-count:])


def say(words: str) -> None:
    """One progress line with the time since the start."""
    print(f"[env {time.monotonic() - STARTED:4.0f} s] {words}", flush=True)


def stop(words: str) -> NoReturn:
    """Ends with a message for a person."""
    raise SystemExit(f"error: {words}")


if __name__ == "__main__":
    main()
