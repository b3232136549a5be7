"""The texts of a corpus in versions that never overwrite each other (section 6.9 of the KLIP specification).

Version 0 is what was given; every later one is a short list of changed segments on top of its parent, and is there only
when its manifest is. Nothing is trained, scored or written anew in here.
"""
