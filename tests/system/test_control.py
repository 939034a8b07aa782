"""The control socket with a real guest: what the guest sees of pauses, buttons, cables, discs and disks."""
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import time

import pytest

from machine import PROMPT, TOP, XHYVE, Machine
from test_ahci import KERNEL, make_iso
from test_bare import ACCELS, bare  # noqa: F401 (a fixture)

CTL = str(pathlib.Path(XHYVE).with_name("xhyve-ctl"))
QUIET = "console=ttyS0 quiet"


class Control:
    """A machine's control socket."""

    def __init__(self, path):
        self.path = path

    def run(self, *words, status=0):
        done = subprocess.run([CTL, str(self.path), *words], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == status, done
        return done.stdout if status == 0 else done.stderr

    def values(self, *words):
        return dict(line.split(" ", 1) for line in self.run(*words).splitlines())


def boot(tmp_path, *args, **kwargs):
    path = tmp_path / "ctl.sock"
    m = Machine.linux("-A", f"--control=unix:{path}", *args, cmdline=QUIET, **kwargs).shell()
    return m, Control(path)


def until(m, condition):
    """Waits in the guest until a shell condition holds."""
    m.run(f"for i in 1 2 3 4 5 6 7 8 9 10; do {condition} && break; sleep 1; done; {condition}")


def test_pause(tmp_path):
    """Time stands still: the guest's uptime never gets ahead of the machine's clock, and nothing complains."""
    m, control = boot(tmp_path, "-c", "2", "--accel=jit")
    try:
        status = control.values("status")
        assert status["state"] == "running" and status["cpus"] == "2" and status["accel"] == "jit"
        assert stat.S_IMODE(os.stat(control.path).st_mode) == 0o600
        source = "cat /sys/devices/system/clocksource/clocksource0/current_clocksource"
        assert m.run(source).strip() == "tsc"
        late = "echo $(( $(cat /sys/class/rtc/rtc0/since_epoch) - $(date +%s) ))"
        before = int(m.run(late))
        m.child.sendline("cat /proc/uptime >/dev/null; while :; do :; done & busy=$!")  # one CPU is busy
        m.expect(re.escape(PROMPT))
        control.run("pause")
        stopped = control.values("status")
        assert stopped["state"] == "paused"
        executed = control.run("stats")
        time.sleep(6)  # longer than the time before the guest's uptime began
        assert control.values("status") == stopped
        assert control.run("stats") == executed
        control.run("pause")
        control.run("resume")
        control.run("resume")
        uptime = float(m.run("cat /proc/uptime").split()[0])
        assert uptime * 1000 <= int(control.values("status")["clock-ms"])
        m.run("kill $busy")
        for _ in range(20):
            control.run("pause")
            control.run("resume")
        assert m.run(source).strip() == "tsc"
        assert int(m.run(late)) >= before + 5  # the real-time clock went on
        assert not re.search("stall|lockup|unstable|Hardware", m.run("dmesg"))
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
    assert not control.path.exists()


@pytest.mark.parametrize("accel", ACCELS)
def test_tsc(bare, accel, tmp_path):  # noqa: F811
    """A guest that watches its TSC all the time sees no jump, or the host is said to be unable."""
    control = Control(tmp_path / "ctl.sock")
    m = Machine([f"--accel={accel}", f"--control=unix:{control.path}", "-f", f"kexec,{bare},,watch"])
    try:
        m.expect("hello from nowhere")
        control.run("pause")
        time.sleep(6)
        control.run("resume")
        status = m.leave("x")
        if accel == "kvm" and "cannot move its TSC" in m.child.before:
            assert status == 2
        else:
            assert status == 1
    finally:
        m.kill()


def test_devices(tmp_path):
    """Cable and disk: the guest sees what is done to them; mistakes change nothing."""
    image = tmp_path / "a.img"
    m, control = boot(tmp_path, "-s", f"2,virtio-blk,{image},size=1M", "-s", "3,virtio-net",
                      "-s", f"4,virtio-blk,{tmp_path}/b.img,size=4M,split=2M,sparse,sectorsize=4096")
    try:
        assert control.values("devices")["2"] == "virtio-blk disk 1048576"
        control.run("resize", "2", "3M")
        until(m, "[ $(cat /sys/block/vda/size) = 6144 ]")
        assert image.stat().st_size == 3 * 2**20
        os.truncate(image, 4 * 2**20)
        control.run("resize", "2")
        until(m, "[ $(cat /sys/block/vda/size) = 8192 ]")
        m.run("dd if=/dev/urandom of=/tmp/r bs=1M count=4 2>/dev/null; dd if=/tmp/r of=/dev/vdb 2>/dev/null")
        control.run("resize", "4", "10M")
        until(m, "[ $(cat /sys/block/vdb/size) = 20480 ]")
        m.run("dd if=/tmp/r of=/dev/vdb bs=1M seek=6 conv=fsync 2>/dev/null; for at in 0 6; do "
              "dd if=/dev/vdb bs=1M skip=$at count=4 2>/dev/null | cmp - /tmp/r || exit 1; done")
        assert (tmp_path / "b.img.0004").stat().st_size == 2 * 2**20
        assert "size 10485760\n" in (tmp_path / "b.img.meta").read_text()
        m.run("ip link set eth0 up")
        until(m, "[ $(cat /sys/class/net/eth0/carrier) = 1 ]")
        control.run("link", "net", "down")
        until(m, "[ $(cat /sys/class/net/eth0/carrier) = 0 ]")
        assert control.values("devices")["3"] == "virtio-net net link down"
        control.run("link", "3", "up")
        until(m, "[ $(cat /sys/class/net/eth0/carrier) = 1 ]")
        m.run("dd if=/dev/vda of=/dev/null bs=1M 2>/dev/null")
        assert int(control.values("stats")["2-virtio-blk.bytes-read"]) >= 4 * 2**20
        for words, text in ((("resize", "2", "1M"), "only grows"), (("resize", "4", "5M"), "segments"),
                            (("resize", "disk", "9M"), "several"), (("resize", "9"), "no device"),
                            (("link", "2", "up"), "no network cable"), (("eject", "cd"), "no such device"),
                            (("eject", "x"), "not a device"), (("stauts",), "did you mean status"),
                            (("insert", "2", "/etc/passwd"), "no disc")):
            assert text in control.run(*words, status=1)
        second = subprocess.run([XHYVE, "-f", "kexec,/dev/null", f"--control=unix:{control.path}"],
                                capture_output=True, text=True, check=False, timeout=60)
        assert second.returncode == 4 and control.values("status")["state"] == "running"
        with socket.socket(socket.AF_UNIX) as rude:  # asks for much, reads nothing, is still there at the end
            rude.connect(str(control.path))
            rude.setblocking(False)
            with pytest.raises(BlockingIOError):
                while True:
                    rude.send(b"stats\n" * 100)
            m.run("true")
            control.run("power", status=0)  # heard, although nothing in this guest acts on it
            control.run("pause")
            control.run("quit")
            assert m.wait() == 100
    finally:
        m.kill()
    assert not control.path.exists()


def test_reset_button(tmp_path):
    """The reset button does what the guest's reset does; a socket that was left behind is replaced."""
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "ctl.sock"))
    m, control = boot(tmp_path)
    try:
        control.run("reset")
        assert m.wait() == 0
    finally:
        m.kill()
    assert "No such file" in control.run("status", status=4)


