"""Networks that lead to others: tap devices between two namespaces, sockets between machines, and passt."""
import os
import pathlib
import random
import shutil
import subprocess

import pytest

from machine import BOARD, XHYVE, Machine, initramfs, kernel
from network import BUSYBOX, QUIET, Namespace, fetch, md5, needs, upload, wait_for

# A tap device and a namespace "far", on a bridge with a pair of virtual cables.
WIRE = f". {pathlib.Path(__file__).resolve().parents[2]}/tools/wire.sh"
FAR = ["ip", "netns", "exec", "far"]
HOST_TSO4 = 11  # the feature bit


def tap_works():
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError:
        return False
    return True


needs_tap = pytest.mark.skipif(not tap_works(), reason="no permission for /dev/net/tun")


def linux(*args, program=()):
    return Machine.linux("-A", "-m", "256M", *args, cmdline=QUIET, program=[*program, XHYVE])


def carrier(m, up, card="eth0"):
    wait_for(m, f"[ $(cat /sys/class/net/{card}/carrier) = {int(up)} ]")


@needs_tap
def test_tap_between_namespaces(tmp_path):
    """A guest on an existing tap device and a server in another namespace: files both ways, offloads, the link."""
    content = random.Random(1).randbytes(8 * 2**20)
    (tmp_path / "f").write_bytes(content)
    server = [*FAR, BUSYBOX, "httpd", "-f", "-p", "10.9.0.2:80", "-h", str(tmp_path)]
    with Namespace(WIRE) as space, space.running(*server):
        m = linux("-s", "3,virtio-net,tap0", program=space.inside)
        try:
            m.shell()
            m.run("ip addr add 10.9.0.1/24 dev eth0; ip link set eth0 up")
            assert m.run("cat /sys/bus/virtio/devices/virtio0/features")[HOST_TSO4] == "1"
            assert m.run("cat /sys/class/net/eth0/mtu").strip() == "1500"
            m.run("ping -c 2 10.9.0.2")
            space.run(*FAR, BUSYBOX, "ping", "-c", "2", "10.9.0.1")
            assert fetch(m, "http://10.9.0.2/f") == md5(content)
            m.run("wget -q -O /tmp/f http://10.9.0.2/f")
            assert md5(upload(m, 1234, "cat /tmp/f", "10.9.0.2", [*space.inside, *FAR])) == md5(content)
            space.run("ip", "link", "set", "tap0", "down")
            carrier(m, False)
            space.run("ip", "link", "set", "tap0", "up")
            carrier(m, True)
            assert fetch(m, "http://10.9.0.2/f") == md5(content)
            assert m.leave("poweroff") == 1
            assert "tap0" in space.run("ip", "link", "show")
        finally:
            m.kill()


@needs_tap
def test_tap_made():
    """A tap device that does not exist is made, under the original's name of the device, and goes with the machine."""
    with Namespace("ip link set lo up") as space:
        m = linux("-s", "3,virtio-tap,tap7,mtu=2000", program=space.inside)
        try:
            m.shell()
            space.run("ip", "addr", "add", "10.9.0.2/24", "dev", "tap7")
            assert m.run("cat /sys/class/net/eth0/mtu").strip() == "2000"
            m.run("ip addr add 10.9.0.1/24 dev eth0; ip link set eth0 up")
            m.run("ping -c 2 -s 1900 10.9.0.2")
            assert m.leave("poweroff") == 1
            assert "tap7" not in space.run("ip", "link", "show")
        finally:
            m.kill()


