"""A registered version made again from what it names as its ingredients, and held against itself bit for bit.

    registered -> look_for -> rebuild

What is compared: features, labels, splits, selection, every model's out-of-fold predictions, its final model's answers to its
golden inputs, the stack and its decisions. What is not: trades, sentinels and the verdict, which judge a version and are no
part of it; so neither settled funding nor finer candles are looked for. The settings are those on the version's card, threads
among them; of the present ones only the places count. Every model is trained anew: no record of earlier nights is read, and
nothing that is stored is written to.

Bits depend on the processor and the device as well, and on threads that a run asked of one model alone, which no card names:
where every ingredient is the same and a result is not, that is what is left.
"""

from crp_pipeline.replay.comparison import Replay, replay
from crp_pipeline.replay.line import Line

__all__ = ["Line", "Replay", "replay"]
