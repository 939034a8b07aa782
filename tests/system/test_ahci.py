"""SATA disks and CD drives in a stock kernel: what the usual tools say about them, ext4 on a disk until it is
killed, discs, and a machine whose root file system is there."""
import hashlib
import random
import re
import shutil
import subprocess

import pytest

from machine import XHYVE, Machine, initramfs, kernel
from test_disk import fill, image_tool, interrupted_run, used

KERNEL = "linux-image-amd64"  # the cloud kernels have no SATA
SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"
DISK_TOOLS = ("mkfs.ext4", "e2fsck")
TOOLS = ("hdparm", "smartctl", "sg_inq", "sg_get_config", "lsscsi", "blkid", "eject", "wodim")


def paths(names):
    return tuple(shutil.which(name, path=SBIN) for name in names)


def need(*names):
    missing = [name for name in names if not shutil.which(name, path=SBIN)]
    return pytest.mark.skipif(missing, reason=f"{missing} not installed")


def boot(*slots, programs=(), cmdline="", args=()):
    """A guest with these SATA controllers, at its prompt."""
    devices = [word for n, slot in enumerate(slots) for word in ("-s", f"{n + 3},{slot}")]
    m = Machine.linux("-A", "-m", "512M", *args, *devices, package=KERNEL, programs=paths(programs),
                      cmdline=f"console=ttyS0 quiet {cmdline}")
    return m.shell()


def make_iso(path, seed, label):
    """An ISO image with files of every kind of length; their checksums."""
    tree = path.with_suffix(".d")
    rng = random.Random(seed)
    tree.mkdir()
    sums = {}
    for n, size in enumerate((0, 1, 2047, 2048, 2049, 300_000, 3_000_000)):
        data = rng.randbytes(size)
        (tree / f"file-{n}.bin").write_bytes(data)
        sums[f"file-{n}.bin"] = hashlib.md5(data).hexdigest()
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-J", "-V", label, "-o", str(path), str(tree)],
                   check=True, capture_output=True)
    return sums


def check_disc(m, device, sums):
    """Every file of the disc is what was put on it."""
    m.run(f"mkdir -p /cd && mount -t iso9660 -o ro {device} /cd")
    found = dict(reversed(line.split()) for line in m.run("cd /cd && md5sum *; cd /").splitlines())
    m.run("umount /cd")
    assert found == sums


@need(*TOOLS, "xorriso")
def test_what_tools_say(tmp_path):
    """One controller with disk and CD drives, a disk with large sectors, a CD drive without a disc."""
    iso = tmp_path / "a.iso"
    make_iso(iso, 1, "FIRST")
    m = boot(f"ahci,hd:{tmp_path}/a.img,size=64M,serial=disk-of-test,cd:{iso},cd:",
             f"ahci-hd,{tmp_path}/b.img,size=4G,sectorsize=4096,sparse", programs=TOOLS)
    try:
        disks = m.run("/bin/lsscsi")
        assert len(re.findall(r"disk +ATA +XHYVE SATA DISK +1.0 +/dev/sd", disks)) == 2, disks
        assert len(re.findall(r"cd/dvd +XHYVE +SATA DVD-ROM +1.0 +/dev/sr", disks)) == 2, disks
        small, large = ("sda", "sdb") if m.run("cat /sys/block/sda/size").strip() == "131072" else ("sdb", "sda")
        about = m.run(f"/bin/hdparm -I /dev/{small}")
        for line in ("Serial Number: +disk-of-test", "Queue depth: 32", r"\*\s+Native Command Queueing", r"\*udma6",
                     r"\*\s+Data Set Management TRIM supported", "LBA48  user addressable sectors: +131072",
                     "Checksum: correct"):
            assert re.search(line, about), f"{line}\n{about}"
        about = m.run(f"smartctl -i /dev/{large}")
        assert "4,294,967,296 bytes" in about and "4096 bytes logical/physical" in about, about
        assert "SMART support is: Enabled" in about, about
        about = m.run(f"smartctl -a /dev/{small}")
        assert "test result: PASSED" in about and "No Errors Logged" in about, about
        assert "Unit serial number: disk-of-test" in m.run(f"sg_inq /dev/{small}")
        about = m.run("sg_inq /dev/sr0")
        assert "cd/dvd" in about and "RMB=1" in about, about
        about = m.run("sg_get_config /dev/sr0")
        assert "Current profile: CD-ROM" in about and "Physical interface standard: Serial ATAPI" in about, about
        assert 'LABEL="FIRST"' in m.run("blkid"), "blkid"
        about = m.run("wodim -prcap dev=/dev/sr0 2>&1")
        assert "Does read multi-session CDs" in about and "Is not currently in a media-locked state" in about, about
        assert m.run(f"cat /sys/block/{large}/queue/discard_max_bytes").strip() != "0"
        assert not re.search("exception|failed|error|SError", m.run("dmesg | grep -E 'ata[0-9]|ahci|sr[0-9]|sd' || :"))
        assert m.leave("poweroff") == 1
    finally:
        m.kill()


