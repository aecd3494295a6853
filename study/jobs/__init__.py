from study.jobs.job import *  # noqa: F403
