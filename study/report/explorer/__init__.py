"""What the section on asking embeds: the trials as JSON, a script in three files, and its style.

data.py         every finished trial as columns of small numbers
questions.js    which trials are picked, and how MLflow and the command ``best`` are asked for just these
plot.js         fidelity against accuracy: points, fronts, a region to drag
controls.js     what the reader picks, and what is written beside the plot
"""
