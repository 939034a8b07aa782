/*
 * UUIDs (RFC 9562): reading and writing the text form, and version 5 of a name. The bytes are in the
 * order of the text; SMBIOS turns some around.
 */
#include "boot/boot.h"

#include "boot/sha1.h"
#include <errno.h>
#include <stdio.h>

/* xhyve's name space, made once at random: 0dc3c1b1-7a0e-4f7b-9c55-5e1d2c7a96e4 */
static const u8 name_space[16] = {
        0x0d, 0xc3, 0xc1, 0xb1, 0x7a, 0x0e, 0x4f, 0x7b, 0x9c, 0x55, 0x5e, 0x1d, 0x2c, 0x7a, 0x96, 0xe4};

#define NAME_MAX_BYTES 1024

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

static bool dash_before(unsigned byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

int parse_uuid(const char *s, u8 uuid[16])
{
	u8 out[16];

	for (unsigned n = 0; n < 16; n++) {
		int high, low;

		if (dash_before(n) && *s++ != '-')
			return -EINVAL;
		high = hex_value(s[0]);
		low = high < 0 ? -1 : hex_value(s[1]);
		if (low < 0)
			return -EINVAL;
		out[n] = high << 4 | low;
		s += 2;
	}
	if (*s)
		return -EINVAL;
	memcpy(uuid, out, sizeof(out));
	return 0;
}

void format_uuid(const u8 uuid[16], char buf[37])
{
	for (unsigned n = 0; n < 16; n++) {
		if (dash_before(n))
			*buf++ = '-';
		buf += sprintf(buf, "%02x", uuid[n]);
	}
}

void uuid_derive(const char *name, u8 uuid[16])
{
	u8 text[sizeof(name_space) + NAME_MAX_BYTES], hash[SHA1_SIZE];
	size_t len = strnlen(name, NAME_MAX_BYTES);

	memcpy(text, name_space, sizeof(name_space));
	memcpy(text + sizeof(name_space), name, len);
	sha1(text, sizeof(name_space) + len, hash);
	memcpy(uuid, hash, 16);
	uuid[6] = (uuid[6] & 0x0f) | 0x50; /* version 5 */
	uuid[8] = (uuid[8] & 0x3f) | 0x80; /* the RFC's variant */
}
