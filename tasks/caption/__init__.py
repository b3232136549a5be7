"""Captioning: one sentence about a whole image (section 8 of the task specification).

`data` and `score` never import torch: a leaderboard scores stored captions without it.
"""
