"""The process of a running machine: every thread is confined, and no memory is writable and executable."""
import pathlib
import re
import subprocess

import pytest

from machine import XHYVE, Machine
from test_bare import ACCELS, bare  # noqa: F401 (a fixture)
from test_control import Control

BUILT_IN = "seccomp" in subprocess.run([XHYVE, "--version"], capture_output=True, text=True, check=True).stdout
need = pytest.mark.skipif(not BUILT_IN, reason="built without libseccomp")


def threads(pid):
    """Name and (NoNewPrivs, Seccomp) of each thread."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        text = (task / "status").read_text()
        found.append((re.search(r"Name:\t(.*)", text)[1],
                      re.search(r"NoNewPrivs:\t(\d)", text)[1] + re.search(r"Seccomp:\t(\d)", text)[1]))
    return found


def writable_code(pid):
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    assert any("x" in line.split()[1] for line in maps)
    return [line for line in maps if "w" in line.split()[1] and "x" in line.split()[1]]


@need
@pytest.mark.parametrize("accel", ["jit", "interp"])
def test_linux(tmp_path, accel):
    """Threads of all kinds, also those that start later and after a reset; the guest works."""
    control = Control(tmp_path / "ctl.sock")
    m = Machine.linux("-A", "-c", "2", f"--accel={accel}", "--sandbox=on", "--on-reboot=restart",
                      f"--control=unix:{control.path}", "-s", f"2,virtio-blk,{tmp_path}/a.img,size=16M",
                      "-s", f"3,virtio-blk,{tmp_path}/b.img,size=16M,sparse", "-s", "4,virtio-net", "-s", "5,virtio-rnd",
                      "-s", "6,uart,autopty", cmdline="console=ttyS0 quiet").shell()
    try:
        pid = int(control.values("status")["pid"])
        for again in (False, True):
            m.run("for d in vda vdb; do for n in 0 4 8 12; do dd if=/dev/urandom of=/dev/$d bs=64k count=64 seek=$n "
                  "2>/dev/null & done; done; wait; sync; dd if=/dev/hwrng of=/dev/null bs=64 count=10 2>/dev/null")
            m.run("ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ping -c 1 -W 20 10.0.2.2")
            found = threads(pid)
            assert len(found) >= 1 + 2 + 1 + 2 + 2, found  # one more worker of each disk than at first
            assert all(state == "12" for _, state in found), found
            assert "net" in [name for name, _ in found]
            assert writable_code(pid) == []
            if not again:
                m.child.sendline("reboot -f")
                m.shell()
        assert m.leave("poweroff") == 1
    finally:
        m.kill()


@need
@pytest.mark.parametrize("accel", ACCELS)
def test_off(bare, accel, tmp_path):  # noqa: F811
    """Confined by default, and not with --sandbox=off; with either, KVM's threads work, too."""
    for option, state in ((), "12"), (("--sandbox=off",), "00"):
        control = Control(tmp_path / "ctl.sock")
        m = Machine([f"--accel={accel}", f"--control=unix:{control.path}", *option, "-f", f"kexec,{bare},,watch"])
        try:
            m.expect("hello from nowhere")
            pid = int(control.values("status")["pid"])
            own = re.search(r"Seccomp:\t(\d)", pathlib.Path("/proc/self/status").read_text())[1]
            if own == "0":
                assert {found for _, found in threads(pid)} == {state}
            assert m.leave("x") == 1
        finally:
            m.kill()


@pytest.mark.skipif(BUILT_IN, reason="built with libseccomp")
def test_not_built_in():
    done = subprocess.run([XHYVE, "--sandbox=on", "-f", "kexec,/dev/null"], capture_output=True, text=True,
                          check=False, timeout=60)
    assert done.returncode == 4 and "--sandbox=on: this xhyve was built without libseccomp" in done.stderr
