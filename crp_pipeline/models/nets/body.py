"""What all bodies have in common."""

from torch import nn


class Body(nn.Module):
    """Maps (batch, time, features) to (batch, time, width), or of a closed window to (batch, 1, width)."""

    width: int
    """Numbers per bar that the heads read."""
