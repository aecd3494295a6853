"""A search beyond the grid: points are proposed while others run, and stand in the tracker as soon as they are.

points       what was proposed, and how each point stands: out of one snapshot of the tracker
sampler      Optuna, told all that is known: the next point
stopping     which trials are too poor to go on
search       makes the jobs: what is left of the proposed points first, then a new point
forecast     how far a search is, and what it would still do
importances  how much each setting matters for each objective
export       a file that optuna-dashboard opens
"""
