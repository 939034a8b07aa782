#!/usr/bin/env python3
"""Disk images beside QEMU's: requests per second through `xhyve-img bench` and `qemu-img bench`.

Each round runs every program once, in turn, on images of the same size in the same directory with the
host's page cache (cache=writeback); the table shows medians of requests per second and their ratio.
qemu-img has no random order: a stride of most of a gigabyte takes its place.
usage: bench/disk.py [--img PATH] [--rounds N] [--dir DIR] [--only TEXT] [--json FILE]
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[1]
SIZE = 1 << 30
SPARSE = f"size={SIZE},split=256M,sectorsize=4096,sparse"


def run(*command):
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def ours(args, image, test, size, depth, count, flush):
    extra = ["--flush-interval", flush] if flush else []
    text = run(args.img, "bench", "--json", "-t", test, "-s", size, "-d", depth, "-c", count, *extra, image)
    return count / json.loads(text)["seconds"]


def qemu(image, fmt, test, size, depth, count, flush):
    extra = ["-w"] if "write" in test else []
    if "rand" in test:
        extra += ["-S", size * (12289 if size == 4096 else 769)]
    if flush:
        extra += ["--flush-interval", flush]
    text = run("qemu-img", "bench", "-f", fmt, "-t", "writeback", "-s", size, "-d", depth, "-c", count, *extra, image)
    return count / float(re.search(r"completed in ([0-9.]+) seconds", text).group(1))


class Images:
    """The full images that reads and overwrites use, and empty ones for each allocating run."""

    def __init__(self, args, directory):
        self.args, self.dir = args, pathlib.Path(directory)
        self.raw = self.dir / "full.raw"
        block = os.urandom(1 << 20)
        with open(self.raw, "wb") as out:
            for _ in range(SIZE >> 20):
                out.write(block)
        run(args.img, "convert", "-f", "raw", self.raw, f"{self.dir}/full.img,{SPARSE.split(',', 1)[1]}")
        self.sparse = f"{self.dir}/full.img"
        self.qcow2 = self.dir / "full.qcow2"
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", self.raw, self.qcow2)
        os.sync()

    def fresh(self, kind):
        for old in self.dir.glob("new*"):
            old.unlink()
        if kind == "sparse":
            run(self.args.img, "create", f"{self.dir}/new.img,{SPARSE}")
            return f"{self.dir}/new.img"
        run("qemu-img", "create", "-q", "-f", "qcow2", self.dir / "new.qcow2", SIZE)
        return self.dir / "new.qcow2"


def measure(images, program, case):
    """One run; program names a tool and an image kind."""
    test, size, depth, count, flush, fresh = case
    tool, kind = program.split()
    image = images.fresh(kind) if fresh else getattr(images, kind)
    os.sync()
    if tool == "xhyve":
        return ours(images.args, image, test, size, depth, count, flush)
    return qemu(image, kind, test, size, depth, count, flush)


#   name, (test, bytes, depth, requests, flush every N writes, on an empty image), peer, wanted ratio
CASES = [
    ("read 4k", ("read", 4096, 32, 150000, 0, False), "qemu raw", 0.9),
    ("read 64k", ("read", 65536, 32, 30000, 0, False), "qemu raw", 0.9),
    ("random read 4k", ("randread", 4096, 32, 150000, 0, False), "qemu raw", 0.9),
    ("random read 64k", ("randread", 65536, 32, 30000, 0, False), "qemu raw", 0.9),
    ("overwrite 4k", ("write", 4096, 32, 100000, 0, False), "qemu raw", 0.9),
    ("overwrite 64k", ("write", 65536, 32, 8000, 0, False), "qemu raw", 0.9),
    ("random overwrite 4k", ("randwrite", 4096, 32, 60000, 0, False), "qemu raw", 0.9),
    ("random overwrite 64k", ("randwrite", 65536, 32, 8000, 0, False), "qemu raw", 0.9),
    ("first write 4k", ("write", 4096, 32, 60000, 0, True), "qemu qcow2", 1.5),
    ("first write 64k", ("write", 65536, 32, 8000, 0, True), "qemu qcow2", 1.5),
    ("first write 64k, random", ("randwrite", 65536, 32, 8000, 0, True), "qemu qcow2", 1.5),
    ("first write 4k, random", ("randwrite", 4096, 32, 30000, 0, True), "qemu qcow2", 1.5),
    ("overwrite 4k, flush every 64", ("write", 4096, 32, 12800, 64, False), "qemu qcow2", 1.0),
    ("first write 4k, flush every 64", ("write", 4096, 32, 12800, 64, True), "qemu qcow2", 1.0),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--img", default=str(TOP / "build" / "xhyve-img"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dir", help="where the images are made (4 GiB); default: a temporary directory")
    parser.add_argument("--json")
    parser.add_argument("--only", default="", help="tests whose names contain this")
    args = parser.parse_args()
    if not shutil.which("qemu-img"):
        sys.exit("bench/disk.py: qemu-img is missing (package qemu-utils)")
    results = []
    with tempfile.TemporaryDirectory(dir=args.dir) as directory:
        images = Images(args, directory)
        print("| test | xhyve sparse /s | peer | peer /s | ratio | wanted |\n|---|---|---|---|---|---|")
        for name, case, peer, wanted in (c for c in CASES if args.only in c[0]):
            runs = {"xhyve sparse": [], peer: []}
            for _ in range(args.rounds):
                for program in runs:
                    runs[program].append(measure(images, program, case))
            mine, theirs = (statistics.median(r) for r in runs.values())
            results.append({"test": name, "xhyve": mine, "peer": peer, "theirs": theirs, "wanted": wanted})
            print(f"| {name} | {mine:.0f} | {peer} | {theirs:.0f} | {mine / theirs:.2f} | {wanted} |", flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
