"""Who executes the runs of a phase: this process, several processes of this machine, or a Ray cluster.

A coin's run is the unit everywhere: its steps share a process, since a process of their own costs each of them seconds, and
what happens to a process happens to one coin. Results do not depend on the choice: the same job, settings and seeds, and the
same number of threads for linear algebra.
"""

from crp_pipeline.runners.one_run import Ended, Runner, Task
from crp_pipeline.runners.ray_cluster import RayCluster
from crp_pipeline.runners.this_process import ThisProcess
from crp_pipeline.runners.workers import Workers

__all__ = ["Ended", "RayCluster", "Runner", "Task", "ThisProcess", "Workers"]
