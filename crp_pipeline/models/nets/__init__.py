"""Networks: `nn.Module` only, each a `forward` that reads top to bottom.

Every body maps (batch, time, features) that are already scaled to (batch, time, width). A *causal* body's output at a bar
depends on that bar and earlier ones only, so that one pass over a chunk of bars gives every bar's forecast at once; the
bidirectional one gives the last bar only, (batch, 1, width).
"""
