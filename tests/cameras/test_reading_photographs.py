"""Photographs are read as they are stored; what is none is refused in one line; what a file says about itself."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cameras.photographs import Header, PhotographError, header, photograph_files, read
from tests.broken_photographs import large_png, pattern, write_broken_photographs

LOSSLESS: list[tuple[str, dict[str, Any]]] = [
    ("png", {}),
    ("tif", {}),
    ("tiff", {"compression": "tiff_lzw"}),
    ("webp", {"lossless": True}),
]


def as_array(photograph: torch.Tensor) -> np.ndarray:
    assert photograph.dtype == torch.uint8 and photograph.shape[:2] == (1, 3)
    return photograph[0].movedim(0, -1).numpy()


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("suffix", "settings"), LOSSLESS)
def test_pixels_are_read_as_the_sensor_has_them(
    tmp_path: Path, suffix: str, settings: dict[str, Any], orientation: int
) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(pattern()).save(path, exif=exif_of(orientation), **settings)
    assert np.array_equal(as_array(read(path)), pattern())
    about = header(path)
    assert (about.height, about.width, about.orientation) == (24, 40, orientation)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("suffix", ["JPG", "avif", "webp"])
def test_lossy_files_are_read_as_they_are_stored(tmp_path: Path, suffix: str, orientation: int) -> None:
    turned, plain = tmp_path / f"turned.{suffix}", tmp_path / f"plain.{suffix}"
    Image.fromarray(pattern()).save(turned, exif=exif_of(orientation))
    Image.fromarray(pattern()).save(plain)
    assert torch.equal(read(turned), read(plain))
    about = header(turned)
    assert (about.height, about.width, about.orientation) == (24, 40, orientation)
    with Image.open(turned) as picture, Image.open(plain) as straight:
        seen = np.asarray(ImageOps.exif_transpose(picture))
        assert (seen.shape == np.asarray(straight).shape) == (orientation < 5), "the file does say it"


def test_the_content_of_a_file_is_read_as_the_file(tmp_path: Path) -> None:
    """A service gets bytes, not a file."""
    Image.fromarray(pattern()).save(tmp_path / "a.jpg")
    content = io.BytesIO((tmp_path / "a.jpg").read_bytes())
    assert torch.equal(read(content), read(tmp_path / "a.jpg"))
    assert header(content) == header(tmp_path / "a.jpg")
    for name, word in write_broken_photographs(tmp_path).items():
        with pytest.raises(PhotographError, match=word):
            read(io.BytesIO((tmp_path / name).read_bytes()))


def test_conventions_for_what_is_not_plain_rgb(tmp_path: Path) -> None:
    rgb = Image.fromarray(pattern())
    rgb.convert("L").save(tmp_path / "grey.png")
    assert np.array_equal(as_array(read(tmp_path / "grey.png")), np.asarray(rgb.convert("L").convert("RGB")))
    assert header(tmp_path / "grey.png").grey

    rgb.convert("RGBA").save(tmp_path / "opaque.png")
    assert np.array_equal(as_array(read(tmp_path / "opaque.png")), pattern())

    preview = Image.fromarray(pattern(12, 20))
    rgb.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[preview], quality=90)
    rgb.save(tmp_path / "alone.jpg", quality=90)
    assert torch.equal(read(tmp_path / "phone.jpg"), read(tmp_path / "alone.jpg"))
    assert header(tmp_path / "phone.jpg") == header(tmp_path / "alone.jpg")

    rgb.save(tmp_path / "a name from the web", "png")
    assert np.array_equal(as_array(read(tmp_path / "a name from the web")), pattern())


def sixteen_bit_png(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write: (H,W,3) uint16."""
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("low", [0, 127, 128, 255])
def test_of_16_bits_the_upper_8_are_read(tmp_path: Path, low: int) -> None:
    deep = pattern().astype(np.uint16) * 256 + low
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb")
    (tmp_path / "deep.png").write_bytes(sixteen_bit_png(deep))
    for name in ("deep.tif", "deep.png"):
        assert np.array_equal(as_array(read(tmp_path / name)), pattern())
        assert header(tmp_path / name).bits == 16


def test_what_is_no_photograph_is_refused_in_one_line(tmp_path: Path) -> None:
    for name, word in write_broken_photographs(tmp_path).items():
        with pytest.raises(PhotographError, match=word) as refusal:
            read(tmp_path / name)
        assert "\n" not in str(refusal.value) and len(str(refusal.value)) < 200
    with pytest.raises(PhotographError, match="No such file"):
        read(tmp_path / "missing.png")
    with pytest.raises(PhotographError, match="directory"):
        read(tmp_path)


def test_raw_files_are_refused_whatever_their_name(shared_raw: Path, tmp_path: Path) -> None:
    """Pillow opens the thumbnail in them."""
    for path in shared_raw.iterdir():
        (tmp_path / f"{path.stem}.tif").symlink_to(path)
        for name in (path, tmp_path / f"{path.stem}.tif"):
            for open_it in (read, header):
                with pytest.raises(PhotographError, match="developed"):
                    open_it(name)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
