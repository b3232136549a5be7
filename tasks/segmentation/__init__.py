"""Segmentation: a land-cover class for every pixel of a SAR scene (section 5 of the task specification).

`data` and `score` never import torch: a leaderboard scores stored masks without it. What is here: tiles, the mask
transformer, its loss, and the scores; readers, masks and pixel metrics stand beside it in `tasks`.
"""
