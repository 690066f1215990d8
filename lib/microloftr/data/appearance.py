"""What changes between two acquisitions of one field of view, as pure functions of images (B, 1, H, W) in 0..1.

Each takes one parameter per image and works on any device; none draws random numbers of its own but `sensor_noise`,
which is given its generator.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

BLUR_RADIUS = 8


def gamma(images: Tensor, exponent: Tensor) -> Tensor:
    """Grey values raised to `exponent` (B,)."""
    return images.clamp(0, 1).pow(exponent.view(-1, 1, 1, 1))


def tone_curve(images: Tensor, knots: Tensor) -> Tensor:
    """Grey values through a piecewise linear curve with knots (B, K) at k / (K − 1); it need not be monotone.

    Another stain or channel shows the same structures in another order of brightness.
    """
    count = knots.shape[1]
    position = images.clamp(0, 1) * (count - 1)
    lower = position.floor().clamp(max=count - 2)
    index = lower.long().flatten(1)
    left = knots.gather(1, index).view_as(images)
    right = knots.gather(1, index + 1).view_as(images)
    return left + (right - left) * (position - lower)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur of `sigma` (B,) pixels, σ ≤ 2.7, for defocus; borders are reflected."""
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3).view(-1, 1)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    rows = F.pad(images.transpose(0, 1), (BLUR_RADIUS, BLUR_RADIUS, BLUR_RADIUS, BLUR_RADIUS), mode="reflect")
    rows = F.conv2d(rows, kernel.view(-1, 1, 1, offsets.numel()), groups=len(kernel))
    return F.conv2d(rows, kernel.view(-1, 1, offsets.numel(), 1), groups=len(kernel)).transpose(0, 1)


def uneven_light(images: Tensor, field: Tensor) -> Tensor:
    """Images times a smooth field given by few values (B, 1, g, g) around 1."""
    return images * F.interpolate(field, images.shape[-2:], mode="bicubic", align_corners=True)


def sensor_noise(images: Tensor, photons: Tensor, sigma: Tensor, generator: torch.Generator) -> Tensor:
    """Poisson–Gaussian noise: `photons` (B,) at white (inf for none) and read noise `sigma` (B,).

    The Poisson part is drawn as a normal of the same variance, which at 15 photons and above is the same to the eye.
    """
    shot = images.clamp(min=0) / photons.view(-1, 1, 1, 1)
    spread = (shot + sigma.view(-1, 1, 1, 1) ** 2).sqrt()
    return images + spread * torch.randn(images.shape, device=images.device, dtype=images.dtype, generator=generator)


def random_curves(u: Tensor, strength: float) -> Tensor:
    """Knots (B, K) of tone curves from uniforms u (B, K): the identity at strength 0, anything at strength 1."""
    line = torch.linspace(0, 1, u.shape[1], device=u.device, dtype=u.dtype)
    return line + strength * (u - line)


def random_inverted_curves(u: Tensor) -> Tensor:
    """Knots (B, K) of curves over the grey range: half of them inverted and bent by a gamma, half non-monotone."""
    line = torch.linspace(0, 1, u.shape[1], device=u.device, dtype=u.dtype)
    bent = line ** torch.exp(1.4 * (u[:, 3:4] - 0.5))
    turns, phase = 0.65 + 0.4 * u[:, :1], 0.3 * (u[:, 1:2] - 0.5)
    curve = torch.where(u[:, 2:3] < 0.5, -bent, torch.cos(2 * math.pi * (turns * bent + phase)))
    low, high = curve.amin(1, keepdim=True), curve.amax(1, keepdim=True)
    return 0.04 + 0.92 * (curve - low) / (high - low).clamp(min=1e-3)
