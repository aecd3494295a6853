"""The words that go with the figures of an analysis: for people who have not read a paper."""

from forensics.analysis.analyse import Analysis, Result

HEADLINES: dict[Result, str] = {
    "native": "Native: nothing was found",
    "altered": "Altered",
    "altered in part": "Altered in part",
    "cannot tell": "Cannot tell",
}

# How strongly a likelihood ratio supports a proposition: ENFSI Guideline for Evaluative Reporting (2015), by the power
# of ten from which on.
SUPPORT = (
    (6.0, "extremely strong support"),
    (4.0, "very strong support"),
    (3.0, "strong support"),
    (2.0, "moderately strong support"),
    (1.0, "moderate support"),
    (0.301, "weak support"),  # a ratio of 2
)
LARGEST = 6  # power of ten up to which a ratio is written out

# What the manipulations do, for people; others are called by their names.
DONE = {
    "native": "nothing after the camera",
    "sharpen": "sharpened",
    "gaussian": "blurred",
    "jpeg": "saved as JPEG once more",
    "resample": "made smaller and larger again",
    "awgn": "noise added",
    "gamma": "brightness changed",
    "median": "smoothed by a median",
}


def done(name: str) -> str:
    """What a class of the FAN means: ``jpeg:80`` → saved as JPEG once more; the name itself if it is not known."""
    return DONE.get(name.partition(":")[0], name)


def support(log10_lr: float) -> str:
    """What a likelihood ratio supports, and how strongly, in one sentence."""
    times, towards = _times(abs(log10_lr)), "altered" if log10_lr > 0 else "native"
    ratio = times if log10_lr > 0 else f"1 to {times}"
    strength = next((words for least, words in SUPPORT if abs(log10_lr) >= least), None)
    if strength is None:
        return f"A likelihood ratio of {ratio} supports neither native nor altered."
    return f"A likelihood ratio of {ratio} is {strength} for {towards}."


def _times(log10: float) -> str:
    if log10 > LARGEST:
        return "more than a million"
    times = float(f"{10**log10:.2g}")  # two digits say enough
    return f"{times:g}" if times < 10 else f"{times:,.0f}"


def percent(share: float) -> str:
    """A share as people read it: 0.004 → 0.4 %, and never 0 % or 100 % of what is not quite so."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    if share < 0.001:
        return "< 0.1 %"
    if share > 0.999:
        return "> 99.9 %"
    return f"{100 * share:.{0 if 0.1 <= share <= 0.99 else 1}f} %"


def threshold(analysis: Analysis) -> str:
    """How the likelihood ratio compares with the threshold; empty where there is none."""
    if analysis.log10_threshold is None or analysis.as_high is None:
        return ""
    return (
        f"A ratio as high is seen in {percent(analysis.as_high)} of native photographs of this pipeline. "
        f"At a false-alarm rate of {100 * analysis.false_alarms:g} %, log₁₀ LR must be above "
        f"{analysis.log10_threshold:.2f} for a photograph to be called altered."
    )


def sentence(text: str) -> str:
    """A text with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""
