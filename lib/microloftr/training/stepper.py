"""What changes with every step, weights, average and optimizer; the core and its profile use it."""

from typing import Any

import torch

from microloftr.config.plain import Config
from microloftr.data.pairs import PairBatch
from microloftr.model.loftr import LoFTR
from microloftr.training.descent import averaged, clip, laid_out, make_optimizer, set_rate, step_generator
from microloftr.training.step import StepResult, pair_loss
from microloftr.training.watch import Watch

COMPILED = ("backbone", "transformer", "fine_features")


class Stepper:
    """A step in three parts: `forward` (loss), `backward` (gradients), `descend` (clip, optimizer, average)."""

    def __init__(self, model: LoFTR, config: Config, device: torch.device, watch: Watch | None = None) -> None:
        if device.type == "cuda":  # float32 by the tensor cores
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.benchmark = True
        self.model, self.config, self.device, self.step = laid_out(model.to(device)).train(), config, device, 0
        self.watch = watch
        self.judged: list[float] = []  # validation losses so far
        self.norm = torch.zeros((), device=device)  # of the last gradient, before it was clipped
        self.average = averaged(self.model, config.train)
        self.optimizer = make_optimizer(self.model, config.train)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        if config.train.compile:  # in place: names of parameters stay
            for name in COMPILED:
                if (part := getattr(self.model, name)) is not None:
                    part.compile()

    def forward(self, batch: PairBatch) -> StepResult:
        """Loss of the step's pairs."""
        train = self.config.train
        generator = step_generator(train.seed, self.step, self.device)
        autocast = torch.bfloat16 if train.precision == "bf16" else None
        result = pair_loss(self.model, batch, train.loss, generator, autocast)
        if self.watch is not None:
            self.watch.see(self.step, "loss", result.loss)
        return result

    def backward(self, result: StepResult) -> None:
        """Gradients of the loss."""
        self.optimizer.zero_grad()
        result.loss.backward()

    def descend(self) -> None:
        """Clip the gradients, move the weights, take them into the average; the next step begins."""
        self.norm = clip(self.parameters, self.config.train.clip)
        if self.watch is not None:
            self.watch.see(self.step, "gradient", self.norm)
        set_rate(self.optimizer, self.step, self.config.train)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.step += 1

    def state(self) -> dict[str, Any]:
        """All that the next step depends on; there are no random states, for pairs follow from the step's number."""
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "judged": self.judged,
            "threads": torch.get_num_threads(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.judged = state["step"], list(state.get("judged", []))
