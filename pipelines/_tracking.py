"""Knows MLflow, which nothing else imports: how a stage's run is written, and what the tracking store remembers."""

import contextlib
import datetime
import importlib.metadata
import json
import os
import re
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import _relay
from pipelines._provenance import changes, digest, git, md5s_known_to_dvc, md5s_of, params_hash

EXPERIMENT = "openmidm"
VERSIONS = ("torch", "transformers", "liger_kernel", "onnxruntime", "llama_cpp_python", "dvc", "mlflow")
REGISTERED, RELEASED = "mini", "released"  # name and alias in the model registry
LOCAL = "sqlite:///mlflow.db"
CHANGES, FILES = "changes.diff", "files.json"


class Run:
    """One nested MLflow run under the parent of `pipeline`, the identity of a dvc process (None without one)."""

    def __init__(
        self, name: str, params: dict[str, Any], inputs: dict[str, Path], out: Path, start: int, pipeline: str | None
    ) -> None:
        import logging

        logging.getLogger("alembic").setLevel(logging.WARNING)
        import mlflow
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        mlflow.set_tracking_uri(_address())
        self.client, self.out, self.name, self.inputs = mlflow.MlflowClient(), out, name, inputs
        self.experiment = experiment(self.client)
        self._close_abandoned()
        self.md5s = md5s_known_to_dvc()
        sources = {path for path in inputs.values() if path.as_posix() not in self.md5s and path != Path("reports")}
        self.md5s |= {path.as_posix(): digest(md5s_of(path)) for path in sources}
        patch = changes()
        tags = _tags(name, params, inputs, self.md5s) | {"git.dirty": str(bool(patch)).lower()}
        self.parent = self._parent(tags, start, pipeline)
        if self.parent:
            tags["mlflow.parentRunId"] = self.parent
        self.id = self.client.create_run(self.experiment, start, tags, name).info.run_id
        self._log_params(params)
        self._log_datasets()
        if patch:
            self.attach(CHANGES, patch)
        self.monitor = SystemMetricsMonitor(self.id, sampling_interval=5)
        self.monitor.start()

    def points(self, n: int, values: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self.client.log_batch(self.id, [Metric(k, v, now, n) for k, v in values.items()])

    def tags(self, values: dict[str, str]) -> None:
        for key, value in values.items():
            self.client.set_tag(self.id, key, value)

    def attach(self, name: str, content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, name).write_bytes(content)
            self.client.log_artifact(self.id, str(Path(folder, name)))

    def result(self, result: dict[str, Any]) -> None:
        """The report: numbers as metrics (at most 40), the whole as a file; a made or judged model is logged too."""
        if not result:
            return
        numbers = {k: float(v) for k, v in result.items() if isinstance(v, int | float) and not isinstance(v, bool)}
        self.points(0, dict(sorted(numbers.items())[:40]))
        self.client.log_dict(self.id, result, "report.json")
        self._log_model(numbers)

    def output(self, md5s: dict[str, str]) -> None:
        """What the run made: its place and DVC's md5 as tags, the md5 of every file as files.json."""
        self.tags({"output.path": self.out.as_posix(), "output.md5": digest(md5s)})
        self.client.log_dict(self.id, {(self.out / name).as_posix(): md5 for name, md5 in md5s.items()}, FILES)

    def release(self, artifacts: list[str]) -> None:
        """Moves the alias to the Mini that was judged, if the bytes of every artifact came through their gate.

        The gate's verdict is the export run itself: one that refuses ends as FAILED and leaves no output.
        """
        done = {run.stage: run for run in reversed(_records(self.client)) if run.status == "FINISHED"}
        needed = ["evaluate@mini", *(f"export@{name}" for name in artifacts)]
        made = {stage: done[stage].output for stage in needed if stage in done}
        passed = {stage: md5 for stage, (path, md5) in made.items() if path and self.md5s.get(path) == md5}
        if not artifacts or len(passed) < len(needed):
            absent = ", ".join(stage for stage in needed if stage not in passed) or "any artifact"
            return self.tags({RELEASED: f"no: no finished run on record that made {absent} as dvc.lock has it"})
        judged = done["evaluate@mini"]
        tags = {"md5": judged.tags["input.model"], "git.commit": judged.tags["git.commit"]}
        tags |= {stage.replace("@", "."): md5 for stage, md5 in passed.items()}
        if not self.client.search_registered_models(f"name = '{REGISTERED}'"):
            self.client.create_registered_model(REGISTERED)
        known = self.client.search_model_versions(f"name = '{REGISTERED}'")
        same = [version for version in known if tags.items() <= version.tags.items()]
        source = f"dvc:{judged.tags['input.model']}"
        version = same[0] if same else self.client.create_model_version(REGISTERED, source, judged.id, tags=tags)
        self.client.set_registered_model_alias(REGISTERED, RELEASED, version.version)
        self.tags({RELEASED: f"{REGISTERED} version {version.version}"})

    def end(self, status: str) -> None:
        self.monitor.finish()
        self.client.set_terminated(self.id, status)
        if self.parent:
            self.client.set_terminated(self.parent, status)

    def _log_params(self, params: dict[str, Any]) -> None:
        from mlflow.entities import Param

        flat = sorted(_flatten(params).items())[:100]
        self.client.log_batch(self.id, params=[Param(_key(key), str(value)[:500]) for key, value in flat])
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


@dataclass(frozen=True)
class Record:
    """A run as the tracking store remembers it; `inputs`: path → DVC's md5, `output`: (path, md5), empty if unmade."""

    id: str
    parent: str
    stage: str  # "" for the run of a whole pipeline
    name: str
    status: str
    started: str
    tags: dict[str, str]
    params: dict[str, str]
    metrics: dict[str, float]
    inputs: dict[str, str]

    @property
    def output(self) -> tuple[str, str]:
        return self.tags.get("output.path", ""), self.tags.get("output.md5", "")


def records() -> list[Record]:
    """Every run of the experiment, newest first; LookupError if there is no tracking store or no experiment."""
    import mlflow

    address = _address()
    if address == LOCAL and not Path("mlflow.db").exists():
        raise LookupError("no mlflow.db here; set MLFLOW_TRACKING_URI=sqlite:////that/clone/mlflow.db or a server's")
    return _records(mlflow.MlflowClient(address))


def runs_of(key: str) -> list[Record]:
    """The runs of stages, oldest first, of one id or its beginning, or of a pipeline's or dvc experiment's name."""
    known = records()
    about = [run for run in known if run.id.startswith(key) or key in (run.name, run.tags.get("dvc.exp_name"))]
    if not about or len({run.parent or run.id for run in about}) > 1:
        raise LookupError(f"{key}: {len(about)} runs of that id or name in {_address()}; name one by its id")
    top = next((run.id for run in about if not run.stage), "")
    return [run for run in reversed(known) if run.parent == top] if top else about


def experiment(client: Any = None) -> str:
    """The id of our experiment, made if need be: its files then lie where this process works."""
    from mlflow import MlflowClient

    client = client or MlflowClient(_address())
    found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id if found else client.create_experiment(EXPERIMENT))


