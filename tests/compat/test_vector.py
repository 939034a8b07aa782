"""The format's test vector, bit for bit, in both directions."""

import os

from sparse import Image, original_read

GEOMETRY = dict(size=64 << 10, split=16 << 10, sectorsize=4096)
WRITES = [(0, b"\x41" * 4096), (12288, b"\x42" * 4096), (16384, b"\x43" * 4096), (4096, bytes(4096))]
TABLE = bytes.fromhex("00000000" "ffffffff" "ffffffff" "01000000" "00000000") + b"\xff" * 44
FILES = {".0000": b"\x41" * 4096 + b"\x42" * 4096, ".0001": b"\x43" * 4096, ".0002": b"", ".0003": b"", ".lut": TABLE}


def expected():
    disk = bytearray(GEOMETRY["size"])
    for off, data in WRITES:
        disk[off : off + len(data)] = data
    return bytes(disk)


def check_files(path):
    for suffix, content in FILES.items():
        with open(f"{path}{suffix}", "rb") as f:
            assert f.read() == content, suffix


def test_written_by_xhyve(disk, room):
    image = Image(room / "v", **GEOMETRY)
    disk.command(f"create {room}/v,size=64k,split=16k,sectorsize=4096,sparse")
    disk.command(f"open {room}/v")
    for off, data in WRITES:
        disk.write(off, data)
    disk.command("close")
    check_files(room / "v")
    assert sorted(os.listdir(room)) == sorted([f"v{s}" for s in FILES] + ["v.meta"])
    assert image.read(0, image.size) == expected()
    assert original_read(str(room / "v"), **GEOMETRY, off=0, length=image.size) == expected()


def test_written_by_python(disk, room):
    image = Image(room / "v", **GEOMETRY)
    image.create()
    for off, data in WRITES:
        image.write(off, data)
    check_files(room / "v")
    disk.command(f"open {image.options()}")
    assert disk.read(0, [image.size]) == expected()
    disk.command("close")
    check_files(room / "v")


def test_files_given(disk, room):
    for suffix, content in FILES.items():
        (room / f"v{suffix}").write_bytes(content)
    disk.command(f"openro {Image(room / 'v', **GEOMETRY).options()}")
    assert disk.read(0, [64 << 10]) == expected()
    disk.command("close")
    assert sorted(os.listdir(room)) == sorted(f"v{s}" for s in FILES), "a reader changes nothing"
