"""What is tried again: the download from an exchange that was silent, and nothing else."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from crp_pipeline.errors import SilentExchangeError
from crp_pipeline.settings import LimitsConfig


@contextmanager
def asked_again(context: dg.AssetExecutionContext, limits: LimitsConfig) -> Iterator[None]:
    """Has the asset begun anew after a pause when the exchange in it was silent.

    Pause n is `exchange_pause_s` times 2**n - 1, one more or less by chance. Every other error, and the last silence, passes as
    it is: a broken contract is not mended by waiting. The run waits with its asset. These pauses outlast an outage of minutes;
    a request that fails is repeated within seconds by `candles.exchange`.
    """
    try:
        yield
    except SilentExchangeError as silence:
        if context.retry_number >= limits.exchange_retries:
            raise
        pauses = dg.RetryPolicy(
            max_retries=limits.exchange_retries,
            delay=limits.exchange_pause_s,
            backoff=dg.Backoff.EXPONENTIAL,
            jitter=dg.Jitter.PLUS_MINUS,
        )
        pause_s = pauses.calculate_delay(context.retry_number + 1)
        context.log.warning(f"{silence}; asked again in {pause_s:.0f} s")
        raise dg.RetryRequested(max_retries=limits.exchange_retries, seconds_to_wait=pause_s) from silence