def annotate(name: str, tags: dict[str, str], params: dict[str, Any], metrics: dict[str, float]) -> None:
    """Tells the pipeline's run of that name, made if no stage had to run, what was found of it afterwards."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient(_address())
    place = experiment(client)
    known = client.search_runs([place], f"tags.`dvc.exp_name` = '{name}'")
    tops = [run.info.run_id for run in known if "mlflow.parentRunId" not in run.data.tags]
    run = tops[0] if tops else client.create_run(place, tags={"dvc.exp_name": name}, run_name=name).info.run_id
    now, texts = int(time.time() * 1000), {key: str(value)[:500] for key, value in _flatten(params).items()}
    client.log_batch(run, params=[Param(_key(key), text) for key, text in texts.items()])
    client.log_batch(run, metrics=[Metric(key, value, now, 0) for key, value in metrics.items()])
    for key, value in tags.items():
        client.set_tag(run, key, value)
    client.set_terminated(run, "FINISHED")


def attachment(run: str, name: str) -> bytes:
    """A file attached to the run; empty if it has none of that name."""
    import mlflow

    client = mlflow.MlflowClient(_address())
    if name not in {file.path for file in client.list_artifacts(run)}:
        return b""
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run, name, folder)).read_bytes()


def _address() -> str:
    return os.environ.get("MLFLOW_TRACKING_URI", LOCAL)


def _records(client: Any) -> list[Record]:
    rows: list[Any] = []
    experiment, page = client.get_experiment_by_name(EXPERIMENT), None
    while experiment and (page is None or page.token):
        page = client.search_runs([experiment.experiment_id], max_results=1000, page_token=page and page.token)
        rows += page
    return [_record(row) for row in rows]


def _record(run: Any) -> Record:
    sources = [json.loads(row.dataset.source) for row in run.inputs.dataset_inputs] if run.inputs else []
    started = datetime.datetime.fromtimestamp(run.info.start_time / 1000, datetime.UTC)
    tags = run.data.tags
    return Record(
        **{"id": run.info.run_id, "parent": tags.get("mlflow.parentRunId", ""), "stage": tags.get("dvc.stage", "")},
        **{"name": run.info.run_name, "status": run.info.status, "started": f"{started:%Y-%m-%d %H:%M:%S}"},
        **{"tags": tags, "params": run.data.params, "metrics": run.data.metrics},
        inputs={source["uri"]: source["md5"] for source in sources},
    )


def _tags(name: str, params: dict[str, Any], inputs: dict[str, Path], md5s: dict[str, str]) -> dict[str, str]:
    tags = {"dvc.stage": name, "params.hash": params_hash(params), "git.commit": git("rev-parse", "HEAD") or "none"}
    if untracked := git("ls-files", "--others", "--exclude-standard", "*.py"):
        tags["git.untracked"] = " ".join(untracked.split())[:500]  # no commit and no patch has them
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc.exp_name"] = experiment
    tags |= {f"input.{role}": md5s.get(path.as_posix(), "unknown") for role, path in inputs.items()}
    for package in VERSIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            tags[f"version.{package}"] = importlib.metadata.version(package)
    return tags


def _key(name: str) -> str:
    """The name of a parameter as MLflow takes it: no ko/*."""
    return re.sub(r"[^A-Za-z0-9_. :/-]", "_", name)


def _flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(values, dict):
        return {prefix: values}
    return {k: v for key, inner in values.items() for k, v in _flatten(inner, f"{prefix}.{key}".strip(".")).items()}


if __name__ == "__main__":
    _relay.serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], Run)
