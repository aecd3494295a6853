"""Fidelity of dJPEG to libjpeg (Pillow), and its speed, with kornia's differentiable JPEG for comparison.

    python -m benchmarks.jpeg [--batch 20] [--size 128] [--threads 1] [--device cpu]

PSNR in dB, mean over photographs, of dJPEG's output against the pictures that libjpeg decodes. Time in ms of one batch,
forward and forward with backward, medians.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.timing import milliseconds
from channel import DifferentiableJPEG, encode
from models.fidelity import psnr

Codec = Callable[[torch.Tensor], torch.Tensor]


def photographs(size: int) -> torch.Tensor:
    """Returns crops (4, 3, size, size) uint8 of photographs that scikit-image ships."""
    from skimage import data

    sources = (data.astronaut()[:, 100:], data.astronaut()[220:], data.chelsea(), data.coffee()[100:])
    crops = [np.ascontiguousarray(source[:size, :size]) for source in sources]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--qualities", type=int, nargs="+", default=[10, 30, 50, 80, 95])
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    photos = photographs(256)
    images = torch.rand(arguments.batch, 3, arguments.size, arguments.size, device=arguments.device, requires_grad=True)
    print(f"batch {tuple(images.shape)}, {arguments.device}, {arguments.threads} thread(s)\n")
    qualities = arguments.qualities
    print(f"{'rounding':10}{'sampling':10}" + "".join(f"{f'q{q}, dB':>9}" for q in qualities), end="")
    print(f"{'fwd, ms':>10}{'+bwd, ms':>10}")

    def row(rounding: str, subsampling: str, codec: Callable[[int], Codec]) -> None:
        print(f"{rounding:10}{subsampling:10}", end="")
        for quality in qualities:
            reference = encode(photos, f"jpeg:{quality}:{subsampling}")
            score = psnr(codec(quality)(photos / 255), reference / 255).mean().item()
            print(f"{score:9.1f}", end="", flush=True)
        operator = codec(qualities[0])
        forward = milliseconds(lambda: operator(images), arguments.repeats, warmup=2)
        both = milliseconds(lambda: torch.autograd.grad(operator(images).sum(), images), arguments.repeats, warmup=2)
        print(f"{forward:10.1f}{both:10.1f}")

    for subsampling in ("4:4:4", "4:2:0"):
        for rounding in ("round", "soft", "sin", "harmonic"):

            def codec(quality: int, r: str = rounding, s: str = subsampling) -> Codec:
                module = DifferentiableJPEG(quality, r, s)
                return lambda x: module.to(x.device)(x)

            row(rounding, subsampling, codec)

    try:
        from kornia.enhance import jpeg_codec_differentiable
    except ImportError:
        return

    def kornia(quality: int) -> Codec:
        return lambda x: jpeg_codec_differentiable(x, x.new_full((len(x),), quality))

    row("kornia", "4:2:0", kornia)


if __name__ == "__main__":
    main()
