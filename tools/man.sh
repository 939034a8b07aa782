#!/bin/sh
# Every man page must be clean for mandoc.
set -eu
cd "$(dirname "$0")/.."
for f in man/*.1; do
	out=$(mandoc -Tlint -Wwarning "$f" 2>&1) || { echo "$out"; exit 1; }
done
