"""--on-reboot=restart: the same process starts the machine again, as often as it likes and however it was reset."""
import re
import shutil

import pytest

from machine import Machine, initramfs, kernel
from test_bare import ACCELS, bare  # noqa: F401 (a fixture)
from test_control import Control

GREETING = "hello from nowhere"


@pytest.mark.parametrize("accel", ACCELS)
@pytest.mark.parametrize("action", ["reset", "keyboard", "92", "triple"])
def test_every_reset(bare, accel, action, tmp_path):  # noqa: F811
    """A bare guest that resets itself at once, a hundred times; then a signal ends it."""
    control = Control(tmp_path / "ctl.sock")
    m = Machine([f"--accel={accel}", "--on-reboot=restart", f"--control=unix:{control.path}",
                 "-f", f"kexec,{bare},,{action}"])
    try:
        for _ in range(100):
            m.expect(GREETING)
        assert control.values("status")["state"] == "running"
        m.child.kill(15)
        assert m.wait() == 100
    finally:
        m.kill()


def test_debugexit_is_no_reset(bare, tmp_path):  # noqa: F811
    """Ends that are no resets stay ends."""
    m = Machine(["--accel=interp", "--on-reboot=restart", "-l", "debugexit", "-f", f"kexec,{bare},,debugexit"])
    try:
        assert m.wait() == 0x15 * 2 + 1
    finally:
        m.kill()


def boots(m, control):
    """What must be the same, and new, after each start."""
    m.shell()
    assert float(m.run("cat /proc/uptime").split()[0]) < 1000
    assert m.run("nproc").strip() == "2"
    assert m.run("cat /sys/devices/system/clocksource/clocksource0/current_clocksource").strip() == "tsc"
    m.run("[ ! -e /tmp/mark ] && touch /tmp/mark")
    assert not re.search("BUG|WARNING|stall|lockup|unstable|I/O error", m.run("dmesg"))
    return m.run("uname -r").strip()


@pytest.mark.parametrize("options", [[], ["-x"]])
def test_linux(tmp_path, options):
    """A stock kernel reboots by ACPI, CF9, the keyboard controller and a triple fault; disk, network and console stay
    what they are; a kernel that was exchanged meanwhile is what starts."""
    image, vmlinuz, initrd = tmp_path / "a.img", tmp_path / "vmlinuz", tmp_path / "initrd"
    shutil.copy(kernel(), vmlinuz)
    shutil.copy(initramfs(), initrd)
    control = Control(tmp_path / "ctl.sock")
    m = Machine(["-A", "-c", "2", *options, "--accel=jit", "--on-reboot=restart", f"--control=unix:{control.path}",
                 "-s", f"2,virtio-blk,{image},size=8M", "-s", "3,virtio-net", "-s", "4,virtio-rnd", "-s", "5,uart,null",
                 "-f", f"kexec,{vmlinuz},{initrd},console=ttyS0 quiet"])
    try:
        first = boots(m, control)
        pid = control.values("status")["pid"]
        m.run("dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' '\\1' | dd of=/dev/vda bs=64k 2>/dev/null && sync")
        for how in ("acpi", "pci", "kbd", "triple"):
            m.run(f"echo {how} >/sys/kernel/reboot/type; [ $(cat /sys/kernel/reboot/type) = {how} ]")
            # Work that is in flight when the reset comes must not reach the next kernel's memory.
            m.child.sendline("(while :; do dd if=/dev/vda of=/dev/null bs=1M iflag=direct; done) >/dev/null 2>&1 & "
                             "(while :; do dd if=/dev/vda of=/dev/vda bs=4k conv=notrunc; done) >/dev/null 2>&1 & "
                             "sleep 1; reboot -f")
            assert boots(m, control) == first
            assert m.run("dd if=/dev/vda bs=64k 2>/dev/null | tr -d '\\1' | wc -c").strip() == "0"
            m.run("ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ping -c 1 -W 20 10.0.2.2")
        shutil.copy(kernel("linux-image-amd64"), vmlinuz)
        shutil.copy(initramfs("linux-image-amd64"), initrd)
        control.run("reset")
        assert boots(m, control) != first
        assert control.values("status")["pid"] == pid
        vmlinuz.write_bytes(b"no kernel")
        m.child.sendline("reboot -f")
        m.expect("vmlinuz")
        assert m.wait() == 4
    finally:
        m.kill()


def test_poweroff(tmp_path):
    """Power off ends it; so does a reset while it is paused start it again."""
    control = Control(tmp_path / "ctl.sock")
    m = Machine.linux("-A", "-c", "2", "--on-reboot=restart", "--on-poweroff=exit",
                      f"--control=unix:{control.path}", cmdline="console=ttyS0 quiet").shell()
    try:
        control.run("pause")
        control.run("reset")
        boots(m, control)
        assert control.values("status")["state"] == "running"
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
