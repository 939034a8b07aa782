"""The network in a real guest: through the user network as an ordinary user, in every way that a driver can use
the card."""
import io
import os
import pathlib
import random
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading

import pytest

from machine import XHYVE, Machine, initramfs, kernel
from network import GATEWAY, GATEWAY6, QUIET, bulk, fetch, free_port, md5, needs, upload, wait_for, web

ROOT = os.geteuid() == 0
MEBIBYTES = int(os.environ.get("XHYVE_NET_MIB", "24"))  # each way in one connection; 1024 for a long run


@pytest.fixture
def ordinary():
    """What to put before xhyve so that an ordinary user runs it, and a directory that this user can read. Root
    borrows the account of nobody."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        directory.chmod(0o755)
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"] if ROOT else []
        yield drop, directory


def build_server(directory):
    """netserv.c as a program."""
    server = directory / "netserv"
    subprocess.run(["cc", "-O1", "-o", server, pathlib.Path(__file__).with_name("netserv.c")], check=True)
    return str(server)


def as_user(ordinary, *args, cmdline=QUIET, programs=()):
    """A guest of an ordinary user, who reads copies of everything."""
    drop, directory = ordinary
    initrd = initramfs(programs=(build_server(directory), *programs))
    for source, name in ((XHYVE, "xhyve"), (kernel(), "kernel"), (initrd, "initrd")):
        shutil.copyfile(source, directory / name)
        (directory / name).chmod(0o755)
    return Machine(["-A", "-m", "256M", *args, "-f", f"kexec,{directory}/kernel,{directory}/initrd,{cmdline}"],
                   program=[*drop, str(directory / "xhyve")])


def members(data):
    """A tar archive as {name: contents}."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {i.name: tar.extractfile(i).read() for i in tar if i.isfile()}


def check_tar_out(m):
    """`tar cv ... | nc` in the guest, `nc -l -p 1234 | tar x` on the host: the same files."""
    m.run("mkdir -p /tmp/t/a && for i in 1 2 3; do dd if=/dev/urandom of=/tmp/t/a/f$i bs=70k count=$i; done 2>/dev/null; "
          "cp /bin/busybox /tmp/t")
    got = members(upload(m, free_port(), "tar cv -C /tmp t 2>/dev/null"))
    sums = {line.split()[1]: line.split()[0]
            for line in m.run("cd /tmp; md5sum t/busybox t/a/*; cd /").splitlines()}
    assert len(sums) == 4 and {name: md5(data) for name, data in got.items()} == sums


def check_tar_in(m, port):
    """The other way: the guest listens behind a forwarded port."""
    rng = random.Random(1)
    files = {f"d/f{n}": rng.randbytes(n * 50000) for n in range(1, 6)}
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    m.run("mkdir -p /tmp/in; (nc -l -p 1234 | tar x -C /tmp/in; touch /tmp/done) >/dev/null 2>&1 & "
          "for i in 1 2 3 4 5 6 7 8 9; do netstat -ltn | grep -q :1234 && break; sleep 0.2; done")
    with socket.create_connection(("127.0.0.1", port)) as s:
        s.sendall(data.getvalue())
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    wait_for(m, "[ -e /tmp/done ]")
    sums = {line.split()[1]: line.split()[0] for line in m.run("cd /tmp/in; md5sum d/*; cd /").splitlines()}
    assert sums == {name: md5(content) for name, content in files.items()}


def check_answer(s, n):
    """What netserv says to a byte."""
    with s.makefile("rb") as stream:
        assert stream.read() == bytes((k * 7 + (k >> 8) + n) & 255 for k in range(20000))


def check_parallel(m, directory, port, forwarded):
    """100 connections at once out of the guest, then 100 into it."""
    content = random.Random(2).randbytes(20000)
    (directory / "many").write_bytes(content)
    m.run(f"(for i in $(seq 1 100); do wget -q -O /tmp/w$i http://{GATEWAY}:{port}/many & done; wait)")
    assert m.run("cat /tmp/w* | wc -c").strip() == str(100 * len(content))
    assert set(m.run("md5sum /tmp/w* | cut -c1-32").split()) == {md5(content)}
    m.run("rm /tmp/w*")
    sockets = [socket.create_connection(("127.0.0.1", forwarded)) for _ in range(100)]
    for n, s in enumerate(sockets):
        s.sendall(bytes([n]))
    for n, s in enumerate(sockets):
        with s:
            check_answer(s, n)


