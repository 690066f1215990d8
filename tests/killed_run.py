"""`python -m tests.killed_run JSON`: train in processes that are really killed, each going on from the one before.

JSON: {"way": "lightning" | "core", "overrides": […], "folder": the core's, "ends": [[step, how], …]}; how: "step" kills
(SIGKILL) when the loss of that step is there, "writing" in the middle of the next checkpoint's bytes, "full" lets no
file grow any more from that step on. Prints how each process ended, and that of a last one that nothing happens to.
"""

import io
import json
import os
import resource
import signal
import sys
from pathlib import Path

import torch

from microloftr.config import load_config
from microloftr.errors import MicroLoFTRError
from microloftr.training import core, module, stepper
from microloftr.training.packed import read_config, read_job
from microloftr.training.run import train


def arm(step: int, how: str) -> None:
    """Let this process end so."""
    true_loss, true_save, reached = stepper.pair_loss, torch.save, []

    def loss(model, batch, *rest):
        if int(batch.index[0]) // len(batch) >= step:
            reached.append(True)
            if how == "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        result = true_loss(model, batch, *rest)
        if how == "step" and reached:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    def save(values, path):
        if how == "writing" and reached:
            whole = io.BytesIO()
            true_save(values, whole)
            with open(path, "wb") as file:
                file.write(whole.getvalue()[: whole.tell() // 2])
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        true_save(values, path)

    module.pair_loss = stepper.pair_loss = loss
    torch.save = save


def go(job: dict) -> None:
    """Train as the job says, from where its files are."""
    if job["way"] == "lightning":
        train(load_config(job["overrides"]), progress=False, overrides=job["overrides"])
        return
    folder = Path(job["folder"])
    config, recipe = read_config(folder / "config.json")
    core.run(config, *reversed(read_job(folder, config, torch.device("cpu"))), folder, recipe, torch.device("cpu"))


def ended(job: dict, end: list | None) -> str:
    """A process of its own that goes on with the job; how it ended."""
    pid = os.fork()
    if not pid:
        try:
            if end is not None:
                arm(*end)
            go(job)
            os._exit(0)
        except MicroLoFTRError as error:
            print(error, file=sys.stderr, flush=True)
            os._exit(2)
        finally:
            os._exit(1)
    status = os.waitpid(pid, 0)[1]
    return "killed" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL else f"status {status >> 8}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    given = json.loads(sys.argv[1])
    print(json.dumps([ended(given, end) for end in [*given["ends"], None]]))
