"""Proves that the table of files shows what was measured and judged, and nothing else."""

import json
from pathlib import Path

from tools import which


def test_each_measured_file_has_its_fastest_row_beside_its_distance(tmp_path: Path) -> None:
    row = {"threads": 1, "cold_s": 0.5, "write_tokens_per_s": 900.0, "peak_rss_mib": 61.2}
    rows = [row, {**row, "threads": 2, "write_tokens_per_s": 1234.0}]
    for name in ("gguf-q8_0", "onnx-new"):
        (tmp_path / f"{name}.json").write_text(json.dumps({"weight_bytes": 5_040_000, "rows": rows}))
    shown = which.table(tmp_path, {"evaluate@gguf-q8_0": {"kl_parent": 0.00037}}).splitlines()
    assert len(shown) == 4
    assert shown[2] == "| gguf-q8_0 | 5.04 | 0.00037 | 0.5 | 1,234 | 2 | 61.2 |"
    assert shown[3] == "| onnx-new | 5.04 | – | 0.5 | 1,234 | 2 | 61.2 |"
