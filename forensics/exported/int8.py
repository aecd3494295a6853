"""Quantise an exported NIP to 8 bits, as processors of phones compute networks: does the trace survive that?"""

import io
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from cameras import atomic
from cameras.pairs import Pairs
from forensics.exported.session import BAYER, SessionNIP
from forensics.fan import FAN
from forensics.panel import Panel, judge
from forensics.trial import Trial
from forensics.whole import develop_whole
from models.fidelity import psnr
from models.nip import NIP

PERCENTILE = 99.99  # of a feature's values that its range covers; rarer ones are clipped


def quantise(source: Path, path: Path, stacks: Sequence[Tensor]) -> None:
    """Write a NIP's ONNX file with weights and features of 8 bits: static QDQ, a scale for every channel of weights.

    All up to the first convolution, and from the last one on, stays float: with 8 bits there, too, few levels would be
    left of the developed photograph.

    Args:
        source: the exported NIP.
        path: of the quantised one.
        stacks: Bayer stacks (1,4,h,w) of training photographs, from which the range of every feature is taken.

    Raises:
        ValueError: the network has fewer than three convolutions.
    """
    import onnx
    from onnxruntime import quantization

    model = onnx.load(source)
    with tempfile.TemporaryDirectory() as folder, atomic.writing(path) as part, _silence():
        written = Path(folder) / "nip.onnx"
        quantization.quantize_static(
            model,
            written,
            _reader(stacks),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=_at_the_ends(model.graph.node),
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )
        part.write_bytes(written.read_bytes())


@contextmanager
def _silence() -> Iterator[None]:
    """The quantisation prints as it goes, and advises a preparation that changes nothing here."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(level)


def _at_the_ends(nodes: Iterable[Any]) -> list[str]:
    """The names of all nodes up to the first convolution, and from the last one on."""
    names, kinds = zip(*((node.name, node.op_type) for node in nodes), strict=True)
    convolutions = [place for place, kind in enumerate(kinds) if kind == "Conv"]
    if len(convolutions) < 3:
        raise ValueError(f"a NIP of {len(convolutions)} convolutions has none between the first and the last")
    return [*names[: convolutions[0] + 1], *names[convolutions[-1] :]]


def _reader(stacks: Sequence[Tensor]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[Tensor] = iter(stacks)

        def get_next(self) -> dict[str, Any] | None:
            stack = next(self.left, None)
            return None if stack is None else {BAYER: stack.contiguous().numpy()}

    return Reader()


@torch.no_grad()
def survival(
    path: Path,
    trial: Trial,
    pairs: Pairs,
    nip: NIP,
    fan: FAN,
    panel: Panel,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """Measure what a NIP's quantisation to 8 bits costs: whole photographs, behind real encoders, on the CPU.

    The photographs, windows and encoders are the same for both.

    Args:
        path: of the quantised NIP.
        trial, pairs, nip, fan, panel: as :func:`forensics.panel.judge` takes them. Test images are used where there
            are some.
        on_progress: called with the number of finished photographs, each counted once for every member and both NIPs.

    Returns:
        JSON-able: ``photographs`` (how many), ``on`` ("test" or "validation"), and for ``psnr`` (dB, mean over
        photographs) and ``accuracy_real`` (0 to 1) a mapping of ``float``, ``int8`` and their ``difference``.
    """
    on_test = trial.split.test > 0
    images = panel.images(trial, pairs.names, on_test)
    quantised = SessionNIP(path, nip).eval()
    found: dict[str, dict[str, float]] = {"psnr": {}, "accuracy_real": {}}
    done = 0
    for kind, each in (("float", nip), ("int8", quantised)):
        progress = lambda members, before=done: on_progress(before + members)  # noqa: E731
        verdict = judge(trial, pairs, each, fan, panel, on_test=on_test, on_progress=progress)
        done += len(images) * len(panel.codecs)
        found["accuracy_real"][kind] = verdict.accuracy()
        found["psnr"][kind] = fmean(_psnr(each, pairs, i, trial.training.precision) for i in images)
    for figures in found.values():
        figures["difference"] = figures["int8"] - figures["float"]
    return {"photographs": len(images), "on": "test" if on_test else "validation", **found}


def _psnr(nip: NIP, pairs: Pairs, i: int, precision: str) -> float:
    """PSNR of image i as a NIP develops it."""
    bayer, target = pairs.image(i)
    return psnr(develop_whole(nip, bayer, precision), target).item()
