"""The command line: plan what to run, run it, resume it, report it.

Brings models, tasks and results together; decides what is left to do before anything heavy is loaded. Nothing that
computes a feature, a loss or a metric may enter this room.
"""
