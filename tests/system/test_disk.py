"""Disks in a real guest: partitioning nothing away, ext4 from mkfs to fsck, on every image kind and through
every way that a driver can use a virtio disk; and what a SIGKILL in the middle of it leaves behind."""
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

import pexpect
import pytest

from machine import XHYVE, Machine

IMG = str(pathlib.Path(XHYVE).with_name("xhyve-img"))
TOOLS = tuple(p for p in (shutil.which(t, path="/usr/sbin:/sbin:/usr/bin:/bin") for t in ("mkfs.ext4", "e2fsck"))
              if p)
FIO = shutil.which("fio")
SPARSE = "sectorsize=4096,size=20G,split=1G,sparse"
KILLS = int(os.environ.get("XHYVE_KILLS", "2"))


def boot(config, *args, cmdline="console=ttyS0 quiet"):
    """A guest with one disk, at its prompt."""
    m = Machine.linux("-A", "-m", "512M", "-s", f"4,virtio-blk,{config}", *args, cmdline=cmdline, programs=TOOLS)
    return m.shell()


def image_tool(*args, status=0):
    done = subprocess.run([IMG, *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == status, f"xhyve-img {args}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def used(directory):
    """Bytes that the files of a directory have on the host."""
    return sum(p.stat().st_blocks * 512 for p in pathlib.Path(directory).iterdir())


def fill(m, count, size="1M"):
    """Files of random bytes with a list of their checksums."""
    m.run(f"cd /mnt; for i in $(seq 1 {count}); do dd if=/dev/urandom of=f$i bs={size} count=1 2>/dev/null; done; "
          "md5sum f* >sums; cd /")


@pytest.mark.skipif(len(TOOLS) < 2, reason="e2fsprogs is not installed")
def test_file_system_life(tmp_path):
    """mkfs, files, a restart with nothing but the path, fsck, and space that comes back."""
    image = tmp_path / "hdd.img"
    m = boot(f"{image},{SPARSE}")
    try:
        assert m.run("cat /sys/block/vda/size").strip() == str(20 * 2**21)
        assert m.run("cat /sys/block/vda/queue/logical_block_size").strip() == "4096"
        m.run("mkfs.ext4 -q /dev/vda && mount -t ext4 /dev/vda /mnt")
        empty = used(tmp_path)
        fill(m, 24)
        m.run("sync")
        assert used(tmp_path) > empty + 24 * 2**20
        m.run("umount /mnt")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
    assert (tmp_path / "hdd.img.0019").exists() and not (tmp_path / "hdd.img.journal").exists()
    image_tool("check", image)
    m = boot(str(image))
    try:
        m.run("e2fsck -fn /dev/vda && mount -t ext4 /dev/vda /mnt && cd /mnt && md5sum -c sums >/dev/null; cd /")
        m.run("rm /mnt/f* && sync && fstrim /mnt && sync")
        m.run("umount /mnt")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
    image_tool("check", image)
    assert used(tmp_path) < empty + 4 * 2**20


@pytest.mark.skipif(not (FIO and len(TOOLS) == 2), reason="fio or e2fsprogs is not installed")
def test_fio(tmp_path):
    """fio writes at random, through a file system and without one, and finds everything again."""
    image, other = tmp_path / "hdd.img", tmp_path / "b.img"
    fio = "fio --name=v --rw=randrw --verify=crc32c --verify_fatal=1 --ioengine=psync --thread --direct=1"
    m = Machine.linux("-A", "-m", "768M", "-c", "2",
                      "-s", f"4,virtio-blk,{image},sectorsize=4096,size=1G,split=128M,sparse",
                      "-s", f"5,virtio-blk,{other},sectorsize=512,size=64M,sparse",
                      cmdline="console=ttyS0 quiet", programs=TOOLS + (FIO,)).shell()
    try:
        m.run("mkfs.ext4 -q /dev/vda && mount -t ext4 /dev/vda /mnt && mkdir -p /tmp")
        m.run(f"{fio} --directory=/mnt --size=24M --bsrange=4k-64k --numjobs=2 --fsync=32 >/tmp/o || cat /tmp/o")
        m.run(f"{fio} --filename=/dev/vdb --bsrange=512-16k >/tmp/p || cat /tmp/p")
        assert m.run("grep -c 'err= 0' /tmp/o /tmp/p").split() == ["/tmp/o:2", "/tmp/p:1"]
        m.run("rm /mnt/v*; sync; fstrim /mnt; umount /mnt && e2fsck -fn /dev/vda")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
    image_tool("check", image)
    image_tool("check", other)


def pattern(m, seed):
    """Writes a few megabytes around the disk, reads them back through the device."""
    m.run(f"for i in 1 2 3 4 5 6; do dd if=/dev/urandom of=/tmp/p bs=64k count=8 2>/dev/null; "
          f"dd if=/tmp/p of=/dev/vda bs=64k seek=$((i * 37 + {seed})) oflag=direct 2>/dev/null; "
          f"dd if=/dev/vda of=/tmp/q bs=64k skip=$((i * 37 + {seed})) count=8 iflag=direct 2>/dev/null; "
          "cmp /tmp/p /tmp/q || exit 1; done")


@pytest.mark.parametrize("kind", ["size=256M", "size=256M,split=64M,nocache", "size=256M,sparse", f"{SPARSE},sync"])
def test_kinds(tmp_path, kind):
    """Every kind of image reads back what was written."""
    m = boot(f"{tmp_path}/a.img,{kind}")
    try:
        pattern(m, 3)
        assert m.leave("poweroff") == 1
    finally:
        m.kill()


@pytest.mark.parametrize("args,cmdline,legacy", [
    (["-c", "2"], "console=ttyS0 quiet", False),
    (["-W"], "console=ttyS0 quiet", False),
    ([], "console=ttyS0 quiet pci=nomsi", False),
    (["-c", "2"], "console=ttyS0 quiet", True),
])
def test_transports(tmp_path, args, cmdline, legacy):
    """MSI-X with several queues, one MSI, INTx, and a driver from before virtio 1.0."""
    m = boot(f"{tmp_path}/a.img,size=64M", *args, cmdline=cmdline)
    try:
        if legacy:
            m.run("rmmod virtio_blk && rmmod virtio_pci && insmod /lib/modules/virtio_pci.ko force_legacy=1 && "
                  "insmod /lib/modules/virtio_blk.ko")
            assert m.run("cut -c33 /sys/bus/virtio/devices/virtio*/features").strip() == "0"
        else:
            assert m.run("cut -c33 /sys/bus/virtio/devices/virtio*/features").strip() == "1"
        pattern(m, 1)
        interrupts = m.run("grep virtio /proc/interrupts")
        if args[:1] == ["-c"]:
            assert "virtio0-req.1" in interrupts or "virtio1-req.1" in interrupts, interrupts
        if "nomsi" in cmdline:
            assert "IO-APIC" in interrupts, interrupts
        assert m.leave("poweroff") == 1
    finally:
        m.kill()


def test_read_only_and_growing(tmp_path):
    """ro is seen by the guest; a raw file that grows is announced after SIGUSR1; the serial number is set."""
    image = tmp_path / "a.img"
    image.write_bytes(b"\0" * 2**20)
    m = boot(f"{image},ro,serial=disk-of-test")
    try:
        assert m.run("cat /sys/block/vda/ro").strip() == "1"
        assert m.run("cat /sys/block/vda/serial").strip() == "disk-of-test"
        os.truncate(image, 3 * 2**20)
        m.child.kill(signal.SIGUSR1)
        m.run("for i in 1 2 3 4 5 6 7 8 9; do [ $(cat /sys/block/vda/size) = 6144 ] && break; sleep 1; done; "
              "[ $(cat /sys/block/vda/size) = 6144 ]")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()


def interrupted_run(m, rng):
    """Files are written and synced until the process is killed; returns the number of the last synced one."""
    m.child.sendline("i=0; while :; do i=$((i+1)); dd if=/dev/urandom of=/mnt/w$((i%16)) bs=4k "
                     "count=$((i*7%90+1)) 2>/dev/null; md5sum /mnt/w$((i%16)) >/mnt/s$((i%16)); sync; "
                     "echo SYN''CED $i; [ $((i%5)) = 0 ] && fstrim /mnt; done")
    last = 0
    for _ in range(rng.randrange(3, 9)):
        m.expect(r"SYNCED (\d+)\r\n")
        last = int(m.child.match.group(1))
    time.sleep(rng.random() * 0.3)
    m.child.kill(signal.SIGKILL)
    while m.child.expect([r"SYNCED (\d+)\r\n", pexpect.EOF]) == 0:
        last = int(m.child.match.group(1))
    return last


@pytest.mark.skipif(len(TOOLS) < 2, reason="e2fsprogs is not installed")
def test_killed(tmp_path):
    """SIGKILL in the middle of writes, again and again: image and file system are whole each time."""
    image = tmp_path / "hdd.img"
    rng = random.Random(7)
    m = boot(f"{image},sectorsize=4096,size=2G,split=256M,sparse")
    try:
        m.run("mkfs.ext4 -q /dev/vda && mount -t ext4 /dev/vda /mnt && sync")
        for n in range(KILLS):
            last = interrupted_run(m, rng)
            m.kill()
            image_tool("check", image)
            m = boot(str(image))
            m.run("mount -t ext4 /dev/vda /mnt")  # its journal recovers it
            m.run("umount /mnt && e2fsck -fn /dev/vda && mount -t ext4 /dev/vda /mnt")
            if last:
                # what was synced last is whole, but for the one file that was being rewritten
                broken = m.run("cd /mnt; for s in s*; do md5sum -c $s >/dev/null 2>&1 || echo BAD $s; done; cd /")
                bad = set(re.findall(r"BAD s(\d+)", broken))
                assert bad <= {str((last + k) % 16) for k in (1, 2)}, f"kill {n}: {bad} after {last}"
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
    image_tool("check", image)
