"""Knows the manifest: a bundle's name, licence, lineage, stops, and the digest and size of every file in it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from midm_mini.format import MANIFEST, artifact_format

from export.checkpoint import Parent, sha256, write_json
from export.gguf import Card


def write(bundle: Path, *, name: str, parent: Parent, card: Card, lineage: Mapping[str, Any]) -> int:
    """Writes the manifest last, over a finished bundle; returns the bytes of its files. No clocks, no places.

    `lineage`: what the stage knows of the code and inputs that made it (git_commit, params_hash, inputs).
    """
    paths = sorted(path for path in bundle.rglob("*") if path.is_file() and path.name != MANIFEST)
    rows = [{"path": path.relative_to(bundle).as_posix(), "bytes": path.stat().st_size} for path in paths]
    about = {"name": name, "format": artifact_format(bundle), "parameters": parent.parameters, "stops": parent.stops}
    about |= {"context_length": parent.config["max_position_embeddings"]}
    about |= {"parent": parent.digests}
    about |= {"files": [row | {"sha256": sha256(path)} for row, path in zip(rows, paths, strict=True)]}
    write_json(bundle / MANIFEST, asdict(card) | about | {"lineage": dict(lineage)})
    return sum(path.stat().st_size for path in paths)
