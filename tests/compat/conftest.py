"""Disks as xhyve reads and writes them, through the test driver blockcmd."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

BUILD = Path(os.environ.get("XHYVE_BUILD", Path(__file__).resolve().parents[2] / "build"))


class DiskError(Exception):
    pass


class Driver:
    """tests/fault/blockcmd as a child process: one disk at a time."""

    def __init__(self):
        self.child = subprocess.Popen(
            [str(BUILD / "tests" / "fault" / "blockcmd")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def command(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline()
        if not answer:
            raise AssertionError(f"blockcmd died ({self.child.wait()}) at: {line[:200]}")
        status, _, rest = answer.rstrip("\n").partition(" ")
        if status != "ok":
            raise DiskError(rest)
        return rest

    def read(self, off, lengths):
        return bytes.fromhex(self.command(f"read {off} {','.join(map(str, lengths))}"))

    def write(self, off, data, lengths=None):
        self.command(f"write {off} {','.join(map(str, lengths or [len(data)]))} {data.hex()}")

    def close(self):
        self.child.stdin.close()
        assert self.child.wait(timeout=60) == 0
        self.child.stdout.close()


@pytest.fixture
def disk():
    d = Driver()
    yield d
    d.close()


@pytest.fixture
def room():
    """A directory on a file system without a disk below: thousands of syncs cost nothing."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    path = Path(tempfile.mkdtemp(prefix="xhyve-compat-", dir=where))
    yield path
    shutil.rmtree(path)
