#!/bin/sh
# All tests: unit, chip, instruction, guest and crash tests plainly and under ASan + UBSan, the layer
# check, disk images against a second implementation, and whole machines with stock kernels. Ends with
# the line `N passed, N failed`; exit status 1 when anything failed.
# usage: tools/check.sh BUILD SANBUILD
#
# XHYVE_CHECK=quick leaves out the sanitizer build and the long whole-machine tests.
set -u
build=$1
san=$2
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 1
passed=0
failed=0

# count FILE: adds the totals of a meson test log
count_meson() {
	ok=$(sed -n 's/^Ok: *\([0-9]*\).*/\1/p' "$1" | tail -n 1)
	bad=$(sed -n 's/^\(Fail\|Unexpected Pass\|Timeout\): *\([0-9]*\).*/\2/p' "$1" | awk '{s+=$1} END {print s+0}')
	if [ -z "$ok" ]; then
		ok=0
		bad=$((bad + 1))
	fi
	passed=$((passed + ok))
	failed=$((failed + bad))
}

one() { # one NAME COMMAND...: a single check
	name=$1
	shift
	if "$@"; then
		passed=$((passed + 1))
	else
		echo "check: $name FAILED"
		failed=$((failed + 1))
	fi
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

one layers python3 tools/layers.py
one man-page tools/man.sh

echo "== unit, chip, instruction and guest tests"
meson test -C "$build" --no-rebuild --print-errorlogs 2>&1 | tee "$log"
count_meson "$log"

if [ "${XHYVE_CHECK:-}" != quick ]; then
	echo "== the same under ASan and UBSan"
	if make --no-print-directory SAN="$san" "$san/build.ninja" && ninja -C "$san" >"$log" 2>&1; then
		UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 ASAN_OPTIONS=detect_leaks=1 \
			meson test -C "$san" --no-rebuild --print-errorlogs --timeout-multiplier 4 2>&1 | tee "$log"
		count_meson "$log"
	else
		tail -n 40 "$log"
		echo "check: sanitizer build FAILED"
		failed=$((failed + 1))
	fi
fi

# pytests DIRECTORY: runs its tests and adds their totals
pytests() {
	XHYVE=$top/$build/xhyve XHYVE_BUILD=$top/$build \
		/usr/bin/python3 -m pytest -q -p no:cacheprovider "$1" 2>&1 | tee "$log"
	line=$(grep -E '^(=+ )?[0-9]+ (passed|failed|error)' "$log" | tail -n 1)
	p=$(echo "$line" | sed -n 's/.*\b\([0-9][0-9]*\) passed.*/\1/p')
	f=$(echo "$line" | sed -n 's/.*\b\([0-9][0-9]*\) failed.*/\1/p')
	x=$(echo "$line" | sed -n 's/.*\b\([0-9][0-9]*\) error.*/\1/p')
	passed=$((passed + ${p:-0}))
	failed=$((failed + ${f:-0} + ${x:-0}))
	[ -n "$p$f$x" ] || failed=$((failed + 1))
}

echo "== disk images, read and written by an independent implementation"
pytests tests/compat

echo "== whole machines"
pytests tests/system

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
