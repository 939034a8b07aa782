/*
 * SHA-1 (FIPS 180-4) of a short message. Only for UUIDs of version 5, which are defined with it; it
 * protects nothing.
 */
#pragma once

#include "base/types.h"

#define SHA1_SIZE 20

void sha1(const void *data, size_t len, u8 out[SHA1_SIZE]);
