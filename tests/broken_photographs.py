"""Files that are no photographs, as people have them, and a word of the reason why each is refused."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from cameras.dng import write_dng
from cameras.simulate import PRESETS


def pattern(height: int = 24, width: int = 40) -> np.ndarray:
    """Noise (H,W,3) uint8: every pixel of a picture can be told from its neighbours."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def large_png(width: int, height: int) -> bytes:
    """A PNG file that says to be of this size; its pixels are those of a small one."""
    content = io.BytesIO()
    Image.new("L", (8, 8)).save(content, "png")
    png = content.getvalue()
    head = b"IHDR" + struct.pack(">II", width, height) + png[24:29]
    return png[:12] + head + struct.pack(">I", zlib.crc32(head)) + png[33:]


def write_broken_photographs(folder: Path) -> dict[str, str]:
    """Writes the files; a word of the reason by the file's name."""
    rgb = Image.fromarray(pattern())
    inverse = Image.fromarray(255 - pattern())
    transparent = rgb.convert("RGBA")
    transparent.putpixel((3, 5), (0, 0, 0, 254))
    transparent.save(folder / "transparent.png")
    transparent.save(folder / "transparent.webp", lossless=True, exact=True)
    rgb.quantize(16).save(folder / "palette.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    rgb.convert("CMYK").save(folder / "cmyk.tif")
    rgb.convert("1").save(folder / "fax.tif")
    Image.fromarray(pattern()[..., 0].astype(np.uint16)).save(folder / "deep.png")
    Image.fromarray(pattern()[..., 0].astype(np.uint16)).save(folder / "deep.tif")
    rgb.save(folder / "animated.webp", save_all=True, append_images=[inverse])
    rgb.save(folder / "animated.png", save_all=True, append_images=[inverse])
    rgb.save(folder / "gif.jpg", "gif", save_all=True, append_images=[inverse])
    rgb.save(folder / "icon.png", "ico")
    rgb.save(folder / "pages.tif", save_all=True, append_images=[rgb])
    for suffix in ("png", "jpg", "webp", "tif", "avif"):
        whole = io.BytesIO()
        rgb.save(whole, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
        (folder / f"truncated.{suffix}").write_bytes(whole.getvalue()[:-300])
    (folder / "text.jpg").write_text("no picture")
    (folder / "empty.tif").touch()
    (folder / "panorama.png").write_bytes(large_png(20_001, 10_000))
    (folder / "poster.png").write_bytes(large_png(60_000, 50_000))
    write_dng(folder / "renamed.tif", pattern()[..., 0].astype(np.uint16) + 300, PRESETS["sim-rggb"])
    return {
        "transparent.png": "transparent",
        "transparent.webp": "transparent",
        "palette.png": "type P",
        "cmyk.jpg": "CMYK",
        "cmyk.tif": "CMYK",
        "fax.tif": "type 1",
        "deep.png": "I;16",
        "deep.tif": "I;16",
        "animated.webp": "2 pictures",
        "animated.png": "2 pictures",
        "gif.jpg": "no JPEG",
        "icon.png": "no JPEG",
        "pages.tif": "2 pictures",
        "truncated.png": "truncated",
        "truncated.jpg": "truncated",
        "truncated.webp": "cannot be read",
        "truncated.tif": "cannot be read|no JPEG",
        "truncated.avif": "cannot be read|no JPEG",
        "text.jpg": "no JPEG",
        "empty.tif": "no JPEG",
        "panorama.png": "more than 200 megapixels",
        "poster.png": "more than 200 megapixels",
        "renamed.tif": "RAW file",
    }