@pytest.mark.skipif(not shutil.which("xorriso"), reason="xorriso is not installed")
def test_discs(tmp_path):
    """A disc is mounted, which locks the drive; it is taken out and another one put in while the machine runs."""
    first, second = tmp_path / "a.iso", tmp_path / "b c.iso"
    make_iso(first, 11, "FIRST")
    make_iso(second, 12, "SECOND")
    m, control = boot(tmp_path, "-m", "512M", "-s", "4,ahci-cd", package=KERNEL)
    try:
        assert control.values("devices")["4"] == "ahci-cd cd empty"
        control.run("insert", "cd", str(first))
        until(m, "dd if=/dev/sr0 of=/dev/null bs=2048 count=1 2>/dev/null")
        m.run("mkdir -p /cd && mount -t iso9660 -o ro /dev/sr0 /cd && [ -f /cd/file-0.bin ]")
        assert "locked" in control.run("eject", "4", status=1)
        assert control.values("devices")["4"] == f"ahci-cd cd {first.stat().st_size}"
        m.run("umount /cd")
        control.run("eject", "4")
        assert control.values("devices")["4"] == "ahci-cd cd empty"
        os.mkfifo(tmp_path / "fifo")
        for path, text in ((tmp_path / "no.iso", "No such file"), (tmp_path / "fifo", "neither a file"), (tmp_path,
                           "neither a file")):
            assert text in control.run("insert", "cd", str(path), status=1)
        done = subprocess.run([CTL, str(control.path), "insert", "cd", second.name], cwd=tmp_path, check=False,
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done
        until(m, "dd if=/dev/sr0 bs=2048 skip=16 count=1 2>/dev/null | grep -q SECOND")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()


def test_client(tmp_path):
    """Exit statuses and help of the client; the man page has every command."""
    def ctl(*words):
        return subprocess.run([CTL, *words], capture_output=True, text=True, check=False, timeout=60)

    shown = ctl("--help")
    names = re.findall(r"^  ([a-z]+) ", shown.stdout, re.MULTILINE)
    assert shown.returncode == 0 and len(names) == 13
    page = (TOP / "man" / "xhyve-ctl.1").read_text()
    assert re.findall(r"^\.It Cm ([a-z]+)", page, re.MULTILINE) == names
    table = (TOP / "docs" / "control.md").read_text()
    assert re.findall(r"^\| `([a-z]+)", table, re.MULTILINE) == names
    for words in ((), ("x",), ("--nonsense",), ("s", "status", "a\nb"), ("s", "insert", "cd", "x" * 5000)):
        assert ctl(*words).returncode == 64, words
    assert ctl(str(tmp_path / "none"), "status").returncode == 4
    assert ctl("x" * 200, "status").returncode == 4
