from study.results.runs_table import *  # noqa: F403
