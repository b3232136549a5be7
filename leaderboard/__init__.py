"""A submission: packed from a run, verified by scoring its predictions again, ranked and published.

Knows tasks and results, never the harness: a verifier needs no models, no training and no data beyond the truth.
"""
