"""One row of what a replay tells."""

from dataclasses import dataclass

NOT_TOLD = "not told"
GONE = "gone"
"""What is found where there is nothing left."""
UNKNOWN = "unknown"
"""What is found where this code does not know the name."""


@dataclass(frozen=True)
class Line:
    """An ingredient or a result: what the version recorded and what is there today."""

    name: str
    recorded: str
    found: str
    difference: str = ""
    """A sentence for where the two differ."""

    @property
    def is_same(self) -> bool:
        """Whether what is there is what was recorded."""
        return self.recorded == self.found
