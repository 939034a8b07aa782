"""What tests of the network share: servers on the host, transfers with checksums, namespaces with a wire between."""
import contextlib
import functools
import hashlib
import http.server
import os
import random
import socket
import subprocess
import tempfile
import threading

import pytest

from machine import BOOT_LIMIT

BUSYBOX = "/bin/busybox"
QUIET = "console=ttyS0 quiet"
GATEWAY = "10.0.2.2"
GATEWAY6 = "fec0::2"


def free_port(kind=socket.SOCK_STREAM, family=socket.AF_INET):
    with socket.socket(family, kind) as s:
        s.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        return s.getsockname()[1]


class Files(http.server.SimpleHTTPRequestHandler):
    """Serves files, silently."""

    def log_message(self, *args):
        pass


class Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


@contextlib.contextmanager
def web(directory, address="127.0.0.1"):
    """An HTTP server on the host; yields its port."""
    kind = Server6 if ":" in address else Server
    server = kind((address, 0), functools.partial(Files, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def md5(data):
    return hashlib.md5(data).hexdigest()


def fetch(m, url):
    """The checksum of what the guest gets."""
    return m.run(f"wget -q -O - {url} | md5sum").split()[0]


def wait_for(m, condition):
    m.run(f"for i in $(seq 1 100); do {condition} && break; sleep 0.3; done; {condition}")


def upload(m, port, data_command, host=GATEWAY, prefix=()):
    """What the guest sends with nc to the host, which listens with nc as in the article."""
    with tempfile.TemporaryFile() as out:
        # nc says goodbye when its input ends: that stays open
        with subprocess.Popen([*prefix, BUSYBOX, "nc", "-l", "-p", str(port)], stdin=subprocess.PIPE,
                              stdout=out) as listener:
            try:
                m.run(f"for i in 1 2 3 4 5 6 7 8 9; do {data_command} | nc {host} {port} && break; sleep 0.3; done")
                assert listener.wait(timeout=100) == 0
            finally:
                listener.kill()
        out.seek(0)
        return out.read()


class Bulk(threading.Thread):
    """A server for one client, which gets so many MiB that do not repeat, or is read to its end."""

    def __init__(self, mebibytes=0):
        super().__init__(daemon=True)
        self.mebibytes = mebibytes
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(180)
        self.port = self.listener.getsockname()[1]
        self.sum = hashlib.md5()
        self.count = 0
        self.start()

    def run(self):
        block = bytearray(random.Random(5).randbytes(2**20))
        with self.listener, self.listener.accept()[0] as peer:
            for n in range(self.mebibytes):
                block[:8] = n.to_bytes(8, "little")
                self.sum.update(block)
                peer.sendall(block)
            if self.mebibytes:
                peer.shutdown(socket.SHUT_WR)
            while data := peer.recv(2**20):
                self.count += len(data)
                self.sum.update(data)

    def result(self):
        self.join()
        return self.sum.hexdigest()


def bulk(m, mebibytes):
    """So much each way, in one connection, with equal checksums at both ends."""
    down, limit = Bulk(mebibytes), BOOT_LIMIT + 2 * mebibytes
    assert m.run(f"nc {GATEWAY} {down.port} </dev/null | md5sum", limit).split()[0] == down.result()
    up = Bulk()
    m.run(f"mkfifo /tmp/p; md5sum </tmp/p >/tmp/sum & head -c {mebibytes << 20} /dev/urandom | tee /tmp/p | nc {GATEWAY} {up.port};"
          " wait $!; rm /tmp/p", limit)
    assert m.run("cat /tmp/sum").split()[0] == up.result()
    assert up.count == mebibytes << 20


class Namespace:
    """A user, network and mount namespace, kept by a shell that sleeps."""

    def __init__(self, setup):
        probe = subprocess.run(["unshare", "-rnm", "true"], check=False, capture_output=True)
        if probe.returncode:
            pytest.skip("this host permits no user namespaces")
        self.shell = subprocess.Popen(["unshare", "-rnm", "sh", "-c", f"{setup}\necho made\nread end"], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if self.shell.stdout.readline() != "made\n":
            pytest.skip(f"this host permits no such network: {self.shell.stderr.read()}")
        self.inside = ["nsenter", f"--target={self.shell.pid}", "--user", "--net", "--mount", "--preserve-credentials", "--"]

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.shell.kill()
        self.shell.communicate()

    def run(self, *command):
        return subprocess.run([*self.inside, *command], check=True, stdout=subprocess.PIPE, text=True).stdout

    @contextlib.contextmanager
    def running(self, *command):
        """A program inside for as long as the block."""
        with subprocess.Popen([*self.inside, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()


def needs(*programs):
    """Skips a test when a program of the host is missing."""
    paths = [p for name in programs for p in [next((f"{d}/{name}" for d in ("/usr/bin", "/usr/sbin", "/bin", "/sbin")
                                                    if os.access(f"{d}/{name}", os.X_OK)), None)]]
    missing = [name for name, path in zip(programs, paths) if not path]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    return paths if len(paths) > 1 else paths[0]
