"""Places of the synthetic world: layouts of airports, ports and land.

A place takes a wish (what shall be seen) and a generator and gives a `ground.Layout`. What a sensor makes of it may
not enter here.
"""
