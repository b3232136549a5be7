"""Pages from records: one per cell, one per data set with its models side by side, and an index with the paper's table.

Plain HTML that needs no network and no script; pictures and the numbers they were drawn from lie beside each page.
Pixels of images come in through a function, so nothing here reads a data set; the same records give the same bytes.
"""
