#!/usr/bin/env python3
"""Records a session with xhyve as docs/session.cast (asciicast 2, which `asciinema play` shows).

usage: tools/record.py [OUT]

It starts a shell on a terminal, types the lines of SESSION, waits for what each must bring, and writes down what the
terminal got, with its times; pauses are cut to a second.
"""
import json
import os
import pathlib
import re
import sys
import tempfile
import time

import pexpect

TOP = pathlib.Path(__file__).resolve().parent.parent
WIDTH, HEIGHT = 100, 28
LONGEST_PAUSE = 1.0
KEY = 0.05
SHELL = r"\$ $"
GUEST = r"guest:/# (\x1b\[6n)?$"
ASKS = "\x1b[6n"  # where the cursor is

# what is typed, and what must come before the next line
SESSION = [
    ("cat linux.sh", SHELL),
    ("EXTRA=--explain ./linux.sh | head -n 40", SHELL),
    ("./linux.sh", GUEST),
    ("uname -a", GUEST),
    ("cat /proc/partitions", GUEST),
    ("dd if=/dev/zero of=/dev/vda bs=1M count=64; echo hello > /dev/vda; sync", GUEST),
    ("poweroff", SHELL),
    ("echo $?   # 1: switched off", SHELL),
    ("xhyve-img info hdd.img", SHELL),
]

SCRIPT = """#!/bin/sh
KERNEL=vmlinuz
INITRD=initrd.gz
CMDLINE="console=ttyS0 quiet"

IMG_HDD="-s 2,virtio-blk,hdd.img,size=20G,split=1G,sparse,sectorsize=4096"
NET="-s 3,virtio-net,vmnet0"
PCI_DEV="-s 0:0,hostbridge -s 31,lpc"
LPC_DEV="-l com1,stdio"

xhyve -A -m 1G -c 2 $PCI_DEV $LPC_DEV $IMG_HDD $NET $EXTRA -f "kexec,$KERNEL,$INITRD,$CMDLINE"
"""


class Recording:
    """What pexpect reads, as events."""

    def __init__(self):
        self.events, self.clock, self.last, self.kept = [], 0.0, time.monotonic(), ""

    def write(self, text):
        now = time.monotonic()
        self.clock += min(now - self.last, LONGEST_PAUSE)
        self.last = now
        # what a shell asks of the terminal is no part of the picture; it may come in pieces
        text = (self.kept + text).replace(ASKS, "")
        self.kept = next((ASKS[:n] for n in (3, 2, 1) if text.endswith(ASKS[:n])), "")
        self.events.append([round(self.clock, 3), "o", text.removesuffix(self.kept)])

    def flush(self):
        pass


def prepare(directory):
    kernel = os.popen(f"{TOP}/tools/kernel.sh").read().strip()
    (directory / "vmlinuz").symlink_to(kernel)
    (directory / "initrd.gz").symlink_to(os.popen(f"{TOP}/tools/initramfs.sh '' {kernel}").read().strip())
    (directory / "linux.sh").write_text(SCRIPT)
    (directory / "linux.sh").chmod(0o755)


def play(recording, directory):
    env = {"PATH": f"{TOP}/build:/usr/bin:/bin", "TERM": "xterm", "HOME": str(directory), "PS1": "$ "}
    shell = pexpect.spawn("/bin/sh", ["-i"], cwd=str(directory), env=env, encoding="utf-8", timeout=120,
                          dimensions=(HEIGHT, WIDTH))
    shell.expect(SHELL)
    shell.logfile_read = recording
    recording.write(shell.after)
    for line, answer in SESSION:
        for key in line:
            shell.send(key)
            shell.expect(re.escape(key))
            time.sleep(KEY)
        shell.sendline()
        shell.expect(r"\r\n")
        shell.expect(answer)
    shell.close(force=True)


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else TOP / "docs" / "session.cast"
    recording = Recording()
    with tempfile.TemporaryDirectory() as name:
        prepare(pathlib.Path(name))
        play(recording, pathlib.Path(name))
    header = {"version": 2, "width": WIDTH, "height": HEIGHT, "title": "xhyve"}
    lines = [json.dumps(header), *(json.dumps(event) for event in recording.events)]
    out.write_text("\n".join(lines) + "\n")
    print(f"{out}: {recording.clock:.0f} s, {len(recording.events)} events")


if __name__ == "__main__":
    main()
