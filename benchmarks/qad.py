"""Knows what four bits cost: one grid for GGUF and ONNX, taught, beside llama.cpp's rounding of the same Mini.

    python -m benchmarks.qad --artifacts artifacts --kept /tmp/qad [--seeds 1 2 3] [--profile demo] [--tokens N]

`artifacts` are a run's: dpo (Mini), synthesize, tokenize, mix. Each seed trains `qad` with the profile's numbers and
exports the result both ways. Peers are llama.cpp's own quantizer with and without the importance matrix that export
uses, and its plain Q4_0. KL to Mini is taken on held-out documents, Korean and English in turn; bits per weight count
the whole file. --kept holds everything made: a run that is stopped goes on.
"""

import argparse
import shutil
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks import _frame
from evals import metrics
from evals.bundle_subject import BundleSubject
from evals.material import held_out_texts
from evals.subject import Subject
from evals.torch_subject import TorchSubject
from export import artifacts, checkpoint, gguf, material, onnx, quantizing, verify
from models import calibration
from pipelines import qad
from pipelines._journal import Journal
from pipelines._stage import load_params

GOAL = "KL(shared grid) / KL(Q4_K_M + imatrix) <= 0.5 at no more bits; KL(GGUF | ONNX) <= 1e-4; every seed"
CARD = gguf.Card("midm-mini-bench", "instruct", "v0.1", "MIT", ("ko", "en"), "OpenMidm Base")
PEERS = {  # row → precision, with the importance matrix or without
    "Q4_0, llama.cpp": ("Q4_0", False),
    "IQ4_XS": ("IQ4_XS", False),
    "IQ4_XS + imatrix": ("IQ4_XS", True),
    "Q4_K_M": ("Q4_K_M", False),
    "Q4_K_M + imatrix": ("Q4_K_M", True),
}
GRIDS = {"gguf": "gguf-q4_0", "onnx": "onnx-grid"}


def main() -> None:
    """Makes what is not yet kept, measures, prints and records."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--artifacts", type=Path, required=True)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--profile", default="demo", help="whose numbers qad and the importance matrix take")
    parser.add_argument("--tokens", type=int, help="of qad; the profile's by default")
    parser.add_argument("--texts", type=int, default=32_768, help="bytes of held-out documents per language")
    flags = parser.parse_args()
    profile = _frame.ROOT / f"profiles/{flags.profile}.yaml"
    mini, mix = flags.artifacts / "dpo", flags.artifacts / "mix"
    texts = {lang: held_out_texts(mix / "validation", lang=lang, max_bytes=flags.texts) for lang in ("ko", "en")}
    rows = [measured("Mini, float32", mini, mini, texts)]
    for name, place in peers(mini, mix, flags.kept, profile).items():
        rows.append(measured(name, place, mini, texts))
    for seed in flags.seeds:
        places = taught(flags.artifacts, flags.kept / f"seed-{seed}", profile, seed=seed, tokens=flags.tokens)
        rows += [measured(f"qad, {kind}, seed {seed}", place, mini, texts) for kind, place in places.items()]
        rows[-1] |= {"kl_to_gguf": _kl(places["onnx"], places["gguf"], chain(*texts.values()))}
    kl = {row["name"]: mean((row["kl_ko"], row["kl_en"])) for row in rows}
    bits = {row["name"]: row["bits_per_weight"] for row in rows}
    peer = "Q4_K_M + imatrix"
    ours = [f"qad, gguf, seed {seed}" for seed in flags.seeds]
    ratio = {
        "worst seed's KL / Q4_K_M + imatrix": max(kl[name] for name in ours) / kl[peer],
        "mean KL / Q4_K_M + imatrix": mean(kl[name] for name in ours) / kl[peer],
        "bits / Q4_K_M + imatrix": max(bits[name] for name in ours) / bits[peer],
        "worst KL(GGUF | ONNX)": max(row["kl_to_gguf"] for row in rows if "kl_to_gguf" in row),
    }
    _frame.report("qad", goal=GOAL, rows=rows, ratio=ratio)


def peers(mini: Path, mix: Path, kept: Path, profile: Path) -> dict[str, Path]:
    """llama.cpp's kinds of Mini, by row."""
    parent, params = checkpoint.read(mini), _frame.numbers(profile)["export"]
    count = params["gate_texts"] + params["importance_texts"]
    chosen = material.texts(mix, count=count, characters=params["gate_characters"])[params["gate_texts"] :]
    weights = calibration.input_squares(mini, [[0, *ids] for ids in verify.parent_ids(parent, chosen)])
    found = {}
    for name, (precision, weighed) in PEERS.items():
        found[name] = place = kept / name.replace(" ", "-").replace(",", "")
        if not place.exists():
            place.mkdir(parents=True)
            gguf.convert(parent, CARD, "F16", whole := kept / "whole.gguf")
            given: dict[str, Any] = {gguf.official_name(parent, key): value for key, value in weights.items()}
            quantizing.quantize(whole, place / "model.gguf", precision, importance=given if weighed else {})
            whole.unlink()
    return found


def taught(artifacts_: Path, root: Path, profile: Path, *, seed: int, tokens: int | None) -> dict[str, Path]:
    """A seed's Mini on the grid, as GGUF and as ONNX."""
    places = {kind: root / name for kind, name in GRIDS.items()}
    params = load_params("qad", qad.Params, profile)
    params = params.model_copy(update={"seed": seed} | ({"tokens": tokens} if tokens else {}))
    if not all(place.exists() for place in places.values()):
        shutil.rmtree(root, ignore_errors=True)
        for name in ("qad", "scratch", *GRIDS.values()):
            (root / name).mkdir(parents=True)
        inputs = {
            "model": artifacts_ / "dpo",
            "dialogues": artifacts_ / "synthesize",
            "tokens": artifacts_ / "tokenize",
        }
        journal = Journal.offline("qad", root)
        qad.main(**inputs, out=root / "qad", scratch=root / "scratch", params=params, journal=journal)
        parent = checkpoint.read(root / "qad")
        blocks = onnx.Blocks(block_size=32, symmetric=True)
        for name in GRIDS.values():
            artifacts.make(name, parent, CARD, root / name, importance=dict, blocks=blocks)
    return places


def measured(name: str, place: Path, mini: Path, texts: Mapping[str, list[str]]) -> dict[str, Any]:
    """A row: bits per weight of the whole file, KL to Mini and bits per byte in both languages."""
    files = [path for path in place.rglob("*") if ".gguf" in path.name or "model." in path.name]
    bits = sum(path.stat().st_size for path in files) * 8 / checkpoint.read(mini).parameters
    row: dict[str, Any] = {"name": name, "bits_per_weight": round(bits, 3)}
    judged = _opened(place)
    for lang, documents in texts.items():
        row[f"kl_{lang}"] = 0.0 if place == mini else _kl(place, mini, documents)
        row[f"bpb_{lang}"] = round(metrics.weighed(judged, documents)["bpb"], 5)
    judged.close()
    return row


def _kl(place: Path, parent: Path, texts: Any) -> float:
    ours, theirs = _opened(place), _opened(parent)
    try:
        return metrics.divergence(ours, theirs, texts, max_positions=4096)["kl_parent"]
    finally:
        ours.close(), theirs.close()


def _opened(place: Path) -> Subject:
    """Bundles have no manifest here; a Hugging Face folder has its generation config."""
    return TorchSubject(place) if (place / "generation_config.json").exists() else BundleSubject(place)


if __name__ == "__main__":
    main()