@need("xorriso", "eject", "blkid")
@pytest.mark.parametrize("cmdline", ["", "pci=nomsi"])
def test_disc(tmp_path, cmdline):
    """A disc reads back as it was written; the guest opens and closes the tray."""
    iso = tmp_path / "a.iso"
    sums = make_iso(iso, 2, "SECOND")
    before = hashlib.md5(iso.read_bytes()).hexdigest()
    m = boot(f"ahci-cd,{iso}", programs=("eject", "blkid"), cmdline=cmdline)
    try:
        assert ("IO-APIC" in m.run("grep ahci /proc/interrupts")) == ("nomsi" in cmdline)
        check_disc(m, "/dev/sr0", sums)
        assert m.run("dd if=/dev/sr0 bs=64k 2>/dev/null | md5sum").split()[0] == before
        m.run("dd if=/dev/zero of=/dev/sr0 bs=2048 count=1 2>/dev/null && exit 1; :")
        m.run("/bin/eject /dev/sr0")
        m.run("dd if=/dev/sr0 of=/dev/null bs=2048 count=1 2>/dev/null && exit 1; :")
        m.run("/bin/eject -t /dev/sr0")
        assert 'LABEL="SECOND"' in m.run("blkid -p /dev/sr0")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
    assert hashlib.md5(iso.read_bytes()).hexdigest() == before


@need(*DISK_TOOLS)
def test_file_system(tmp_path):
    """ext4 from mkfs over a SIGKILL to fsck, and space that comes back."""
    image = tmp_path / "hdd.img"
    m = boot(f"ahci-hd,{image},sectorsize=4096,size=2G,split=256M,sparse", programs=DISK_TOOLS)
    try:
        m.run("mkfs.ext4 -q /dev/sda && mount -t ext4 /dev/sda /mnt && sync")
        empty = used(tmp_path)
        fill(m, 12)
        m.run("sync")
        assert used(tmp_path) > empty + 12 * 2**20
        interrupted_run(m, random.Random(5))
        m.kill()
        image_tool("check", image)
        m = boot(f"ahci-hd,{image}", programs=DISK_TOOLS)
        m.run("mount -t ext4 /dev/sda /mnt && cd /mnt && md5sum -c sums >/dev/null; cd /")  # its journal recovers it
        m.run("umount /mnt && e2fsck -fn /dev/sda && mount -t ext4 /dev/sda /mnt")
        m.run("rm -r /mnt/[fsw]* && sync && fstrim /mnt && sync && umount /mnt")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
    image_tool("check", image)
    assert used(tmp_path) < empty + 4 * 2**20


@need(*DISK_TOOLS, "cpio")
def test_root_file_system(tmp_path):
    """A guest that has no virtio drivers lives on a SATA disk."""
    root, image = tmp_path / "root", tmp_path / "root.img"
    root.mkdir()
    with subprocess.Popen(["gzip", "-dc", initramfs(KERNEL)], stdout=subprocess.PIPE) as unpack:
        subprocess.run(["cpio", "-idm", "--quiet"], stdin=unpack.stdout, cwd=root, check=True)
    shutil.rmtree(root / "lib" / "modules")
    (root / "etc" / "is-root").touch()
    subprocess.run([*paths(["mkfs.ext4"]), "-q", "-d", str(root), str(image), "64M"], check=True)
    for found in ("", "boot 1"):
        m = boot(f"ahci-hd,{image}", cmdline="xhyve.skip=virtio* xhyve.root=/dev/sda")
        try:
            assert re.search("^/dev/(root|sda) / ext4", m.run("cat /proc/mounts"), re.MULTILINE)
            assert "virtio" not in m.run("lsmod 2>/dev/null || cat /proc/modules")
            assert m.run("cat /etc/boots 2>/dev/null || :").strip() == found
            m.run("echo boot 1 >/etc/boots")
            assert m.leave("poweroff") == 1
        finally:
            m.kill()


def test_missing_disc(tmp_path):
    """A wrong path is an error that names it, and nothing is made there."""
    for config, word in (("ahci-cd,{}/no.iso", "no.iso"), ("ahci-cd,{}/no.iso,size=1M", "no.iso"),
                         ("ahci,cd:,hd:{}/no.img", "no.img")):
        done = subprocess.run([XHYVE, "-s", "0,hostbridge", "-s", "3," + config.format(tmp_path), "-f",
                               f"kexec,{kernel()}"], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 4, done
        assert f"{word}: no such image" in done.stderr.splitlines()[-1], done.stderr
        assert not list(tmp_path.iterdir())
