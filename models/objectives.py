"""Knows what is minimised: next tokens, preferences. Each sums over the targets it counts.

Shapes: B examples, T positions, D hidden, V vocabulary rows, N = counted positions.
"""

from typing import TYPE_CHECKING, Any, Literal

from models import kernels, parallel
from models.batches import IGNORED, document_sizes, pad_rows

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    from models.batches import Row

    Batch = dict[str, torch.Tensor]
    Result = tuple[torch.Tensor, torch.Tensor]


def next_token(model: "LlamaForCausalLM", batch: "Batch", *, z_loss: float = 0.0, opening: float = 1.0) -> "Result":
    """Cross-entropy in nats, and `z_loss` · logsumexp², summed over targets that are not IGNORED.

    A reply's first token, before which stands what bears no loss, counts `opening` times.
    """
    hidden_BTD = hidden_states(model, batch)
    hidden_ND, target_N = counted(batch, hidden_BTD, batch["targets"])
    head_VD = head_of(model, hidden_ND)
    loss, count = kernels.next_token_loss(hidden_ND, head_VD, target_N, z_loss), target_N.new_tensor(len(target_N))
    bears_BT = batch["targets"] != IGNORED
    first_BT = bears_BT[:, 1:] & ~bears_BT[:, :-1]
    if opening == 1 or not first_BT.any():
        return loss, count
    more = kernels.next_token_loss(hidden_BTD[:, 1:][first_BT], head_VD, batch["targets"][:, 1:][first_BT], z_loss)
    return loss + (opening - 1) * more, count + (opening - 1) * first_BT.sum()


def counted(batch: "Batch", *tensors_BT: "torch.Tensor") -> "list[torch.Tensor]":
    """Of each [B,T,…] the rows [N,…] whose target is not IGNORED."""
    keep = batch["targets"] != IGNORED
    every = bool(keep.all())  # choosing rows costs two copies of them, which text without gaps can do without
    return [tensor.flatten(0, 1) if every else tensor[keep] for tensor in tensors_BT]


def hidden_states(model: "LlamaForCausalLM", batch: "Batch") -> "torch.Tensor":
    """Last hidden states [B,T,D]; with "positions" in the batch, each document is attended to by itself alone."""
    given: Any = {"input_ids": batch["ids"], "use_cache": False}
    if "positions" in batch:
        given |= {"position_ids": batch["positions"], "document_sizes": document_sizes(batch["positions"])}
    return model.model(**given).last_hidden_state


class Preference:
    """DPO (Rafailov et al. 2023, eq. 7): −log σ(β · (margin of the policy − margin of the frozen reference)), per pair.

    A batch alternates chosen and rejected rows, and holds what the reference says of each: "reference" [B], nats.
    A reply's likelihood is `summed` over its tokens, or their mean, so that no reply wins by its length (Tülu 3,
    arXiv 2411.15124, eq. 6, with a β 50 times as large). `anchor` adds that share of the chosen rows' cross-entropy
    (RPO, Pang et al. 2024), which keeps a small model from unlearning the right answer.
    """

    def __init__(self, *, beta: float, anchor: float, likelihood: Literal["summed", "per_token"]) -> None:
        self.beta, self.anchor, self.likelihood = beta, anchor, likelihood

    def __call__(self, model: "LlamaForCausalLM", batch: "Batch") -> "Result":
        import torch
        from torch.nn.functional import logsigmoid

        ours_B = reply_log_likelihood(model, batch)
        length_B = (batch["targets"] != IGNORED).sum(-1)
        gain_B = (ours_B - batch["reference"]) / (length_B if self.likelihood == "per_token" else 1)
        loss = -logsigmoid(self.beta * (gain_B[0::2] - gain_B[1::2])) - self.anchor * ours_B[0::2] / length_B[0::2]
        return loss.sum(), torch.tensor(len(loss), device=loss.device)


def reference_likelihoods(model: "LlamaForCausalLM", rows: "list[Row]", *, at_once: int = 16) -> "torch.Tensor":
    """`reply_log_likelihood` of each row by the model as it is now: [N], in the precision of training.

    To be called once, before the training, by every rank alike: each reads its share of the rows.
    """
    import torch
    from accelerate.utils import reduce

    ranks, device = parallel.ranks(), kernels.device()
    model.to(device)  # type: ignore[arg-type]
    said_N = torch.zeros(len(rows), device=device)
    order = sorted(range(len(rows)), key=lambda row: len(rows[row][0]))  # neighbours of one length need no padding
    lots = [order[at : at + at_once] for at in range(0, len(order), at_once)]
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=kernels.precision() == "bf16"):
        for lot in lots[ranks.process_index :: ranks.num_processes]:
            batch = {name: tensor.to(device) for name, tensor in pad_rows([rows[row] for row in lot]).items()}
            said_N[lot] = reply_log_likelihood(model, batch)
    return reduce(said_N, reduction="sum").cpu()


def reply_log_likelihood(model: "LlamaForCausalLM", batch: "Batch") -> "torch.Tensor":
    """log p(reply | prompt) of each row, in nats: [B]."""
    hidden_ND, target_N = counted(batch, hidden_states(model, batch), batch["targets"])
    log_NV = (hidden_ND @ head_of(model, hidden_ND).T).float().log_softmax(-1)
    picked_N = log_NV.gather(-1, target_N.unsqueeze(-1)).squeeze(-1)
    of_N = (batch["targets"] != IGNORED).nonzero()[:, 0]
    return picked_N.new_zeros(len(batch["ids"])).index_add(0, of_N, picked_N)


def head_of(model: "LlamaForCausalLM", like: "torch.Tensor") -> "torch.Tensor":
    """The model's output matrix [V, D], in the type of `like`."""
    return model.lm_head.weight.to(like.dtype)
