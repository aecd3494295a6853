"""Safetensors files of named tensors and JSON, written atomically and verified on reading."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cameras import atomic

KEY = "json"  # the only metadata entry, because safetensors writes several in random order


def _digest(tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> str:
    """SHA-256 over the header and the names, types, shapes and bytes of all tensors."""
    sha = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def write(path: str | os.PathLike[str], kind: str, tensors: Mapping[str, Tensor], document: Mapping[str, Any]) -> None:
    """Writes tensors (of any device and layout) and a JSON-able document, replacing `path` atomically.

    Equal contents give equal bytes. `kind` names what the file holds; `read` requires the same kind.
    """
    path = Path(path)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = json.loads(json.dumps({"kind": kind, "document": document}))  # as `read` finds it: all keys are strings
    metadata = {KEY: json.dumps({**header, "sha256": _digest(plain, header)}, sort_keys=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(path, save(plain, metadata=metadata))


def read(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the tensors (on the CPU) and the document of a file that `write` wrote with the same `kind`.

    Raises:
        ValueError: the file is missing, truncated, altered, of another kind, or was not written by `write`.
        OSError: the file cannot be read at the moment.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[KEY])
            # Copies, because safetensors returns views of the file, which change when it is overwritten.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
        sha256 = header.pop("sha256")
        found, document = header["kind"], header["document"]
        intact = _digest(tensors, header) == sha256
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: no {kind} file, or a truncated one ({error})") from error
    if not intact:
        raise ValueError(f"{path}: damaged: the contents do not match the checksum written with them")
    if found != kind:
        raise ValueError(f"{path}: holds {found!r}, not {kind}")
    if not isinstance(document, dict):
        raise ValueError(f"{path}: its document is no JSON object")
    return tensors, document
