/*
 * Private to the readers of boot configurations: reading files, memory, and adding entries.
 */
#pragma once

#include "boot/menu.h"

#define MENU_TEXT_MAX (1 * MiB)    /* of one file */
#define MENU_FILES_MAX 64          /* read for one menu */
#define MENU_MEMORY_MAX (16 * MiB) /* all strings of one menu */
#define MENU_ENTRIES_MAX 512
#define MENU_DEPTH_MAX 8 /* files that include each other, submenus in submenus */

struct menu_chunk;

/* A menu while it is read. */
struct menu_reader {
	struct menu m;
	const struct menu_disk *disk;
	unsigned ndisks;
	unsigned files;
	u64 used;
	struct menu_chunk *chunks;
	unsigned room; /* of m.entry */
	struct err *e;
};

/* Memory that lives as long as the menu; NULL: too much, r->e says so. n characters and a 0. */
char *menu_alloc(struct menu_reader *r, size_t n);
char *menu_strndup(struct menu_reader *r, const char *s, size_t n);
char *menu_strdup(struct menu_reader *r, const char *s);
char *menu_printf(struct menu_reader *r, const char *fmt, ...) PRINTF_LIKE(2, 3);

/*
 * The text of a file, terminated, 0 bytes in it made blanks. -ENOENT and the like without words: the caller
 * goes on without; -E2BIG, -ENOMEM with.
 */
int menu_read(struct menu_reader *r, const struct menu_file *f, char **text);
/* Is there such a file (with size: one that is not empty)? */
bool menu_has(const struct menu_file *f, bool size);

/* A path seen from a directory ("" for the root): "/x" stays, "x" becomes "dir/x". */
char *menu_join(struct menu_reader *r, const char *dir, const char *path);
/* The directory of a path: "/boot/grub" of "/boot/grub/grub.cfg", "" of "/x". */
char *menu_dirname(struct menu_reader *r, const char *path);

/* A new entry with empty strings, or NULL with words. Good until the next one is added. */
struct menu_entry *menu_add(struct menu_reader *r, const char *title);
int menu_add_initrd(struct menu_reader *r, struct menu_entry *entry, const struct menu_file *f);
/* " words" behind the command line. */
int menu_append(struct menu_reader *r, struct menu_entry *entry, const char *words);

/* The next line of a text, without blanks around it; NULL at the end. Changes the text. */
char *menu_line(char **text);
/* Cuts the first word off a line and returns the rest, without blanks before it. */
char *menu_word(char *line);

/* Each reads its configuration from r->m.config. 0, or -errno with words. */
int menu_read_grub(struct menu_reader *r);
int menu_read_syslinux(struct menu_reader *r);
int menu_read_bls(struct menu_reader *r);

/*
 * Adds the entries in directory dir of a volume, best first. names: variables in their options are filled in
 * by fill. How many there were, or -errno with words.
 */
typedef char *(*menu_fill_fn)(void *opaque, const char *text);
int menu_add_bls(struct menu_reader *r, const struct menu_file *dir, const char *root, menu_fill_fn fill,
        void *opaque);
