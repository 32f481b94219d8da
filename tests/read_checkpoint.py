"""Reads a checkpoint with h5py: little-endian numbers, the CRC32C of every dataset's bytes, hard links."""
import sys

import h5py

TABLE = []
for byte in range(256):
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    TABLE.append(byte)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def check(name, item):
    if not isinstance(item, h5py.Dataset):
        return
    value = item[()]
    assert item.compression is None and item.chunks is None, name
    assert item.dtype.str[0] in "<|", (name, item.dtype)
    data = value if isinstance(value, bytes) else value.tobytes()
    data = data.ljust(item.dtype.itemsize, b"\0") if isinstance(value, bytes) else data
    assert crc32c(data) == item.attrs["crc32c"], name


file = h5py.File(sys.argv[1], "r")
file.visititems(check)
first, second = (file["model/visual/transformer/resblocks/%d/mlp/values/weight" % block] for block in (0, 1))
assert first == second, "the table is not shared"
assert first.attrs["shared_by"] == b"model/visual.transformer.resblocks.1.mlp.values.weight"
assert list(file)[:2] == ["model", "optimizer"], list(file)
assert file["progress/step"][()] == 8 and b"&run" in file["run/input"][()]
