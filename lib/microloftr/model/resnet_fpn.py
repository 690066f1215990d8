"""The published backbone: a ResNet down to 1/8 and a feature pyramid back up to 1/2 (LoFTR §3.1; Lin et al. 2017).

The coarse map leaves before the way up, the fine map at its end. Every kernel is odd and padded by k//2, so cell j of
stride s sits on pixel s·j; what moves the fine map off its place is the enlarging (`pyramid.align_corners`).
"""

from torch import Tensor, nn

from microloftr.model.pyramid import UPSAMPLING, Pyramid

DIMS = (128, 196, 256)  # channels at 1/2, 1/4 and 1/8


class Block(nn.Module):
    """Residual block: two 3×3 convolutions with batch normalisation, added to their input (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm_1 = nn.BatchNorm2d(outputs)
        self.conv_2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm_2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) → (B, outputs, H/stride, W/stride)."""
        changed = self.norm_2(self.conv_2(self.norm_1(self.conv_1(x)).relu()))
        return (self.shortcut(x) + changed).relu()


class ResNetFPN(nn.Module):
    """`loftr`'s backbone, 5.9 M parameters: images (B, 1, H, W) in 0..1 → Pyramid of 128, 196 and 256 channels.

    In training, batch normalisation ties all samples of a batch and both images together.
    """

    def __init__(self, dim: int = DIMS[2], upsampling: str = "align_corners") -> None:
        super().__init__()
        half, quarter, eighth = *DIMS[:2], dim
        self.upsample = UPSAMPLING[upsampling]
        self.stem = nn.Sequential(nn.Conv2d(1, half, 7, 2, 3, bias=False), nn.BatchNorm2d(half), nn.ReLU())
        self.down_half = nn.Sequential(Block(half, half), Block(half, half))
        self.down_quarter = nn.Sequential(Block(half, quarter, 2), Block(quarter, quarter))
        self.down_eighth = nn.Sequential(Block(quarter, eighth, 2), Block(eighth, eighth))
        self.coarse = nn.Conv2d(eighth, eighth, 1, bias=False)
        self.lateral_quarter = nn.Conv2d(quarter, eighth, 1, bias=False)
        self.mix_quarter = _mix(eighth, quarter)
        self.lateral_half = nn.Conv2d(half, quarter, 1, bias=False)
        self.mix_half = _mix(quarter, half)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Pyramid:
        """Down: 1/2, 1/4, 1/8. Up again: each map enlarged, added to the one beside it on the way down, mixed."""
        half = self.down_half(self.stem(images))  # (B, 128, H/2, W/2)
        quarter = self.down_quarter(half)  # (B, 196, H/4, W/4)
        coarse = self.coarse(self.down_eighth(quarter))  # (B, 256, h, w)
        up = self.upsample(coarse, *quarter.shape[-2:])
        quarter = self.mix_quarter(self.lateral_quarter(quarter) + up)
        up = self.upsample(quarter, *half.shape[-2:])
        half = self.mix_half(self.lateral_half(half) + up)
        return Pyramid(half, quarter, coarse)


def _mix(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, 1, 1, bias=False),
        nn.BatchNorm2d(inputs),
        nn.LeakyReLU(0.01),
        nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False),
    )
