"""Readers of the data sets in their real on-disk layouts: plain records out, nothing task-specific downstream.

Readers never change their input folders and never import torch.
"""

from tasks.datasets.catalogue import DataOptions, DataSource, find_source, read_index
from tasks.datasets.index import BadFile, DatasetIndex, ImageEntry

__all__ = ["BadFile", "DataOptions", "DataSource", "DatasetIndex", "ImageEntry", "find_source", "read_index"]
