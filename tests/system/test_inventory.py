"""What the tools of a guest say that take stock of a machine: lspci, dmidecode, acpidump and lsblk. No table and no
register makes them complain, and what they say is what was asked for on the command line."""
import json
import re
import subprocess

import pytest

from machine import Machine
from network import needs
from test_ahci import KERNEL, paths

TOOLS = ("lspci", "dmidecode", "acpidump", "lsblk")
UUID = "12345678-1234-1234-1234-123456789abc"
# slot, class, identity, driver, capabilities; the lines of a device that -vv must have
DEVICES = {
    "00:00.0": ("0600", "1275:1275", None, ["Express (v2) Root Port"]),
    "00:02.0": ("0100", "1af4:1001", "virtio-pci", ["MSI-X: Enable+ Count=4", "VirtIO: CommonCfg", "VirtIO: Notify"]),
    "00:03.0": ("0200", "1af4:1000", "virtio-pci", ["MSI-X: Enable+ Count=4", "VirtIO: DeviceCfg"]),
    "00:04.0": ("0106", "8086:2821", "ahci", ["MSI: Enable+ Count=1/1 Maskable+ 64bit+"]),
    "00:05.0": ("0700", "131f:2000", "serial", []),
    "00:06.0": ("00ff", "1af4:1005", "virtio-pci", ["MSI-X: Enable+ Count=2"]),
    "00:06.7": ("0780", "1af4:1003", "virtio-pci", ["MSI-X: Enable+ Count=5"]),
    "00:08.0": ("ff00", "10dd:0001", None, ["MSI: Enable- Count=1/4"]),
    "00:1f.0": ("0601", "8086:7000", None, []),
}


def guest(tmp_path):
    return Machine.linux(
        "-A", "-m", "5G", "-c", "3", "-U", UUID, "-s", f"2,virtio-blk,{tmp_path}/v.img,size=32M", "-s",
        "3,virtio-net", "-s", f"4,ahci,hd:{tmp_path}/s.img,size=64M,sectorsize=512/4096,cd:", "-s", "5,uart,null", "-s",
        "6:0,virtio-rnd", "-s", "6:7,virtio-console,null", "-s", "8,dummy", package=KERNEL, programs=paths(TOOLS),
        cmdline="console=ttyS0 quiet")


def check_pci(text):
    """lspci -vv -n: registers and capabilities of everything in its slot."""
    complaints = [line for line in text.splitlines()
                  if re.search(r"!!!|unassigned|\[disabled\]|\[virtual\]|invalid|denied|rev ff|\bunknown\b", line, re.I)]
    # pciutils of Debian 12 has no name for the fifth kind, the window into BARs
    assert all("VirtIO: <unknown>" in line for line in complaints) and len(complaints) == 4, complaints
    found = {block.split(" ", 1)[0]: block for block in re.split(r"\n\n+", text.strip()) if block[0].isdigit()}
    assert found.keys() == DEVICES.keys()
    for slot, (kind, identity, driver, lines) in DEVICES.items():
        block = found[slot]
        assert block.startswith(f"{slot} {kind}: {identity}"), block
        assert re.findall("Kernel driver in use: (.*)", block) == ([driver] if driver else []), block
        for line in [*lines, "I/O+ Mem+ BusMaster+", ">TAbort- <TAbort- <MAbort- >SERR- <PERR-"]:
            assert line in block, f"{line}\n{block}"
        capable = "Capabilities: [" in block
        assert ("Status: Cap+" in block) == capable, block


def field(block, name):
    return re.search(rf"^\t{name}: (.*)$", block, re.MULTILINE).group(1)


