"""--explain says before the start what a guest then finds, warns, and touches nothing."""
import os
import re
import subprocess

import pytest

from machine import BOARD, TOP, XHYVE, initramfs, kernel

GENERIC = "linux-image-amd64"  # has SATA drivers
NO_KVM_LINES = re.compile(r"^xhyve: using the software CPU .*\n", re.M)


def explain(*args, cmdline="console=ttyS0", board=BOARD, cwd=None, pkg="linux-image-cloud-amd64", initrd=True):
    """Its text, and what it prints to standard error; it must end with 0."""
    files = f"kexec,{kernel(pkg)},{initramfs(pkg) if initrd else ''},{cmdline}"
    done = subprocess.run([XHYVE, "--explain", *board, *args, "-f", files], cwd=cwd, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert NO_KVM_LINES.sub("", done.stderr) == ""
    return done.stdout


def sections(text):
    """{heading: text below it}"""
    found = re.split(r"^(\w[^\n]*)\n", text, flags=re.M)
    return dict(zip(found[1::2], found[2::2]))


def devices(text):
    """{(bus, slot, function): text of the device}"""
    result = {}
    for entry in re.split(r"^  (?=-s )", sections(text)["devices"], flags=re.M)[1:]:
        numbers = [int(n) for n in re.match(r"-s ([\d:]+),", entry).group(1).split(":")]
        result[tuple([0] * (3 - len(numbers)) + numbers)] = entry
    return result


def warnings(text):
    assert ("\nwarnings\n" in text) != ("\nno warnings\n" in text)
    return [line.strip() for line in sections(text).get("warnings", "").splitlines() if line.strip()]


def bars(entry):
    return {int(n): (int(a, 16), int(b, 16))
            for n, a, b in re.findall(r"BAR (\d) +0x([0-9a-f]+)-0x([0-9a-f]+)", entry)}


def check_bars(m, address, entry):
    """The addresses are those that the firmware has assigned and Linux has kept."""
    name = "0000:%02x:%02x.%x" % address
    lines = m.run(f"cat /sys/bus/pci/devices/{name}/resource").splitlines()
    real = {n: tuple(int(w, 16) for w in line.split()[:2]) for n, line in enumerate(lines[:6])}
    assert bars(entry) == {n: r for n, r in real.items() if r[1]}
    ids = m.run(f"cd /sys/bus/pci/devices/{name} && cat vendor device class; cd /").split()
    said = re.search(r"PCI +(\w+):(\w+), class (\w+)", entry).groups()
    assert [int(i, 16) for i in ids] == [int(s, 16) for s in said]


def test_the_guest_finds_what_is_said(boot, tmp_path):
    """Order of the command line, of slots and of names differ on purpose."""
    iso = tmp_path / "a.iso"
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", iso, TOP / "examples"], check=True, capture_output=True)
    raw = tmp_path / "raw.img"
    raw.write_bytes(bytes(3 << 20))
    args = ["-A", "-m", "3500M", "-c", "2", "-s", f"9,virtio-blk,{raw}",
            "-s", f"5:1,virtio-blk,{tmp_path}/sparse.img,size=1G,split=256M,sparse,sectorsize=4096",
            "-s", "5:0,virtio-rnd", "-s", "7,virtio-net", "-s", f"6,ahci-cd,{iso}",
            "-s", f"8,ahci-hd,{raw.with_name('sata.img')},size=5M", "-s", "10,dummy", "-s", "12,uart,null", "-s", "13,virtio-console,null,port=talk,null"]
    text = explain(*args, pkg=GENERIC)
    assert warnings(text) == []
    m = boot(*args, package=GENERIC).shell()
    found = devices(text)
    assert set(found) == {(0, s, f) for s, f in ((0, 0), (5, 0), (5, 1), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0), (12, 0), (13, 0), (31, 0))}
    for address, entry in found.items():
        check_bars(m, address, entry)
    for address, entry in found.items():
        disk = re.search(r"guest +/dev/(\w+), (\d+)(\w?), ", entry)
        if disk:
            size = int(disk.group(2)) << {"": 0, "K": 10, "M": 20, "G": 30}[disk.group(3)]
            assert int(m.run(f"cat /sys/block/{disk.group(1)}/size")) * 512 == size, entry
            where = m.run(f"readlink /sys/block/{disk.group(1)}")
            assert "/0000:%02x:%02x.%x/" % address in where, entry
    assert "/dev/vda, 1G, sectors of 4096/4096" in found[0, 5, 1] and "/dev/vdb" in found[0, 9, 0]
    mac = re.search(r"address +(\S+)", found[0, 7, 0]).group(1)
    assert m.run("cat /sys/class/net/eth0/address").strip() == mac
    assert re.search(r"guest +eth0, with systemd enp0s7\n", found[0, 7, 0])
    tty = re.search(r"guest +(ttyS\d+), null", found[0, 12, 0]).group(1)
    assert "/0000:00:0c.0/" in m.run(f"readlink /sys/class/tty/{tty}")
    assert re.search(r"guest +hvc0, null\n +guest +/dev/virtio-ports/talk, null\n", found[0, 13, 0])
    assert m.run("cat /sys/class/virtio-ports/*/name").strip() == "talk"
    told = m.run("dmesg")
    for start, end, kind in re.findall(r"^  0x(\w+)-0x(\w+)  (RAM|ACPI tables|ACPI memory)$", text, re.M):
        kind = {"RAM": "usable", "ACPI tables": "ACPI data", "ACPI memory": "ACPI NVS"}[kind]
        assert re.search(rf"BIOS-e820: \[mem 0x0*{start.lstrip('0')}-0x0*{end.lstrip('0')}\] {kind}"
                         if start.strip("0") else rf"\[mem 0x0+-0x0*{end.lstrip('0')}\] {kind}", told), (start, end, told)
    version = re.search(r"version +(\S+)", text).group(1)
    assert m.run("uname -r").strip() == version
    assert m.leave("poweroff") == 1
    text = explain(*args, pkg=GENERIC)
    assert re.search(r"sparse.img, sparse, takes \d+", text) and "4 of 256M" in text
    assert re.search(r"allocated +0 of 262144 sectors", text), text


