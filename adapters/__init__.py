"""A model by its name: one encoder with its weights, and the input contract that goes with them.

Cards (`card.py`, `catalog.toml`) are data and never import torch; encoders are built only by `load`.
No task, data set, metric or record may enter this room.
"""
