"""Knows how the stories of many short processes reach one that lives as long as their pipeline.

Importing MLflow and opening its store takes seconds of a processor: one process does it for all sixty cells. The kernel
tells it when a cell's process is gone, however that ended.
"""

import base64
import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

BYTES, PATH = "\0bytes", "\0path"  # how JSON holds them


class TrackingError(RuntimeError):
    """What the tracker said of its trouble."""


class Line:
    """A line to the tracker of `pipeline`: "pid-birth" of the dvc process this one works for, None without one."""

    def __init__(self, wire: socket.socket, pipeline: str | None) -> None:
        self._wire, self._heard, self.pipeline = wire, wire.makefile(encoding="utf-8"), pipeline

    def say(self, verb: str, *values: Any) -> None:
        """Sends JSON, bytes and paths, after "end" waits until all is written; TrackingError once trouble is told."""
        with contextlib.suppress(BrokenPipeError):
            self._wire.sendall(json.dumps([verb, *values], default=_plain).encode() + b"\n")
        told = verb == "end" or select.select([self._wire], [], [], 0)[0]
        if told and (trouble := json.loads(self._heard.readline() or '"the tracker is gone"')):
            raise TrackingError(trouble)

    def close(self) -> None:
        """Hangs up."""
        self._heard.close()
        self._wire.close()


def connect(module: str) -> Line:
    """A line to the tracker of this pipeline, started as `module` if there is none; a cell run by hand has its own.

    The socket's place is told from the working folder, for such a name must be short.
    """
    owner = _pipeline()
    place = Path(".scratch", f"tracker-{owner or os.getpid()}")
    place.parent.mkdir(exist_ok=True)
    wire = socket.socket(socket.AF_UNIX)
    try:
        wire.connect(str(place))
    except OSError:  # nobody listens there, or nobody any more
        place.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(place))
            door.listen()
            _start(module, door, owner)
        wire.connect(str(place))
    return Line(wire, owner)


def serve(door: socket.socket, pipeline: str, open_run: Callable[..., Any]) -> None:
    """Takes lines until the pipeline is gone and all have ended; `open_run` is given what each says first."""
    talks: list[threading.Thread] = []
    door.settimeout(1)
    while True:
        try:
            wire, _ = door.accept()
            talks.append(threading.Thread(target=_listen, args=(wire, open_run)))
            talks[-1].start()
        except TimeoutError:
            if not (any(talk.is_alive() for talk in talks) or _lives(pipeline)):
                break
    Path(door.getsockname()).unlink(missing_ok=True)


def _pipeline() -> str | None:
    import psutil

    for process in psutil.Process().parents():
        words = process.cmdline()
        if any(Path(word).name == "dvc" for word in words[:3]) and {"repro", "run", "queue"} & set(words):
            return f"{process.pid}-{process.create_time():.2f}"
    return None


def _start(module: str, door: socket.socket, owner: str | None) -> None:
    home = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    command = [sys.executable, "-m", module, str(door.fileno()), owner or ""]
    environment = os.environ | {"PYTHONPATH": home}
    subprocess.Popen(command, pass_fds=[door.fileno()], start_new_session=True, env=environment, **quiet)


def _listen(wire: socket.socket, open_run: Callable[..., Any]) -> None:
    """One cell's messages in order: the verbs of its run. A line that breaks off is a cell that was killed."""
    with wire, wire.makefile(encoding="utf-8") as heard:
        run, trouble = None, ""
        try:
            for message in heard:
                verb, *values = json.loads(message, object_hook=_whole)
                if verb == "open":
                    run = open_run(*values)
                else:
                    getattr(run, verb)(*values)
                if verb == "end":
                    break
            else:
                getattr(run, "end", str)("KILLED")
        except Exception as error:  # tracking must never stop a stage: it is told once, and the rest is not heard
            trouble = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        with contextlib.suppress(OSError):
            wire.sendall(json.dumps(trouble).encode() + b"\n")
            for _ in heard if trouble else ():
                pass


def _plain(value: bytes | Path) -> dict[str, str]:
    return {BYTES: base64.b64encode(value).decode()} if isinstance(value, bytes) else {PATH: value.as_posix()}


def _whole(found: dict[str, Any]) -> Any:
    kinds: dict[str, Callable[[str], Any]] = {BYTES: base64.b64decode, PATH: Path}
    return next((kinds[key](value) for key, value in found.items() if key in kinds), found)


def _lives(pipeline: str) -> bool:
    import psutil

    pid, _, birth = pipeline.partition("-")
    with contextlib.suppress(psutil.Error, ValueError):
        return f"{psutil.Process(int(pid)).create_time():.2f}" == birth
    return False
