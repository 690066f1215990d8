"""Changes of appearance that training adds: what another focus, detector, channel or section does to an image.

Pure functions of images (B, 1, H, W) in 0..1 with parameters per image, on any device, without random numbers. The
milder changes, which the fixed pairs have too, stand in appearance.py.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

DISK_RADIUS = 6  # largest radius of a defocused point, pixels
SMEAR_LENGTH = 32  # pixels after which a smear has faded


def defocus(images: Tensor, radius: Tensor) -> Tensor:
    """Images through a disk of `radius` (B,) pixels up to 5.5: a point out of focus, by geometric optics.

    Unlike a Gaussian it swallows some spatial frequencies whole and turns the contrast of others round (Stokseth,
    J. Opt. Soc. Am. 59, 1969). Borders are reflected.
    """
    offsets = torch.arange(-DISK_RADIUS, DISK_RADIUS + 1, device=images.device, dtype=images.dtype)
    distance = (offsets.view(-1, 1) ** 2 + offsets**2).sqrt()
    disk = (radius.view(-1, 1, 1) + 0.5 - distance).clamp(0, 1)  # the rim is shared by the pixels it crosses
    disk = disk / disk.sum((1, 2), keepdim=True)
    padded = F.pad(images.transpose(0, 1), (DISK_RADIUS,) * 4, mode="reflect")
    return F.conv2d(padded, disk[:, None], groups=len(disk)).transpose(0, 1)


def shading(images: Tensor, vignette: Tensor, gradient: Tensor) -> Tensor:
    """Images times 1 − vignette·r² + gradient·(x, y), x and y from −1 to 1 and r² their mean square; at least .05.

    vignette (B,); gradient (B, 2).
    """
    height, width = images.shape[-2:]
    y = torch.linspace(-1, 1, height, device=images.device, dtype=images.dtype).view(1, 1, -1, 1)
    x = torch.linspace(-1, 1, width, device=images.device, dtype=images.dtype)
    slope_x, slope_y = (gradient[:, k].view(-1, 1, 1, 1) for k in range(2))
    light = 1 - vignette.view(-1, 1, 1, 1) * (x**2 + y**2) / 2 + slope_x * x + slope_y * y
    return images * light.clamp(min=0.05)


def charging(images: Tensor, rows: Tensor, smear: Tensor) -> Tensor:
    """Charging under a scanning beam: bands of rows that are brighter or darker, bright places smeared to the right.

    rows (B, K): grey values added to K bands of rows from top to bottom. smear (B,): how much of what is brighter than
    the row's mean is dragged along the scan, fading over some ten pixels; only in the bands that are brighter.
    """
    height = images.shape[-2]
    bands = F.interpolate(rows[:, None, :, None], (height, 1), mode="nearest")
    lag = torch.arange(SMEAR_LENGTH, 0, -1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-lag / 10)
    bright = (images - images.mean(3, keepdim=True)).clamp(min=0)
    line = F.pad(bright.flatten(0, 2)[:, None], (SMEAR_LENGTH, -1))
    tail = F.conv1d(line, (kernel / kernel.sum()).view(1, 1, -1)).view_as(images)
    return images + bands + smear.view(-1, 1, 1, 1) * 3 * tail * (bands > 0)


def edges(images: Tensor) -> Tensor:
    """Outlines, 0..1: the slope of the grey values (means of 3×3 pixels), over three times the image's mean slope.

    A stain of membranes shows outlines where a stain of contents shows areas; it has no inside and no outside.
    """
    means = F.pad(F.avg_pool2d(images, 3, 1, 1, count_include_pad=False), (1, 1, 1, 1), mode="replicate")
    across, down = means[..., 1:-1, 2:] - means[..., 1:-1, :-2], means[..., 2:, 1:-1] - means[..., :-2, 1:-1]
    slope = F.avg_pool2d((across**2 + down**2).sqrt(), 3, 1, 1, count_include_pad=False)
    return (slope / (3 * slope.mean((2, 3), keepdim=True)).clamp(min=0.01)).clamp(0, 1)


def mixed(images: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """Images where the smooth map `weights` (B, 1, g, g) is 0, `others` where it is 1, between where it is between."""
    share = F.interpolate(weights, images.shape[-2:], mode="bicubic", align_corners=True).clamp(0, 1)
    return images + share * (others - images)


def patches(levels: Tensor, threshold: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (B, 1, H, W) bool of smooth patches: where a map (B, 1, g, g) exceeds its `threshold` (B,)."""
    return F.interpolate(levels, size, mode="bicubic", align_corners=True) > threshold.view(-1, 1, 1, 1)


def emptied(images: Tensor, brightness: Tensor) -> Tensor:
    """Images of nothing but background: one grey value each, `brightness` (B,) of the way from its darkest to its
    lightest area."""
    areas = F.avg_pool2d(images, 9, 9).flatten(1)
    low, high = areas.amin(1), areas.amax(1)
    return (low + brightness * (high - low)).view(-1, 1, 1, 1).expand_as(images)


def specks(centres: Tensor, radii: Tensor, stretch: Tensor, size: tuple[int, int]) -> Tensor:
    """Cover (B, 1, H, W), 0..1, of K specks of dust: ellipses at centres (B, K, 2) in pixels, with soft rims.

    radii (B, K) in pixels, 0 for none; stretch (B, K, 2, 2) symmetric matrices that make circles ellipses.
    """
    height, width = size
    y = torch.arange(height, device=centres.device, dtype=centres.dtype).view(1, 1, -1, 1)
    x = torch.arange(width, device=centres.device, dtype=centres.dtype)
    offset_x, offset_y = x - centres[..., 0, None, None], y - centres[..., 1, None, None]
    a, b, c = (stretch[..., i, j, None, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    distance = ((a * offset_x + b * offset_y) ** 2 + (b * offset_x + c * offset_y) ** 2).sqrt()
    return ((radii[..., None, None] - distance).clamp(-0.75, 0.75) / 1.5 + 0.5).amax(1, keepdim=True) * (radii > 0).any(
        1
    ).view(-1, 1, 1, 1)


def clipped(images: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Grey values from `low` (B,) to `high` (B,) stretched over 0..1, what is beyond cut off: a detector's gain set too
    high."""
    low, high = low.view(-1, 1, 1, 1), high.view(-1, 1, 1, 1)
    return ((images - low) / (high - low).clamp(min=0.05)).clamp(0, 1)
