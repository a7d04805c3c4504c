"""Encoder and decoder of the autoencoder, in the style of latent diffusion (HART paper, section 3.1).

Shapes: x_BChw is a feature map; one level halves (encoder) or doubles (decoder) its sides.
"""

from torch import Tensor, nn
from torch.nn import functional as F


def group_norm(channels: int, num_groups: int) -> nn.GroupNorm:
    """GroupNorm with the published epsilon."""
    return nn.GroupNorm(num_groups, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; the first changes the number of channels."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float, num_groups: int):
        super().__init__()
        self.norm1 = group_norm(in_channels, num_groups)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels, num_groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x_BChw: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x_BChw)))
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return self.nin_shortcut(x_BChw) + h


class SpatialAttention(nn.Module):
    """Single-head self-attention over all positions of a feature map."""

    def __init__(self, channels: int, num_groups: int):
        super().__init__()
        self.norm = group_norm(channels, num_groups)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BChw: Tensor) -> Tensor:
        height = x_BChw.shape[2]
        qkv = self.qkv(self.norm(x_BChw)).flatten(2).transpose(1, 2)  # [B, h*w, 3C]
        q, k, v = qkv.unsqueeze(1).chunk(3, dim=-1)  # each [B, 1, h*w, C]
        out = F.scaled_dot_product_attention(q, k, v).squeeze(1)  # scale is C**-0.5
        return x_BChw + self.proj_out(out.transpose(1, 2).unflatten(2, (height, -1)))


class Downsample(nn.Module):
    """Halve both sides."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BChw: Tensor) -> Tensor:
        return self.conv(F.pad(x_BChw, (0, 1, 0, 1)))  # one zero at the right and at the bottom only


class Upsample(nn.Module):
    """Double both sides."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BChw: Tensor) -> Tensor:
        return self.conv(F.interpolate(x_BChw, scale_factor=2.0, mode="nearest"))


class Level(nn.Module):
    """The blocks of one resolution: residual blocks, each followed by attention where there is any."""

    def __init__(self, in_channels: int, channels: int, num_blocks: int, attention: bool, dropout: float, groups: int):
        super().__init__()
        sizes = [in_channels] + [channels] * (num_blocks - 1)
        self.block = nn.ModuleList(ResnetBlock(size, channels, dropout, groups) for size in sizes)
        self.attn = nn.ModuleList(SpatialAttention(channels, groups) for _ in sizes if attention)

    def run_blocks(self, x_BChw: Tensor) -> Tensor:
        for index, block in enumerate(self.block):
            x_BChw = block(x_BChw)
            if self.attn:
                x_BChw = self.attn[index](x_BChw)
        return x_BChw


class DownLevel(Level):
    """A level of the encoder; `resample` channels are halved in size afterwards, None leaves them."""

    def __init__(self, *args, resample: int | None):
        super().__init__(*args)
        self.downsample = Downsample(resample) if resample else nn.Identity()

    def forward(self, x_BChw: Tensor) -> Tensor:
        return self.downsample(self.run_blocks(x_BChw))


class UpLevel(Level):
    """A level of the decoder; `resample` channels are doubled in size afterwards, None leaves them."""

    def __init__(self, *args, resample: int | None):
        super().__init__(*args)
        self.upsample = Upsample(resample) if resample else nn.Identity()

    def forward(self, x_BChw: Tensor) -> Tensor:
        return self.upsample(self.run_blocks(x_BChw))


class Middle(nn.Module):
    """The blocks at the lowest resolution."""

    def __init__(self, channels: int, dropout: float, num_groups: int):
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, dropout, num_groups)
        self.attn_1 = SpatialAttention(channels, num_groups)
        self.block_2 = ResnetBlock(channels, channels, dropout, num_groups)

    def forward(self, x_BChw: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x_BChw)))


class Encoder(nn.Module):
    """Pictures [B, 3, H, W] in [-1, 1] to feature maps [B, z_channels, H/2**(n-1), W/2**(n-1)], n = len(ch_mult)."""

    def __init__(self, ch: int, ch_mult: tuple[int, ...], z_channels: int, dropout: float = 0.0, num_groups: int = 32):
        super().__init__()
        sizes = [ch] + [ch * mult for mult in ch_mult]
        last = len(ch_mult) - 1
        self.conv_in = nn.Conv2d(3, ch, 3, padding=1)
        self.down = nn.ModuleList(
            DownLevel(
                sizes[i], sizes[i + 1], 2, i == last, dropout, num_groups, resample=sizes[i + 1] if i < last else None
            )
            for i in range(len(ch_mult))
        )
        self.mid = Middle(sizes[-1], dropout, num_groups)
        self.norm_out = group_norm(sizes[-1], num_groups)
        self.conv_out = nn.Conv2d(sizes[-1], z_channels, 3, padding=1)

    def forward(self, img_B3HW: Tensor) -> Tensor:
        h = self.conv_in(img_B3HW)
        for level in self.down:
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))


class Decoder(nn.Module):
    """Feature maps [B, z_channels, h, w] to pictures [B, 3, h*2**(n-1), w*2**(n-1)], n = len(ch_mult), not clamped."""

    def __init__(self, ch: int, ch_mult: tuple[int, ...], z_channels: int, dropout: float = 0.0, num_groups: int = 32):
        super().__init__()
        sizes = [ch * mult for mult in ch_mult]
        last = len(ch_mult) - 1
        self.conv_in = nn.Conv2d(z_channels, sizes[-1], 3, padding=1)
        self.mid = Middle(sizes[-1], dropout, num_groups)
        self.up = nn.ModuleList(
            UpLevel(
                sizes[min(i + 1, last)],
                sizes[i],
                3,
                i == last,
                dropout,
                num_groups,
                resample=sizes[i] if i > 0 else None,
            )
            for i in range(len(ch_mult))
        )
        self.norm_out = group_norm(sizes[0], num_groups)
        self.conv_out = nn.Conv2d(sizes[0], 3, 3, padding=1)

    def forward(self, z_BChw: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z_BChw))
        for level in reversed(self.up):
            h = level(h)
        return self.conv_out(F.silu(self.norm_out(h)))
