"""Each Liger kernel and the whole model against torch: loss and gradients. Run by test_kernels.py, not by itself.

On a GPU the kernels are compiled; with TRITON_INTERPRET=1, which must be set before Triton is imported, they run on the
CPU, element by element.
"""

import importlib
import os

import pytest
import torch

from models import distillation, kernels, objectives
from models.batches import IGNORED
from models.shapes import Shape, build
from tests.models.conftest import TINY

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cpu" if INTERPRETED else "cuda"
CLOSE = dict(rtol=1e-4, atol=1e-5) if INTERPRETED else dict(rtol=2e-3, atol=2e-4)
N, D, V = 6, 32, 50


@pytest.fixture(autouse=True, scope="module")
def interpreter():
    """What Triton's interpreter lacks: Python floats as fp32 scalars, and the libdevice rsqrt of Liger's RMSNorm."""
    if not INTERPRETED:
        return
    import numpy as np
    from liger_kernel.ops import rms_norm

    interpreter = importlib.import_module("triton.runtime.interpreter")  # of Liger's requirements, not of ours
    tl = interpreter.tl
    plain = interpreter._implicit_cvt

    def converted(given):
        if isinstance(given, float):
            return tl.tensor(interpreter.TensorHandle(np.array([given], np.float32), tl.float32), tl.float32)
        return plain(given)

    interpreter._implicit_cvt = converted
    rms_norm.rsqrt = lambda x: 1 / tl.sqrt(x)


@pytest.fixture(autouse=True)
def patches_end_with_the_test(monkeypatch):
    from transformers.models.llama import modeling_llama

    for name in ("apply_rotary_pos_emb", "LlamaRMSNorm", "LlamaMLP"):
        monkeypatch.setattr(modeling_llama, name, getattr(modeling_llama, name))


def draw(*shape, seed):
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return made.to(DEVICE)


def agree(ours, theirs, *inputs):
    """`ours(*inputs)` and `theirs(*inputs)` give the same value and the same gradient of every input."""
    found = []
    for function in (ours, theirs):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        result = function(*leaves)
        (result * torch.arange(1, result.numel() + 1, device=DEVICE).sin().view_as(result)).sum().backward()
        found.append([result.detach(), *(leaf.grad for leaf in leaves)])
    assert found[1][0].abs().max() > 1e-3, "nothing was compared"
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its, **CLOSE)


def test_rms_norm():
    from liger_kernel.ops import LigerRMSNormFunction
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    def theirs(x, weight):
        norm = LlamaRMSNorm(D, eps=1e-5).to(DEVICE)
        return torch.func.functional_call(norm, {"weight": weight}, (x,))

    def ours(x, weight):
        return LigerRMSNormFunction.apply(x, weight, 1e-5, 0.0, "llama", False)

    agree(ours, theirs, draw(2, 3, D, seed=0), draw(D, seed=1))


def test_rope_with_positions_that_restart():
    from liger_kernel.transformers import liger_rotary_pos_emb
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    positions = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 0, 1, 2]], device=DEVICE)
    angles = positions[..., None] * torch.tensor([1.0, 0.3, 0.1, 0.01], device=DEVICE)
    cos, sin = torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()

    def by(rotate):
        return lambda q, k: torch.cat([part.flatten() for part in rotate(q * 1, k * 1, cos, sin)])

    agree(by(liger_rotary_pos_emb), by(apply_rotary_pos_emb), draw(2, 4, 5, 8, seed=0), draw(2, 2, 5, 8, seed=1))


def test_swiglu():
    from liger_kernel.ops import LigerSiLUMulFunction

    def theirs(gate, up):
        return torch.nn.functional.silu(gate) * up

    agree(LigerSiLUMulFunction.apply, theirs, draw(2, 3, D, seed=0), draw(2, 3, D, seed=1))


@pytest.mark.parametrize("ignored", [0, 2])
def test_fused_linear_cross_entropy_and_its_ignored_targets(ignored, monkeypatch):
    targets = torch.arange(N, device=DEVICE)
    targets[:ignored] = IGNORED

    def by(kind):
        def loss(hidden_ND, head_VD):
            monkeypatch.setenv("OPENMIDM_KERNELS", kind)
            return kernels.next_token_loss(hidden_ND, head_VD, targets)

        return loss

    agree(by("liger"), by("torch"), draw(N, D, seed=0), draw(V, D, seed=1))


@pytest.mark.parametrize(("beta", "kind"), [(0.0, "forward_kl"), (1.0, "reverse_kl"), (0.5, "jsd")])
def test_fused_linear_jsd(beta, kind):
    from liger_kernel.transformers import LigerFusedLinearJSD

    taught_ND, teacher_VD = draw(N, 2 * D, seed=2), draw(V, 2 * D, seed=3) / 8
    labels = torch.zeros(N, device=DEVICE, dtype=torch.long)
    fused = LigerFusedLinearJSD(jsd_beta=beta, temperature=2.0)

    def theirs(hidden_ND, head_VD):
        return distillation.divergence_sum(taught_ND @ teacher_VD.T / 2, hidden_ND @ head_VD.T / 2, kind) / N

    def ours(hidden_ND, head_VD):
        return fused(hidden_ND, head_VD, taught_ND, teacher_VD, labels)

    agree(ours, theirs, draw(N, D, seed=0), draw(V, D, seed=1) / 6)


@pytest.mark.parametrize("tied", [False, True])
def test_the_whole_model(tied, monkeypatch):
    ids = torch.randint(3, 120, (2, 9), generator=torch.Generator().manual_seed(0)).to(DEVICE)
    targets = ids[:, 1:].clone()
    targets[0, :3] = IGNORED
    found = {}
    for kind in ("torch", "liger"):
        monkeypatch.setenv("OPENMIDM_KERNELS", kind)
        model = build(Shape(**(vars(TINY) | {"tied": tied})), seed=0).to(DEVICE)
        kernels.accelerate(model)
        loss, count = objectives.next_token(model, {"ids": ids[:, :-1], "targets": targets})
        (loss / count).backward()
        found[kind] = [loss.detach(), *(weight.grad for weight in model.parameters())]
    for ours, theirs in zip(found["liger"], found["torch"], strict=True):
        torch.testing.assert_close(ours, theirs, **CLOSE)


@pytest.mark.parametrize("lost", ["rope", "rms_norm", "swiglu"])
def test_a_patch_that_did_nothing_is_an_error(lost, monkeypatch):
    import liger_kernel.transformers as liger

    patch = liger.apply_liger_kernel_to_llama
    monkeypatch.setenv("OPENMIDM_KERNELS", "liger")
    monkeypatch.setattr(liger, "apply_liger_kernel_to_llama", lambda **given: patch(**(given | {lost: False})))
    with pytest.raises(RuntimeError, match="did not patch"):
        kernels.accelerate(build(TINY, seed=0).to(DEVICE))
