"""The method of the paper: corpus from scenes, eight-segment texts, the KLIP model, its pre-training and SCIO.

Knows encoders and records; no benchmark task, data set reader or command of the harness may enter this room.
"""
