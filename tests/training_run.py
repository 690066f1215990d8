"""A folder of three small micrographs, and the overrides of a run of a few steps on them."""

import csv
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]

TINY = (
    "model=one_conv",
    "train=cpu",
    "train.init=none",
    "train.precision=32",
    "data.crop=64",
    "data.batch=2",
    "train.warmup=2",
    "train.decay=1",
    "train.validate_every=2",
    "train.validation_pairs=2",
)


def write_micrograph(path: Path, seed: int = 0, width: int = 240, height: int = 200) -> None:
    """A picture of smooth blotches."""
    coarse = np.random.default_rng(seed).integers(0, 255, (40, 40), dtype=np.uint8)
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)


def write_source(folder: Path) -> Path:
    """Two micrographs of train, one of validation, and their manifest."""
    rows = [("file", "split", "specimen", "modality")]
    for seed, (name, split) in enumerate((("a", "train"), ("b", "train"), ("c", "validation"))):
        write_micrograph(folder / f"{name}.png", seed)
        rows.append((f"{name}.png", split, name, "sem"))
    with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return folder


def overrides(source: Path, out: Path, *more: str) -> list[str]:
    """Overrides of a tiny run of `source` into `out`."""
    return [*TINY, f"data.folder={source}", f"train.out={out}", *more]


def same_tensors(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    """Whether two sets of tensors are the same to the last bit."""
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def same_weights(one: Path, two: Path) -> bool:
    """Whether two files of weights hold the same to the last bit."""
    return same_tensors(load_file(one), load_file(two))
