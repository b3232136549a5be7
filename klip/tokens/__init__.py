"""Texts as numbers: the vocabulary, the budget of tokens, and packed batches."""
