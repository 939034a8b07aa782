/*
 * The words of a Linux kernel's command line, as far as the machine has to know them. Pure.
 */
#pragma once

#include "base/types.h"

/* The next word, or NULL at the end. Words end at blanks, quotes protect them. */
const char *cmdline_word(const char **rest, size_t *len);

/* The value of the last word NAME=value, as the kernel takes it, to be freed; NULL: none, or no memory. */
char *cmdline_last(const char *cmdline, const char *name);

/* Is there a word console=DEVICE or console=DEVICE,...? device NULL: any but those of a screen, which is not
 * there. */
bool cmdline_has_console(const char *cmdline, const char *device);
