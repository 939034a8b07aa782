#!/bin/sh
# What a reviewer should not have to say: layers, formatting, clang-tidy, man pages, shell syntax.
# usage: tools/lint.sh BUILD
set -u
build=$1
cd "$(dirname "$0")/.." || exit 1
bad=0
python3 tools/layers.py || bad=1
tools/man.sh || bad=1
for f in tools/*.sh examples/*.sh .ci/run; do
	sh -n "$f" || bad=1
done
if command -v clang-format >/dev/null; then
	git ls-files '*.c' '*.h' | xargs clang-format --dry-run -Werror || bad=1
fi
[ -f "$build/build.ninja" ] || make build || exit 1
if command -v clang-tidy >/dev/null; then
	git ls-files 'src/*.c' | xargs -P 2 -n 4 clang-tidy -p "$build" --quiet 2>/dev/null || bad=1
fi
[ $bad = 0 ] && echo "lint: clean"
exit $bad
