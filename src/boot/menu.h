/*
 * Boot configurations inside images: what a boot loader's menu has, and which of its entries starts by
 * default. Understood are GRUB's grub.cfg, the entries of the Boot Loader Specification (systemd-boot,
 * Fedora's GRUB), and the files of isolinux, syslinux and extlinux.
 *
 * A configuration comes from inside the guest: its size, the files it pulls in, the commands that are
 * executed and the memory that all of it takes have limits (menu_int.h), and it can name nothing outside the
 * disks that it is given.
 */
#pragma once

#include "base/err.h"
#include "fs/volumes.h"

#define MENU_DISKS_MAX 32
#define MENU_INITRDS_MAX 16
#define MENU_CMDLINE_MAX 8192

/* A disk as the boot loader sees it: the first one is hd0 (and cd0). */
struct menu_disk {
	const char *name; /* as users write it before ":/path" */
	struct volumes *volumes;
};

/* A file on one of the disks. */
struct menu_file {
	unsigned disk;
	struct volume *volume; /* NULL: its place is not known, path says what was wanted */
	const char *path;
};

struct menu_entry {
	const char *title; /* in a submenu: "Submenu>Entry" */
	const char *id;    /* another name of it, or NULL */
	/* What it starts. No path: no Linux kernel. */
	struct menu_file kernel, initrd[MENU_INITRDS_MAX];
	unsigned ninitrds;
	const char *cmdline;
};

struct menu {
	const char *kind; /* "grub.cfg", "boot loader entries", "isolinux.cfg", ... */
	struct menu_file config;
	struct menu_entry *entry;
	unsigned count;
	unsigned standard; /* index of the default entry */
	void *memory;      /* of the strings: the room's */
};

/*
 * Finds the configuration on the first disk that has one. -ENOENT with words when none has. On success the
 * caller owes menu_close; disks must stay until then.
 */
int menu_open(struct menu **out, const struct menu_disk *disk, unsigned ndisks, struct err *e);
void menu_close(struct menu *m); /* NULL is fine */

/*
 * The entry that which names: its number in the list, its title or id, or a part of exactly one title; NULL
 * for the default. -ENOENT lists the entries; -ENOEXEC: it starts no Linux kernel.
 */
int menu_choose(const struct menu *m, const char *which, const struct menu_entry **out, struct err *e);

/* Writes "NAME:2:/path" as -f kexec takes it. false: too long. */
bool menu_file_name(const struct menu_disk *disks, const struct menu_file *f, char *buf, size_t cap);
