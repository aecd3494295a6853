"""A search beyond the grid: points are proposed while others run, and stand in the tracker as soon as they are.

points     what was proposed, and how each point stands: out of one snapshot of the tracker
sampler    Optuna, told all that is known: the next point
stopping   which points are too poor to go on
search     makes the jobs: what is left of the proposed points first, then a new point
export     a file that optuna-dashboard opens
"""