def echoed(port):
    """Datagrams through a forwarded port, there and back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(20)
        for n in (1, 100, 1400, 9000):
            s.sendto(b"x" * n, ("127.0.0.1", port))
            assert s.recv(65536) == b"x" * n


def check_udp(m, port):
    m.run("netserv & for i in 1 2 3 4 5 6 7 8 9; do netstat -lun | grep -q :7 && break; sleep 0.2; done")
    echoed(port)


def check_capture(path):
    """The capture is whole and has both directions in it."""
    data = path.read_bytes()
    assert data[:4] == b"\x4d\x3c\xb2\xa1"
    at, macs = 24, set()
    while at < len(data):
        length = int.from_bytes(data[at + 8:at + 12], "little")
        macs.add(data[at + 22:at + 28])
        at += 16 + length
    assert at == len(data) and len(macs) >= 2


def test_user_network(ordinary):
    """What the issue asks of a guest of an ordinary user."""
    directory = ordinary[1]
    tcp_forward, nc_forward, udp_forward = free_port(), free_port(), free_port(socket.SOCK_DGRAM)
    capture = pathlib.Path(tempfile.gettempdir()) / f"xhyve-test-{os.getpid()}.pcap"
    config = (f"user,fwd={tcp_forward}:7,hostfwd=tcp::{nc_forward}-:1234,"
              f"hostfwd=udp:127.0.0.1:{udp_forward}-10.0.2.15:7,pcap={capture}")
    m = as_user(ordinary, "-c", "2", "-s", f"3,virtio-net,{config}")
    content = random.Random(3).randbytes(4 * 2**20)
    (directory / "large").write_bytes(content)
    try:
        with web(directory) as port, web(directory, "::1") as port6:
            m.shell()
            assert "lease of 10.0.2.15 obtained from 10.0.2.2" in m.run("net 2>&1")
            m.run(f"ping -c 2 {GATEWAY}")
            wait_for(m, "ip -6 addr show dev eth0 | grep -v tentative | grep -q 'inet6 fec0:'")
            m.run(f"ping6 -c 2 {GATEWAY6}")
            check_udp(m, udp_forward)
            assert capture.exists()
            check_capture(capture)
            assert fetch(m, f"http://{GATEWAY}:{port}/large") == md5(content)
            assert fetch(m, f"http://[{GATEWAY6}]:{port6}/large") == md5(content)
            bulk(m, MEBIBYTES)
            check_tar_out(m)
            check_tar_in(m, nc_forward)
            check_parallel(m, directory, port, tcp_forward)
            assert m.leave("poweroff") == 1
    finally:
        m.kill()
        capture.unlink(missing_ok=True)


def ssh_server(m):
    """Debian's dropbear in the guest, for root with a key."""
    m.run("mkdir -p /etc/dropbear /root/.ssh && echo root:x:0:0:root:/root:/bin/sh >/etc/passwd && chmod 700 /root /root/.ssh")
    m.run("dropbear -R -E -s 2>/tmp/dropbear.log; for i in $(seq 1 50); do netstat -ltn | grep -q :22 && break; sleep 0.2; done")


def test_ssh(ordinary, tmp_path):
    """ssh from the host into the guest through a forwarded port: a command, files both ways."""
    dropbear, ssh, keygen = needs("dropbear", "ssh", "ssh-keygen")
    port, key = free_port(), tmp_path / "key"
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    login = [ssh, "-q", "-F", "/dev/null", "-i", key, "-p", str(port), "-o", "StrictHostKeyChecking=no", "-o",
             "UserKnownHostsFile=/dev/null", "-o", "ConnectionAttempts=20", "root@127.0.0.1"]
    m = as_user(ordinary, "-s", f"3,virtio-net,fwd={port}:22", programs=(dropbear,))
    try:
        m.shell()
        m.run("net")
        ssh_server(m)
        m.run(f"echo '{key.with_suffix('.pub').read_text().strip()}' >/root/.ssh/authorized_keys")

        def remote(command, data=b""):
            return subprocess.run([*login, command], input=data, stdout=subprocess.PIPE, check=True, timeout=120).stdout

        assert remote("hostname; exit 0") == b"guest\n"
        data = random.Random(4).randbytes(2**20)
        assert remote("tee /tmp/file | md5sum", data).split()[0].decode() == md5(data)
        assert remote("cat /tmp/file") == data
        assert subprocess.run([*login, "exit 7"], check=False, timeout=120).returncode == 7
        assert m.leave("poweroff") == 1
    finally:
        m.kill()


