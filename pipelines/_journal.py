"""Knows what happened: reports/<stage>.json, logs/<stage>.jsonl, and the thread that mirrors both to MLflow."""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pipelines import _relay
from pipelines._provenance import md5s_of

QUIET_AND_IMPATIENT = {"LOGGING_LEVEL": "ERROR", "HTTP_REQUEST_TIMEOUT": "10", "HTTP_REQUEST_MAX_RETRIES": "1"}


class Journal:
    """`step` and `progress` (points on curves), `conclude` (the report), `attach` (files). MLflow mirrors the files."""

    def __init__(self, name: str, root: Path, mirror: "_Mirror | None") -> None:
        self.name, self.root, self._mirror = name, root, mirror
        self._result: dict[str, Any] = {}
        self._start = time.monotonic()
        self._log = root / "logs" / f"{name}.jsonl"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._log.write_text("", encoding="utf-8")

    @classmethod
    def offline(cls, name: str, root: Path) -> "Journal":
        """A journal that writes under `root` only and tracks nothing: for tests and for runs by hand."""
        return cls(name, root, None)

    @classmethod
    def open(cls, stage: str, *, axis: str, params: dict[str, Any], inputs: dict[str, Path], out: Path) -> "Journal":
        """The journal of a pipeline run; OPENMIDM_TRACKING=off keeps it to files."""
        name = f"{stage}@{axis}" if axis else stage
        off = os.environ.get("OPENMIDM_TRACKING") == "off"
        return cls(name, Path("."), None if off else _Mirror(name, params, inputs, out))

    def step(self, n: int, **curve: float | str) -> None:
        """Records a point at optimizer step `n`: numbers go on curves, strings become tags. Prints one line."""
        seconds = time.monotonic() - self._start
        with self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": n, "seconds": round(seconds, 2), **curve}, ensure_ascii=False) + "\n")
        shown = "  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in curve.items())
        print(f"[{self.name} {seconds:6.1f}s] {n:>6}  {shown}", flush=True)
        if self._mirror:
            self._mirror.send("points", n, {k: float(v) for k, v in curve.items() if not isinstance(v, str)})
            self._mirror.send("tags", {k: v for k, v in curve.items() if isinstance(v, str)})

    def progress(self, done: int, total: int, unit: str) -> None:
        """Records that `done` of `total` units are done, how many a second, and the seconds that the rest will take."""
        rate = done / max(1e-9, time.monotonic() - self._start)
        left = round((total - done) / rate)
        self.step(done, **{unit: done, "of": total, f"perf/{unit}_per_s": rate, "perf/eta_seconds": left})

    def conclude(self, **result: Any) -> None:
        """The stage's evidence: a function of its inputs, no clocks. Offline it is written at once, else at success."""
        self._result = result
        if self._mirror is None and self.root != Path("."):
            self._write_report()

    def attach(self, path: Path) -> None:
        """Copies a picture, table or sample file to the run in MLflow."""
        if self._mirror:
            self._mirror.send("attach", Path(path).name, Path(path).read_bytes())

    def release(self, artifacts: Iterable[str]) -> None:
        """Registers Mini as released, if MLflow has on record that each of these artifacts of it passed its gate."""
        if self._mirror:
            self._mirror.send("release", sorted(artifacts))

    def close(self, status: str, trouble: str = "") -> None:
        """Ends the run: FINISHED, FAILED (with the traceback in the log) or KILLED."""
        seconds = round(time.monotonic() - self._start, 1)
        with self._log.open("a", encoding="utf-8") as log:
            end = {"status": status, "seconds": seconds, "peak_mib": peak_mib(), "trouble": trouble}
            log.write(json.dumps(end) + "\n")
        if status == "FINISHED":
            self._write_report()
        print(f"[{self.name} {seconds:6.1f}s] {status.lower()}", flush=True)
        if self._mirror:
            if status == "FINISHED":
                self._mirror.send("output", md5s_of(self._mirror.out))
            self._mirror.send("points", 0, {"perf/stage_seconds": seconds, "perf/stage_peak_mib": peak_mib()})
            self._mirror.send("result", self._result if status == "FINISHED" else {})
            self._mirror.finish(status)

    def _write_report(self) -> None:
        report = self.root / "reports" / f"{self.name}.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        draft = report.with_suffix(".draft")
        text = json.dumps(self._result, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(report)


def peak_mib() -> float:
    """Peak resident memory of this process in MiB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


@contextlib.contextmanager
def interrupts_as_exceptions() -> Iterator[None]:
    """SIGTERM ends a stage the way Ctrl-C does, so that its run is closed as KILLED."""

    def raise_interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, raise_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Mirror:
    """Tells a stage's story to the tracker from a thread of its own, so that no trouble can slow or stop the stage."""

    def __init__(self, name: str, params: dict[str, Any], inputs: dict[str, Path], out: Path) -> None:
        self._queue: queue.Queue[tuple[Any, ...] | None] = queue.Queue()
        self.send = lambda *message: self._queue.put(message)  # (verb of _tracking.Run, its arguments)
        self.out = out
        self._about = (name, params, inputs, out, int(time.time() * 1000))
        for name, value in QUIET_AND_IMPATIENT.items():
            os.environ.setdefault(f"MLFLOW_{name}", value)
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def finish(self, status: str, patience: float = 300.0) -> None:
        """Waits at most `patience` seconds for what is still to be sent.

        A new database takes seconds, a minute on a busy machine; one left half made is refused by MLflow ever after.
        """
        self.send("end", status)
        self._queue.put(None)
        self._thread.join(patience)
        if self._thread.is_alive():
            print(f"mlflow: no word for {patience:.0f} s; logs/ and reports/ are complete", file=sys.stderr)

    def _work(self) -> None:
        try:
            line = _relay.connect("pipelines._tracking")
            line.say("open", *self._about, line.pipeline)
            for message in iter(self._queue.get, None):
                line.say(*message)
        except Exception as error:  # tracking must never stop a stage: said once, then silence
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            print(f"mlflow: {reason}; this run is not tracked further", file=sys.stderr, flush=True)
