"""What 8 bits cost: the quantised NIP against the NIP, and whether the ONNX files compute the same."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from study.report.package_content import PackageContent
from study.report.parts import Section, note, paragraph, show
from study.report.tables import Table, as_printed, count, number

TITLE = "What 8 bits cost"
NONE = "This package has no ONNX files, and what 8 bits cost has not been measured (--no-onnx)."
ONNX = """The ONNX file of the NIP gives the same 8-bit value in {nip:.4f} % of all cases; the logits of that of the
FAN differ by {fan:.1g} at most."""
LOST = """With 8 bits the PSNR of the NIP changes by {psnr} dB, and the accuracy behind real encoders by {points}
percentage points."""
READING = """Weights and activations of the NIP with 8 bits, as a phone’s network processor computes; the first and last
convolution in floating point. Whole photographs ({}) behind the same real encoders; the FAN is the same."""
MEASURES = {"psnr": ("PSNR (dB)", 1, 2), "accuracy_real": ("Accuracy, real encoders (%)", 100, 1)}


def section(content: PackageContent) -> Section:
    if "int8" not in content.about:
        return Section(TITLE, [paragraph(NONE)])
    onnx, lost = content.about["onnx"], content.about["int8"]
    psnr, points = (
        number(scale * lost[name]["difference"], digits, sign=True) for name, (_, scale, digits) in MEASURES.items()
    )
    parts = [
        paragraph(LOST.format(psnr=psnr, points=points)),
        show(compared(lost)),
        note(READING.format(count(lost["photographs"], f"{lost['on']} photograph"))),
        paragraph(ONNX.format(nip=100 * onnx["nip"], fan=onnx["fan"]), "plain"),
    ]
    return Section(TITLE, parts)


def compared(lost: Mapping[str, Any]) -> Table:
    """A row per measure: in floating point, with 8 bits, and the difference."""
    rows = [{"measure": name, **lost[name]} for name in MEASURES]
    printed = []
    for name, (title, scale, digits) in MEASURES.items():
        before, after, difference = (scale * lost[name][kind] for kind in ("float", "int8", "difference"))
        printed.append(
            {
                ("", "Measure"): title,
                ("", "Floating point"): number(before, digits),
                ("", "8 bits"): number(after, digits),
                ("", "Difference"): number(difference, digits, sign=True),
            }
        )
    caption = "The NIP in floating point and with 8 bits"
    return Table("eight-bits", caption, as_printed(printed), pd.DataFrame(rows))
