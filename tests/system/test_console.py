"""The virtio console in a stock kernel: as the only console, its size, named ports, and every kind of driver."""
import hashlib
import random
import re
import socket

import pytest

from machine import Machine
from test_serial import Line, until

LEGACY = ("for m in virtio_console virtio_rng virtio_blk virtio_net virtio_pci; do rmmod $m 2>/dev/null; done; "
          "insmod /lib/modules/virtio_pci.ko force_legacy=1 && insmod /lib/modules/virtio_console.ko")


def transfer(m, device, line, seed):
    """Random bytes both ways, and the host reads in its own time."""
    data = random.Random(seed).randbytes(300_000)
    m.run(f"exec 7<>{device}; echo hello >&7")  # waits until somebody is there; reading would find the end
    line.read_to(b"hello\n")
    m.child.sendline(f"head -c {len(data)} <&7 | md5sum >/tmp/sum; echo GOT''IT")
    line.send(data)
    m.expect("GOTIT\r\n")
    assert m.run("cat /tmp/sum").split()[0] == hashlib.md5(data).hexdigest()
    m.child.sendline("head -c 500000 /dev/urandom >/tmp/r; (cat /tmp/r; echo; echo THE-END) >&7; echo SE''NT")
    got = line.read_to(b"\nTHE-END\n")[:-len(b"\nTHE-END\n")]
    m.expect("SENT\r\n")
    assert m.run("md5sum /tmp/r").split()[0] == hashlib.md5(got).hexdigest()
    m.run("exec 7>&-")


@pytest.mark.parametrize("package", ["linux-image-cloud-amd64", "linux-image-6.12-cloud-amd64"])
def test_console(tmp_path, package):
    """The kernel's console is hvc0 on the terminal, whose size it follows; there is no serial port at all."""
    m = Machine.linux("-A", "-s", "0,hostbridge", "-s", f"2:1,virtio-console,stdio,log={tmp_path}/log", "-s",
                      "2:0,virtio-rnd", board=False, package=package, cmdline="console=hvc0 quiet")
    try:
        m.shell()
        assert m.run("cat /sys/class/tty/console/active").strip() == "hvc0"
        assert m.run("stty size").strip() == "50 200"
        m.child.setwinsize(33, 111)
        until(m, "[ \"$(stty size)\" = '33 111' ]")
        text = m.run("seq 1 3000")
        assert text.split() == [str(n) for n in range(1, 3001)]
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
    assert b"\r\n2999\r\n3000\r\n" in (tmp_path / "log").read_bytes()


@pytest.mark.parametrize("cmdline", ["", "pci=nomsi"])
def test_ports(tmp_path, cmdline):
    """Named ports of one device: bytes both ways, and programs that hear when the other end leaves."""
    m = Machine.linux("-A", "-s", f"5,virtio-console,port=org.test.0,unix:{tmp_path}/a,port=b,autopty={tmp_path}/b",
                      "-s", f"6,virtio-console,unix:{tmp_path}/c", cmdline=f"console=ttyS0 quiet {cmdline}")
    try:
        m.shell()
        names = m.run("cd /sys/class/virtio-ports; grep . */name; cd /")
        port = dict((b, a) for a, b in re.findall(r"(vport\w+)/name:(.*)", names))
        assert set(port) == {"org.test.0", "b"}, names
        interrupts = m.run("grep virtio /proc/interrupts")
        assert ("IO-APIC" in interrupts) == bool(cmdline)
        assert ("control" in interrupts) == (not cmdline)  # a vector for each queue
        line = Line.unix(tmp_path / "a")
        transfer(m, f"/dev/{port['org.test.0']}", line, 1)
        transfer(m, f"/dev/{port['b']}", Line.terminal((tmp_path / "b").read_text()), 2)
        # nobody has hvc0 open before; a shell there answers
        m.run("(setsid sh -c 'exec sh -i <>/dev/hvc0 >&0 2>&1' &)")
        shell = Line.unix(tmp_path / "c")
        shell.send(b"\recho sum $((40 + 2))\r")
        shell.read_to(b"sum 42")
        # the host's end leaves and comes back
        m.run(f"(sh -c 'cat /dev/{port['org.test.0']} >/tmp/got; echo over >/tmp/state' >/dev/null 2>&1 &); sleep 0.3")
        line.send(b"last words")
        line.close()
        until(m, "grep -q over /tmp/state 2>/dev/null")
        assert m.run("cat /tmp/got") == "last words"
        line = Line.unix(tmp_path / "a")
        m.run(f"echo again >/dev/{port['org.test.0']}")
        line.read_to(b"again\n")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
    assert not list(tmp_path.iterdir())


def test_legacy_driver(tmp_path):
    """A driver from before virtio 1.0; a program that writes more than anybody reads waits, the machine goes on."""
    m = Machine.linux("-A", "-s", f"5,virtio-console,null,port=x,unix:{tmp_path}/x", cmdline="console=ttyS0 quiet")
    try:
        m.shell()
        m.run(LEGACY)
        assert m.run("cut -c33 /sys/bus/virtio/devices/virtio*/features").strip() == "0"
        until(m, "grep -q x /sys/class/virtio-ports/*/name")
        device = "/dev/" + m.run("cd /sys/class/virtio-ports; grep -l x */name; cd /").split("/")[0]
        with socket.socket(socket.AF_UNIX) as lazy:
            lazy.connect(f"{tmp_path}/x")
            m.run(f"(sh -c 'dd if=/dev/zero bs=64k count=100 of={device}; echo $? >/tmp/done' >/dev/null 2>&1 &)")
            m.run("sleep 1; [ ! -e /tmp/done ]")
            got = 0
            while got < 100 * 65536:
                data = lazy.recv(1 << 20)
                assert data and not data.strip(b"\0")
                got += len(data)
            until(m, "[ \"$(cat /tmp/done)\" = 0 ]")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