def test_nothing_is_touched(tmp_path):
    args = ["-F", "pid", "--control=unix:ctl", "-l", "com2,autopty=tty,log=log,unix:sock", "-g", "1", "-s", "2,virtio-net,user,fwd=1:1,pcap=p",
            "-s", "3,virtio-blk,new.img,size=1G,sparse", "-s", "4,ahci-hd,new2.img,size=1G,split=512M"]
    text = explain(*args, cwd=tmp_path)
    assert "com2          ttyS1, port 0x2f8, IRQ 3, autopty=tty,log=log,unix:sock" in text
    assert text.count("will be created") == 2
    assert os.listdir(tmp_path) == []


def test_an_image_stays_as_it_is(tmp_path):
    """Of the original program, without its geometry; and one that will grow."""
    tool = XHYVE + "-img"
    subprocess.run([tool, "create", f"{tmp_path}/s.img,size=64M,split=16M,sparse"], check=True, capture_output=True)
    (tmp_path / "s.img.meta").unlink()
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.iterdir()}
    text = explain("-s", f"2,virtio-blk,{tmp_path}/s.img,size=64M,split=16M,sparse")
    assert "/dev/vda, 64M" in text and "will be created" not in text
    text = explain("-s", f"2,virtio-blk,{tmp_path}/s.img,size=80M,split=16M,sparse")
    assert "/dev/vda, 80M" in text and "will be created" in text
    assert before == {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.iterdir()}


def test_a_machine_that_runs(boot, tmp_path):
    disk = ["-s", f"2,virtio-blk,{tmp_path}/a.img,size=64M,sparse"]
    m = boot(*disk).shell()
    text = explain(*disk)
    assert warnings(text) == [f"{tmp_path}/a.img is in use by another process: the machine cannot start now"]
    assert "/dev/vda, 64M" in text
    assert m.run("echo fine").strip() == "fine"
    assert m.leave("reboot") == 0


@pytest.mark.parametrize("args,cmdline,warning", [
    ([], "console=tty0", "-l com1 is connected, but the kernel's command line has no console=ttyS0"),
    ([], "console=ttyS1 earlyprintk=serial", "no console=ttyS0"),
    ([], "console=ttyS01,115200", "no console=ttyS0"),
    ([], "console=ttyS0,115200n8", None),
    (["-l", "com2,null"], "console=ttyS1", None),
    (["-s", "5,uart,null"], "console=ttyS2", None),
    (["-s", "5,virtio-console,null"], "console=hvc0", None),
    (["-s", "5,virtio-console,port=a,null"], "console=hvc0", "no console=ttyS0"),
    ([], 'x="y console=ttyS0"', "no console=ttyS0"),
    (["-s", "2,virtio-blk,DIR/d.img"], "console=ttyS0 root=/dev/vdb1", "root=/dev/vdb1: the machine has no such disk, it has vda"),
    (["-s", "2,ahci-hd,DIR/d.img"], "console=ttyS0 root=/dev/vda ro", "root=/dev/vda: the machine has no such disk, it has sda"),
    ([], "console=ttyS0 root=/dev/vda1", "root=/dev/vda1: the machine has no such disk, it has no disks"),
    (["-s", "2,virtio-blk,DIR/d.img"], "console=ttyS0 root=/dev/vda", None),
    (["-s", "2,virtio-blk,DIR/d.img"], "console=ttyS0 root=/dev/vdb root=/dev/vda", None),
    (["-s", "2,virtio-blk,DIR/d.img"], "console=ttyS0 root=/dev/mapper/vg-root", None),
    (["-s", "2,virtio-blk,DIR/n.img,size=1G"], "console=ttyS0 root=/dev/vda1", "n.img is a new disk, nothing is on it yet"),
    (["-s", "2,ahci-cd,DIR/d.img"], "console=ttyS0", "d.img in /dev/sr0 holds no file system of a disc"),
    (["-s", "2,ahci-cd"], "console=ttyS0", None),
])
def test_warnings(tmp_path, args, cmdline, warning):
    (tmp_path / "d.img").write_bytes(bytes(1 << 20))
    found = warnings(explain(*[a.replace("DIR", str(tmp_path)) for a in args], cmdline=cmdline))
    if warning:
        assert len(found) == 1 and warning in found[0], found
    else:
        assert found == []


