"""The two MLP flavours."""

from torch import Tensor, nn
from torch.nn import functional as F


class GatedMLP(nn.Module):
    """llama: down( silu(gate(x)) * up(x) ), no biases."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.gate_proj = nn.Linear(dim, hidden, bias=False)
        self.up_proj = nn.Linear(dim, hidden, bias=False)
        self.down_proj = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class GeluMLP(nn.Module):
    """gpt2: fc2( gelu(fc1(x)) ) with the tanh approximation."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


def build_mlp(flavour: str, dim: int, mlp_ratio: float) -> nn.Module:
    """MLP of a flavour; llama's width is two thirds of the ratio, rounded to a multiple of 256 as published."""
    if flavour == "llama":
        return GatedMLP(dim, 256 * int((dim * mlp_ratio * 2 / 3 + 255) // 256))
    return GeluMLP(dim, round(dim * mlp_ratio))
