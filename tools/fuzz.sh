#!/bin/sh
# Builds the fuzz targets with clang's libFuzzer, ASan and UBSan, and runs each from its seeds until it has
# used FUZZ_SECONDS (60) of CPU time. What it finds is left in build-fuzz/, the corpus in build-fuzz/corpus/.
# Exit status 1 when any target found something.
# usage: tools/fuzz.sh [NAME...]      names without fuzz_; all targets without one
set -u
cd "$(dirname "$0")/.." || exit 1
seconds=${FUZZ_SECONDS:-60}
[ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dlibfuzzer=true -Db_lundef=false \
	-Db_sanitize=address,undefined >/dev/null || exit 1
ninja -C build-fuzz fuzz || exit 1
cd build-fuzz || exit 1

# cpu PID: seconds of CPU time; nothing when it is over
cpu() {
	sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk -v hz="$(getconf CLK_TCK)" '{print int(($12 + $13) / hz)}'
}

# one NAME: an interrupt ends libFuzzer as if its time were over (status 72)
one() {
	mkdir -p "corpus/$1"
	"fuzz/$1" --seeds="corpus/$1" || return 1
	echo "== $1 for $seconds s"
	UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 "fuzz/$1" -rss_limit_mb=2048 -timeout=60 \
		-print_final_stats=1 "corpus/$1" &
	pid=$!
	trap 'kill $pid; exit 130' INT TERM
	while used=$(cpu $pid) && [ -n "$used" ] && [ "$used" -lt "$seconds" ]; do
		sleep 1
	done
	kill -INT $pid 2>/dev/null
	wait $pid
	status=$?
	trap - INT TERM
	[ $status = 0 ] || [ $status = 72 ]
}

bad=0
[ $# -gt 0 ] || set -- $(ls fuzz | sed -n 's/^fuzz_\([a-z0-9]*\)$/\1/p')
for name; do
	one "fuzz_$name" || { echo "== fuzz_$name: a finding"; bad=1; }
done
exit $bad
