"""Six tasks of questions about an image: one model each, asked in words and answered in words (section 9).

Importing `data` and `score` never imports torch.
"""
