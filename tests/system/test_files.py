"""xhyve-img ls, cat and cp on images that the usual tools have made."""
import os
import pathlib
import random
import re
import shutil
import subprocess

import pytest

from test_img import USAGE, img

pytestmark = pytest.mark.skipif(
    not all(shutil.which(p, path=os.environ["PATH"] + ":/sbin:/usr/sbin")
            for p in ("mke2fs", "debugfs", "mkfs.fat", "mcopy", "xorriso", "sfdisk", "fdisk")),
    reason="needs e2fsprogs, dosfstools, mtools, xorriso, fdisk")
MIB = 1 << 20


def run(*args, **kwargs):
    env = dict(os.environ, PATH=os.environ["PATH"] + ":/sbin:/usr/sbin")
    return subprocess.run([str(a) for a in args], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=env, timeout=60, **kwargs).stdout


def cat(place):
    """The bytes of a file inside an image."""
    from machine import XHYVE
    tool = os.environ.get("XHYVE_IMG", str(pathlib.Path(XHYVE).parent / "xhyve-img"))
    done = subprocess.run([tool, "cat", str(place)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Files of several sizes, links, a directory of many files."""
    top = tmp_path_factory.mktemp("tree")
    rng = random.Random(3)
    (top / "boot").mkdir()
    (top / "boot" / "vmlinuz-6.1.0-13").write_bytes(rng.randbytes(2 * MIB + 4321))
    (top / "boot" / "empty").write_bytes(b"")
    (top / "boot" / "tiny").write_bytes(b"tiny\n")
    (top / "vmlinuz").symlink_to("boot/vmlinuz-6.1.0-13")
    (top / "boot" / "absolute").symlink_to("/boot/vmlinuz-6.1.0-13")
    (top / "boot" / "broken").symlink_to("nowhere")
    (top / "boot" / ("long" * 20)).symlink_to("../boot/./" + "../boot/" * 12 + "tiny")
    (top / "many").mkdir()
    for n in range(400):
        (top / "many" / f"a file with a rather long name {n}").write_text(str(n))
    holes = top / "holes"
    holes.write_bytes(b"begin")
    with open(holes, "r+b") as f:
        f.seek(5 * MIB)
        f.write(b"end")
    return top


def check_tree(image, tree, links=True):
    for path in tree.rglob("*"):
        if path.is_file() and (links or not path.is_symlink()) and "many" not in path.parts:
            assert cat(f"{image}:/{path.relative_to(tree)}") == path.read_bytes(), path
    assert cat(f"{image}:/many/a file with a rather long name 217") == b"217"
    names = img("ls", f"{image}:/many").stdout.splitlines()
    assert sorted(names) == sorted(p.name for p in (tree / "many").iterdir())


@pytest.mark.parametrize("options", [
    "-t ext2", "-t ext2 -b 1024", "-t ext3 -b 2048", "-t ext4", "-t ext4 -O inline_data -I 1024",
    "-t ext4 -b 1024 -O meta_bg,^resize_inode,^flex_bg -g 256", "-t ext4 -O ^64bit,^metadata_csum,^extent",
    "-t ext4 -O bigalloc -C 16384", "-t ext2 -r 0",
])
def test_ext(tmp_path, tree, options):
    image = tmp_path / "image"
    run("mke2fs", "-q", *options.split(), "-L", "a-label", "-d", tree, image, "24M")
    check_tree(image, tree)
    assert "a-label" in img("ls", str(image)).stdout
    assert re.search(r"^l +\d+ broken -> nowhere$", img("ls", "-l", f"{image}:/boot").stdout, re.M)


@pytest.mark.parametrize("bits,size", [("12", 15 * MIB), ("16", 24 * MIB), ("32", 40 * MIB)])
def test_fat(tmp_path, tree, bits, size):
    image = tmp_path / "image"
    with open(image, "wb") as f:
        f.truncate(size)
    run("mkfs.fat", "-F", bits, "-s", "1" if bits == "32" else "8", "-n", "A LABEL", image)
    plain = [p for p in tree.iterdir() if not p.is_symlink() and p.name != "boot"]
    run("mmd", "-i", image, "::boot")
    run("mcopy", "-s", "-i", image, *plain, "::/")
    run("mcopy", "-i", image, *[p for p in (tree / "boot").iterdir() if not p.is_symlink()], "::boot")
    check_tree(image, tree, links=False)
    assert cat(f"{image}:/BOOT/VmLinuz-6.1.0-13") == (tree / "vmlinuz").read_bytes()
    assert "A LABEL" in img("ls", str(image)).stdout


@pytest.mark.parametrize("rock,joliet", [("on", "off"), ("off", "on"), ("on", "on")])
def test_iso(tmp_path, tree, rock, joliet):
    image = tmp_path / "image.iso"
    run("xorriso", "-rockridge", rock, "-joliet", joliet, "-outdev", image, "-volid", "A_LABEL",
        "-map", tree, "/")
    check_tree(image, tree, links=rock == "on")
    assert "A_LABEL" in img("ls", str(image)).stdout


def test_plain_iso(tmp_path, tree):
    image = tmp_path / "image.iso"
    run("xorriso", "-rockridge", "off", "-joliet", "off", "-outdev", image, "-map", tree / "boot", "/boot")
    assert cat(f"{image}:/boot/tiny") == cat(f"{image}:/BOOT/TINY") == b"tiny\n"


def make_disk(tmp_path, tree, label, sector=512):
    """A small FAT, then an ext4 with the tree, on one disk; partition 1 and 2, or 1 and the logical one 5."""
    fat, ext, disk = tmp_path / "fat", tmp_path / "ext", tmp_path / "disk"
    with open(fat, "wb") as f:
        f.truncate(2 * MIB)
    run("mkfs.fat", fat)
    run("mcopy", "-i", fat, tree / "boot" / "tiny", "::only-here")
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, ext, "24M")
    with open(disk, "wb") as f:
        f.truncate(32 * MIB)
    if label == "gpt":
        per = MIB // sector
        end = 28 * per - 1
        run("fdisk", "-b", sector, disk, input=f"g\nn\n1\n{per}\n{3 * per - 1}\nn\n2\n{4 * per}\n{end}\nw\n".encode())
    else:
        run("sfdisk", disk, input=b"label: dos\nstart=1MiB, size=2MiB, type=c\nstart=3MiB, size=28MiB, type=f\n"
                                  b"start=4MiB, size=24MiB\n")
    for part, at in ((fat, 1), (ext, 4)):
        run("dd", f"if={part}", f"of={disk}", "bs=1M", f"seek={at}", "conv=notrunc")
    return disk


@pytest.mark.parametrize("label,last,sector", [("gpt", 2, 512), ("gpt", 2, 4096), ("dos", 5, 512)])
def test_partitions(tmp_path, tree, label, last, sector):
    disk = make_disk(tmp_path, tree, label, sector)
    check_tree(disk, tree)
    assert cat(f"{disk}:/only-here") == cat(f"{disk}:1:/only-here") == b"tiny\n"
    assert cat(f"{disk}:{last}:/boot/tiny") == b"tiny\n"
    rows = [line.split() for line in img("ls", str(disk)).stdout.splitlines()[1:]]
    assert [(r[0], r[2]) for r in rows] == [("1", "vfat"), (str(last), "ext4")]
    assert "no /only-here in partition" in img("cat", f"{disk}:{last}:/only-here", status=1).stderr


def test_damaged_gpt(tmp_path, tree):
    disk = make_disk(tmp_path, tree, "gpt")
    with open(disk, "r+b") as f:
        f.seek(512)
        f.write(bytes(512))
        assert cat(f"{disk}:2:/boot/tiny") == b"tiny\n"
        f.seek(-512, os.SEEK_END)
        f.write(bytes(512))
    assert "GPT is damaged" in img("ls", str(disk), status=1).stderr


def test_split_and_sparse(tmp_path, tree):
    disk = make_disk(tmp_path, tree, "gpt")
    img("convert", str(disk), f"{tmp_path}/sparse,split=8M,sectorsize=4096,sparse")
    check_tree(tmp_path / "sparse", tree)
    img("cp", f"{tmp_path}/sparse:/vmlinuz", str(tmp_path))
    assert (tmp_path / "vmlinuz").read_bytes() == (tree / "vmlinuz").read_bytes()


def test_cp(tmp_path, tree):
    image = tmp_path / "image"
    run("mke2fs", "-q", "-t", "ext4", "-d", tree, image, "24M")
    (tmp_path / "there").write_text("old")
    img("cp", f"{image}:/holes", str(tmp_path / "there"))
    assert (tmp_path / "there").read_bytes() == (tree / "holes").read_bytes()
    assert (tmp_path / "there").stat().st_blocks * 512 < 3 * MIB
    assert "a directory" in img("cp", f"{image}:/boot", str(tmp_path / "x"), status=1).stderr
    assert "nowhere/x" in img("cp", f"{image}:/holes", str(tmp_path / "nowhere" / "x"), status=1).stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["image", "there"]
    img("cp", str(image), str(tmp_path / "x"), status=USAGE)
    assert "image:/none" not in img("ls", f"{image}:/none", status=1).stdout


def test_journal(tmp_path, tree):
    """What a guest that was killed left in the journal is read as if it were in its place."""
    image, new = tmp_path / "image", tmp_path / "new"
    run("mke2fs", "-q", "-t", "ext4", "-b", "1024", "-d", tree, image, "24M")
    block = run("debugfs", "-R", "blocks /boot/tiny", image).split()[-1].decode()
    new.write_bytes(b"news\n".ljust(1024, b"\0"))
    run("debugfs", "-w", "-f", "-", image, input=f"jo\njw -b {block} {new}\njc\n".encode())
    assert b"needs_recovery" in run("debugfs", "-R", "features", image)
    assert cat(f"{image}:/boot/tiny") == b"news\n"
    assert cat(f"{image}:/vmlinuz") == (tree / "vmlinuz").read_bytes()
    copy = tmp_path / "copy"
    shutil.copy(image, copy)
    subprocess.run(["/sbin/e2fsck", "-fy", str(copy)], stdout=subprocess.DEVNULL, check=False, timeout=60)
    assert cat(f"{copy}:/boot/tiny") == b"news\n"


def test_names_cannot_garble_the_terminal(tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a\x1b[2Jb").write_text("x")
    run("mke2fs", "-q", "-t", "ext4", "-d", tmp_path / "t", tmp_path / "image", "4M")
    assert "a?[2Jb" in img("ls", f"{tmp_path}/image:/").stdout
