"""Three made micrographs of soft blotches, which diagnostics are tried on."""

import torch
from torch import nn

from microloftr.data.atlas import Atlas, build_atlas
from microloftr.data.micrographs import Micrograph


def blotched_atlas() -> Atlas:
    """An atlas of three 420×420 images, each of its own specimen, always the same."""
    made = []
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        blotches = torch.rand(1, 1, 90, 90, generator=generator)
        image = nn.functional.interpolate(blotches, (420, 420), mode="bicubic").clamp(0, 1)[0, 0]
        made.append(Micrograph(f"m{seed}", "train", f"s{seed}", "sem", (image * 255).byte().numpy()))
    return build_atlas(made)
