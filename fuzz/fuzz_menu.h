/*
 * What the fuzz targets of boot configurations share: a small disk on which the input is the configuration,
 * and also each file that it could include.
 */
#pragma once

#include "../tests/unit/menu_rig.h"
#include "standalone.h"

static inline void fuzz_check(bool ok)
{
	if (!ok)
		abort();
}

static inline void check_menu(const struct menu_rig *r, const struct menu *m)
{
	char name[FS_PATH_MAX * 4];

	fuzz_check(m->count && m->standard < m->count);
	for (unsigned i = 0; i < m->count; i++) {
		const struct menu_entry *entry = &m->entry[i];

		fuzz_check(entry->title && entry->cmdline && strlen(entry->cmdline) < MENU_CMDLINE_MAX);
		fuzz_check(entry->ninitrds <= MENU_INITRDS_MAX);
		for (unsigned n = 0; n < entry->ninitrds; n++)
			fuzz_check(entry->initrd[n].path && entry->initrd[n].disk == 0);
		if (entry->kernel.path && entry->kernel.volume)
			menu_file_name(&r->seen, &entry->kernel, name, sizeof(name));
	}
}

static inline void fuzz_menu(const char *path, const u8 *data, size_t len)
{
	static const char *const others[] = {
	        "/boot/grub/grubenv", "/loader/loader.conf", "/loader/entries/b.conf"};
	static struct menu_rig r;
	const struct menu_entry *entry;
	struct menu *m = NULL;
	struct err e = {0};

	rig_init(&r);
	rig_put_file(&r, path, data, (u32)MIN(len, 100000u));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		rig_put_file(&r, others[i], data, (u32)MIN(len, 2000u));
	if (rig_open(&r, &m, &e) == 0) {
		check_menu(&r, m);
		menu_choose(m, NULL, &entry, &e);
		menu_choose(m, "a", &entry, &e);
	} else {
		fuzz_check(e.text[0] && e.code < 0);
	}
	rig_close(&r, m);
}

static inline size_t fuzz_text(const char *text, u8 *buf, size_t cap)
{
	size_t len = strlen(text);

	fuzz_check(len <= cap);
	memcpy(buf, text, len);
	return len;
}
