"""Proves that `midm-mini verify` accepts a whole bundle and tells every way in which one can differ from it."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from midm_mini import cli

from tests.runtime import crafted

Rows = list[dict[str, Any]]
MANIFESTS: dict[str, tuple[Callable[[Rows], Any], str]] = {  # what is wrong → the change of `files`, the field named
    "a path above the folder": (lambda rows: rows[0].update(path="../x"), r"files\[0\].path"),
    "a path above the folder, later": (lambda rows: rows[0].update(path="a/../../x"), r"files\[0\].path"),
    "an absolute path": (lambda rows: rows[0].update(path="/etc/passwd"), r"files\[0\].path"),
    "a path in Windows' words": (lambda rows: rows[0].update(path="..\\x"), r"files\[0\].path"),
    "a drive": (lambda rows: rows[0].update(path="C:x"), r"files\[0\].path"),
    "a path with a NUL": (lambda rows: rows[0].update(path="a\0b"), r"files\[0\].path"),
    "an empty path": (lambda rows: rows[0].update(path=""), r"files\[0\].path"),
    "a path that is a number": (lambda rows: rows[0].update(path=7), r"files\[0\].path"),
    "the manifest itself": (lambda rows: rows[0].update(path="manifest.json"), r"files\[0\].path"),
    "a file twice": (lambda rows: rows.append(rows[0]), r"files\[\d+\].path"),
    "a file twice, in capitals": (
        lambda rows: rows.append(rows[0] | {"path": "GENAI_CONFIG.JSON"}),
        r"files\[\d\].path",
    ),
    "a size that is a text": (lambda rows: rows[0].update(bytes="1"), r"files\[0\].bytes"),
    "a negative size": (lambda rows: rows[0].update(bytes=-1), r"files\[0\].bytes"),
    "a size that is true": (lambda rows: rows[0].update(bytes=True), r"files\[0\].bytes"),
    "a digest cut short": (lambda rows: rows[0].update(sha256="ab"), r"files\[0\].sha256"),
    "a digest in capitals": (lambda rows: rows[0].update(sha256="A" * 64), r"files\[0\].sha256"),
    "no digest": (lambda rows: rows[0].pop("sha256"), r"files\[0\]"),
    "a field besides": (lambda rows: rows[0].update(command="rm"), r"files\[0\]"),
    "no files": (lambda rows: rows.clear(), "files"),
    "5,000 files": (lambda rows: rows.extend([{}] * 5_000), "files"),
}
TEXTS = {  # what is wrong → the whole manifest, what is named
    "no JSON": ("{", "no sound JSON"),
    "a list": ("[]", "the JSON"),
    "no files": ("{}", "files"),
    "files as an object": ('{"files": {}}', "files"),
    "files that are texts": ('{"files": ["model.onnx"]}', r"files\[0\]"),
    "files given twice": ('{"files": [], "files": []}', "twice"),
    "depth": ("[" * 100_000, "no sound JSON"),
    "2 MB": (" " * (2 << 20), "its size"),
    "NaN": ('{"files": NaN}', "no sound JSON"),
    "nothing": ("", "empty"),
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A whole bundle with the manifest that export writes."""
    (folder := tmp_path / "bundle").mkdir()
    crafted.folder(folder)
    write(folder, rows(folder))
    return folder


def rows(folder: Path) -> Rows:
    files = sorted(path for path in folder.iterdir() if path.name != "manifest.json")
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return [{"path": path.name, "bytes": path.stat().st_size, "sha256": digest} for path, digest in digests.items()]


def write(folder: Path, files: Rows) -> None:
    said = {"name": "onnx-int4", "license": "mit", "git_commit": "0" * 40, "provenance": {"params": "1"}}
    (folder / "manifest.json").write_text(json.dumps(said | {"files": files}), encoding="utf-8")


def test_a_whole_bundle_is_one_line_a_file_and_a_verdict(bundle: Path, capsys) -> None:
    assert cli.main(["verify", str(bundle)]) == 0
    *lines, verdict = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and all(line.startswith("ok ") for line in lines) and "whole" in verdict


def test_a_bundle_as_export_writes_it_is_whole(tmp_path: Path, capsys) -> None:
    (tmp_path / "model.gguf").write_bytes(crafted.gguf(crafted.metadata(), crafted.tensors()))
    write(tmp_path, rows(tmp_path))
    assert cli.main(["verify", str(tmp_path)]) == cli.main(["verify", str(tmp_path / "model.gguf")]) == 0


@pytest.mark.parametrize("file", ["model.onnx.data", "tokenizer.json", "model.onnx"])
def test_one_flipped_bit_is_found(bundle: Path, capsys, file: str) -> None:
    data = bytearray((bundle / file).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / file).write_bytes(data)
    assert cli.main(["verify", str(bundle)]) == 2
    shown = capsys.readouterr()
    (wrong,) = [line for line in shown.out.splitlines() if line.startswith("WRONG")]
    assert file in wrong and "sha256" in wrong and "1 files are not as the manifest says" in shown.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "model.onnx.data").unlink(), "model.onnx.data  missing"),
        (lambda folder: (folder / "extra.py").write_text("x"), "extra.py  not in the manifest"),
        (lambda folder: (folder / ".hidden").write_text("x"), ".hidden  not in the manifest"),
        (lambda folder: (folder / "link").symlink_to("/etc"), "link  not in the manifest"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json  2 bytes, the manifest says"),
    ],
)
def test_a_file_missing_besides_or_of_another_size_is_told(bundle: Path, capsys, change, words: str) -> None:
    change(bundle)
    assert cli.main(["verify", str(bundle)]) == 2
    assert words in capsys.readouterr().out


def test_a_bundle_that_is_as_its_manifest_says_but_unsound_is_refused(bundle: Path, capsys) -> None:
    crafted.folder(bundle, genai=lambda said: said["model"].update(type="evil"))
    write(bundle, rows(bundle))
    assert cli.main(["verify", str(bundle)]) == 2
    assert "model.type" in capsys.readouterr().err


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_spoilt_manifest_is_refused(bundle: Path, capsys, what: str) -> None:
    change, field = MANIFESTS[what]
    change(files := rows(bundle))
    write(bundle, files)
    told(bundle, capsys, field)


@pytest.mark.parametrize("what", TEXTS)
def test_what_is_no_manifest_is_refused(bundle: Path, capsys, what: str) -> None:
    content, field = TEXTS[what]
    (bundle / "manifest.json").write_text(content)
    told(bundle, capsys, field)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path, capsys) -> None:
    told(tmp_path, capsys, "manifest.json")


def told(folder: Path, capsys, field: str) -> None:
    assert cli.main(["verify", str(folder)]) == 2
    shown = capsys.readouterr()
    assert not shown.out and shown.err.count("\n") == 1
    assert "manifest.json" in shown.err and re.search(field, shown.err), shown.err
