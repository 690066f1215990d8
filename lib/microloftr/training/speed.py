"""Pairs per second, and where the time of a step goes; torch alone, so that the core can tell (--profile STEPS).

First some steps run as in training, for pairs per second and the GPU's utilisation; then as many again with a wait
after each stage, for the shares. At last the pairs' numbers alone are drawn, as they are for a large GPU: a million
pairs in 25 minutes take 670 of them a second, and only the CPU can give them.
"""

import os
import shutil
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from microloftr.config.plain import Config
from microloftr.data.atlas import Atlas
from microloftr.model.loftr import LoFTR
from microloftr.training.feed import Feed
from microloftr.training.stepper import Stepper

STAGES = ("waiting", "pairs", "forward", "backward", "optimizer")
DRAWN_AT_ONCE = 512  # pairs of a step on a large GPU
DRAWN_BY = (1, 4)  # threads; a GPU's feed has four


def measure(
    config: Config, atlases: tuple[Atlas, Atlas], model: LoFTR, device: torch.device, steps: int, warm: int = 3
) -> dict[str, Any]:
    """Speed of training over `steps` steps after `warm` ones.

    {"pairs_per_s", "share": {stage: 0..1}, "ms_per_step", "utilisation" (mean share of time in which the GPU was
    busy, None on the CPU), "peak_mib" (the GPU's memory, None on the CPU), "drawn_per_s", …}. Stages: waiting for the
    numbers of the next pairs, making the pairs' images, forward pass and losses, backward pass, optimizer with clip and
    average.
    """
    stepper = Stepper(model, config, device)
    batch, cuda = config.data.batch, device.type == "cuda"
    _steps(stepper, Feed(atlases[0], config, 0, warm), device, None)
    with _utilisation(cuda) as seen:
        began = time.perf_counter()
        _steps(stepper, Feed(atlases[0], config, warm, warm + steps), device, None)
        seconds = time.perf_counter() - began
    spent: dict[str, float] = defaultdict(float)
    _steps(stepper, Feed(atlases[0], config, warm + steps, warm + 2 * steps), device, spent)
    total = sum(spent.values())
    return {
        "pairs_per_s": round(steps * batch / seconds, 2),
        "minutes_per_10000_pairs": round(10_000 * seconds / (60 * steps * batch), 1),
        "share": {stage: round(spent[stage] / total, 4) for stage in STAGES},
        "ms_per_step": round(1e3 * seconds / steps, 2),
        "utilisation": round(sum(seen) / len(seen) / 100, 3) if seen else None,
        "peak_mib": round(torch.cuda.max_memory_allocated(device) / 2**20) if cuda else None,
        "drawn_per_s": drawn_per_s(config, atlases[0]),
        "cores": os.cpu_count(),
        "pairs_per_step": batch,
        "crop": config.data.crop,
        "precision": config.train.precision,
        "compile": config.train.compile,
        "steps": steps,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "allocator": {k: v for k, v in sorted(os.environ.items()) if k.startswith(("MALLOC_", "LD_PRELOAD"))},
    }


def drawn_per_s(config: Config, atlas: Atlas, batches: int = 4) -> dict[str, float]:
    """How many pairs' numbers the CPU draws per second, {"threads_1": pairs/s, …}, in batches of DRAWN_AT_ONCE, the
    faster of two rounds; no image is made.
    """
    config = replace(config, data=replace(config.data, batch=DRAWN_AT_ONCE))
    feed, found = Feed(atlas, config, 0, batches), {}
    feed.draw(0)
    for threads in DRAWN_BY:
        rounds = []
        with ThreadPoolExecutor(threads) as pool:
            for _ in range(2):
                began = time.perf_counter()
                list(pool.map(feed.draw, range(batches)))
                rounds.append(time.perf_counter() - began)
        found[f"threads_{threads}"] = round(batches * DRAWN_AT_ONCE / min(rounds), 1)
    return found


def _steps(stepper: Stepper, feed: Feed, device: torch.device, spent: dict[str, float] | None) -> None:
    """Train over a feed; `spent` collects the seconds of each stage, which costs a wait for the device after each."""

    def done(stage: str, began: float) -> float:
        if spent is None:
            return began
        _wait(device)
        now = time.perf_counter()
        spent[stage] += now - began
        return now

    began, waited = time.perf_counter(), feed.waited
    for pairs in feed:
        began = done("pairs", began)
        result = stepper.forward(pairs)
        began = done("forward", began)
        stepper.backward(result)
        began = done("backward", began)
        stepper.descend()
        began = done("optimizer", began)
    if spent is not None:
        spent["waiting"] = feed.waited - waited
        spent["pairs"] -= spent["waiting"]
    _wait(device)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def _utilisation(cuda: bool) -> Iterator[list[float]]:
    """What nvidia-smi says of the first visible GPU, four times a second; empty where there is neither."""
    seen: list[float] = []
    tool = shutil.which("nvidia-smi") if cuda else None
    if tool is None:
        yield seen
        return
    over = threading.Event()
    number = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    query = [tool, "-i", number, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]

    def watch() -> None:
        while not over.wait(0.25):
            answer = subprocess.run(query, capture_output=True, text=True, check=False).stdout.strip()
            if answer.isdigit():
                seen.append(float(answer))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def show(values: dict[str, Any]) -> str:
    """One paragraph of text."""
    shares = ", ".join(f"{stage} {share:.0%}" for stage, share in values["share"].items())
    busy = "" if values["utilisation"] is None else f"; GPU busy {values['utilisation']:.0%}"
    return f"{values['pairs_per_s']} pairs/s of {values['crop']}×{values['crop']} ({shares}{busy})"


def describe(device: torch.device) -> str:
    """The device by its name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