@needs_tap
def test_tap_permission():
    """Without the privilege a message names the command that gives the device, and nothing starts."""
    with Namespace("true") as space:
        done = subprocess.run([*space.inside, "setpriv", "--bounding-set", "-net_admin", "--", XHYVE, *BOARD, "-s",
                               "3,virtio-net,tap0", "-f", f"kexec,{kernel()},{initramfs()},{QUIET}"],
                              capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 4
    assert "ip tuntap add dev tap0 mode tap user root && ip link set tap0 up" in done.stderr.splitlines()[-1]


def join(m, own, other):
    m.run(f"ip addr add 10.8.0.{own}/24 dev eth0; ip link set eth0 up")
    carrier(m, True)
    m.run(f"for i in 1 2 3 4 5 6 7 8 9; do ping -c 1 -W 2 10.8.0.{other} && break; done")


def transfer(sender, receiver, address):
    """A file from one guest to the other with nc."""
    receiver.run("(nc -l -p 1234 >/tmp/got; touch /tmp/done) >/dev/null 2>&1 & "
                 "for i in 1 2 3 4 5 6 7 8 9; do netstat -ltn | grep -q :1234 && break; sleep 0.2; done")
    sender.run(f"dd if=/dev/urandom of=/tmp/sent bs=1M count=4 2>/dev/null; nc {address} 1234 </tmp/sent")
    wait_for(receiver, "[ -e /tmp/done ]")
    assert receiver.run("md5sum </tmp/got; rm /tmp/done") == sender.run("md5sum </tmp/sent")


@pytest.mark.parametrize("kind", ["stream", "datagram"])
def test_two_guests(tmp_path, kind):
    """Two machines joined by a socket; one dies, which the other sees as its link, and comes back."""
    a, b = tmp_path / "a", tmp_path / "b"
    first, second = {"stream": (f"listen={a}", f"connect={a}"),
                     "datagram": (f"dgram={a},peer={b}", f"dgram={b},peer={a}")}[kind]
    machines = [linux("-s", f"3,virtio-net,socket,{second}"), linux("-s", f"3,virtio-net,socket,{first}")]
    try:
        for m in machines:
            m.shell()
        machines[0].run("ip addr add 10.8.0.1/24 dev eth0; ip link set eth0 up")
        join(machines[1], 2, 1)
        transfer(machines[0], machines[1], "10.8.0.2")
        transfer(machines[1], machines[0], "10.8.0.1")
        machines[1].kill()
        carrier(machines[0], False)
        machines[1] = linux("-s", f"3,virtio-net,socket,{first}").shell()
        join(machines[1], 2, 1)
        carrier(machines[0], True)
        transfer(machines[0], machines[1], "10.8.0.2")
        for m in machines:
            assert m.leave("poweroff") == 1
        assert not a.exists() and not b.exists()
    finally:
        for m in machines:
            m.kill()


# A host with a network, for passt: its addresses become the guest's.
LONELY = """set -e
ip link set lo up
ip link add uplink type veth peer name outside
ip link set outside up
ip addr add 192.0.2.5/24 dev uplink
ip addr add 2001:db8::5/64 dev uplink nodad
ip link set uplink up
ip route add default via 192.0.2.1 dev uplink
ip -6 route add default via 2001:db8::1 dev uplink
"""


def test_passt(tmp_path):
    """passt on the other side of the socket: its DHCP, files both ways, a port that it forwards."""
    passt = needs("passt")
    content = random.Random(2).randbytes(8 * 2**20)
    (tmp_path / "f").write_bytes(content)
    path = tmp_path / "passt"
    with Namespace(LONELY) as space, space.running(passt, "-f", "-s", str(path), "-t", "4321"), \
            space.running(BUSYBOX, "httpd", "-f", "-p", "127.0.0.1:80", "-h", str(tmp_path)):
        m = linux("-s", f"3,virtio-net,socket,connect={path},mtu=65520", program=space.inside)
        try:
            m.shell()
            assert "lease of 192.0.2.5 obtained" in m.run("net 2>&1")
            carrier(m, True)
            assert fetch(m, "http://192.0.2.1/f") == md5(content)
            m.run("wget -q -O /tmp/f http://192.0.2.1/f")
            assert md5(upload(m, 1234, "cat /tmp/f", "192.0.2.1", space.inside)) == md5(content)
            m.run("(echo the guest | nc -l -p 4321 >/dev/null) & sleep 1")
            assert space.run(BUSYBOX, "sh", "-c", "nc 127.0.0.1 4321 </dev/null") == "the guest\n"
            assert m.leave("poweroff") == 1
        finally:
            m.kill()


def test_qemu(tmp_path):
    """A machine of QEMU on the other side."""
    qemu = shutil.which("qemu-system-x86_64")
    if not qemu:
        pytest.skip("not installed: qemu-system-x86_64")
    path = tmp_path / "wire"
    ours = linux("-s", f"3,virtio-net,socket,listen={path}")
    theirs = None
    try:
        ours.shell()
        theirs = Machine(["-accel", "tcg", "-m", "256M", "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot",
                          "-netdev", f"stream,id=n,server=off,addr.type=unix,addr.path={path}", "-device",
                          "virtio-net-pci,netdev=n", "-kernel", kernel(), "-initrd", initramfs("linux-image-cloud-amd64"),
                          "-append", QUIET], board=False, program=["sh", "-c", 'stty -onlcr; exec "$@"', "sh", qemu]).shell()
        theirs.run("ip addr add 10.8.0.2/24 dev eth0; ip link set eth0 up")
        join(ours, 1, 2)
        transfer(ours, theirs, "10.8.0.2")
        transfer(theirs, ours, "10.8.0.1")
        theirs.kill()
        carrier(ours, False)
        assert ours.leave("poweroff") == 1
    finally:
        ours.kill()
        if theirs:
            theirs.kill()
