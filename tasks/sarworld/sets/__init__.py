"""One module per data set of the world: what its images show, and how its files are laid out.

Each module offers a `Maker`. A maker draws one item at a time, tells the truth about an item without drawing it, and
writes the tables that stand beside the images once all items are known.
"""