DNS = r'''
import os, socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 53))
if os.fork():
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    q, peer = s.recvfrom(512)
    end = q.index(0, 12) + 5
    a = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([192, 0, 2, 77]) if q[end - 3] == 1 else b""
    s.sendto(q[:2] + b"\x85\x80\0\1\0" + bytes([a != b""]) + b"\0\0\0\0" + q[12:end] + a, peer)
'''


@pytest.mark.skipif(subprocess.run(["unshare", "-rnm", "true"], check=False, capture_output=True).returncode != 0,
                    reason="no user namespaces")
def test_names(tmp_path):
    """The guest's name server asks the host's; in a network of its own, where that one is ours."""
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("nameserver 127.0.0.1\n")
    setup = f'ip link set lo up && mount --bind {resolv} /etc/resolv.conf && exec "$@"'
    m = Machine.linux("-A", "-m", "256M", "-s", "3,virtio-net,vmnet0", cmdline=QUIET,
                      program=["unshare", "-rnm", "--kill-child", "--fork", "sh", "-c", setup, "sh", sys.executable,
                               "-c", DNS, XHYVE])
    try:
        m.shell()
        m.run("net")
        assert "nameserver 10.0.2.3" in m.run("cat /etc/resolv.conf")
        assert "192.0.2.77" in m.run("nslookup some.name.test 2>&1 || true")
        assert m.leave("poweroff") == 1
    finally:
        m.kill()


def exchange(m, port, content):
    """A few megabytes each way."""
    assert fetch(m, f"http://{GATEWAY}:{port}/f") == md5(content)
    assert md5(upload(m, free_port(), "cat /bin/busybox")) == m.run("md5sum /bin/busybox").split()[0]


@pytest.mark.parametrize("args,cmdline,legacy", [
    (["-W"], QUIET, False),
    ([], f"{QUIET} pci=nomsi", False),
    (["-c", "2"], QUIET, True),
])
def test_transports(tmp_path, args, cmdline, legacy):
    """One MSI, INTx, and a driver from before virtio 1.0; a card that is taken away and comes back; small MTU."""
    content = os.urandom(4 * 2**20)
    (tmp_path / "f").write_bytes(content)
    m = Machine.linux("-A", "-m", "256M", "-s", "3,virtio-net,mtu=1500", *args, cmdline=cmdline)
    try:
        with web(tmp_path) as port:
            m.shell()
            if legacy:
                m.run("rmmod virtio_net && rmmod virtio_pci && insmod /lib/modules/virtio_pci.ko force_legacy=1 && "
                      "insmod /lib/modules/virtio_net.ko")
            assert m.run("cut -c33 /sys/bus/virtio/devices/virtio*/features").strip() == str(int(not legacy))
            assert m.run("cat /sys/class/net/eth0/mtu").strip() == "1500"
            m.run("net")
            exchange(m, port, content)
            m.run("rmmod virtio_net && insmod /lib/modules/virtio_net.ko && net")
            exchange(m, port, content)
            assert m.leave("poweroff") == 1
    finally:
        m.kill()


def test_restrict(tmp_path):
    """A restricted guest reaches the gateway's services and nothing else; forwarded ports lead into it."""
    (tmp_path / "f").write_bytes(b"secret")
    forwarded = free_port()
    m = Machine.linux("-A", "-m", "256M", "-s", f"3,virtio-net,user,restrict=on,fwd={forwarded}:7", cmdline=QUIET,
                      programs=(build_server(tmp_path),))
    try:
        with web(tmp_path) as port:
            m.shell()
            m.run("net")
            m.run(f"ping -c 1 {GATEWAY}")
            assert m.run(f"wget -q -T 3 -O - http://{GATEWAY}:{port}/f || echo refu''sed").strip().endswith("refused")
            m.run("netserv & for i in $(seq 1 30); do netstat -ltn | grep -q :7 && break; sleep 0.2; done")
            ask(socket.AF_INET, ("127.0.0.1", forwarded))
            assert m.leave("poweroff") == 1
    finally:
        m.kill()


