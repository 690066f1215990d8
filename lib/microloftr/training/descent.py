"""How the weights go down: optimizer, its rate, its clip and the average; Lightning and the core share all of it."""

import math

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from microloftr.config.plain import TrainConfig
from microloftr.model.loftr import LoFTR


def laid_out(model: LoFTR) -> LoFTR:
    """The model with its convolutions channels last: a sixth less time for a step on a CPU, and what GPUs want."""
    return model.to(memory_format=torch.channels_last)


def make_optimizer(model: LoFTR, train: TrainConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) with the backbone at its own rate; one fused kernel on a GPU."""
    backbone = list(model.backbone.parameters())
    own = {id(parameter) for parameter in backbone}
    others = [parameter for parameter in model.parameters() if id(parameter) not in own]
    return torch.optim.AdamW(
        [{"params": others, "lr": train.lr}, {"params": backbone, "lr": train.backbone_lr}],
        weight_decay=train.weight_decay,
        fused=others[0].is_cuda,
    )


def rate(step: int, train: TrainConfig) -> float:
    """Share of the learning rate at a step: linear warm-up, constant, linear fall over the last `decay` steps."""
    warm = min((step + 1) / max(train.warmup, 1), 1.0)
    left = (train.steps - step) / min(train.decay, train.steps)
    return max(min(warm, left), 0.01 * warm)


def set_rate(optimizer: torch.optim.Optimizer, step: int, train: TrainConfig) -> float:
    """Give both groups their rate at a step; returns the first one's."""
    share = rate(step, train)
    for group, base in zip(optimizer.param_groups, (train.lr, train.backbone_lr), strict=True):
        group["lr"] = base * share
    return train.lr * share


def clip(parameters: list[Tensor], limit: float) -> Tensor:
    """Scale gradients whose joint norm is above `limit` down to it, 0 leaves them as they are; the norm of before."""
    return nn.utils.clip_grad_norm_(parameters, limit or math.inf)


def averaged(model: LoFTR, train: TrainConfig) -> AveragedModel:
    """The exponential average of the weights: the first update copies, later ones keep `train.average` of the old."""
    return AveragedModel(model, use_buffers=True, multi_avg_fn=get_ema_multi_avg_fn(train.average))


def step_generator(seed: int, step: int, device: torch.device | str) -> torch.Generator:
    """What a step draws beside its pairs (which cells are refined) follows from seed and step."""
    return torch.Generator(device).manual_seed(seed * 1_000_003 + step)
