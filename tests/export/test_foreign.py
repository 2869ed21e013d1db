"""Any Llama-shaped checkpoint goes through the same makers and the same gate: other names, files, widths, defects."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import midm_mini
import numpy as np
import pytest

from corpus import pretokens
from export import checkpoint, gguf, onnx, optimum_box, verify
from export.texts import PLAIN_TEXTS
from models import reference
from tests.export.parents import BLOCKS, CARD, rewrite, save_foreign, save_parent

LIMITS = {"mean_kl": 1e-4, "tail_kl": 1e-3, "logit_gap": 0.1, "top1": 0.98, "greedy": 0.95}


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Parent:
    return checkpoint.read(save_foreign(tmp_path_factory.mktemp("foreign") / "hf"))


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> checkpoint.Parent:
    """The released Mini's rules and defects: 1,792 wide by 32 heads of 128, theta 8e6, tied, no eot, pad = eos."""
    folder = save_parent(tmp_path_factory.mktemp("released") / "hf", hidden=224, ffn=576, dtype="bfloat16")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["rope_parameters"]
    rewrite(folder / "config.json", config | {"rope_theta": 8e6, "eos_token_id": 2, "pad_token_id": 2})
    rewrite(folder / "generation_config.json", {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 2})
    return checkpoint.read(folder)


def gate(bundle: Path, parent: checkpoint.Parent) -> verify.Verdict:
    asked = {"reference": reference.logits(parent.folder), "texts": PLAIN_TEXTS, "longest": 32}
    return verify.verify(bundle, parent=parent, card=CARD, **asked, **LIMITS)


def test_stops_pad_and_bos_come_from_the_folder(foreign: checkpoint.Parent, released: checkpoint.Parent) -> None:
    assert foreign.stops == {"<|endoftext|>": 2, "<|im_end|>": foreign.ids["<|im_end|>"]}
    assert (foreign.bos, foreign.pad, foreign.adds_bos) == (0, 2, True)
    assert set(released.stops) == {"<|end_of_text|>", "<|eot_id|>"}, "its configs forget the end of turn"
    assert (released.bos, released.pad, released.adds_bos) == (0, 1, False), "its pad is no end"
    assert released.rope_theta == 8e6


def test_a_foreign_checkpoint_passes_the_gate_as_gguf(foreign: checkpoint.Parent, tmp_path: Path) -> None:
    gguf.make(foreign, CARD, "F16", tmp_path)
    gate(tmp_path, foreign)
    with midm_mini.load(tmp_path, threads=1) as model:
        assert model.details["tokenizer"] == "dbrx"
        pieces = list(model.stream("The harbour", max_tokens=3))
        assert 1 <= len(pieces) <= 3
        assert model.prompt_ids("a")[0] == 0


def test_the_released_shape_passes_the_gate_as_gguf(released: checkpoint.Parent, tmp_path: Path) -> None:
    gguf.make(released, CARD, "F16", tmp_path)
    gate(tmp_path, released)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["foreign", "released"])
@pytest.mark.parametrize(
    ("make", "precision"), [(partial(onnx.make, blocks=BLOCKS), "int8"), (optimum_box.make, "fp32")]
)
def test_both_pass_the_gate_as_onnx(
    request: pytest.FixtureRequest, name: str, make: Callable[..., Any], precision: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    parent = request.getfixturevalue(name)
    make(parent, CARD, precision, tmp_path)
    for limit, value in {"mean_kl": 0.05, "tail_kl": 0.5, "logit_gap": 4.0, "top1": 0.5, "greedy": 0.4}.items():
        monkeypatch.setitem(LIMITS, limit, value)
    gate(tmp_path, parent)


def test_a_stop_that_the_bundle_names_ends_a_reply_whatever_its_text(
    foreign: checkpoint.Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gguf.make(foreign, CARD, "F16", tmp_path)
    ends = foreign.ids["<|im_end|>"]
    with midm_mini.load(tmp_path, threads=1) as model:
        monkeypatch.setattr(model._backend, "start", lambda ids: np.eye(model.vocab_size, dtype=np.float32)[ends])
        pieces = list(model.stream([0, 5], max_tokens=4))
        assert [(piece.text, piece.finish_reason) for piece in pieces] == [("", "stop")]


def test_an_unknown_cutter_is_refused_as_gguf(foreign: checkpoint.Parent, tmp_path: Path) -> None:
    cutter = {"type": "Split", "pattern": {"Regex": "\\s+"}, "behavior": "Isolated", "invert": False}
    strange = dataclasses.replace(foreign, tokenizer=foreign.tokenizer | {"pre_tokenizer": cutter})
    with pytest.raises(
        checkpoint.CheckpointError, match=r"no name for its pre-tokenizer \['\\\\s\+'\]; export it as ONNX"
    ):
        gguf.make(strange, CARD, "F16", tmp_path)


def test_the_known_cutter_is_the_one_that_we_train_with() -> None:
    assert pretokens.PRETOKENIZER == gguf.LLAMA_REGEX
