"""The depot, once a week: generations that nobody goes back to are forgotten, and the objects that no other names."""

import dagster as dg

from crp_pipeline.depot import Depot
from crp_pipeline.settings import PipelineSettings

PRUNE = "prune_depot"
ON, OFF = dg.DefaultScheduleStatus.RUNNING, dg.DefaultScheduleStatus.STOPPED


def schedules(settings: PipelineSettings) -> list[dg.ScheduleDefinition]:
    """`prune_depot`, on Sundays at 12:00 UTC, with the job of that name; none where no `storage` is shared."""
    if settings.storage is None:
        return []
    status = ON if settings.automation.begins != "by_hand" else OFF
    job = _job(settings.storage, settings)
    return [
        dg.ScheduleDefinition(name=PRUNE, job=job, cron_schedule="0 12 * * 0", execution_timezone="UTC", default_status=status)
    ]


def _job(url: str, settings: PipelineSettings) -> dg.JobDefinition:
    @dg.op(description="Forget old generations of every coin; nothing younger than a day, and nothing that the registry keeps.")
    def forget_old_generations(context: dg.OpExecutionContext) -> None:
        n_generations, n_objects = Depot(url).prune(now=settings.present())
        context.log.info(f"forgotten: generations {n_generations}, objects {n_objects}")
        context.add_output_metadata({"generations": n_generations, "objects": n_objects})

    @dg.job(name=PRUNE, executor_def=dg.in_process_executor, description="Forget what is old in the shared storage.")
    def job() -> None:
        forget_old_generations()

    return job
