"""Many devices at once, in any slots and functions, with every kind of interrupt: each of them does real work."""
import random

import pytest

from machine import Machine
from test_ahci import KERNEL, check_disc, make_iso, need
from test_serial import Line, port_in

MIB = 1 << 20


def devices(tmp_path):
    """Eight disks, four network cards, two CDs and three serial ports."""
    disks = [f"{tmp_path}/v{n}.img,size=16M" for n in range(4)]
    sata = [f"{tmp_path}/s{n}.img,size=16M" for n in range(4)]
    return ["-s", f"3:0,virtio-blk,{disks[0]}", "-s", f"3:5,virtio-blk,{disks[1]},sectorsize=4096",
            "-s", f"4,virtio-blk,{disks[2]}", "-s", f"30:7,virtio-blk,{disks[3]}", "-s", f"30,ahci-hd,{sata[0]}",
            "-s", f"11,ahci,hd:{sata[1]},hd:{sata[2]},cd:{tmp_path}/a.iso", "-s", f"12:0,ahci-hd,{sata[3]}",
            "-s", f"12:3,ahci-cd,{tmp_path}/b.iso", "-s", "2:0,virtio-net", "-s", "2:1,virtio-net", "-s", "17,virtio-net",
            "-s", "18,virtio-net", "-s", f"1,uart,unix:{tmp_path}/u0", "-s", f"2:6,uart,unix:{tmp_path}/u1",
            "-s", f"29,uart,unix:{tmp_path}/u2", "-s", "9,virtio-rnd"]


@need("xorriso")
@pytest.mark.parametrize("args,cmdline", [
    (["-A", "-c", "2"], ""),
    (["-c", "2"], ""),
    (["-A"], "pci=nomsi"),
    ([], "pci=nomsi"),
    (["-A", "-W", "-c", "2"], ""),
    (["-W"], ""),
])
def test_together(tmp_path, args, cmdline):
    """MSI-X, one MSI each (-W) and legacy interrupts, with and without ACPI."""
    sums = [make_iso(tmp_path / f"{name}.iso", seed, name.upper()) for seed, name in enumerate("ab")]
    m = Machine.linux(*args, "-m", "512M", *devices(tmp_path), package=KERNEL,
                      cmdline=f"console=ttyS0 quiet 8250.nr_uarts=8 {cmdline}")
    try:
        m.shell()
        names = m.run("cd /sys/block; ls -d vd* sd*; cd /").split()
        assert len(names) == 8, names
        m.run("for d in " + " ".join(names) + "; do dd if=/dev/urandom of=/tmp/$d bs=64k count=16 2>/dev/null; "
              "dd if=/tmp/$d of=/dev/$d bs=64k seek=33 oflag=direct 2>/dev/null & done; wait; "
              "for d in " + " ".join(names) + "; do dd if=/dev/$d bs=64k skip=33 count=16 iflag=direct 2>/dev/null | "
              "cmp - /tmp/$d || exit 1; done")
        labels = {m.run(f"dd if=/dev/{cd} bs=1 skip=32808 count=1 2>/dev/null"): cd for cd in ("sr0", "sr1")}
        assert set(labels) == {"A", "B"}
        check_disc(m, f"/dev/{labels['A']}", sums[0])
        check_disc(m, f"/dev/{labels['B']}", sums[1])
        cards = m.run("ls /sys/class/net").split()
        assert sorted(cards) == ["eth0", "eth1", "eth2", "eth3", "lo"]
        for n in range(4):
            m.run(f"net eth{n} >/dev/null 2>&1; ping -c 1 -W 5 -I eth{n} 10.0.2.2 >/dev/null && "
                  f"ip link set eth{n} down && ip addr flush dev eth{n}")
        for name, slot in (("u0", "01.0"), ("u1", "02.6"), ("u2", "1d.0")):
            port, line = port_in(m, slot), Line.unix(tmp_path / name)
            data = bytes(random.Random(port).randrange(32, 127) for _ in range(600)) + b"\n"
            m.run(f"stty -F /dev/ttyS{port} raw -echo")
            m.child.sendline(f"echo from $((6 * 7)) >/dev/ttyS{port}; head -n 1 /dev/ttyS{port} | md5sum; echo RE''AD")
            line.read_to(b"from 42\n")
            line.send(data)
            m.expect("READ\r\n")
            line.close()
        assert m.run("dd if=/dev/hwrng bs=64 count=4 2>/dev/null | wc -c").strip() == "256"
        kinds = set(m.run("cat /sys/bus/pci/devices/*/msi_irqs/* 2>/dev/null || :").split())
        assert kinds == (set() if cmdline else {"msi"} if "-W" in args else {"msi", "msix"})  # AHCI has no MSI-X
        bad = m.run("dmesg | grep -iE 'irq.*nobody cared|failed command|exception Emask|timed out|I/O error' || :")
        assert not bad, bad
        assert m.leave("poweroff") == (1 if "-A" in args else 2)
    finally:
        m.kill()