def check_smbios(text):
    """dmidecode: the identity, every CPU, all memory."""
    complaints = re.findall(r".*(?:invalid|wrong|bad|out of spec|truncated|broken|overlap|checksum|missing|\?\?).*", text, re.I)
    assert not complaints, complaints
    assert re.search("^SMBIOS 2.8 present", text, re.MULTILINE) and text.rstrip().endswith("End Of Table"), text
    blocks = re.findall(r"^Handle 0x\w+, DMI type (\d+), .*\n((?:.+\n)*)", text, re.MULTILINE)
    kinds = {}
    for kind, block in blocks:
        kinds.setdefault(int(kind), []).append(block)
    assert sorted(kinds) == [0, 1, 3, 4, 16, 17, 19, 32, 127]
    assert field(kinds[1][0], "UUID") == UUID
    assert [field(cpu, "Socket Designation") for cpu in kinds[4]] == ["CPU #0", "CPU #1", "CPU #2"]
    assert all(field(cpu, "Status") == "Populated, Enabled" and field(cpu, "Core Count") == "1" for cpu in kinds[4])
    assert field(kinds[16][0], "Maximum Capacity") == "5 GB" and field(kinds[17][0], "Size") == "5 GB"
    assert [field(part, "Range Size") for part in kinds[19]] == ["3 GB", "2 GB"]


def check_acpi(dump, directory):
    """acpidump | iasl -d: every table is valid, and compiles again without a word."""
    (directory / "dump").write_text(dump, encoding="ascii")
    subprocess.run(["acpixtract", "-a", "dump"], cwd=directory, check=True, capture_output=True)
    tables = sorted(path.stem for path in directory.glob("*.dat"))
    assert tables == ["apic", "dsdt", "facp", "facs", "hpet", "mcfg", "ssdt"]
    for name in tables:
        other = {"dsdt": ["-e", "ssdt.dat"], "ssdt": ["-e", "dsdt.dat"]}.get(name, [])
        for command in (["iasl", *other, "-d", f"{name}.dat"], ["iasl", "-p", f"{name}.new", f"{name}.dsl"]):
            done = subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
            words = done.stdout + done.stderr
            assert not re.search(r"invalid|incorrect|[1-9]\d* (Errors|Warnings|Remarks)|^(Warning|Error|Remark)", words,
                                 re.IGNORECASE | re.MULTILINE), words
        text = (directory / f"{name}.dsl").read_text(encoding="ascii")
        assert not re.search(r"invalid|incorrect|warning|error", text.split("*/", 1)[1], re.IGNORECASE), text


def check_disks(text):
    """lsblk: sizes, sectors, names; a drive without a disc."""
    disks = {disk["name"]: disk for disk in json.loads(text)["blockdevices"]}
    assert disks.keys() == {"vda", "sda", "sr0"}
    assert [disks["vda"][key] for key in ("size", "type", "log-sec", "phy-sec", "ro", "rm")] == [
        32 << 20, "disk", 512, 512, False, False]
    assert [disks["sda"][key] for key in ("size", "type", "log-sec", "phy-sec", "ro", "rm", "rota")] == [
        64 << 20, "disk", 512, 4096, False, False, False]
    assert disks["sda"]["model"].strip() == "XHYVE SATA DISK" and disks["sda"]["disc-max"] > 0
    assert disks["sr0"]["type"] == "rom" and disks["sr0"]["rm"] and disks["sr0"]["model"].strip() == "SATA DVD-ROM"


@pytest.fixture
def tools():
    return needs(*TOOLS, "iasl", "acpixtract")


def test_inventory(tmp_path, tools):
    m = guest(tmp_path)
    try:
        m.shell()
        check_pci(m.run("/bin/lspci -vvn 2>/tmp/errors"))
        assert not m.run("grep -v libkmod /tmp/errors || :")  # there are no modules to look for
        check_smbios(m.run("dmidecode 2>&1"))
        check_acpi(m.run("acpidump"), tmp_path)
        check_disks(m.run("/bin/lsblk -J -b -o NAME,SIZE,TYPE,LOG-SEC,PHY-SEC,RO,RM,ROTA,MODEL,DISC-MAX"))
        bad = m.run("dmesg -r | grep -E '^<[0-4]>' || :")
        bad = [line for line in bad.splitlines() if re.search("firmware|bug|acpi|dmi|pci|bios|mtrr|mptable", line, re.I)]
        assert not bad, bad
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
