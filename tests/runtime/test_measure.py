"""Proves that the measurements of an artifact are whole, of its own process, and bounded by sense."""

import json
from pathlib import Path

import pytest
from midm_mini import cli, measure

FIGURES = {
    *("threads", "load_s", "cold_s", "first_token_s", "first_token_cached_s", "read_tokens_per_s"),
    *("write_tokens_per_s", "peak_rss_mib", "read_gb_per_s", "share"),
}


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(measure, "BLOCK", 1 << 18)


def test_bench_prints_every_figure_and_writes_them(artifacts: dict[str, Path], tmp_path: Path, capsys) -> None:
    for kind, path in artifacts.items():
        file = tmp_path / f"{kind}.json"
        assert cli.main(["bench", str(path), "--threads", "1", "--json", str(file)]) == 0
        shown, found = capsys.readouterr().out, json.loads(file.read_text())
        (row,) = found["rows"]
        assert set(row) == FIGURES and all(name in shown for name in FIGURES) and str(path) in shown
        assert min(row.values()) > 0 and found["gemm_gflops"] > 0
        assert row["load_s"] < row["cold_s"]
        assert found["weight_bytes"] == max(file.stat().st_size for file in path.iterdir())


def test_memory_is_that_of_the_measured_process_alone(artifacts: dict[str, Path]) -> None:
    ballast = bytearray(1 << 30)
    (row,) = measure.bench(artifacts["gguf"], [1])["rows"]
    assert 20 < row["peak_rss_mib"] < len(ballast) / 2**20


def test_without_a_choice_the_threads_double_up_to_all_cores(monkeypatch) -> None:
    row = {"write_tokens_per_s": 1.0}
    monkeypatch.setattr(measure, "_fresh", lambda path, threads: {"threads": threads, **row})
    monkeypatch.setattr(measure, "read_bandwidth", lambda threads: 1.0)
    monkeypatch.setattr(measure, "gemm", lambda: 1.0)
    for cores, counts in {1: [1], 2: [1, 2], 6: [1, 2, 4, 6]}.items():
        monkeypatch.setattr(measure, "artifact_format", str)
        monkeypatch.setattr(measure, "cores", lambda cores=cores: cores)
        assert [row["threads"] for row in measure.bench(Path(__file__))["rows"]] == counts


def test_what_cannot_be_opened_is_an_error_in_one_line(tmp_path: Path, capsys) -> None:
    assert cli.main(["bench", str(tmp_path)]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {tmp_path}: no .gguf") and shown.count("\n") == 1


def test_the_probe_counts_each_byte_once(monkeypatch) -> None:
    monkeypatch.setattr(measure, "_seconds", lambda work: 0.5)
    assert measure.read_bandwidth(2) == pytest.approx(2 * measure.BLOCK * 4 / 0.5 / 1e9)
    assert measure.gemm(100) == pytest.approx(2 * 100**3 / 0.5 / 1e9)
