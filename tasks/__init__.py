"""The eleven tasks: their data sets, protocol, training, predictions and metrics, and the synthetic world.

Tasks know encoders and records, not where they run: no command line, no scheduling, no folders of a run.
Modules that plan (`catalog`, `protocol`, `splits`, `datasets`) never import torch.
"""
