"""All files of a package for other programs, and what is known of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from cameras.pairs import Pairs
from forensics.exported.int8 import quantise, survival
from forensics.exported.network import export_fan, export_nip
from forensics.package import Package
from forensics.package_files import FAN_ONNX, NIP_INT8, NIP_ONNX
from forensics.panel import Panel, shrunk_to_8_bits, stack, to_8_bits, window_side
from forensics.whole import develop_whole

PHOTOGRAPHS = 8  # that a quantised NIP's ranges are taken from
CROP = 128  # cells on a side of what is taken of each


@torch.no_grad()
def export(
    package: Package,
    pairs: Pairs,
    panel: Panel,
    folder: Path,
    on_phase: Callable[[str], None] = lambda phase: None,
    on_progress: Callable[[int], None] = lambda done: None,
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Write NIP and FAN as ONNX, and the NIP with 8 bits, into a folder; check the former and measure the latter.

    Args:
        pairs: of the package's camera. Training photographs check and calibrate, test photographs measure.
        panel: of encoders behind which is measured.
        on_phase: called with what is done next.
        on_progress: as :func:`forensics.exported.int8.survival` calls it.

    Returns:
        The files by their names in a package, and what a package says about them, JSON-able: ``onnx`` with the share of
        equal 8-bit values of the ``nip`` and the largest difference of the logits of the ``fan``, and ``int8``, see
        :func:`forensics.exported.int8.survival`.

    Raises:
        ValueError: what was exported does not compute the same.
    """
    trial, nip, fan = package.trial, package.nip, package.fan
    files = {name: folder / name for name in (NIP_ONNX, FAN_ONNX, NIP_INT8)}
    train, _, _ = trial.split.images(pairs.names)
    stacks = [stack(pairs, int(i))[..., :CROP, :CROP] for i in train[:PHOTOGRAPHS]]
    on_phase("the NIP as ONNX")
    other_size = stacks[0][..., : CROP // 2 + 5, : CROP // 2 - 3]
    share = export_nip(nip, files[NIP_ONNX], [*stacks[:3], other_size])
    on_phase("the FAN as ONNX")
    native = to_8_bits(develop_whole(nip, stacks[0], trial.training.precision))
    side = window_side(trial)
    received = shrunk_to_8_bits(native, trial.channel)[..., :side, :side] / 255
    difference = export_fan(fan, files[FAN_ONNX], package.classes, received)
    on_phase("the NIP with 8 bits")
    quantise(files[NIP_ONNX], files[NIP_INT8], stacks)
    on_phase("what 8 bits cost")
    lost = survival(files[NIP_INT8], trial, pairs, nip, fan, panel, on_progress)
    return files, {"onnx": {"nip": share, "fan": difference}, "int8": lost}
