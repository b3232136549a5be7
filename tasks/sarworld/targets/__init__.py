"""Things that stand out of the clutter: parametric plan views with their scatterers, and how they are set on ground.

A target knows its own frame only (nose or bow along u); `plan.placed` puts it on the ground. `wishes` says which
targets an image shall hold, `spacing` finds room for them, `setting` tells in words what came of it. Nothing here
knows chips, kinds of places or files.
"""
