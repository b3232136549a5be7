"""Things that stand out of the clutter: parametric plan views with their scatterers and their truth.

A target knows its own frame only (nose or bow along u); `plan.placed` puts it on the ground.
Nothing here knows chips, scenes or files.
"""
