#!/usr/bin/env python3
"""Boots machines one after another, each with another kernel, number of CPUs and amount of RAM, until the
number or the time is up. A boot that hangs, ends with another status than that of a power-off, computes
something else than the host, or has a kernel that complains is a failure, and its console is kept.

usage: bench/soak.py [--boots N] [--seconds S] [--seed N] [--xhyve PATH] [--accel NAME] [--limit S]
                     [--keep DIR] [-- OPTION...]
OPTIONs go to xhyve. Exit status 1 when a boot failed.
"""
import argparse
import hashlib
import pathlib
import random
import re
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
KERNELS = ["linux-image-cloud-amd64", "linux-image-amd64", "linux-image-6.12-cloud-amd64", "linux-image-6.12-amd64"]
POWERED_OFF = 1
TROUBLE = re.compile(r"BUG:|unchecked MSR|Call Trace|unstable|Oops|panic|Bad page|segfault|general protection|Kernel stack")
# What a kernel also says when a busy host lets its CPUs wait: counted, but no failure if the rest is right.
LATE = re.compile(r"soft lockup|hung task|rcu.*stall")
# Each CPU hashes the same zeros; the kernel's own check of its text and the shell's fork and exec run beside it.
WORK = "for_i_in_$(seq_$(nproc));do_(head_-c_3000000_/dev/zero|sha256sum)&done;wait;echo_cpus=$(nproc)"
SUM = hashlib.sha256(bytes(3000000)).hexdigest()


def tool(*command):
    return subprocess.run([str(TOP / "tools" / command[0]), *command[1:]], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


def draw(rng):
    """One machine: kernel, CPUs, memory in MiB, other options."""
    kernel = rng.choice(KERNELS)
    cpus = rng.choice([1, 1, 2, 2, 3, 4, 4, 8, 16])
    memory = rng.choice([192, 256, 384, 512, 777, 1024, 2048, 4096])
    options = ["-A"] + rng.choice([[], ["-x"], ["--code-cache=8M"]])
    return kernel, cpus, memory, options


def verdict(output, status, cpus):
    """None, or what is wrong."""
    if status != POWERED_OFF:
        return f"exit status {status}"
    if output.count(SUM) != cpus or f"cpus={cpus}" not in output:
        return f"{output.count(SUM)} right sums of {cpus}"
    late = LATE.search(output)
    trouble = not late and TROUBLE.search(output)
    return f"the kernel says {trouble.group(0)!r}" if trouble else None


def boot(args, machine):
    kernel, cpus, memory, options = machine
    line = f"console=ttyS0 xhyve.run={WORK}"
    command = [args.xhyve, f"--accel={args.accel}", "-c", str(cpus), "-m", f"{memory}M", *options, *args.options,
               "-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio",
               "-f", f"kexec,{tool('kernel.sh', kernel)},{tool('initramfs.sh')},{line}"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=args.limit, check=False)
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode(errors="replace"), f"no end within {args.limit} s", command
    output = done.stdout.decode(errors="replace")
    return output, verdict(output, done.returncode, cpus), command


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boots", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--xhyve", default=str(TOP / "build/xhyve"))
    parser.add_argument("--accel", default="jit")
    parser.add_argument("--limit", type=float, default=300)
    parser.add_argument("--keep", default="/tmp/xhyve-soak")
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    keep = pathlib.Path(args.keep)
    keep.mkdir(parents=True, exist_ok=True)
    rng, start, failed, late, done = random.Random(args.seed), time.monotonic(), 0, 0, 0
    while done < args.boots and time.monotonic() - start < args.seconds:
        machine = draw(rng)
        output, wrong, command = boot(args, machine)
        done += 1
        late += bool(LATE.search(output))
        if wrong:
            failed += 1
            log = keep / f"{args.seed}-{done}.log"
            log.write_text(" ".join(command) + "\n" + output)
            print(f"boot {done}: {machine}: {wrong}; see {log}", flush=True)
        elif done % 25 == 0:
            print(f"{done} boots, {failed} failed, {late} late, {time.monotonic() - start:.0f} s", flush=True)
    print(f"{done} boots, {failed} failed, {late} late, {time.monotonic() - start:.0f} s")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
