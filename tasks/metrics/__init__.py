"""Metrics of the tasks (section 11 of the task specification): pure functions of predictions and truth.

What is undefined is None with a reason, never 0 or -1; ties count against the model. Nothing here reads a file of a
data set or of a run, and nothing here learns.
"""