def partitioned(path, label, *lines, size=64 << 20):
    with open(path, "wb") as f:
        f.truncate(size)
    subprocess.run(["/sbin/sfdisk", "-q", "--label", label, path], input="\n".join(lines), text=True, check=True)


def warnings_for_disk(image, root, options=""):
    return warnings(explain("-s", f"2,virtio-blk,{image}{options}", cmdline=f"console=ttyS0 root={root}"))


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_partitions(tmp_path, label):
    """root= names what is in the table, by number or by name."""
    image = tmp_path / "d.img"
    partitioned(image, label, "size=8M", "size=8M")
    disk = subprocess.run(["/sbin/sfdisk", "-d", image], check=True, capture_output=True, text=True).stdout
    if label == "gpt":
        partuuid = re.search(r"uuid=([0-9A-F-]{36})", disk.split("\n\n")[1]).group(1).lower()
    else:
        partuuid = re.search(r"label-id: 0x(\w+)", disk).group(1) + "-01"
    for root in ("/dev/vda1", "/dev/vda2", f"PARTUUID={partuuid}", f"PARTUUID={partuuid.upper()}"):
        assert warnings_for_disk(image, root) == []
    assert warnings_for_disk(image, "/dev/vda3") == [f"root=/dev/vda3: {image} has no partition 3, it has 1, 2"]
    assert warnings_for_disk(image, "/dev/vda") == [f"root=/dev/vda: no file system, but {image} has partitions: it has 1, 2"]
    assert warnings_for_disk(image, "PARTUUID=12345678-01") == ["root=PARTUUID=12345678-01: no disk of the machine has it"]
    assert warnings_for_disk(image, "/dev/vdb1") == ["root=/dev/vdb1: the machine has no such disk, it has vda"]


def test_file_systems_by_name(tmp_path):
    uuid = "0a1b2c3d-0000-4000-8000-0123456789ab"
    image = tmp_path / "d.img"
    subprocess.run(["/sbin/mkfs.ext4", "-q", "-U", uuid, "-L", "top", image, "16M"], check=True)
    for root in (f"UUID={uuid}", "LABEL=top", f"/dev/disk/by-uuid/{uuid}", "/dev/vda"):
        assert warnings_for_disk(image, root) == []
    assert warnings_for_disk(image, "LABEL=bottom") == ["root=LABEL=bottom: no disk of the machine has it"]
    assert warnings_for_disk(image, "/dev/vda1") == [f"root=/dev/vda1: {image} has no partition 1, no partitions"]


def test_geometry_that_does_not_fit(tmp_path):
    image = tmp_path / "d.img"
    partitioned(image, "gpt", "size=8M")
    found = warnings_for_disk(image, "/dev/vda1", ",sectorsize=4096")
    assert "was partitioned with sectors of 512 bytes, /dev/vda has 4096" in found[0], found
    partitioned(image, "dos", "size=8M", "type=83")
    assert warnings_for_disk(image, "/dev/vda1") == []
    os.truncate(image, 32 << 20)
    found = warnings_for_disk(image, "/dev/vda1")
    assert found == [f"{image}: partition 2 ends behind the disk (/dev/vda has 65536 sectors of 512 bytes)"]


def test_what_cannot_start(tmp_path):
    """The same message and status as for a start."""
    for args, status in ((["-s", "2,virtio-blk,none.img"], 4), (["-s", "2,ahci-cd,none.iso"], 4), (["-m", "1M"], 4),
                         (["-s", "2,virtio-blk,x.img,size=5"], 64)):
        command = [XHYVE, *BOARD, *args, "-f", f"kexec,{kernel()}"]
        runs = [subprocess.run(c, cwd=tmp_path, text=True, stdin=subprocess.DEVNULL, capture_output=True)
                for c in (command, [*command, "--explain"])]
        assert [r.returncode for r in runs] == [status, status]
        assert runs[0].stderr == runs[1].stderr and runs[1].stdout == ""
    assert os.listdir(tmp_path) == []
