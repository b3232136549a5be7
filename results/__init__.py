"""What the paper reported and what a run recorded: records, statistics, comparison, tables, figures.

Works from numbers alone: metrics come in as values or functions, models and tasks as names.
Nothing that trains, predicts or reads images may enter this room.
"""
