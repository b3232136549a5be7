"""One resumable training loop for everything that this room trains: KLIP and the unimodal baselines.

What is trained comes in as an `Objective` (`engine.py`); the loop gives it optimiser, schedule, precision, several
processes, checkpoints and a log. No loss, no model and no corpus enters this folder.
"""
