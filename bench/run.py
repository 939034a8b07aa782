#!/usr/bin/env python3
"""xhyve beside QEMU: boot time in alternation, the instruction rate of a bare loop, how late timers are.

Timings are noisy, so each round runs every program once, in turn, and the table shows medians and
ratios of medians. usage: bench/run.py [--xhyve PATH] [--rounds N] [--accel NAME] [--json FILE]
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
MARK = b"Run /init as init process"
LOOP_INSNS = 8


def until(command, mark, limit=600):
    """Seconds from the start of command until mark appears in its output; then kills it."""
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT) as process:
        seen = b""
        try:
            while mark not in seen:
                piece = os.read(process.stdout.fileno(), 65536)
                if not piece or time.monotonic() - start > limit:
                    raise RuntimeError(f"{command[0]} ended before {mark!r}: {seen[-2000:]!r}")
                seen = seen[-len(mark):] + piece if len(seen) > 65536 else seen + piece
            return time.monotonic() - start
        finally:
            process.kill()


def tool(*command):
    return subprocess.run([str(TOP / "tools" / command[0]), *command[1:]], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.strip()


def boot_commands(args, kernel, initrd, cpus):
    """One entry per program to compare."""
    line = "console=ttyS0"
    board = ["-A", "-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio"]
    commands = {"xhyve": [args.xhyve, f"--accel={args.accel}", "-m", "512M", "-c", str(cpus), *board,
                          "-f", f"kexec,{kernel},{initrd},{line}"]}
    qemu = shutil.which("qemu-system-x86_64")
    if qemu:
        commands["qemu-tcg"] = [qemu, "-accel", "tcg", "-cpu", "max", "-m", "512M", "-smp", str(cpus), "-display",
                                "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-kernel",
                                kernel, "-initrd", initrd, "-append", line]
    return commands


def bench_boot(args, cpus):
    kernel, initrd = tool("kernel.sh", args.kernel), tool("initramfs.sh")
    commands = boot_commands(args, kernel, initrd, cpus)
    times = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            times[name].append(until(command, MARK))
    return times


def bench_idle(args):
    """Per cent of one host CPU that a guest at its prompt costs."""
    kernel, initrd = tool("kernel.sh", args.kernel), tool("initramfs.sh")
    command = boot_commands(args, kernel, initrd, 1)["xhyve"]
    ticks = os.sysconf("SC_CLK_TCK")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            seen = b""
            while b"guest:/# " not in seen:
                seen += os.read(process.stdout.fileno(), 65536)

            def used():
                fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
                return int(fields[11]) + int(fields[12])

            time.sleep(3)
            before = used()
            time.sleep(args.idle_seconds)
            return (used() - before) * 100 / ticks / args.idle_seconds
        finally:
            process.kill()


def build_guest(directory, name):
    elf = os.path.join(directory, name + ".elf")
    subprocess.run(["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext-segment=0x1000000,--build-id=none,-N,--no-warn-rwx-segments",
                    "-o", elf, str(TOP / f"bench/guests/{name}.S")], check=True)
    return elf


def bench_loop(args):
    """Million guest instructions a second: the long run less the empty one."""
    rates = []
    with tempfile.TemporaryDirectory() as directory:
        elf = build_guest(directory, "loop")

        def seconds(iterations):
            start = time.monotonic()
            subprocess.run([args.xhyve, f"--accel={args.accel}", "-m", "64M", "-s", "0,hostbridge", "-s", "31,lpc",
                            "-f", f"kexec,{elf},,{iterations}"], check=True, stdin=subprocess.DEVNULL)
            return time.monotonic() - start

        for _ in range(args.rounds):
            rates.append(args.iterations * LOOP_INSNS / (seconds(args.iterations) - seconds(1)) / 1e6)
    return rates


def bench_all(args):
    raw = {"loop_mips": bench_loop(args)}
    rates = raw["loop_mips"]
    print(f"integer loop, {args.accel}: {statistics.median(rates):.0f} million instructions/s "
          f"(median of {len(rates)}, {min(rates):.0f}..{max(rates):.0f})")
    for cpus in args.cpus:
        times = bench_boot(args, cpus)
        raw[f"boot_{cpus}cpu"] = times
        medians = {name: statistics.median(t) for name, t in times.items()}
        text = ", ".join(f"{name} {m:.2f} s" for name, m in medians.items())
        ratio = f"; ratio {medians['xhyve'] / medians['qemu-tcg']:.2f}" if "qemu-tcg" in medians else ""
        print(f"boot to init, {cpus} CPU: {text}{ratio} (medians of {args.rounds})")
    raw["idle_percent"] = bench_idle(args)
    print(f"idle guest at its prompt: {raw['idle_percent']:.2f} % of one host CPU over {args.idle_seconds} s")
    return raw


def bench_timer(args):
    """How late timer interrupts are in a guest that sleeps, in microseconds, by the timer's mode."""
    with tempfile.TemporaryDirectory() as directory:
        elf = build_guest(directory, "timer")
        done = subprocess.run([args.xhyve, f"--accel={args.accel}", "-m", "64M", "-s", "0,hostbridge", "-s",
                               "31,lpc", "-l", "com1,stdio", "-f", f"kexec,{elf}"], check=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    hz, *cycles = [int(line, 16) for line in done.stdout.split()]
    late = [(c - (1 << 64) if c >> 63 else c) * 1e6 / hz for c in cycles]
    half = len(late) // 2
    return {"TSC deadline": late[:half], "one-shot": late[half:]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--xhyve", default=str(TOP / "build/xhyve"))
    parser.add_argument("--accel", default="jit")
    parser.add_argument("--kernel", default="linux-image-cloud-amd64")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpus", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--iterations", type=int, default=25_000_000)
    parser.add_argument("--only-timer", action="store_true", help="just how late timer interrupts are")
    parser.add_argument("--idle-seconds", type=int, default=20)
    parser.add_argument("--json", help="write the raw figures here")
    args = parser.parse_args()
    raw = {} if args.only_timer else bench_all(args)
    raw["timer_us"] = bench_timer(args)
    for mode, late in raw["timer_us"].items():
        late = sorted(late)
        print(f"timer interrupt, {mode}: {statistics.median(late):.0f} us late (median of {len(late)}; "
              f"least {late[0]:.0f}, 99 of 100 {late[len(late) * 99 // 100]:.0f})")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(raw, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
