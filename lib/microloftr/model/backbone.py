"""Images → feature pyramid: one network for both images, 1/8 for matching, 1/4 and 1/2 for refinement.

The layout of the convolutions follows XFeat (Potje et al., CVPR 2024), whose weights `micro` starts from, with what
does not keep the frame mended: every kernel is odd with padding k//2, so cell j of stride s sits on pixel s·j, and maps
are enlarged by `upsample`, which reads position i/2. There is no batch normalisation: no sample sees another.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microloftr.model.pyramid import Pyramid, upsample


def contrast(images: Tensor, side: int = 33, floor: float = 0.02) -> Tensor:
    """Images (B, 1, H, W) → (B, 2, H, W): normalised over the whole image, and over side×side pixels around each.

    The second does not see uneven light or staining; `floor` keeps it from blowing up the noise of empty regions.
    """
    mean, spread = images.mean((2, 3), keepdim=True), images.std((2, 3), keepdim=True, correction=0)
    whole = (images - mean) / (spread + 1e-3)
    local = box_mean(images, side)
    variance = (box_mean(images * images, side) - local * local).clamp(min=0)
    return torch.cat((whole, (images - local) / (variance + floor**2).sqrt()), 1)


def chosen_contrast(both: Tensor, which: str) -> Tensor:
    """Both normalisations (B, 2, H, W), or `whole` or `local` alone in both places, so that nothing else changes."""
    return both if which == "both" else both[:, [("whole", "local").index(which)] * 2]


def box_mean(images: Tensor, side: int) -> Tensor:
    """Mean over side×side pixels around each pixel, over what lies inside the image; two one-dimensional passes."""
    half = side // 2
    height, width = images.shape[-2:]
    rows = F.avg_pool2d(
        images, (2 * min(half, height - 1) + 1, 1), 1, (min(half, height - 1), 0), count_include_pad=False
    )
    return F.avg_pool2d(rows, (1, 2 * min(half, width - 1) + 1), 1, (0, min(half, width - 1)), count_include_pad=False)


class Conv(nn.Sequential):
    """Convolution and ReLU; the kernel is odd and padded by k//2."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2), nn.ReLU(inplace=True))
        nn.init.kaiming_normal_(self[0].weight, nonlinearity="relu")
        nn.init.zeros_(self[0].bias)


class MicroBackbone(nn.Module):
    """`micro`'s backbone, 0.6 M parameters. contrast: both, whole or local, what it sees of the image."""

    def __init__(self, dim: int, contrast: str = "both") -> None:
        super().__init__()
        self.contrast = contrast
        self.full = nn.Sequential(Conv(2, 4), Conv(4, 8, stride=2), Conv(8, 8))
        self.detail = Conv(2, 16, stride=2, kernel=5)
        self.to_quarter = Conv(8, 24, stride=2)
        self.skip = nn.Conv2d(2, 24, 1)
        self.quarter = nn.Sequential(Conv(24, 24), Conv(24, 24))
        self.eighth = nn.Sequential(Conv(24, 64, stride=2), Conv(64, 64), Conv(64, 64, kernel=1))
        self.sixteenth = nn.Sequential(Conv(64, 64, stride=2), Conv(64, 64), Conv(64, 64))
        self.thirtysecond = nn.Sequential(
            Conv(64, 128, stride=2), Conv(128, 128), Conv(128, 128), Conv(128, 64, kernel=1)
        )
        self.fusion = nn.Sequential(Conv(64, 64), Conv(64, 64), nn.Conv2d(64, 64, 1))
        self.out = nn.Conv2d(64, dim, 1)
        nn.init.orthogonal_(self.out.weight)  # keeps the inner products of descriptors
        nn.init.zeros_(self.out.bias)

    def forward(self, images: Tensor) -> Pyramid:
        """Images (B, 1, H, W) in 0..1 → Pyramid."""
        images = chosen_contrast(contrast(images), self.contrast)
        half = self.full(images)  # (B, 8, H/2, W/2)
        skip = F.avg_pool2d(images, 5, 4, 2, count_include_pad=False)  # centred on pixel 4·j, as the convolutions
        quarter = self.quarter(self.to_quarter(half) + self.skip(skip))  # (B, 24, H/4, W/4)
        eighth = self.eighth(quarter)  # (B, 64, h, w)
        sixteenth = self.sixteenth(eighth)
        deepest = upsample(self.thirtysecond(sixteenth), *sixteenth.shape[-2:])
        fused = self.fusion(eighth + upsample(sixteenth + deepest, *eighth.shape[-2:]))
        return Pyramid(torch.cat((half, self.detail(images)), 1), quarter, self.out(fused))


class OneConvBackbone(nn.Module):
    """The simplest line there is: one convolution to 1/8 and one linear layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = Conv(2, 64, stride=8, kernel=17)
        self.out = nn.Conv2d(64, dim, 1)

    def forward(self, images: Tensor) -> Pyramid:
        """Images (B, 1, H, W) in 0..1 → Pyramid with the coarse map alone."""
        return Pyramid(None, None, self.out(self.conv(contrast(images))))


def from_xfeat(backbone: MicroBackbone, weights: dict[str, Tensor]) -> None:
    """Start `micro`'s backbone from XFeat's weights (names as in its xfeat.pt), batch normalisation folded in.

    XFeat reads one normalised channel, ours two: each gets half of its weights.
    """

    def layer(conv: nn.Conv2d, name: str) -> None:
        weight = weights[f"{name}.layer.0.weight"]
        spread = (weights[f"{name}.layer.1.running_var"] + 1e-5).sqrt()
        weight = weight / spread.view(-1, 1, 1, 1)
        conv.weight.copy_(weight.repeat(1, 2, 1, 1) / 2 if conv.in_channels == 2 else weight)
        conv.bias.copy_(-weights[f"{name}.layer.1.running_mean"] / spread)

    with torch.no_grad():
        for convs, block in (
            ([*backbone.full, backbone.to_quarter], "block1"),
            (backbone.quarter, "block2"),
            (backbone.eighth, "block3"),
            (backbone.sixteenth, "block4"),
            (backbone.thirtysecond, "block5"),
            (backbone.fusion[:2], "block_fusion"),
        ):
            for number, conv in enumerate(convs):
                layer(conv[0], f"{block}.{number}")
        backbone.skip.weight.copy_(weights["skip1.1.weight"].repeat(1, 2, 1, 1) / 2)
        backbone.skip.bias.copy_(weights["skip1.1.bias"])
        backbone.fusion[2].weight.copy_(weights["block_fusion.2.weight"])
        backbone.fusion[2].bias.copy_(weights["block_fusion.2.bias"])
