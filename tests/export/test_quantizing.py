"""A file for a size is no larger, loses the least that its bytes allow, and says what is impossible."""

from itertools import product
from pathlib import Path

import midm_mini
import numpy as np
import pytest

from export import checkpoint, gguf, quantizing, weights
from models import calibration, reference
from models.sharing import share
from tests.export.parents import save_parent


@pytest.fixture(scope="module")
def windows(parent: checkpoint.Parent) -> list[list[int]]:
    return np.random.RandomState(5).randint(3, len(parent.ids), size=(16, 64)).tolist()


@pytest.fixture(scope="module")
def costs(parent: checkpoint.Parent, windows: list[list[int]]) -> dict[str, np.ndarray]:
    return calibration.loss_weights(parent.folder, windows)


def made(
    parent: checkpoint.Parent, card: gguf.Card, precision: str, out: Path, given: dict[str, np.ndarray]
) -> tuple[Path, dict[str, str]]:
    """The file and the type of each of its matrices."""
    import gguf as format

    out.mkdir()
    gguf.make(parent, card, precision, out, importance=given)
    path = next(out.glob("*.gguf"))
    tensors = format.GGUFReader(path).tensors
    return path, {tensor.name: tensor.tensor_type.name for tensor in tensors if len(tensor.shape) > 1}


def kl(path: Path, parent: checkpoint.Parent, windows: list[list[int]]) -> float:
    """Mean to the parent, on windows that nothing was weighed by."""
    from export.verify import _log_softmax

    truth, found = reference.logits(parent.folder), []
    with midm_mini.load(path, threads=1) as model:
        for ids in windows:
            log_p, log_q = _log_softmax(truth(ids)), _log_softmax(model.logits(ids))
            found.append((np.exp(log_p) * (log_p - log_q)).sum(-1).mean())
    return float(np.mean(found))


@pytest.mark.parametrize("kind", ["Q4_K_M", "Q5_K_M"])
def test_within_the_size_of_a_kind_a_file_is_closer_to_its_parent(
    parent: checkpoint.Parent,
    card: gguf.Card,
    windows: list[list[int]],
    costs: dict[str, np.ndarray],
    tmp_path: Path,
    kind: str,
) -> None:
    uniform, _ = made(parent, card, kind, tmp_path / "uniform", calibration.input_squares(parent.folder, windows))
    size = uniform.stat().st_size // 1000
    path, types = made(parent, card, f"{size}KB", tmp_path / "sized", costs)
    assert 0.97 * size < path.stat().st_size / 1000 <= size
    assert path.name.endswith(f"-{size}KB.gguf")
    assert len(set(types.values())) > 1
    assert all(row.error <= row.allowed for row in weights.distances(path.parent, parent))
    unseen = np.random.RandomState(6).randint(3, len(parent.ids), size=(8, 64)).tolist()
    assert kl(path, parent, unseen) < kl(uniform, parent, unseen)


def test_a_size_below_the_smallest_possible_names_that_size_which_then_works(
    parent: checkpoint.Parent, card: gguf.Card, costs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="100,000 bytes: the smallest possible has") as refused:
        made(parent, card, "100KB", tmp_path / "small", costs)
    least = int(str(refused.value).split("has ")[1].split(";")[0].replace(",", ""))
    path, types = made(parent, card, f"{least // 1000 + 1}KB", tmp_path / "least", costs)
    narrow = {name for name, kind in types.items() if kind != "Q3_K"}  # 4 heads of 32 fill no block of 256
    assert narrow == {f"blk.{layer}.attn_output.weight" for layer in range(2)}
    assert path.stat().st_size == least


def test_rows_that_fit_no_k_quants_are_shared_out_by_what_they_became(card: gguf.Card, tmp_path: Path) -> None:
    parent = checkpoint.read(save_parent(tmp_path / "hf", hidden=96, ffn=256, tied=False))
    given = calibration.loss_weights(parent.folder, [list(range(3, 60))])
    path, types = made(parent, card, "450KB", tmp_path / "out", given)
    assert path.stat().st_size <= 450_000
    assert types["blk.0.ffn_down.weight"] in quantizing.TYPES
    assert types["blk.0.attn_q.weight"] in {"IQ4_NL", "Q5_0", "Q5_1", "Q8_0"}


def test_costs_add_up_to_the_kl_of_small_random_errors(
    parent: checkpoint.Parent, windows: list[list[int]], costs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """Both sides are estimates: half to twice, for an error in all matrices and for one in the embedding alone."""
    import torch
    from transformers import LlamaForCausalLM

    assert set(costs) == {name for name, shape in parent.shapes.items() if len(shape) > 1}
    for chosen in (list(costs), ["model.embed_tokens.weight"]):
        model = LlamaForCausalLM.from_pretrained(parent.folder, dtype="float32").eval().requires_grad_(False)
        expected, exact = 0.0, [model(torch.tensor([ids])).logits.log_softmax(-1) for ids in windows]
        draw = torch.Generator().manual_seed(1)
        for name in chosen:
            weight = model.get_parameter(name)
            error = 0.01 * weight.std() * torch.randn(weight.shape, generator=draw)
            expected += 0.5 * float((error**2 @ torch.from_numpy(costs[name])).sum())
            weight += error
        pairs = [
            (log_p, model(torch.tensor([ids])).logits.log_softmax(-1))
            for log_p, ids in zip(exact, windows, strict=True)
        ]
        seen = np.mean([float((log_p.exp() * (log_p - log_q)).sum(-1).mean()) for log_p, log_q in pairs])
        assert 0.5 < seen / expected < 2, chosen


def test_bytes_are_shared_out_as_trying_everything_would() -> None:
    draw = np.random.RandomState(0)
    for _ in range(20):
        names, kinds = "abcd", "xyz"
        offers = {name: {kind: (int(draw.randint(1, 60)), float(draw.rand())) for kind in kinds} for name in names}
        most = sum(min(offer.values())[0] for offer in offers.values()) + int(draw.randint(0, 60))
        found = share(most, offers)

        def total(types, offers=offers):
            return [sum(column) for column in zip(*(offers[name][kind] for name, kind in types.items()), strict=True)]

        every = (total(dict(zip(names, row, strict=True))) for row in product(kinds, repeat=len(names)))
        assert total(found)[0] <= most
        assert total(found)[1] == pytest.approx(min(cost for size, cost in every if size <= most))
