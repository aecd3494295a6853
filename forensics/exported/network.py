"""Export a NIP and a FAN to ONNX, and check that what was exported computes the same.

A NIP's file develops a Bayer stack (1,4,height,width) into (1,3,2·height,2·width), all at once, so that a large
photograph needs tiles. Its metadata say how these must lie: they begin at a multiple of ``period`` cells, and overlap
by ``reach`` cells on every side. A FAN's file takes photographs (N,3,height,width) in [0,1] and returns logits
(N,classes); its metadata name the classes.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from cameras import atomic
from forensics.exported.session import BAYER, DEVELOPED, LOGITS, RECEIVED, open_session, run
from forensics.fan import FAN
from forensics.panel import to_8_bits
from forensics.whole import reach
from models.nip import NIP

EQUAL = 0.999  # least share of 8-bit values in which an exported NIP must agree with the network
CLOSE = 1e-4  # largest difference of logits of an exported FAN, as a share of the largest logit, or of 1
EXAMPLE = 48  # cells on a side of the stack by which a NIP is traced; others will be of other sizes


@torch.no_grad()
def export_nip(nip: NIP, path: Path, stacks: Sequence[Tensor]) -> float:
    """Write a NIP as ONNX.

    Args:
        nip: on the CPU, set to evaluation.
        path: of the file, written only if it passes the check.
        stacks: Bayer stacks (1,4,h,w) of the camera that it is checked on, best of several sizes.

    Returns:
        The share of 8-bit values of the developed stacks that equal those of the network.

    Raises:
        ValueError: it is less than :data:`EQUAL`.
    """
    with atomic.writing(path) as part:
        about = {"period": str(nip.period), "reach": str(reach(nip))}
        _export(nip, torch.rand(1, 4, EXAMPLE, EXAMPLE), part, (BAYER, DEVELOPED), {2: "height", 3: "width"}, about)
        share = equal_share(nip, part, stacks)
        if share < EQUAL:
            raise ValueError(f"the ONNX file of the {nip.name} equals it in {share:.2%} of all 8-bit values alone")
    return share


@torch.no_grad()
def export_fan(fan: FAN, path: Path, classes: Sequence[str], received: Tensor) -> float:
    """Write a FAN as ONNX.

    Args:
        fan: on the CPU, set to evaluation.
        path: of the file, written only if it passes the check.
        classes: names of the FAN's classes.
        received: photographs (N,3,H,W) in [0,1] that it is checked on.

    Returns:
        The largest difference of logits.

    Raises:
        ValueError: it is more than :data:`CLOSE` allows, or a decision differs.
    """
    with atomic.writing(path) as part:
        example, about = torch.rand(2, 3, EXAMPLE, EXAMPLE), {"classes": ",".join(classes)}
        _export(fan, example, part, (RECEIVED, LOGITS), {0: "photographs", 2: "height", 3: "width"}, about)
        expected, found = fan(received), run(open_session(part), received)
        difference = (expected - found).abs().max().item()
        if difference > CLOSE * max(1.0, expected.abs().max().item()) or not torch.equal(
            expected.argmax(1), found.argmax(1)
        ):
            raise ValueError(f"the ONNX file of the FAN differs from it: its logits by up to {difference:.2g}")
    return difference


@torch.no_grad()
def equal_share(nip: NIP, path: Path, stacks: Sequence[Tensor]) -> float:
    """Compute the share of 8-bit values in which an exported NIP agrees with the network."""
    session = open_session(path)
    equal = [to_8_bits(nip(stack)) == to_8_bits(run(session, stack)) for stack in stacks]
    return torch.cat([each.flatten() for each in equal]).float().mean().item()


def _export(
    network: nn.Module,
    example: Tensor,
    path: Path,
    names: tuple[str, str],
    sizes: Mapping[int, str],
    about: Mapping[str, str],
) -> None:
    import onnx

    given, found = names
    exporter = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = exporter.level
    exporter.setLevel(logging.ERROR)  # it warns of operators of libraries that are not here
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                network.eval(),
                (example,),
                input_names=[given],
                output_names=[found],
                dynamic_shapes=(dict(sizes),),
                dynamo=True,
                verbose=False,
            )
    finally:
        exporter.setLevel(level)
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, dict(about))
    path.write_bytes(model.SerializeToString(deterministic=True))
