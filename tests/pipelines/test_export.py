"""The export stage: an artifact with its manifest, or a one-line refusal and no artifact."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from corpus import shards
from export import artifacts
from pipelines import export
from pipelines._journal import Journal
from pipelines._stage import StageError
from tests.export.parents import save_parent, sentences

LOOSE = {"mean_kl": 0.5, "tail_kl": 5.0, "logit_gap": 10.0, "top1": 0.2, "greedy": 0.2}


def params(**limits: Any) -> export.Params:
    return export.Params.model_validate(
        {
            "basename": "midm-mini-test",
            "finetune": "instruct",
            "version": "v0.1",
            "license": "mit",
            "languages": ["ko", "en"],
            "base_model": "midm-base-test",
            "gate_texts": 8,
            "gate_characters": 200,
            "gate_tokens": 32,
            "importance_texts": 12,
            "onnx": {"block_size": 32, "symmetric": False},
            "limits": dict.fromkeys(artifacts.SETTINGS, LOOSE) | limits,
        }
    )


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("inputs")
    rest = {"source": "test", "license": "mit", "url": "", "label": ""}
    texts = enumerate(sentences(40, seed=7))
    documents = [{"id": str(n), "lang": ("ko", "en")[n % 2], "text": text, **rest} for n, text in texts]
    shards.write(root / "mix" / "phase2", documents)
    return {"model": save_parent(root / "hf"), "calibration": root / "mix"}


@pytest.mark.parametrize(
    "name",
    [
        "gguf-f16",
        "gguf-q8_0",
        "gguf-iq4_xs",
        pytest.param("onnx-int8", marks=pytest.mark.slow),
        pytest.param("onnx-int4", marks=pytest.mark.slow),
        pytest.param("onnx-optimum", marks=pytest.mark.slow),
    ],
)
def test_an_artifact_comes_with_a_manifest_of_every_file_and_no_place_in_it(
    inputs: dict[str, Path], tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    export.main(**inputs, name=name, out=out, params=params(), journal=Journal.offline(f"export@{name}", tmp_path))
    text = (out / "manifest.json").read_text(encoding="utf-8")
    manifest = json.loads(text)
    assert str(tmp_path) not in text
    assert str(inputs["model"]) not in text
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} - {"manifest.json"}
    assert {row["path"] for row in manifest["files"]} == found
    for row in manifest["files"]:
        content = (out / row["path"]).read_bytes()
        assert (row["bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert set(manifest["lineage"]) == {"git_commit", "params_hash", "inputs"}
    assert set(manifest["stops"]) == {"<|eot_id|>", "<|end_of_text|>"}
    assert (manifest["name"], manifest["license"], manifest["parameters"]) == (name, "mit", 1_230_080)
    report = json.loads((tmp_path / "reports" / f"export@{name}.json").read_text(encoding="utf-8"))
    assert report["positions"] > 50
    assert report["size_bytes"] == sum(row["bytes"] for row in manifest["files"])


def test_a_parent_without_calibration_is_judged_on_our_own_texts(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    given = {"model": inputs["model"], "calibration": None, "name": "gguf-f16", "params": params()}
    export.main(**given, out=out, journal=Journal.offline("export", tmp_path))
    report = json.loads((tmp_path / "reports" / "export.json").read_text(encoding="utf-8"))
    assert report["greedy"] == 1 and report["positions"] > 200


def test_an_artifact_outside_its_limits_is_an_error_without_manifest_or_report(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    strict = params(**{"gguf-q4_k_m": LOOSE | {"mean_kl": 1e-6}})
    journal = Journal.offline("export", tmp_path)
    with pytest.raises(ValueError, match="is outside mean_kl 1e-06"):
        export.main(**inputs, name="gguf-q4_k_m", out=out, params=strict, journal=journal)
    assert not (out / "manifest.json").exists()
    assert not (tmp_path / "reports").exists()


def test_an_unknown_name_is_refused_with_the_list_of_names(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"gguf-q5.*gguf-q8_0"):
        journal = Journal.offline("export", tmp_path)
        export.main(**inputs, name="gguf-q5", out=tmp_path, params=params(), journal=journal)
