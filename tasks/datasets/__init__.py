"""Readers of the data sets in their real on-disk layouts: plain records out, nothing task-specific downstream.

Readers never change their input folders and never import torch.
"""

from tasks.datasets.catalogue import DataSource, find_source, read_index
from tasks.datasets.options import DataOptions
from tasks.datasets.records import BadFile, Box, DatasetIndex, ImageEntry

__all__ = ["BadFile", "Box", "DataOptions", "DataSource", "DatasetIndex", "ImageEntry", "find_source", "read_index"]