def answer(path, text):
    """A UNIX socket server in a thread that sends a text to one client and reads what comes."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    got = []

    def serve():
        with listener, listener.accept()[0] as peer:
            peer.sendall(text)
            peer.shutdown(socket.SHUT_WR)
            while data := peer.recv(65536):
                got.append(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread, got


def ask(family, address):
    """netserv in the guest answers."""
    with socket.socket(family) as s:
        s.settimeout(60)
        s.connect(address)
        s.sendall(bytes([3]))
        check_answer(s, 3)


def test_forwards(tmp_path):
    """UNIX sockets in both directions, IPv6, another network, and a guest that is not the first one of DHCP; datagrams
    that the guest sends in fragments."""
    port6, port4, udp = free_port(family=socket.AF_INET6), free_port(), free_port(socket.SOCK_DGRAM)
    inner, outer = tmp_path / "in", tmp_path / "out"
    thread, got = answer(outer, b"from the host")
    m = Machine.linux(
        "-A", "-m", "256M", "-s", f"3,virtio-net,user,net=192.168.77.0/24,mac=02:00:00:00:00:01,hostfwd=unix:{inner}-:7,"
        f"hostfwd=tcp:[::1]:{port6}-[fec0::ff:fe00:1]:7,hostfwd=tcp:127.0.0.1:{port4}-192.168.77.20:7,fwd=udp:{udp}:7,"
        f"guestfwd=tcp:192.168.77.100:7-unix:{outer}", cmdline=QUIET,
        programs=(build_server(tmp_path),))
    try:
        m.shell()
        assert "lease of 192.168.77.15 obtained from 192.168.77.2" in m.run("net 2>&1")
        wait_for(m, "ip -6 addr show dev eth0 | grep -v tentative | grep -q 'inet6 fec0::ff:fe00:1/64'")
        m.run("ip addr add 192.168.77.20/24 dev eth0; netserv & for i in $(seq 1 30); do netstat -ltn | grep -q :7 && break; sleep 0.2; done")
        m.run("ping -c 1 -I 192.168.77.20 192.168.77.2 && ping6 -c 1 fec0::2")
        ask(socket.AF_UNIX, str(inner))
        ask(socket.AF_INET, ("127.0.0.1", port4))
        ask(socket.AF_INET6, ("::1", port6))
        assert m.run("echo from the guest | nc 192.168.77.100 7") == "from the host"
        m.run("ip link set eth0 mtu 1400")
        echoed(udp)
        thread.join(timeout=60)
        assert b"".join(got) == b"from the guest\n"
        assert m.leave("poweroff") == 1
        assert not inner.exists()
    finally:
        m.kill()


def print_mac(*args):
    done = subprocess.run([XHYVE, "-M", *args, "-f", "kexec,/nonexistent"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = re.fullmatch(r"MAC: ([0-9a-f]{2}(:[0-9a-f]{2}){5})\n", done.stdout)
    assert found, done.stdout
    return found.group(1)


def test_addresses():
    """-M prints what the guest has; UUID and slot make it, and mac= overrides it."""
    one = "12345678-1234-1234-1234-123456789abc"
    first = print_mac("-s", "3,virtio-net", "-U", one)
    assert first == print_mac("-s", "3,virtio-net,vmnet0", "-U", one)
    assert int(first[:2], 16) & 3 == 2
    others = {first, print_mac("-s", "4,virtio-net", "-U", one), print_mac("-s", "3,virtio-net"),
              print_mac("-s", "3,virtio-net", "-U", one[:-1] + "d"), print_mac("-s", "3,virtio-tap,tap0", "-U", one),
              print_mac("-s", "3,virtio-net,socket,listen=/tmp/a"), print_mac("-s", "3,virtio-net,socket,connect=/tmp/a")}
    assert len(others) == 7
    assert print_mac("-s", "3,virtio-net,mac=2:4:6:8:a:c") == "02:04:06:08:0a:0c"
    m = Machine.linux("-A", "-m", "256M", "-s", "3,virtio-net", "-U", one, cmdline=QUIET)
    try:
        m.shell()
        assert m.run("cat /sys/class/net/eth0/address").strip() == first
        assert m.leave("poweroff") == 1
    finally:
        m.kill()
