"""Do tickets by executors whose jobs live outside of the platform: begin a job, look at it, end one that nobody wants.

Consumes job.due, which is committed with each assignment to the platform's own worker, with the end of each of its
attempts, and with the wake-ups of its tickets; and clock.ticked, for jobs of which nobody has said that they are over.
Emits job.leaked for one that nobody could end. What an attempt comes to is reported as any worker reports it.
Gives up on a job that cannot be begun after four tries, each after ten seconds; on one that cannot be looked at never,
before its ticket times out; on one that cannot be ended after four tries.
"""

from functions._core.events.jobs import JobDue
from functions._executors.own_jobs import OwnJobs


async def run_executor(jobs: OwnJobs, due: JobDue | str | None) -> str | None:
    """Look at the jobs of a ticket, or at a page of all of them, behind a key; return where the next page begins."""
    if isinstance(due, JobDue):
        await jobs.due(due)
        return None
    return await jobs.look_around(due)
