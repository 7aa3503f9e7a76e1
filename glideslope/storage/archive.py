"""Files of tensors and plain data: written whole or not at all, read without running any code."""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glideslope.errors import UserError, reason
from glideslope.storage.atomic_files import replacing


def write(path: Path, content: Mapping[str, Any], former: Path | None = None) -> None:
    """Write tensors, arrays (they become tensors) and plain data.

    Args:
        path: replaced in one step once the new file is on disk; whatever fails, it is as it was.
        content: nested mappings, lists and tuples.
        former: where a file that `path` replaces is kept.

    Raises:
        OSError: it can't be written; the disk may be full.
        TypeError: an array's entries are no numbers.
    """
    plain = _tensors(content)
    with replacing(path, former) as temporary, temporary.open("wb") as file:
        try:
            torch.save(plain, file)
        except RuntimeError as error:
            # PyTorch turns what went wrong with the file into an error about positions in it.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def read(path: Path, device: str = "cpu") -> Any:
    """Read what `write` wrote; every byte is checked first.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it can't be read, is damaged, or holds anything but tensors and plain data.
    """
    try:
        # PyTorch doesn't look at the archive's checksums: a flipped bit in a weight would go unnoticed.
        with zipfile.ZipFile(path) as archive:
            # Nothing that `write` writes is compressed; a compressed file might fill the memory.
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise zipfile.BadZipFile("compressed")
            broken = archive.testzip()
        if broken is not None:
            raise zipfile.BadZipFile(f"checksum of {broken}")
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: can't be read: {reason(error)}") from error
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: is damaged, or holds more than tensors and plain data: not loaded") from error
    except Exception as error:  # damaged bytes make the readers raise errors of nearly every kind
        raise UserError(f"{path}: is damaged or of another kind: not loaded") from error


def fingerprint(path: Path) -> int:
    """Return a number made of the checksums of everything in a file that `write` wrote, without reading it all.

    Raises OSError or zipfile.BadZipFile.
    """
    with zipfile.ZipFile(path) as archive:
        checksums = sorted((entry.filename, entry.CRC) for entry in archive.infolist())
    return zlib.crc32(repr(checksums).encode())


def _tensors(value: Any) -> Any:
    """Return `value` with tensors in place of arrays and plain numbers in place of NumPy's."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        # A copy in native byte order: an array may be read-only, or a small view of a large one.
        return torch.from_numpy(value.astype(value.dtype.newbyteorder("="), order="C"))
    if isinstance(value, dict):
        # In place of the class only where it is a plain dict: a network's state is an OrderedDict.
        return type(value)((key, _tensors(part)) for key, part in value.items())
    if type(value) in (list, tuple):
        return type(value)(map(_tensors, value))
    return value
