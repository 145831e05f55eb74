"""How the stages of a preparation are carried out: jobs with keys, executors, groups of equal keys."""

from flyweight.corpus.engine.executors import Executor, InProcess, LocalPool, open_executor
from flyweight.corpus.engine.jobs import Job, Report, finished, finished_folder
from flyweight.corpus.engine.keys import CODE, job_key
from flyweight.corpus.engine.scheduler import Turn, run_jobs

__all__ = [
    "CODE",
    "Executor",
    "InProcess",
    "Job",
    "LocalPool",
    "Report",
    "Turn",
    "finished",
    "finished_folder",
    "job_key",
    "open_executor",
    "run_jobs",
]
