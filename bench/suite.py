#!/usr/bin/env python3
"""Classes of guest code on xhyve's software CPU, on QEMU's TCG and natively.

Each round boots every emulator once, in turn, and runs everything natively in between; the table shows medians of
time and their ratios. usage: bench/suite.py [--xhyve PATH] [--rounds N] [--cpus N] [--only NAME,...] [--json FILE]
[--svg FILE] [--markdown FILE] [--qemu "PROGRAM ARGS"]
"""
import argparse
import json
import math
import os
import pathlib
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[1]
MICRO = ["alu", "call", "quicksort", "dispatch", "scalar-fp", "matrix-sse", "matrix-avx2", "x87", "triad", "copy",
         "latency", "syscall", "signal", "context-switch", "wake-up", "page-fault", "mmap", "fork", "exec", "create-file",
         "clock-gettime", "atomic", "mutex-2", "scaling-2", "rewrite-code"]
PYTHON = ("d={}\nfor i in range(1500000):\n k=str(i%997)\n d[k]=d.get(k,0)+i*3\n"
          "def f(n): return n if n<2 else f(n-1)+f(n-2)\nf(24)\nprint(sum(d.values()))")
# The compiler works on so many files of ours, a process each, as a build does.
SOURCES = ["src/dev/hpet.c", "src/dev/i8254.c", "src/dev/lapic.c", "src/dev/uart16550.c", "src/block/image.c", "src/bus/pci.c"]
# name: command; run with the data files in the current directory
PROGRAMS = {
    "gzip": ["gzip", "-c", "text"],
    "xz": ["xz", "-T1", "-3", "-c", "text1"],
    "bzip2": ["bzip2", "-c", "text1"],
    "sort": ["sort", "text"],
    "awk": ["mawk", "{ for (i = 1; i <= NF; i++) n[$i]++ } END { for (w in n) if (n[w] > 99) print w, n[w] }", "text"],
    "shell": ["dash", "-c", "i=0; while [ $i -lt 150000 ]; do i=$((i+1)); done"],
    "python": ["python3", "-I", "-S", "-c", PYTHON],
    "cc": ["sh", "-c", "for f in *.i; do cc1 -quiet -fpreprocessed -O2 -o /dev/null $f; done"],
    "python-start": ["python3", "-I", "-S", "-c", "pass"],
}
OPENSSL = {"sha256": ["-evp", "sha256"], "aes-128-gcm": ["-evp", "aes-128-gcm"], "chacha20": ["-evp", "chacha20"],
           "rsa2048-sign": ["rsa2048"]}
KERNEL_WORK = {"syscall", "signal", "context-switch", "wake-up", "page-fault", "mmap", "fork", "exec", "create-file", "rewrite-code",
               "clock-gettime", "mutex-2"}
VECTOR = {"scalar-fp", "matrix-sse", "matrix-avx2", "x87", "sha256", "aes-128-gcm", "chacha20"}


def tool(*command):
    return subprocess.run([str(TOP / "tools" / command[0]), *command[1:]], check=True, stdout=subprocess.PIPE,
                          text=True).stdout.strip()


