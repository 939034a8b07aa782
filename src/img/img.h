/*
 * xhyve-img: commands on disk images, as a library, so that tests can run each with a host_io of
 * their own. main.c is a shell around img_main.
 *
 * A command gets its parsed options and a context, prints its result on ctx->out, and returns an exit
 * status, or -errno with the message in e. What it does to files goes through ctx->io.
 */
#pragma once

#include "base/err.h"
#include "block/block.h"
#include "block/hostio.h"
#include "block/image.h"

#include <signal.h>
#include <stdio.h>

/* Exit statuses: part of the interface (xhyve-img(1), EXIT STATUS). */
enum img_status {
	IMG_OK = 0,
	IMG_FAILED = 1,    /* could not be done, or not checked */
	IMG_CORRUPT = 2,   /* check: damage */
	IMG_LEAKS = 3,     /* check: nothing but lost space */
	IMG_BADUSE = 64,   /* command line refused; nothing was touched */
	IMG_STOPPED = 130, /* interrupted; the image is valid */
};

struct img_ctx {
	const struct host_io *io;
	FILE *out;
	FILE *err;                         /* progress and notices */
	bool progress;                     /* err is a terminal */
	const volatile sig_atomic_t *stop; /* set by SIGINT; NULL: never */
};

/* What the command line said; a member that its command does not have is empty. */
struct img_options {
	bool json, force, quiet, sparse, nocache, details;
	const char *split, *sectorsize, *from, *test, *bufsize, *depth, *count, *flush_interval;
	const char *arg[2]; /* words that are no options; unused ones are NULL */
};

int img_create(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_info(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_check(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_repair(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_convert(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_shrink(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_resize(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_map(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_ls(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_cat(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_cp(struct img_ctx *c, const struct img_options *o, struct err *e);
int img_bench(struct img_ctx *c, const struct img_options *o, struct err *e);

/* The whole program: parses, runs, reports. Returns the exit status. */
int img_main(int argc, const char *const *argv, struct img_ctx *c);

/* -EINTR with message when the user asked to stop, else 0. */
int img_stopped(const struct img_ctx *c, struct err *e);

/* One line on err. */
void img_note(const struct img_ctx *c, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Parses the PATH[,option...] of an image that exists, and finds its geometry. */
int img_target(const struct img_ctx *c, const char *word, struct image_spec *s, struct image_geometry *g,
        struct err *e);

/* A killed xhyve left a journal: opens and closes the image, which brings the table up to date. */
int img_replay(const struct img_ctx *c, const struct image_spec *s, bool *replayed, struct err *e);
