#!/usr/bin/env python3
"""TCP throughput each way between a guest and a program of the host, beside QEMU's TCG, through the user network
and through a tap device.

Each round boots every emulator once, in turn, with the same kernel, programs and virtio-net card; the table has
medians. The tap device's other end is a second network namespace behind a bridge and a pair of virtual cables;
everything happens in namespaces of its own and needs no privilege where /dev/net/tun may be opened.
usage: bench/net.py [--xhyve PATH] [--qemu COMMAND] [--rounds N] [--seconds N] [--cpus N] [--json FILE]
"""
import argparse
import json
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[1]
# In a user, network and mount namespace of its own: the wire, then the command.
WIRE = f'. {TOP}/tools/wire.sh; exec "$@"'
FAR = ["ip", "netns", "exec", "far"]


def tool(*command):
    return subprocess.run([str(TOP / "tools" / command[0]), *command[1:]], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


def guest_line(script):
    """A kernel command line that runs a script; underscores stand for spaces in it."""
    assert "_" not in script
    return "console=ttyS0 quiet xhyve.run=" + script.replace(" ", "_")


def commands(args, kernel, initrd, network, script):
    line = guest_line(script)
    ours, theirs = {"user": ("user", "user,id=n"), "tap": ("tap0", "tap,id=n,ifname=tap0,script=no,downscript=no")}[network]
    found = {"xhyve": [args.xhyve, "-A", "-m", "512M", "-c", str(args.cpus), "-s", "0,hostbridge", "-s", "31,lpc", "-s",
                       f"3,virtio-net,{ours}", "-l", "com1,stdio", "-f", f"kexec,{kernel},{initrd},{line}"]}
    qemu = shlex.split(args.qemu)
    if qemu and shutil.which(qemu[0]):
        found["qemu-tcg"] = [*qemu, "-accel", "tcg", "-cpu", "max", "-m", "512M", "-smp", str(args.cpus), "-display", "none",
                             "-serial", "stdio", "-monitor", "none", "-no-reboot", "-netdev", theirs, "-device",
                             "virtio-net-pci,netdev=n", "-kernel", kernel, "-initrd", initrd, "-append", line]
    return found


def run(args, command, network, flood):
    """Bytes per second by direction, of one boot."""
    wrap = ["unshare", "-rnm", "--kill-child", "--fork", "sh", "-c", WIRE, "sh"] if network == "tap" else []
    address, far = ("10.9.0.2", FAR) if network == "tap" else ("127.0.0.1", [])
    # One shell holds server and emulator, so that they share the namespaces.
    both = ('flood=$1 address=$2 n=$3; shift 3; prefix=; while [ $n -gt 0 ]; do prefix="$prefix $1"; shift; n=$((n - 1)); done;'
            '$prefix $flood serve $address 5001 & server=$!; "$@" >&2; kill $server')
    done = subprocess.run([*wrap, "sh", "-c", both, "sh", flood, address, str(len(far)), *far, *command],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600)
    rates = {}
    for line in done.stdout.splitlines():
        way, count, ns = line.split()
        rates[way] = int(count) * 1e9 / int(ns)
    if set(rates) != {"up", "down"}:
        sys.exit(f"bench/net.py: {command[0]} over {network}: {done.stdout}\n{done.stderr[-3000:]}")
    return rates


def measure(args, network, kernel, initrd, flood):
    server = {"user": "10.0.2.2", "tap": "10.9.0.2"}[network]
    setup = {"user": ". /etc/shrc; net", "tap": "ip link set eth0 up; ip addr add 10.9.0.1/24 dev eth0"}[network]
    script = f"{setup}; sleep 1; flood send {server} 5001 {args.seconds}; flood receive {server} 5001 {args.seconds}"
    results = {}
    for _ in range(args.rounds):
        for who, command in commands(args, kernel, initrd, network, script).items():
            for way, rate in run(args, command, network, flood).items():
                results.setdefault(way, {}).setdefault(who, []).append(rate)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--xhyve", default=str(TOP / "build" / "xhyve"))
    parser.add_argument("--qemu", default="qemu-system-x86_64", help="another one, with options that it needs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--only", default="", help="user or tap")
    parser.add_argument("--json")
    args = parser.parse_args()
    names = {"up": "guest to host", "down": "host to guest"}
    results = {}
    print("| network | direction | xhyve Mbit/s | QEMU TCG Mbit/s | ratio |\n|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as directory:
        flood = str(pathlib.Path(directory) / "flood")
        subprocess.run(["gcc", "-O2", "-static", "-o", flood, str(TOP / "bench/guests/flood.c")], check=True)
        kernel = tool("kernel.sh", "linux-image-cloud-amd64")
        initrd = str(pathlib.Path(directory) / "initrd")
        tool("initramfs.sh", initrd, kernel, flood)
        for network in (n for n in ("user", "tap") if args.only in n):
            results[network] = measure(args, network, kernel, initrd, flood)
            for way, rates in results[network].items():
                median = {who: statistics.median(r) * 8 / 1e6 for who, r in rates.items()}
                theirs = median.get("qemu-tcg")
                print(f"| {network} | {names[way]} | {median['xhyve']:.0f} | " +
                      (f"{theirs:.0f} | {median['xhyve'] / theirs:.2f} |" if theirs else "| |"), flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
