/*
 * What a fuzz target provides: libFuzzer's entry point, and seeds for the run without libFuzzer.
 */
#pragma once

#include "base/types.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

/* Writes the n-th seed; its length, or 0 when there are no more. */
size_t fuzz_seed(unsigned n, u8 *buf, size_t cap);
