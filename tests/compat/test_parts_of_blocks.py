"""Sectors smaller than the host's blocks: what cannot be given back is lost only if it still holds something."""
import os
import subprocess

from sparse import ABSENT, Image

IMG = os.environ["XHYVE"] + "-img"


def check(image):
    return subprocess.run([IMG, "check", image.options()], capture_output=True, text=True).returncode


def test_zeros_beside_sectors_in_use(room):
    image = Image(room / "v", size=64 << 10, sectorsize=512)
    image.create()
    for n in range(16):
        image.write(n * 512, bytes([n + 1]) * 512)
    assert check(image) == 0
    slot = image.entries()[3]
    image.set_entry(3, ABSENT)
    assert check(image) == 3  # the sector's bytes are still there
    with open(image.file(0), "r+b") as f:
        f.seek(slot * 512)
        f.write(bytes(512))
    assert check(image) == 0
    image.set_entry(9, ABSENT)
    assert check(image) == 3
    assert subprocess.run([IMG, "repair", image.options()], capture_output=True).returncode == 0
    assert check(image) == 0
    assert image.read(0, 512) == b"\x01" * 512 and image.read(9 * 512, 512) == bytes(512)
