"""Knows what happened: reports/<stage>.json, logs/<stage>.jsonl, and the mirror of both in MLflow."""

import base64
import contextlib
import importlib.metadata
import json
import os
import queue
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines import _relay
from pipelines._provenance import git, md5s_known_to_dvc, params_hash

EXPERIMENT = "openmidm"
VERSIONS = ("torch", "transformers", "liger_kernel", "onnxruntime", "llama_cpp_python", "dvc", "mlflow")

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
            self._mirror.send("attach", Path(path).name, base64.b64encode(Path(path).read_bytes()).decode())

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
        self._queue: queue.Queue[Any] = queue.Queue()
        self.send = lambda *message: self._queue.put(message)  # (verb of _Run, its arguments)
        places = {role: path.as_posix() for role, path in inputs.items()}
        self._about = (name, params, places, out.as_posix(), int(time.time() * 1000))
        for name, value in QUIET_AND_IMPATIENT.items():
            os.environ.setdefault(f"MLFLOW_{name}", value)
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)
        self._thread.start()

    def finish(self, status: str, patience: float = 60.0) -> None:
        """Waits at most `patience` seconds for what is still to be sent."""
        self.send("end", status)
        self._queue.put(None)
        self._thread.join(patience)
        if self._thread.is_alive():
            print(f"mlflow: no word for {patience:.0f} s; logs/ and reports/ are complete", file=sys.stderr)

    def _work(self) -> None:
        try:
            line = _relay.connect("pipelines._journal")
            line.say("open", *self._about, line.pipeline)
            for message in iter(self._queue.get, None):
                line.say(*message)
        except Exception as error:  # tracking must never stop a stage: said once, then silence
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            print(f"mlflow: {reason}; this run is not tracked further", file=sys.stderr, flush=True)


class _Run:
    """One nested MLflow run under the parent of this pipeline execution."""

    def __init__(
        self, name: str, params: dict[str, Any], inputs: dict[str, str], out: str, start: int, pipeline: str | None
    ) -> None:
        import logging

        logging.getLogger("alembic").setLevel(logging.WARNING)
        import mlflow
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db"))
        self.client, self.out, self.name = mlflow.MlflowClient(), Path(out), name
        self.inputs = {role: Path(path) for role, path in inputs.items()}
        found = self.client.get_experiment_by_name(EXPERIMENT)
        self.experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT)
        self._close_abandoned()
        self.md5s = md5s_known_to_dvc()
        tags = _tags(name, params, self.inputs, self.md5s)
        self.parent = self._parent(tags, start, pipeline)
        if self.parent:
            tags["mlflow.parentRunId"] = self.parent
        self.id = self.client.create_run(self.experiment, start, tags, name).info.run_id
        self._log_params(params)
        self._log_datasets()
        self.monitor = SystemMetricsMonitor(self.id, sampling_interval=5)
        self.monitor.start()

    def points(self, n: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.id, [Metric(k, v, now, n) for k, v in values.items()])

    def tags(self, values: dict[str, str]) -> None:
        for key, value in values.items():
            self.client.set_tag(self.id, key, value)

    def attach(self, name: str, content: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, name).write_bytes(base64.b64decode(content))
            self.client.log_artifact(self.id, str(Path(folder, name)))

    def result(self, result: dict[str, Any]) -> None:
        """The report: numbers as metrics (at most 40), the whole as a file; a made or judged model is logged too."""
        if not result:
            return
        numbers = {k: float(v) for k, v in result.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        self.points(0, dict(sorted(numbers.items())[:40]))
        self.client.log_dict(self.id, result, "report.json")
        self._log_model(numbers)

    def end(self, status: str) -> None:
        self.monitor.finish()
        self.client.set_terminated(self.id, status)
        if self.parent:
            self.client.set_terminated(self.parent, status)

    def _log_params(self, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        flat = sorted(_flatten(params).items())[:100]
        self.client.log_batch(self.id, params=[Param(key, str(value)[:500]) for key, value in flat])
        self.client.log_dict(self.id, params, "params.json")

    def _log_datasets(self) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        for role, path in self.inputs.items():
            digest = self.md5s.get(path.as_posix(), "unknown")
            source = json.dumps({"uri": path.as_posix(), "md5": digest})
            dataset = Dataset(path.as_posix(), digest.removesuffix(".dir")[:36], "dvc", source)
            self.client.log_inputs(self.id, [DatasetInput(dataset, [InputTag("mlflow.data.context", role)])])

    def _log_model(self, numbers: dict[str, float]) -> None:
        """An out that is a model becomes an external LoggedModel; an evaluation's figures join the model it judged."""
        import mlflow

        if (self.out / "config.json").exists() or (self.out / "manifest.json").exists():
            name, tags = self.name.replace("@", "-"), {"path": self.out.as_posix()}
            mlflow.create_external_model(name, self.id, tags, experiment_id=self.experiment)
        judged = self.inputs.get("model")
        if judged is not None and not (self.out / "manifest.json").exists():
            query = f"tags.path = '{judged.as_posix()}'"
            for row in self.client.search_logged_models([self.experiment], filter_string=query, max_results=1):
                for key, value in numbers.items():
                    self.client.log_metric(self.id, key, value, model_id=row.model_id)

    def _parent(self, tags: dict[str, str], start: int, key: str | None) -> str | None:
        """The run of this `dvc repro`: found by the identity of the dvc process, made by the first stage that asks."""
        if key is None:
            return None
        found = [*self.client.search_runs([self.experiment], f"tags.`pipeline.process` = '{key}'", max_results=1)]
        if not found:
            shared = {k: v for k, v in tags.items() if k.startswith(("git.", "version.", "dvc.exp"))}
            name = tags.get("dvc.exp_name", f"pipeline {tags['git.commit'][:7]}")
            found = [self.client.create_run(self.experiment, start, shared | {"pipeline.process": key}, name)]
        return str(found[0].info.run_id)

    def _close_abandoned(self) -> None:
        """A stage killed outright cannot close its own run; the next one of the same name does."""
        query = f"attributes.status = 'RUNNING' and tags.`dvc.stage` = '{self.name}'"
        for run in self.client.search_runs([self.experiment], query):
            self.client.set_terminated(run.info.run_id, "KILLED")


def _tags(name: str, params: dict[str, Any], inputs: dict[str, Path], md5s: dict[str, str]) -> dict[str, str]:
    tags = {
        "dvc.stage": name,
        "params.hash": params_hash(params),
        "git.commit": git("rev-parse", "HEAD") or "none",
        "git.dirty": str(bool(git("status", "--porcelain", "--untracked-files=no"))).lower(),
    }
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.exp_name"] = experiment
    tags |= {f"input.{role}": md5s.get(path.as_posix(), "unknown") for role, path in inputs.items()}
    for package in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            tags[f"version.{package}"] = importlib.metadata.version(package)
    return tags


def _flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    return {k: v for key, inner in values.items() for k, v in _flatten(inner, f"{prefix}.{key}".strip(".")).items()}


if __name__ == "__main__":
    _relay.serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], _Run)
