"""Texts and questions from boxes and masks (section 6 of the task specification).

Pure functions of annotations, for real and synthetic data alike: same input, same bytes, on every machine. Nothing here
opens an image, knows a data set by its name or draws a random number.
"""
