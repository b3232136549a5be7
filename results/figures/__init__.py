"""Figures from numbers: each is a picture and the table of numbers it was drawn from.

Nothing here reads a data set or a model; pixels of images come in as arrays. Charts of pages are SVG text, pictures
with pixels are PNG through Pillow, and the figures of the paper's kind are PNG through matplotlib, all of them
without a time stamp and independent of the user's settings, so the same numbers give the same bytes.
"""
