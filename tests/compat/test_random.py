"""Random geometries and patterns in both directions, with partial sectors in scattered buffers."""

import os
import random

import pytest
from sparse import Image, original_read

GEOMETRIES = int(os.environ.get("XHYVE_COMPAT_GEOMETRIES", "1500"))


def random_image(rng, path):
    sector = rng.choice([512, 512, 1024, 4096])
    per_segment = rng.randint(1, 9)
    segments = rng.randint(1, 5)
    split = sector * per_segment if segments > 1 or rng.random() < 0.5 else 0
    return Image(path, sector * per_segment * segments, split, sector)


def cut(rng, length):
    """Lengths that add up: odd ones, sectors, whole requests, empty ones."""
    out = []
    while length:
        n = min(length, rng.choice([0, 1, 3, 512, 512, 3072, rng.randint(1, length), length]))
        out.append(n)
        length -= n
    return out


def pattern(rng, length):
    if rng.random() < 0.15:
        return bytes(length)
    return rng.randbytes(length)


def span(rng, image):
    unit = rng.choice([1, 512, image.sector])
    off = rng.randrange(image.size // unit) * unit
    return off, rng.randint(1, min(4 * image.sector, image.size - off) // unit or 1) * unit


def use(rng, disk, image, model, count):
    """The disk and the model do the same."""
    for _ in range(count):
        off, length = span(rng, image)
        length = min(length, image.size - off)
        what = rng.random()
        if what < 0.5:
            data = pattern(rng, length)
            disk.write(off, data, cut(rng, length))
            model[off : off + length] = data
        elif what < 0.6:
            off -= off % image.sector
            length = image.sector
            disk.command(f"discard {off} {length}")
            model[off : off + length] = bytes(length)
        elif what < 0.7:
            disk.command(f"{rng.choice(['zero', 'unmap'])} {off} {length}")
            model[off : off + length] = bytes(length)
        elif what < 0.8:
            disk.command("flush")
        else:
            assert disk.read(off, cut(rng, length)) == model[off : off + length]
    assert disk.read(0, cut(rng, image.size)) == model


def read_outside(image):
    """As both readers see it, which must be the same."""
    assert image.check() == []
    data = image.read(0, image.size)
    split = image.segment if image.is_split else 0
    assert original_read(image.path, image.size, split, image.sector, 0, image.size) == data
    return data


def remove(room):
    for name in os.listdir(room):
        os.unlink(room / name)


@pytest.mark.parametrize("part", range(4))
def test_written_by_xhyve(disk, room, part):
    for n in range(GEOMETRIES // 4):
        rng = random.Random(f"xhyve {part} {n}")
        image = random_image(rng, room / "d")
        model = bytearray(image.size)
        disk.command(f"create {image.options()}")
        for _ in range(rng.randint(1, 2)):
            disk.command(f"open {rng.choice([image.options(), image.path])}")
            use(rng, disk, image, model, rng.randint(1, 12))
            disk.command("close")
            assert read_outside(image) == model, (part, n)
        remove(room)


def damage(rng, image):
    """What the original program leaves behind without losing anything: leaks, holes, entries past the end."""
    segment = rng.randrange(image.segments)
    name = image.file(segment)
    with open(name, "r+b") as f:
        f.seek(0, 2)
        if rng.random() < 0.5:
            f.write(b"\xee" * image.sector * rng.randint(1, 3))
        else:
            f.truncate(f.tell() + image.sector * rng.randint(1, 5000))
    if rng.random() < 0.5:
        first = segment * image.per_segment
        absent = [i for i in range(first, first + image.per_segment) if image.entries()[i] == 0xFFFFFFFF]
        if absent:
            image.set_entry(rng.choice(absent), os.path.getsize(name) // image.sector)


@pytest.mark.parametrize("part", range(4))
def test_written_by_python(disk, room, part):
    for n in range(GEOMETRIES // 4):
        rng = random.Random(f"python {part} {n}")
        image = random_image(rng, room / "d")
        model = bytearray(image.size)
        image.create()
        for _ in range(rng.randint(0, 8)):
            off, length = span(rng, image)
            data = pattern(rng, min(length, image.size - off))
            image.write(off, data)
            model[off : off + len(data)] = data
        assert read_outside(image) == model
        if rng.random() < 0.4:
            damage(rng, image)
        disk.command(f"open {image.options()}")
        assert disk.read(0, cut(rng, image.size)) == model, (part, n)
        use(rng, disk, image, model, rng.randint(0, 8))
        disk.command("close")
        # an entry past the end, in a segment that was not written, may still be there: it reads as zeros
        split = image.segment if image.is_split else 0
        assert original_read(image.path, image.size, split, image.sector, 0, image.size) == model, (part, n)
        remove(room)
