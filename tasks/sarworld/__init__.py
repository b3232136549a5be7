"""Sarworld: a small synthetic SAR world with real signal and exact truth, written in the real data sets' layouts.

Every task runs on it out of the box. It makes no claim of fidelity, and its data sets say so.
It knows no models and no tasks; drawing is imported only when something is drawn.
"""
