/*
 * A file inside an image, as users write it: IMAGE:/PATH, or IMAGE:N:/PATH for partition N. IMAGE is a path
 * with the options of block/image.h, when it needs them.
 */
#pragma once

#include "fs/volumes.h"

struct place {
	char image[IMAGE_PATH_MAX];
	unsigned partition; /* 0: the first one that has the file */
	const char *path;   /* "/..." in the text that was parsed; "" when there is none */
};

/*
 * Takes text apart at its first ":/" or ":N:/". false: there is none, it names a file of the host or a whole
 * image. Pure.
 */
bool place_parse(struct place *p, const char *text);

/* An image that is open for reading. */
struct place_image {
	struct block *block;
	struct volumes *volumes;
	bool lent; /* the block is the caller's */
};

/*
 * Images that the caller has open for itself, and whose locks would be in the way: they are read through
 * these. NULL, or a list that ends with a path of NULL.
 */
struct place_lent {
	const char *path; /* as the images were named */
	struct block *block;
};

/*
 * Opens an image, read-only whatever its options say. The lock is shared and held until the close, so a
 * machine that will write to the image can be started after it, and one that writes now makes this fail.
 */
int place_open(struct place_image *p, const char *image, const struct place_lent *lent,
        const struct host_io *io, struct err *e);
int place_open_spec(struct place_image *p, const struct image_spec *spec, const struct place_lent *lent,
        const struct host_io *io, struct err *e);
void place_close(struct place_image *p); /* a zeroed one is fine */
