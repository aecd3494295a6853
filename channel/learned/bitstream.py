"""The bytes of a picture that the learned codec compressed.

    magic       4 bytes    "FLC" and the version of the format
    weights     4 bytes    of the SHA-256 of the codec's decoder and tables
    height      2 bytes
    width       2 bytes
    checksum    4 bytes    CRC-32 of all other bytes
    payload                codes, feature after feature, by an ANS coder (constriction) with one table per feature

Numbers are little-endian. All arithmetic that decides about a pixel is made in float64: the order in which a processor
adds, which depends on its number of threads, then changes no 8-bit pixel.
"""

import copy
import hashlib
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from channel import quantization
from channel.learned import codebook

if TYPE_CHECKING:
    from channel.learned.network import Autoencoder, Decoder

MAGIC = b"FLC\x01"
HEADER = struct.Struct("<4s4sHH")
CHECKSUM = struct.Struct("<I")
START = HEADER.size + CHECKSUM.size
MOST_PIXELS = 2**28
LAST = 64  # bits of the coder's state
CELL = 8  # side in pixels of what one code of a feature stands for
TILE = 64  # codes on a side that are decoded at once: the memory needed does not depend on the picture's size


def require_pixels(height: int, width: int) -> None:
    """Raises ValueError where a picture has no pixels, or more than a file may hold."""
    if not (0 < height < 2**16 and 0 < width < 2**16 and height * width <= MOST_PIXELS):
        raise ValueError(f"the learned codec compresses no picture of {height}×{width} pixels")


def write(codec: "Autoencoder", codes: Tensor, height: int, width: int) -> bytes:
    """Writes the codes (C, ⌈H/8⌉, ⌈W/8⌉) of a picture."""
    payload = _payload(codes.flatten(1).numpy().astype(np.int32), codec.tables())
    header = HEADER.pack(MAGIC, fingerprint(codec), height, width)
    return header + CHECKSUM.pack(zlib.crc32(header + payload)) + payload


def read(codec: "Autoencoder", data: bytes) -> tuple[Tensor, int, int]:
    """Returns the codes (C, ⌈H/8⌉, ⌈W/8⌉) int64, the height and the width of a picture.

    Raises:
        ValueError: the bytes are damaged, are no such picture, or need other weights.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError(f"these {len(data)} bytes are no picture that the learned codec compressed")
    if len(data) < START:
        raise ValueError(f"the compressed picture is damaged: it was cut after {len(data)} bytes")
    _, weights, height, width = HEADER.unpack_from(data)
    (checksum,) = CHECKSUM.unpack_from(data, HEADER.size)
    payload = data[START:]
    if zlib.crc32(data[: HEADER.size] + payload) != checksum:
        raise ValueError("the compressed picture is damaged: its checksum does not match")
    if weights != fingerprint(codec):
        raise ValueError("the picture was compressed with other weights: load the codec that compressed it")
    tables = codec.tables()
    shape = -(-height // CELL), -(-width // CELL)
    cells = shape[0] * shape[1]
    # Bits, if every code were the most probable one; the coder's last word holds some of them.
    least = cells * float(-tables.amax(dim=1).log2().sum()) - LAST
    if not cells or height * width > MOST_PIXELS or least > 8 * len(payload):
        raise ValueError(f"the compressed picture is damaged: {len(payload)} bytes cannot hold {height}×{width} pixels")
    codes = torch.from_numpy(_codes(payload, tables, cells)).long()
    return codes.view(len(tables), *shape), height, width


def fingerprint(codec: "Autoencoder") -> bytes:
    """Returns four bytes that differ between codecs which decode the same bytes differently."""
    sha = hashlib.sha256(repr(codec.settings).encode())
    for tensor in (*codec.decoder.state_dict().values(), codec.histogram):
        sha.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha.digest()[:4]


def decode(decoder: "Decoder", codes: Tensor, height: int, width: int) -> Tensor:
    """Decodes the codes (C, h, w) of a picture -> (3, H, W) uint8, on the CPU in float64, tile by tile."""
    exact = copy.deepcopy(decoder).to("cpu", torch.float64, memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    values = codebook.to_values(codes).double()[None]
    _, rows, columns = codes.shape
    pixels = torch.empty(3, CELL * rows, CELL * columns, dtype=torch.uint8)
    reach = exact.REACH
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        for y in range(0, rows, TILE):
            for x in range(0, columns, TILE):
                above, left = min(y, reach), min(x, reach)
                tile = exact(values[..., y - above : y + TILE + reach, x - left : x + TILE + reach])
                tile = tile[0, :, CELL * above :, CELL * left :][:, : CELL * TILE, : CELL * TILE]
                bottom, right = CELL * y + tile.shape[1], CELL * x + tile.shape[2]
                bottom, right = min(bottom, CELL * (y + TILE)), min(right, CELL * (x + TILE))
                kept = tile[:, : bottom - CELL * y, : right - CELL * x]
                pixels[:, CELL * y : bottom, CELL * x : right] = quantization.to_levels(kept).byte()
    return pixels[:, :height, :width].clone()


def _payload(codes: np.ndarray, tables: Tensor) -> bytes:
    """Writes codes (C, n) int32."""
    from constriction import stream  # imported here, so that training needs no constriction

    coder = stream.stack.AnsCoder()
    for of_feature, table in reversed(list(zip(codes, tables.numpy(), strict=True))):  # read in the opposite order
        coder.encode_reverse(of_feature, stream.model.Categorical(table, perfect=False))
    return coder.get_compressed().astype("<u4").tobytes()


def _codes(payload: bytes, tables: Tensor, count: int) -> np.ndarray:
    """Reads codes (C, count) int32.

    Raises:
        ValueError: the payload does not end where the codes end.
    """
    from constriction import stream

    damaged = "the compressed picture is damaged: its payload is of another length than its codes"
    try:
        coder = stream.stack.AnsCoder(np.frombuffer(payload, "<u4").astype(np.uint32))
    except ValueError:
        raise ValueError(damaged) from None
    codes = np.stack([coder.decode(stream.model.Categorical(table, perfect=False), count) for table in tables.numpy()])
    if not coder.is_empty():
        raise ValueError(damaged)
    return codes
