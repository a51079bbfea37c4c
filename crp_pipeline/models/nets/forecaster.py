"""A whole network: raw features in, answers out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crp_pipeline.models.nets.body import Body
from crp_pipeline.models.nets.heads import Head
from crp_pipeline.models.nets.scaling import Scaling


class Forecaster(nn.Module):
    """Scaling, a body and one or more heads."""

    def __init__(self, scaling: Scaling, body: Body, heads: Sequence[Head]) -> None:
        super().__init__()
        self.scaling, self.body = scaling, body
        self.heads = nn.ModuleList(heads)

    def logits(self, x: Tensor) -> list[Tensor]:
        """Logits of each head for (batch, time, features): (batch, time, logits) or, of a closed window, (batch, 1, logits)."""
        states = self.body(self.scaling(x))
        return [head(states) for head in self.heads]

    def answers(self, x: Tensor) -> Tensor:
        """Outputs of all heads side by side: (batch, time, outputs) or (batch, 1, outputs)."""
        pairs = zip(self._heads(), self.logits(x), strict=True)
        return torch.cat([head.answer(logits) for head, logits in pairs], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs at the last bar of each window: (batch, outputs)."""
        return self.answers(x)[:, -1]

    def losses(self, x: Tensor, y: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of each head over the last bars: summed loss, summed weight and summed weight of right answers; (heads,) each.

        `y` is (batch, bars, heads), `weight` (batch, bars); the states of earlier bars only warm the network up.
        """
        sums = []
        for number, (head, logits) in enumerate(zip(self._heads(), self.logits(x), strict=True)):
            scored, came = logits[:, -y.shape[1] :].float(), y[..., number]
            losses, known = head.loss(scored, came)
            counted = weight * known
            sums.append(torch.stack([(losses * counted).sum(), counted.sum(), (head.is_right(scored, came) * counted).sum()]))
        loss, mass, right = torch.stack(sums).unbind(dim=1)
        return loss, mass, right

    def _heads(self) -> list[Head]:
        return [head for head in self.heads if isinstance(head, Head)]
