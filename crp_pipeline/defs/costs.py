"""What trades cost by their delay: that of the models which decide on them."""

from crp_pipeline.places import Places
from crp_pipeline.settings import PipelineSettings
from crp_pipeline.storage import read_manifest


def latencies_ms(coin: str, settings: PipelineSettings, places: Places) -> dict[str, float]:
    """`mean_ms` and `p90_ms` of all models one after the other, as they were measured when they were stored.

    A card that was written without a mean counts at its slowest tenth.
    """
    speeds = [speed for name in settings.roster for speed in read_manifest(places.bundle(coin, name))["latency"]]
    native = [speed for speed in speeds if speed["runtime"] == "native"]
    return {
        "mean_ms": float(sum(speed.get("mean_ms", speed["p90_ms"]) for speed in native)),
        "p90_ms": float(sum(speed["p90_ms"] for speed in native)),
    }
