#!/bin/sh
# Builds the fuzz targets with clang's libFuzzer and runs each for FUZZ_SECONDS (60). A finding is
# left as crash-* in build-fuzz/. Exit status 1 when any target found something.
set -u
cd "$(dirname "$0")/.." || exit 1
seconds=${FUZZ_SECONDS:-60}
[ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dlibfuzzer=true -Db_lundef=false \
	-Db_sanitize=address,undefined >/dev/null || exit 1
ninja -C build-fuzz || exit 1
bad=0
for f in build-fuzz/fuzz/fuzz_*; do
	[ -x "$f" ] && [ -f "$f" ] || continue
	n=$(basename "$f")
	mkdir -p "build-fuzz/corpus/$n"
	echo "== $n for $seconds s"
	(cd build-fuzz && "fuzz/$n" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 "corpus/$n") || bad=1
done
exit $bad