def which(name):
    if name == "cc1":
        return subprocess.run(["gcc", "-print-prog-name=cc1"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    for directory in ("/usr/bin", "/bin", "/usr/sbin"):
        if os.access(f"{directory}/{name}", os.X_OK):
            return f"{directory}/{name}"
    return None


def script(names):
    """Shell lines that print one result each."""
    micro = [n for n in names if n in MICRO]
    lines = [f"./micro {' '.join(micro)}"] if micro else []
    for name in names:
        if name in PROGRAMS:
            words = " ".join("'" + w.replace("'", "'\\''") + "'" for w in PROGRAMS[name])
            lines.append(f"./micro --time {name} {words}")
        elif name in OPENSSL:
            lines.append(f"echo OPENSSL {name}; openssl speed -elapsed -mr -seconds 1 "
                         f"{'' if name.startswith('rsa') else '-bytes 16384 '}{' '.join(OPENSSL[name])} 2>/dev/null")
    return "\n".join(lines) + "\n"


def parse(text):
    """Nanoseconds (per iteration, run, or byte) by name."""
    found, openssl = {}, None
    for line in text.splitlines():
        words = line.split()
        if "RESULT" in words:
            at = words.index("RESULT")
            if len(words) > at + 2 and re.fullmatch(r"[\d.]+", words[at + 2]):
                found[words[at + 1]] = float(words[at + 2])
        elif "OPENSSL" in words and words[-1] in OPENSSL:
            openssl = words[-1]
        elif openssl and line.startswith("+F"):
            fields = line.strip().split(":")
            found[openssl] = 1e9 / float(fields[3]) if openssl.startswith("rsa") else 1e9 / float(fields[-1])
            openssl = None
    return found


def build(directory, names):
    """The programs and their data in one directory; returns the initramfs that holds a copy of it."""
    work = pathlib.Path(directory) / "bench"
    work.mkdir()
    subprocess.run(["gcc", "-O2", "-pthread", "-static", "-o", str(work / "micro"), str(TOP / "bench/guests/micro.c")],
                   check=True)
    for source in SOURCES:
        subprocess.run(["gcc", "-E", "-D_GNU_SOURCE", f"-I{TOP}/src", "-o", str(work / pathlib.Path(source).with_suffix(".i").name),
                        str(TOP / source)], check=True)
    text = b"".join(p.read_bytes() for p in sorted(pathlib.Path("/usr/include").rglob("*.h")) if p.is_file())
    (work / "text").write_bytes(text[:6_000_000])
    (work / "text1").write_bytes(text[:1_500_000])
    (work / "run").write_text(script(names))
    programs = sorted({which(PROGRAMS[n][0] if n != "cc" else "cc1") for n in names if n in PROGRAMS} |
                      ({which("openssl")} if any(n in OPENSSL for n in names) else set()))
    base = pathlib.Path(directory) / "base.cpio.gz"
    tool("initramfs.sh", str(base), tool("kernel.sh", "linux-image-cloud-amd64"), *programs)
    files = [f"bench/{p.name}" for p in work.iterdir()]
    tree = pathlib.Path(directory)
    if {"python", "python-start"} & set(names):
        library = pathlib.Path("/usr/lib/python3.11")
        target = tree / "usr/lib/python3.11"
        target.mkdir(parents=True)
        for part in [*library.glob("*.py"), library / "encodings", library / "collections", library / "re"]:
            (shutil.copytree if part.is_dir() else shutil.copy)(part, target / part.name)
        files += [str(p.relative_to(tree)) for p in [tree / "usr", tree / "usr/lib", target, *target.rglob("*")]]
    extra = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, check=True, stdout=subprocess.PIPE,
                           input="\n".join(["bench", *files]).encode()).stdout
    out = tree / "bench.cpio.gz"
    out.write_bytes(base.read_bytes() + subprocess.run(["gzip", "-1"], input=extra, check=True, stdout=subprocess.PIPE).stdout)
    return work, out


def peer(args):
    qemu = shlex.split(args.qemu) if args.qemu else [shutil.which("qemu-system-x86_64")]
    return qemu if qemu[0] else None


def commands(args, initrd):
    kernel = tool("kernel.sh", "linux-image-cloud-amd64")
    line = "console=ttyS0 quiet xhyve.run=cd_/bench;export_PYTHONHOME=/usr;sh_run"
    found = {"xhyve": [args.xhyve, "--accel=jit", "-A", "-m", "1G", "-c", str(args.cpus), "-s", "0,hostbridge", "-s",
                       "31,lpc", "-l", "com1,stdio", "-f", f"kexec,{kernel},{initrd},{line}"]}
    qemu = peer(args)
    if qemu:
        found["tcg"] = [*qemu, "-accel", "tcg", "-cpu", "max", "-m", "1G", "-smp", str(args.cpus), "-display", "none",
                        "-serial", "stdio", "-monitor", "none", "-no-reboot", "-kernel", kernel, "-initrd", str(initrd),
                        "-append", line]
    return found


def measure(args, names):
    results = {}
    with tempfile.TemporaryDirectory() as directory:
        work, initrd = build(directory, names)
        runs = {"native": ["sh", "-c", ". ./run"], **commands(args, initrd)}
        environment = {**os.environ, "PATH": os.environ["PATH"] + ":" + str(pathlib.Path(which("cc1")).parent)}
        for _ in range(args.rounds):
            for who, command in runs.items():
                done = subprocess.run(command, cwd=work, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment,
                                      stderr=subprocess.DEVNULL, check=False, timeout=3600)
                for name, ns in parse(done.stdout.decode(errors="replace")).items():
                    results.setdefault(name, {}).setdefault(who, []).append(ns)
                print(f"{who}: done", file=sys.stderr)
    return results


def mean(values):
    values = [v for v in values if v]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")


def ratios(results, names):
    """name, xhyve / native, tcg / native, tcg / xhyve"""
    table = []
    for name in names:
        median = {who: statistics.median(v) for who, v in results.get(name, {}).items()}
        if "native" in median and "xhyve" in median:
            x, n, t = median["xhyve"], median["native"], median.get("tcg")
            table.append((name, x / n, t / n if t else None, t / x if t else None))
    return table


def markdown(table):
    lines = ["| class | xhyve / native | TCG / native | TCG / xhyve |", "|---|---:|---:|---:|"]
    for name, x, t, r in table:
        lines.append(f"| {name} | {x:.2f} | {t:.2f} | {r:.2f} |" if t else f"| {name} | {x:.2f} | | |")
    groups = {"user space": [r for r in table if r[0] not in KERNEL_WORK],
              "vectors, floating point, cryptography": [r for r in table if r[0] in VECTOR],
              "kernel": [r for r in table if r[0] in KERNEL_WORK]}
    for what, rows in groups.items():
        if rows:
            lines.append(f"| *geometric mean: {what}* | {mean([r[1] for r in rows]):.2f} | {mean([r[2] for r in rows]):.2f} "
                         f"| {mean([r[3] for r in rows]):.2f} |")
    return "\n".join(lines) + "\n"


def svg(table):
    """Bars of slowdown against native on a logarithmic scale."""
    row, left, width = 18, 130, 640
    rows = [r for r in table if r[2]]
    top = max(max(r[1], r[2]) for r in rows)
    scale = width / math.log10(max(top * 2, 100) / 0.2)

    def x_of(v):
        return left + scale * math.log10(max(v, 0.2) / 0.2)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{row * 2 * len(rows) + 50}" '
           'font-family="sans-serif" font-size="11">',
           '<text x="4" y="14">time divided by native time, logarithmic: xhyve (dark), QEMU TCG (light)</text>']
    for mark in (1, 10, 100, 1000):
        if mark <= top * 2:
            out.append(f'<line x1="{x_of(mark):.0f}" x2="{x_of(mark):.0f}" y1="20" y2="{row * 2 * len(rows) + 30}" '
                       f'stroke="#999"/><text x="{x_of(mark):.0f}" y="{row * 2 * len(rows) + 44}">{mark}</text>')
    for k, (name, x, t, _) in enumerate(rows):
        y = 26 + 2 * row * k
        out.append(f'<text x="4" y="{y + 16}">{name}</text>')
        for value, at, colour in ((x, y, "#234"), (t, y + 14, "#9bd")):
            out.append(f'<rect x="{left}" y="{at}" width="{max(x_of(value) - left, 1):.0f}" height="12" fill="{colour}"/>'
                       f'<text x="{x_of(value) + 3:.0f}" y="{at + 10}">{value:.1f}</text>')
    return "\n".join(out) + "\n</svg>\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--xhyve", default=str(TOP / "build/xhyve"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", type=int, default=2)
    parser.add_argument("--qemu", help="another QEMU, with arguments of its own (-L ...)")
    parser.add_argument("--only", help="comma-separated names")
    for name in ("json", "svg", "markdown"):
        parser.add_argument(f"--{name}", help="write the result here")
    args = parser.parse_args()
    every = [*MICRO, *PROGRAMS, *OPENSSL]
    names = args.only.split(",") if args.only else every
    unknown = set(names) - set(every)
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))}: no such class")
    missing = [n for n in names if n in PROGRAMS and not which(PROGRAMS[n][0])]
    results = measure(args, [n for n in names if n not in missing])
    table = ratios(results, names)
    print(markdown(table), end="")
    qemu = peer(args)
    if qemu:
        print(subprocess.run([*qemu, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[0])
    for name in missing:
        print(f"{name}: not installed here")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(results, indent=1) + "\n")
    if args.markdown:
        pathlib.Path(args.markdown).write_text(markdown(table))
    if args.svg:
        pathlib.Path(args.svg).write_text(svg(table))


if __name__ == "__main__":
    main()
