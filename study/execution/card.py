"""The memory of a GPU that a job computes on. On a CPU there is nothing to do."""

import gc

import torch

from study.jobs import Context

GB = 1e9


def prepare(context: Context) -> None:
    """Limit this process to the job's share of the card, and measure its peak from here."""
    if context.device == "cpu":
        return
    whole = torch.cuda.get_device_properties(context.device).total_memory
    share = 1.0 if context.memory is None else context.memory / whole
    torch.cuda.set_per_process_memory_fraction(share, context.device)
    torch.cuda.reset_peak_memory_stats(context.device)


def peak(context: Context) -> dict[str, float]:
    """The metric ``gpu_peak_gb``: the most that this process has held of the card since :func:`prepare`."""
    if context.device == "cpu":
        return {}
    return {"gpu_peak_gb": torch.cuda.max_memory_reserved(context.device) / GB}


def release(context: Context) -> None:
    """Give back what the job held.

    Raises:
        RuntimeError: of the job's last work on the card, which nobody has waited for.
    """
    if context.device == "cpu":
        return
    torch.cuda.synchronize(context.device)
    gc.collect()
    torch.cuda.empty_cache()


def figures(context: Context) -> str:
    """What this process held of the card at most, and what there is."""
    if context.device == "cpu":
        return ""
    card = torch.cuda.get_device_properties(context.device)
    most = torch.cuda.max_memory_reserved(context.device)
    return f"at most {most / GB:.1f} GB were in use of the {card.total_memory / GB:.1f} GB of this {card.name}"
