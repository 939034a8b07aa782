"""Sparse and split disk images, read and written straight from the description of the format.

An independent second implementation: nothing here knows how xhyve does it.

A sparse image PATH has a table, PATH.lut: one little-endian 32-bit entry for each sector of the disk,
0xffffffff for a sector that was never written, else the number of the sector-sized slot of the
segment's file that holds it. The segments PATH.0000, PATH.0001, ... (without split: PATH itself) start
empty and grow by a slot for each sector written first; slots count within their own file.
"""

import os
import struct

ABSENT = 0xFFFFFFFF


class Image:
    """Reads and writes as the format says. Everything is in the files, nothing is kept."""

    def __init__(self, path, size, split=0, sectorsize=512):
        self.path, self.size, self.sector = str(path), size, sectorsize
        self.is_split = bool(split)
        self.segment = split or size
        self.per_segment = self.segment // sectorsize
        self.segments = size // self.segment

    def options(self):
        split = f",split={self.segment}" if self.is_split else ""
        return f"{self.path},size={self.size}{split},sectorsize={self.sector},sparse"

    @property
    def lut(self):
        return self.path + ".lut"

    def file(self, segment):
        return f"{self.path}.{segment:04d}" if self.is_split else self.path

    def create(self):
        for i in range(self.segments):
            open(self.file(i), "wb").close()
        with open(self.lut, "wb") as f:
            f.write(struct.pack("<I", ABSENT) * (self.per_segment * self.segments))

    def entries(self):
        with open(self.lut, "rb") as f:
            data = f.read()
        return list(struct.unpack(f"<{len(data) // 4}I", data))

    def set_entry(self, index, value):
        with open(self.lut, "r+b") as f:
            f.seek(index * 4)
            f.write(struct.pack("<I", value))

    def read_sector(self, index, table=None):
        slot = (table or self.entries())[index]
        if slot == ABSENT:
            return bytes(self.sector)
        with open(self.file(index // self.per_segment), "rb") as f:
            f.seek(slot * self.sector)
            return f.read(self.sector).ljust(self.sector, b"\0")

    def read(self, off, length):
        table = self.entries()
        first, last = off // self.sector, -(-(off + length) // self.sector)
        data = b"".join(self.read_sector(i, table) for i in range(first, last))
        return data[off - first * self.sector :][:length]

    def write_sector(self, index, data):
        slot = self.entries()[index]
        if slot == ABSENT and not any(data):
            return
        name = self.file(index // self.per_segment)
        if slot == ABSENT:
            slot = -(-os.path.getsize(name) // self.sector)
            self.set_entry(index, slot)
        with open(name, "r+b") as f:
            f.seek(slot * self.sector)
            f.write(data)

    def write(self, off, data):
        while data:
            index, start = divmod(off, self.sector)
            part = data[: self.sector - start]
            old = bytearray(self.read_sector(index))
            old[start : start + len(part)] = part
            self.write_sector(index, bytes(old))
            off += len(part)
            data = data[len(part) :]

    def check(self):
        """What is wrong with the files: a list of sentences."""
        bad = []
        table = self.entries()
        if len(table) != self.per_segment * self.segments:
            bad.append(f"the table has {len(table)} entries")
        for s in range(self.segments):
            used = [v for v in table[s * self.per_segment :][: self.per_segment] if v != ABSENT]
            if len(set(used)) != len(used):
                bad.append(f"segment {s} has a slot that is named twice")
            length = os.path.getsize(self.file(s))
            if length % self.sector:
                bad.append(f"segment {s} ends inside a slot")
            if used and max(used) >= length // self.sector:
                bad.append(f"segment {s} has an entry past its end")
        return bad


def original_read(path, size, split, sectorsize, off, length):
    """The original program's way through the files, restated; its defects with partial sectors left out.

    It finds the segment's descriptor from the offset, then goes sector by sector through the rest of the
    request: entry number, marker or not, seek, read.
    """
    fds = []
    lut = None
    out = bytearray()
    try:
        names = [f"{path}.{i:04d}" for i in range(size // split)] if split else [path]
        fds = [os.open(name, os.O_RDONLY) for name in names]
        split = split or size
        lut = os.open(f"{path}.lut", os.O_RDONLY)
        table = os.pread(lut, 4 * (size // sectorsize), 0)
        while length > 0:
            segment = off // split
            inside = off - segment * split
            entry = segment * (split // sectorsize) + inside // sectorsize
            start = inside % sectorsize
            here = min(length, sectorsize - start)
            value = int.from_bytes(table[entry * 4 : entry * 4 + 4], "little")
            if value == 0xFFFFFFFF:
                out += bytes(here)
            else:
                got = os.pread(fds[segment], here, value * sectorsize + start)
                out += got + bytes(here - len(got))
            off += here
            length -= here
    finally:
        for fd in fds + ([] if lut is None else [lut]):
            os.close(fd)
    return bytes(out)
