"""Target classification: which of the classes of a data set a chip shows (section 3 of the task specification).

`data` and `score` never import torch: a leaderboard scores stored predictions without it.
"""
