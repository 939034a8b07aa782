# A thin front for Meson. `make run` and `make check` do everything from a fresh Debian 12 on;
# each target first runs tools/deps.sh, which installs only what is missing and needs no network
# when nothing is.

BUILD ?= build
SAN ?= build-san
MESON_FLAGS ?=

.PHONY: all run check test deps deps-build build install lint format bench fuzz san tsan coverage clean

all: build

deps:
	@tools/deps.sh all

deps-build:
	@tools/deps.sh build

build: deps-build $(BUILD)/build.ninja
	@ninja -C $(BUILD)
	@tools/link-outputs.sh $(BUILD)

$(BUILD)/build.ninja:
	@meson setup $(BUILD) --buildtype=custom -Doptimization=3 -Ddebug=true $(MESON_FLAGS) >/dev/null || { cat $(BUILD)/meson-logs/meson-log.txt; exit 1; }

$(SAN)/build.ninja:
	@meson setup $(SAN) --buildtype=custom -Doptimization=1 -Ddebug=true -Db_sanitize=address,undefined -Db_lundef=false >/dev/null

run: build
	@tools/deps.sh run
	@examples/linux.sh; s=$$?; test $$s -le 2 || exit $$s  # 0, 1, 2: the guest ended as it wanted

check:
	@tools/deps.sh all
	@$(MAKE) --no-print-directory build
	@tools/check.sh $(BUILD) $(SAN)

san: deps-build $(SAN)/build.ninja
	@ninja -C $(SAN)
	@meson test -C $(SAN) --no-rebuild --print-errorlogs

tsan: deps-build
	@test -f build-tsan/build.ninja || meson setup build-tsan -Db_sanitize=thread -Db_lundef=false >/dev/null
	@ninja -C build-tsan
	@meson test -C build-tsan --no-rebuild --print-errorlogs

lint:
	@tools/deps.sh lint
	@tools/lint.sh $(BUILD)

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

bench: build
	@tools/deps.sh bench
	@q=$$(tools/qemu.sh) && export PATH="$${q:+$$q:}$$PATH" && bench/run.py --xhyve $(BUILD)/xhyve && \
		bench/suite.py --xhyve $(BUILD)/xhyve && bench/disk.py --img $(BUILD)/xhyve-img && \
		bench/net.py --xhyve $(BUILD)/xhyve

fuzz:
	@tools/deps.sh fuzz
	@tools/fuzz.sh

install: build
	@meson install -C $(BUILD)

clean:
	rm -rf $(BUILD) $(SAN) build-tsan build-fuzz
