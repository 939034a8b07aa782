#!/usr/bin/env python3
"""Compiles ASL and writes the AML as a C array.

usage: asl2c.py IASL SOURCE.asl OUTPUT.h NAME

The header holds `static const u8 NAME[]`. Warnings of the compiler are errors.
"""
import pathlib
import subprocess
import sys
import tempfile


def main():
    iasl, source, output, name = sys.argv[1:]
    with tempfile.TemporaryDirectory() as tmp:
        prefix = pathlib.Path(tmp) / "table"
        run = subprocess.run([iasl, "-we", "-p", str(prefix), source], capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stdout + run.stderr)
        aml = prefix.with_suffix(".aml").read_bytes()
    lines = [f"/* Made from {pathlib.Path(source).name} by tools/asl2c.py. */", f"static const u8 {name}[] = {{"]
    for at in range(0, len(aml), 16):
        lines.append("\t" + " ".join(f"0x{b:02x}," for b in aml[at : at + 16]))
    lines.append("};")
    pathlib.Path(output).write_text("\n".join(lines) + "\n")


main()
