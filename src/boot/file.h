/*
 * Files that a guest is made of: of the host, or inside an image (IMAGE:/PATH, fs/place.h). A name that a
 * file of the host has means that file. Only regular files are taken: a FIFO would block, a device or a
 * directory gives confusing errors later. A file of the host is read once, completely, and must have the same
 * size before and after; an image is locked while a file inside it is open.
 */
#pragma once

#include "base/err.h"
#include "base/types.h"
#include "fs/place.h"

#define BOOT_FILE_MAX (4 * GiB - 1)

struct boot_file {
	const char *what; /* "kernel", "initrd": for messages */
	const char *path;
	int fd; /* -1: inside an image */
	u64 size;
	struct place_image image;
	struct volume *volume;
	struct fs_node node;
};

/* Opens a regular, non-empty file of less than 4 GiB. */
int boot_file_open(struct boot_file *f, const char *what, const char *path, const struct place_lent *lent,
        struct err *e);
void boot_file_close(struct boot_file *f);

/*
 * An image where a kernel belongs, a likely mistake: -ENOEXEC with words about how to get at what is inside.
 * 0: path names no image.
 */
int boot_file_is_image(const char *what, const char *path, const struct place_lent *lent, struct err *e);

/* Reads exactly [0, len) and checks that the size did not change. len <= size. */
int boot_file_read(struct boot_file *f, void *buf, u64 len, struct err *e);

/* The first bytes, at most len, without the check: *got is how many. */
int boot_file_peek(struct boot_file *f, void *buf, u64 len, u64 *got, struct err *e);
