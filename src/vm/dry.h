/*
 * What --explain builds with: a machine of the same parts that touches nothing. Images are looked at and
 * not changed, consoles and networks are not opened, and what does not exist yet has a stand-in.
 */
#pragma once

#include "block/image.h"

enum dry_state {
	DRY_THERE, /* the image as it is */
	DRY_NEW,   /* the start will create it, or a part of it: reads as zeros */
	DRY_BUSY,  /* somebody else writes to it: reads as zeros */
};

/* As image_open for a start with these flags, but nothing is created and writes fail. */
int dry_image_open(struct block **out, const struct image_spec *spec, unsigned flags, struct err *e);
enum dry_state dry_image_state(const struct block *b);
