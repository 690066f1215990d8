"""What is changed of the base, one thing at a time, and the small budget at which every variant is trained."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from microloftr.config import Config, load_config
from microloftr.errors import ParameterError
from microloftr.model.weights import save_weights
from microloftr.results import commit
from microloftr.training.core import run
from microloftr.training.packed import read_config, read_job, write_job
from microloftr.training.start import atlases_of, recipe_for, starting_model

CPU = torch.device("cpu")  # for every variant the same
STEPS = 120
BUDGET = (
    "train.init=xfeat",
    "data.crop=128",
    "data.batch=16",
    "train.average=0.95",  # of a short training: the usual average would hardly have left the start
    "train.validate_every=100000",
    "train.validation_pairs=1",
    "train.device=cpu",
)


@dataclass(frozen=True)
class Variant:
    """One thing that differs: `overrides` of the base's configuration. `weights`: the variant whose training serves.

    `learns`: whether it is trained at all, or judged as it starts. `turns`: whether it is judged with image_1 turned by
    quarters, by the Matcher's search and for the network alone.
    """

    key: str
    words: str
    overrides: tuple[str, ...] = ()
    seed: int = 0
    weights: str | None = None
    turns: bool = True
    learns: bool = True

    @property
    def run(self) -> str:
        """The name of the training whose weights are judged."""
        return self.weights or self.key


BASE = Variant("base", "base")
VARIANTS = (
    BASE,
    Variant("start", "nothing learnt", learns=False),
    Variant("first", "the mixture of the first weights", ("data.mixture=first",)),
    Variant("plain", "plain appearance", ("data.mixture=train-plain",)),
    Variant("no-tones", "no other tones, no other channels", ("data.mixture=train-no-tones",)),
    Variant("no-imaging", "no defocus, few photons, charging, shading, dust", ("data.mixture=train-no-imaging",)),
    Variant("no-sections", "no deformed or replaced content", ("data.mixture=train-no-sections",)),
    Variant("near", "rotations to 12° and scales to 1.1 only", ("data.mixture=train-near",)),
    Variant("wider", "photographs and textures too", ("data.wider=both",)),
    Variant("whole", "sees the global contrast only", ("model.contrast=whole",)),
    Variant("local", "sees the local contrast only", ("model.contrast=local",)),
    Variant("no-attention", "no attention", ("model.layers=0",)),
    Variant("everything", "rotations to 180°", ("data.mixture=everything",)),
    Variant(
        "everything-unturned", "rotations to 180°, no turns tried", ("data.mixture=everything",), 0, "everything", False
    ),
    Variant("base-unturned", "base, no turns tried", (), 0, "base", False),
)
SEEDS = {"base": (0, 1)}  # what a seed is worth; the others have one


def chosen(names: list[str], seeds: tuple[int, ...] | None = None) -> list[Variant]:
    """Variants of these names, each for its seeds (of `seeds`, where given). Raises ParameterError."""
    known = {variant.key: variant for variant in VARIANTS}
    if unknown := [name for name in names if name not in known]:
        raise ParameterError(f"There is no variant {unknown[0]!r}; there are {', '.join(known)} and inference.")
    return [seeded(known[name], seed) for name in names for seed in seeds or SEEDS.get(name, (0,))]


def seeded(variant: Variant, seed: int) -> Variant:
    """The variant trained with another seed; seed 0 is the variant itself."""
    if seed == 0:
        return variant
    weights = variant.weights and f"{variant.weights}-seed-{seed}"
    key, words = f"{variant.key}-seed-{seed}", f"{variant.words}, seed {seed}"
    return replace(variant, key=key, words=words, seed=seed, weights=weights)


def overrides_of(variant: Variant, steps: int) -> list[str]:
    """The overrides of a variant's training: the budget, its length, seed and name, and what it changes."""
    length = [f"train.steps={steps}", f"train.decay={max(steps // 3, 1)}", f"train.warmup={steps // 8}"]
    return [*BUDGET, *length, f"train.seed={variant.seed}", f"train.run={variant.run}", *variant.overrides]


def trained(variant: Variant, steps: int, folder: Path) -> Path:
    """The weights of a variant in `folder`, trained from where they are; KeyboardInterrupt where that was stopped.

    Raises ParameterError where the folder holds another training.
    """
    overrides = overrides_of(variant, steps)
    if not variant.learns:
        recipe = {"seed": variant.seed, "init": "xfeat", "steps": 0, "commit": commit()}
        return save_weights(starting_model(load_config(overrides)), folder / "weights.safetensors", recipe)
    config, job, weights = load_config(overrides), folder / "config.json", folder / "weights.safetensors"
    if not job.is_file():
        recipe = recipe_for(config, overrides, "cpu")
        write_job(folder, config, recipe, atlases_of(config, "cpu"), starting_model(config))
    held, recipe = read_config(job)
    if _plain(held) != _plain(config):
        raise ParameterError(f"{folder} holds a training of another configuration; delete it, or train elsewhere.")
    if weights.is_file():
        return weights
    model, atlases = read_job(folder, held, CPU)
    found = run(held, atlases, model, folder, recipe, CPU)
    if found is None:
        raise KeyboardInterrupt
    return found


def _plain(config: Config) -> Config:
    """The configuration without where its run lies, which decides nothing."""
    return replace(config, train=replace(config.train, out=""))
