"""Formats that cannot hold code: safetensors and NumPy archives."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from adapters.containers.faults import unreadable
from foundation.errors import CellError

if TYPE_CHECKING:
    from torch import Tensor


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file; their bytes are mapped, not read, until somebody looks."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise unreadable(path, error) from error
    return tensors


def read_npz(path: Path) -> dict[str, Tensor]:
    """All arrays of a NumPy archive; arrays of Python objects are refused, for they are pickles."""
    import numpy as np
    import torch

    tensors = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                array = archive[name]
                if array.dtype.kind not in "fiub":
                    continue
                native = array.astype(array.dtype.newbyteorder("="), copy=False)  # torch knows one byte order only
                tensors[name] = torch.from_numpy(np.require(native, requirements=("C", "W")))
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise unreadable(path, error) from error
        raise CellError(
            "the archive holds Python objects, and foreign objects are never loaded",
            where=str(path),
            way_out="save the arrays alone, as numbers",
        ) from error
    except (zipfile.BadZipFile, OSError, EOFError, KeyError, TypeError, NotImplementedError, RuntimeError) as error:
        raise unreadable(path, error) from error
    return tensors
