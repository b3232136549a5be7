"""Unimodal baselines on the images of a corpus, and a contrastive one on its template texts.

Each file is one objective: a module that holds a plain ViT of the adapters and gives a loss. Nothing here knows how
it is trained (`klip.training`) or where the encoder goes afterwards (`klip.export`).
"""
