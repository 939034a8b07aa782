"""Serial ports on PCI in a stock kernel: every back end at the other end of them, modem lines and breaks."""
import hashlib
import os
import pty
import random
import re
import socket
import time
import tty

import pytest

from machine import Machine

QUIET = "console=ttyS0 quiet 8250.nr_uarts=8"
LIMIT = 60


class Line:
    """The host's end of a port: a descriptor or a socket."""

    def __init__(self, fd):
        self.fd = fd
        self.seen = b""
        os.set_blocking(fd, False)

    @classmethod
    def unix(cls, path):
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(path))
        return cls(s.detach())

    @classmethod
    def terminal(cls, name):
        return cls(os.open(name, os.O_RDWR | os.O_NOCTTY))

    def send(self, data):
        end = time.time() + LIMIT
        while data:
            try:
                data = data[os.write(self.fd, data):]
            except BlockingIOError:
                assert time.time() < end, "the guest takes nothing"
                time.sleep(0.01)

    def read_to(self, mark):
        """Everything up to and with mark."""
        end = time.time() + LIMIT
        while mark not in self.seen:
            assert time.time() < end, f"no {mark!r} in {self.seen[-2000:]!r}"
            try:
                self.seen += os.read(self.fd, 65536)
            except BlockingIOError:
                time.sleep(0.01)
        at = self.seen.index(mark) + len(mark)
        text, self.seen = self.seen[:at], self.seen[at:]
        return text

    def close(self):
        os.close(self.fd)


def lines_of(m, port):
    """What the kernel says of a port: its modem lines and counters."""
    return re.search(rf"^{port}: (.*)$", m.run("cat /proc/tty/driver/serial"), re.MULTILINE).group(1)


def port_in(m, slot):
    """The kernel's number of the port in a slot."""
    return int(m.run(f"ls /sys/bus/pci/devices/0000:00:{slot}/tty").strip().removeprefix("ttyS"))


def until(m, condition):
    m.run(f"for i in $(seq 100); do {condition} && break; sleep 0.1; done; {condition}")


def shell_on(m, port):
    """A login on a port that talks to the host."""
    m.run(f"(while :; do getty -n -l /bin/sh 115200 ttyS{port} vt100; sleep 0.2; done >/dev/null 2>&1 &)")


def talk(line):
    """A shell answers at the other end."""
    line.send(b"\r\r")
    line.read_to(b"# ")
    line.send(b"echo sum $((40 + 2))\r")
    line.read_to(b"sum 42")


def transfer(m, port, line, seed):
    """Random bytes both ways through a raw port, with checksums."""
    data = random.Random(seed).randbytes(40_000)
    m.run(f"stty -F /dev/ttyS{port} raw -echo 115200")
    m.child.sendline(f"head -c {len(data)} /dev/ttyS{port} | md5sum >/tmp/sum; echo GOT''IT")
    time.sleep(0.5)
    line.send(data)
    m.expect("GOTIT\r\n")
    assert m.run("cat /tmp/sum").split()[0] == hashlib.md5(data).hexdigest()
    m.run(f"head -c 30000 /dev/urandom >/tmp/r; (cat /tmp/r; echo; echo THE-END) >/dev/ttyS{port}")
    got = line.read_to(b"\nTHE-END\n")[:-len(b"\nTHE-END\n")]
    assert m.run("md5sum /tmp/r").split()[0] == hashlib.md5(got).hexdigest()


@pytest.mark.parametrize("args,cmdline", [(["-A"], ""), ([], "pci=nomsi")])
def test_back_ends(tmp_path, args, cmdline):
    """Ports in several slots and functions, with and without ACPI, one on each back end."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    slots = {"2": f"unix:{tmp_path}/sock", "2:3": f"autopty={tmp_path}/name,log={tmp_path}/copy",
             "7:0": os.ttyname(slave), "29:0": "null", "29:7": f"log={tmp_path}/log"}
    devices = [word for slot, spec in slots.items() for word in ("-s", f"{slot},uart,{spec}")]
    m = Machine.linux(*args, *devices, cmdline=f"{QUIET} {cmdline}")
    try:
        m.shell()
        port = [port_in(m, slot) for slot in ("02.0", "02.3", "07.0", "1d.0", "1d.7")]
        for n in port:
            assert re.match(r"uart:16550A port:0000\w+ irq:[1-9]", lines_of(m, n))
        m.run(f"echo to nobody >/dev/ttyS{port[3]}; echo to the log >/dev/ttyS{port[4]}")
        ends = (Line.unix(f"{tmp_path}/sock"), Line.terminal((tmp_path / "name").read_text()), Line(master))
        for n, line in zip(port, ends):
            transfer(m, n, line, n)
            shell_on(m, n)
            talk(line)
        assert m.leave("poweroff") == (1 if "-A" in args else 2)  # without ACPI it can only halt
    finally:
        m.kill()
        os.close(master)
        os.close(slave)
    assert b"sum 42" in (tmp_path / "copy").read_bytes()
    assert (tmp_path / "log").read_bytes() == b"to the log\r\n"
    assert not (tmp_path / "name").exists() and not (tmp_path / "sock").exists()


def test_modem_lines(tmp_path):
    """The lines follow the client: a program waits for it to come, and is hung up on when it leaves."""
    m = Machine.linux("-A", "-s", f"3,uart,unix:{tmp_path}/sock", "-s", f"4,uart,autopty={tmp_path}/name",
                      cmdline=QUIET)
    try:
        m.shell()
        ends = (("03.0", lambda: Line.unix(tmp_path / "sock")),
                ("04.0", lambda: Line.terminal((tmp_path / "name").read_text())))
        for slot, connect in ends:
            port = port_in(m, slot)
            m.run(f"stty -F /dev/ttyS{port} -clocal crtscts -echo")
            assert not re.search("CTS|DSR|CD", lines_of(m, port).replace("RTS", ""))
            m.run(f"(rm -f /tmp/state; sh -c 'exec </dev/ttyS{port}; echo came >/tmp/state; cat >/dev/null; "
                  "echo left >/tmp/state' >/dev/null 2>&1 &)")
            m.run("sleep 0.5; [ ! -e /tmp/state ]")
            line = connect()
            until(m, "grep -q came /tmp/state 2>/dev/null")
            assert "CTS|DTR|DSR|CD" in lines_of(m, port)
            line.close()
            until(m, "grep -q left /tmp/state")
            assert not re.search("CTS|DSR|CD", lines_of(m, port).replace("RTS", ""))
        assert m.leave("poweroff") == 1
    finally:
        m.kill()


def test_console_and_break():
    """The kernel's console on COM3; a break from the escape key makes the next key a command to the kernel."""
    m = Machine.linux("-A", "-s", "0,hostbridge", "-s", "31,lpc", "-s", "5:0,uart,stdio", board=False,
                      cmdline="console=ttyS2 quiet")
    try:
        m.shell()
        assert m.run("cat /sys/class/tty/console/active").strip() == "ttyS2"
        m.child.send("\x1db")
        m.child.send("h")
        m.expect(r"sysrq: HELP")
        m.child.sendline("")
        m.shell()
        assert "brk:1" in lines_of(m, 2)
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
