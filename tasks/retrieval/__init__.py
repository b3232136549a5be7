"""Image-text retrieval: images rank texts and texts rank images (section 7 of the task specification).

`data` and `score` never import torch: a leaderboard scores stored predictions without it.
"""
