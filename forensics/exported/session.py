"""An ONNX file run by onnxruntime on the CPU, and a NIP that develops with one."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.nip import NIP

BAYER, DEVELOPED = "bayer", "developed"
RECEIVED, LOGITS = "received", "logits"


def open_session(path: Path) -> Any:
    """Open an ``onnxruntime.InferenceSession`` with as many threads as torch has."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; a warning is for who writes graphs by hand
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(session: Any, images: Tensor) -> Tensor:
    """Compute the only output of the only input, both float32 on the CPU."""
    (given,) = session.get_inputs()
    (found,) = session.run(None, {given.name: images.contiguous().numpy()})
    return torch.from_numpy(found)


class SessionNIP(NIP):
    """A NIP that develops with an exported file in place of its own network.

    Args:
        path: of the ONNX file.
        original: the NIP that was exported. It answers for unknown cells (NaN), by which
            :func:`forensics.whole.reach` finds out how tiles must overlap: 8 bits have none.
    """

    def __init__(self, path: Path, original: NIP) -> None:
        super().__init__(original.settings["cfa"], original.settings["cam2srgb"])
        self.original = original
        self.period = original.period
        self.session = open_session(path)

    def forward(self, bayer: Tensor) -> Tensor:
        if bayer.isnan().any():
            return self.original(bayer)
        return run(self.session, bayer.float().cpu()).to(bayer.device)
