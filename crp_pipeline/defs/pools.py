"""Whom training waits for: of the runs that have an asset in one pool, so many are under way at a time.

The limits are those of the instance: `concurrency` in dagster.yaml for both, `dagster instance concurrency set gpu 1` for one.
A run waits in the queue. Pools of single assets (`granularity: op`) would have it wait with its process, which spins meanwhile,
and one that is killed would keep its places. A night from the shell has no queue: it is told how many coins it takes at once.
"""

from crp_pipeline.models import MODEL_CLASSES
from crp_pipeline.settings import LimitsConfig

CPU_TRAINING, GPU = "cpu_training", "gpu"


def pool_of(model_type: str, limits: LimitsConfig) -> str:
    """The pool of a model's training: `gpu` for networks where the settings say that they are trained there."""
    asked_of = MODEL_CLASSES[model_type].variants.get("default")
    return GPU if limits.networks_on_gpu and hasattr(asked_of, "device") else CPU_TRAINING
