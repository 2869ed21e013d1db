"""Knows how a model is laid over machines: shards, recomputed activations, compiled layers; all from outside it."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from models import kernels
from models.kernels import CHUNK
from models.shapes import Shape

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState
    from transformers import LlamaForCausalLM

COMPILED_FROM = 1e14  # FLOPs, two minutes of two cores: compiling takes 10 s and then saves a quarter
ROOM = 0.85  # of a device's memory that a plan may fill; the rest is the allocator's and NCCL's
PATIENCE = timedelta(hours=2)  # of ranks for the first one, which writes whole states alone


def ranks() -> "PartialState":
    """This process among those that torchrun started, connected with them; without torchrun the only one."""
    from accelerate import PartialState

    return PartialState(cpu=kernels.device().type == "cpu", timeout=PATIENCE)


def of_all_ranks(number: int) -> list[int]:
    """The number that each rank brings; all must ask."""
    import torch
    from accelerate.utils import gather

    return gather(torch.tensor([number], device=ranks().device)).tolist()


@dataclass(frozen=True)
class Memory:
    """Bytes that training holds on one rank."""

    states: float  # fp32 weights, gradients, moments: a rank's share
    gathered: float  # bf16 copies: of all weights, or if sharded of embeddings, head and two layers with fp32 gradients
    activations: float  # of one micro-batch
    logits: float  # of one chunk, with their gradient

    def total(self) -> float:
        """All of it."""
        return self.states + self.gathered + self.activations + self.logits


def memory(shape: Shape, *, ranks: int, tokens: int, optimizer: str, recomputed: bool) -> Memory:
    """What a rank of `ranks` holds when the states are sharded (FSDP2, bf16 compute) and it sees `tokens` at once.

    AdamW keeps two fp32 moments of a weight, Muon one. Without recomputation a layer keeps what its backward reads
    (Korthikanti 2022, §4, counted for SwiGLU, GQA and an attention that keeps no T×T); with it, its input alone.
    """
    embeddings = (1 if shape.tied else 2) * shape.vocab_rows * shape.hidden
    hidden = shape.parameters() - embeddings
    vectors = (2 * shape.layers + 1) * shape.hidden  # the norms, which Muon leaves to AdamW
    states = 16.0 * shape.parameters() - (4 * (hidden - vectors) if optimizer != "adamw" else 0)
    two_layers = 2 * hidden / shape.layers
    gathered = (embeddings + two_layers) * (2 + 4) if ranks > 1 else 2.0 * shape.parameters()
    attention = 2 * shape.head_dim * (shape.heads + shape.kv_heads)
    layer = 2 * tokens * (5 * shape.hidden + attention + 3 * shape.ffn)
    kept = 2 * tokens * shape.hidden * shape.layers + layer if recomputed else layer * shape.layers
    return Memory(states / ranks, gathered, kept, 12.0 * min(tokens, CHUNK["cuda"]) * shape.vocab_rows)


@dataclass(frozen=True)
class Layout:
    """What `spread` does on this machine."""

    sharded: bool
    recomputed: bool
    compiled: bool


def layout(shape: Shape, *, ranks: int, tokens: int, optimizer: str, work: float = 0.0) -> Layout:
    """Shards when a whole copy does not fit a rank's device, recomputes when activations still do not fit.

    Execution, never identity: asked of the machine. OPENMIDM_SHARDED, OPENMIDM_RECOMPUTED and OPENMIDM_COMPILED (0, 1)
    overrule it. Layers are compiled on a CPU with a C++ compiler when the training's `work` (FLOPs) pays for it.
    """
    import torch

    cuda = kernels.device().type == "cuda"
    room = ROOM * torch.cuda.mem_get_info()[1] if cuda else float("inf")

    def fits(ranks: int, recomputed: bool) -> bool:
        return memory(shape, ranks=ranks, tokens=tokens, optimizer=optimizer, recomputed=recomputed).total() <= room

    sharded = ranks > 1 and _asked("SHARDED", not fits(1, True))
    recomputed = _asked("RECOMPUTED", not fits(ranks if sharded else 1, False))
    pays = not cuda and work > COMPILED_FROM and shutil.which("c++") is not None
    return Layout(sharded, recomputed, _asked("COMPILED", pays))


def spread(model: "LlamaForCausalLM", root: "torch.nn.Module", plan: Layout) -> None:
    """Applies a layout in place: `root` is the module whose forward runs the whole step (model, head and loss).

    To be called before the optimizers are made: sharding replaces the parameters. Names in state dicts stay.
    """
    if plan.recomputed:
        model.train()  # transformers recomputes in training mode only, and says nothing otherwise; there is no dropout
        model.activation_checkpointing_enable({"use_reentrant": False})
    if plan.compiled:
        for layer in model.model.layers:
            layer.compile()  # in place: no wrapper, no new names
    if plan.sharded:
        shard(model, root)


def shard(model: "LlamaForCausalLM", root: "torch.nn.Module") -> None:
    """FSDP2: each decoder layer by itself, and what remains (embeddings, last norm, head) with `root`."""
    import torch
    from torch.distributed import get_world_size, init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    kind = kernels.device().type
    half = torch.bfloat16 if kind == "cuda" else None
    own: dict[str, Any] = {"mesh": init_device_mesh(kind, (get_world_size(),))}
    own["mp_policy"] = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32)
    for layer in model.model.layers:
        fully_shard(layer, **own)
    laid_out: Any = fully_shard(root, **own)
    laid_out._get_fsdp_state()._lazy_init()  # else the first forward does it, and a layer read before it were a root


def stand_beside(frozen: Any, model: "LlamaForCausalLM") -> None:
    """Lays a frozen model (teacher, reference) out as the trained one, once: in shards, or whole on its device.

    To be called by every rank alike; afterwards `frozen.model` and its head may be read at any time.
    """
    from torch.distributed.fsdp import FSDPModule

    if isinstance(frozen, FSDPModule):
        return
    if isinstance(model.model.layers[0], FSDPModule):
        shard(frozen, frozen)
        frozen.unshard()  # what is the root's own: embeddings, last norm and head stay gathered, layers come and go
    elif frozen.device != model.device:
        frozen.to(model.device)


@contextmanager
def readable(model: "LlamaForCausalLM", root: "torch.nn.Module") -> Iterator[None]:
    """Inside, `model` may be asked without `root` (validation, samples), by every rank alike, in evaluation mode.

    In training mode a recomputed layer drops its cache, and generation would see one token at a time. Compiled layers
    run as they were, for each shape that is asked for would be compiled anew.
    """
    import torch
    from torch.distributed.fsdp import FSDPModule

    training = model.training
    model.eval()
    if isinstance(root, FSDPModule):
        root.unshard()
    with torch.compiler.set_stance("force_eager"):
        yield
    if isinstance(root, FSDPModule):
        root.reshard()
    model.train(training)


def whole(tensor: "torch.Tensor") -> "torch.Tensor":
    """The whole of a sharded tensor on the CPU (every rank must ask at the same time); others as they are."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor().cpu() if isinstance(tensor, DTensor) else tensor


def shared_out(tensor: "torch.Tensor", like: "torch.Tensor") -> "torch.Tensor":
    """A whole tensor laid out as `like`, a parameter of the same shape: the way back from `whole`."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor) or tensor.shape != like.shape:  # step counters stay whole
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def own(tensor: "torch.Tensor") -> "torch.Tensor":
    """This rank's part of a sharded tensor; others as they are."""
    from torch.distributed.tensor import DTensor

    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def gathered(tensors: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    """Whole tensors on the first rank, nothing on the others, which must ask at the same time."""
    first, found = ranks().is_main_process, {}
    for name, tensor in tensors.items():
        one = whole(tensor)
        if first:
            found[name] = one
    return found


def weights(model: "LlamaForCausalLM") -> dict[str, "torch.Tensor"]:
    """`gathered` weights by name, a tied head under its embeddings' name alone."""
    tied = model.config.tie_word_embeddings
    return gathered({k: w for k, w in model.state_dict().items() if not (tied and k == "lm_head.weight")})


def _asked(name: str, otherwise: bool) -> bool:
    return os.environ.get(f"OPENMIDM_{name}", str(int(otherwise))) == "1"