@given(share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=30, deadline=None)
def test_a_file_that_is_cut_off_is_refused_or_whole(suffix: str, share: float) -> None:
    content = io.BytesIO()
    Image.fromarray(pattern()).save(content, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    whole = read(content)
    try:
        part = read(io.BytesIO(content.getvalue()[: int(share * len(content.getvalue()))]))
    except PhotographError as error:
        assert str(error) and "\n" not in str(error)
    else:
        assert torch.equal(part, whole)


@pytest.mark.parametrize("nonsense", [b"no TIFF header", b"II*\0\xff\xff\0\0 nonsense"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_damaged_exif_is_no_reason_to_refuse_the_pixels(tmp_path: Path, suffix: str, nonsense: bytes) -> None:
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(pattern()).save(path, exif=b"Exif\0\0" + nonsense, quality=90)
    Image.fromarray(pattern()).save(tmp_path / f"plain.{suffix}", quality=90)
    assert torch.equal(read(path), read(tmp_path / f"plain.{suffix}"))
    assert header(path).orientation == 1
    Image.fromarray(pattern()).save(path, exif=exif_of(99), quality=90)
    assert header(path).orientation == 1


def test_a_panorama_of_100_megapixels_and_an_icon_are_read(tmp_path: Path) -> None:
    wide = Image.new("L", (20_000, 5_000), 90)
    wide.putpixel((19_999, 4_999), 200)
    wide.save(tmp_path / "wide.png", compress_level=1)
    pixels = read(tmp_path / "wide.png")
    assert pixels.shape == (1, 3, 5_000, 20_000)
    assert pixels[0, :, 0, 0].tolist() == [90] * 3 and pixels[0, :, -1, -1].tolist() == [200] * 3
    Image.fromarray(pattern(40, 40)).save(tmp_path / "icon.png")
    assert np.array_equal(as_array(read(tmp_path / "icon.png")), pattern(40, 40))


def test_the_limit_of_pixels_is_exact() -> None:
    """Pillow's own limit lies below it, and warns at half of it."""
    assert header(io.BytesIO(large_png(20_000, 10_000))).width == 20_000
    for width, height in ((20_001, 10_000), (40_001, 10_000), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(PhotographError, match="more than 200 megapixels"):
            header(io.BytesIO(large_png(width, height)))


# --- what a JPEG file says about itself ---


@given(quality=st.integers(1, 100), grey=st.booleans(), sampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]))
@settings(max_examples=40, deadline=None)
def test_quality_and_subsampling_of_a_jpeg(quality: int, grey: bool, sampling: str) -> None:
    content = io.BytesIO()
    picture = Image.fromarray(pattern()).convert("L" if grey else "RGB")
    picture.save(content, "jpeg", quality=quality, **({} if grey else {"subsampling": sampling}))
    assert header(content) == Header("JPEG", 24, 40, 1, grey, 8, quality, None if grey else sampling)


def test_tables_that_are_not_of_the_standard_have_no_quality() -> None:
    content = io.BytesIO()
    Image.fromarray(pattern()).save(content, "jpeg", quality=80)
    with Image.open(content) as picture:
        tables = [list(table) for _, table in sorted(picture.quantization.items())]  # type: ignore[attr-defined]
    for table in (0, 1):
        changed = [list(one) for one in tables]
        changed[table][40] += 1
        content = io.BytesIO()
        Image.fromarray(pattern()).save(content, "jpeg", qtables=changed)
        assert header(content).jpeg_quality is None
    content = io.BytesIO()
    Image.fromarray(pattern()).save(content, "jpeg", qtables=[tables[1], tables[0]])
    assert header(content).jpeg_quality is None, "the tables of colour and of brightness in each other's place"


@pytest.mark.parametrize(("factors", "name"), [((1, 2), "4:4:0"), ((4, 1), "4:1:1"), ((3, 1), None)])
def test_rare_subsamplings(factors: tuple[int, int], name: str | None) -> None:
    """Pillow cannot write them: the factors of the brightness are changed in the header alone, which is all there is
    to read."""
    content = io.BytesIO()
    Image.fromarray(pattern()).save(content, "jpeg", subsampling="4:4:4")
    jpeg = bytearray(content.getvalue())
    frame = jpeg.index(b"\xff\xc0")  # SOF0: length, bits, height, width, components; number, factors, table of each
    assert jpeg[frame + 11] == 0x11
    jpeg[frame + 11] = factors[0] << 4 | factors[1]
    assert header(io.BytesIO(bytes(jpeg))).subsampling == name
    jpeg[frame + 11], jpeg[frame + 14] = 0x22, 0x21  # the two channels of colour differ
    assert header(io.BytesIO(bytes(jpeg))).subsampling is None


def test_other_formats_have_neither(tmp_path: Path) -> None:
    for suffix, name in (("png", "PNG"), ("tif", "TIFF"), ("webp", "WEBP"), ("avif", "AVIF")):
        Image.fromarray(pattern()).save(tmp_path / f"a.{suffix}")
        assert header(tmp_path / f"a.{suffix}") == Header(name, 24, 40, 1, False, 8, None, None)


def test_folders_are_searched_and_files_taken_once(tmp_path: Path) -> None:
    (tmp_path / "within").mkdir()
    for name in ("b.JPG", "a.png", ".hidden.png", "notes.txt", "within/c.tif"):
        (tmp_path / name).touch()
    names = [path.name for path in photograph_files([tmp_path, tmp_path / "a.png", tmp_path / "within"])]
    assert names == ["a.png", "b.JPG", "c.tif"]
