#!/usr/bin/env python3
"""Checks the direction of dependencies between rooms (docs/architecture.md).

A file of a room may include headers of its own room and of the rooms listed for it here, nothing
else. Private headers (below accel/soft/ and accel/kvm/) stay inside their room. Exit status 1 and
one line per offence.
"""
import pathlib
import re
import sys

ALLOWED = {
    "base": set(),
    "mem": {"base"},
    "x86": {"base"},
    "bus": {"base", "mem"},
    "block": {"base"},
    "fs": {"base", "block"},
    "net": {"base"},
    "console": {"base"},
    "accel": {"base", "mem", "x86", "bus"},
    "dev": {"base", "mem", "x86", "bus", "block", "net"},
    "boot": {"base", "mem", "x86", "block", "fs"},
    "vm": {"base", "mem", "x86", "bus", "block", "fs", "net", "console", "accel", "dev", "boot"},
    "cli": {"base", "vm", "console"},
    "img": {"base", "block", "fs"},
    "ctl": {"base", "vm"},
}
# Front doors of the accelerators; everything deeper is private to its room.
ACCEL_PUBLIC = {"accel/accel.h", "accel/cpuid.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def room_of(path):
    return path.parts[0]


def check_file(src, path):
    room = room_of(path)
    problems = []
    for number, line in enumerate((src / path).read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        target = found.group(1)
        where = f"src/{path}:{number}"
        if "/" not in target:
            if not target.endswith(".inc"):
                problems.append(f"{where}: \"{target}\": write it as room/file.h")
            continue
        if target.startswith("generated/"):
            continue
        other = target.split("/")[0]
        if other == room:
            if room == "accel" and path.parts[1] in ("soft", "kvm") and target not in ACCEL_PUBLIC:
                if target.split("/")[1] != path.parts[1]:
                    problems.append(f"{where}: accel/{path.parts[1]} must not see {target}")
        elif other not in ALLOWED.get(room, set()):
            problems.append(f"{where}: room {room} must not depend on {other} ({target})")
        elif other == "accel" and target not in ACCEL_PUBLIC:
            problems.append(f"{where}: {target} is private to accel")
    return problems


def main():
    src = pathlib.Path(__file__).resolve().parent.parent / "src"
    files = sorted(p.relative_to(src) for p in src.rglob("*") if p.suffix in (".c", ".h", ".S"))
    problems = [p for f in files for p in check_file(src, f)]
    for room in {room_of(f) for f in files} - set(ALLOWED):
        problems.append(f"src/{room}: unknown room, add it to tools/layers.py and docs/architecture.md")
    print("\n".join(problems) if problems else f"layers: {len(files)} files, all dependencies point downwards")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
