/*
 * Loading by the Multiboot specification 0.6.96: kernel and modules are read and fitted, then the information
 * that the kernel finds through EBX is written into low memory, and the first CPU is in 32-bit protected
 * mode.
 *
 * A kernel that is compressed as a whole is unpacked here, as boot loaders do it; modules stay as they are.
 * They follow the kernel in their order, each at a page of its own. Command line and modules' strings
 * begin with the file's name, as with the boot loaders for which kernels of this kind were written: they skip
 * it.
 */
#include "boot/linux.h"

#include "base/text.h"
#include "boot/file.h"
#include "boot/multiboot.h"
#include "boot/unpack.h"
#include "x86/x86.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* In low memory, which is otherwise as with Linux */
#define INFO_GPA ZERO_PAGE_GPA
#define MAP_GPA (INFO_GPA + 0x100)
#define MODULES_GPA (INFO_GPA + 0x800)
#define STRINGS_GPA CMDLINE_GPA
#define STRINGS_ROOM CMDLINE_ROOM

/* Multiboot information (3.3) */
#define INFO_FLAGS 0
#define INFO_MEM_LOWER 4
#define INFO_MEM_UPPER 8
#define INFO_CMDLINE 16
#define INFO_MODS_COUNT 20
#define INFO_MODS_ADDR 24
#define INFO_MAP_LENGTH 44
#define INFO_MAP_ADDR 48
#define INFO_LOADER_NAME 64
#define INFO_LEN 120
#define HAS_MEMORY BIT(0)
#define HAS_CMDLINE BIT(2)
#define HAS_MODULES BIT(3)
#define HAS_MAP BIT(6)
#define HAS_LOADER_NAME BIT(9)

/* BIOS data area: there is no BIOS, but Xen looks there for the end of conventional memory */
#define BDA_COM 0x400
#define BDA_EBDA 0x40e
#define BDA_KIB 0x413

#define MAP_ENTRY 24 /* its size field says 20: it does not count itself */
#define MAP_MAX 64
#define MODULE_ENTRY 16

static_assert(MAP_MAX * MAP_ENTRY <= MODULES_GPA - MAP_GPA, "the map has room");
static_assert(BOOT_MODULES_MAX * MODULE_ENTRY <= CMDLINE_GPA - MODULES_GPA, "the modules' list has room");

static const char loader_name[] = "xhyve";

#define CODE_SEL 0x10
#define DATA_SEL 0x18

/* --- files --- */

struct load {
	const struct boot_multiboot_args *args;
	struct mem *m;
	struct boot_image *img;
	u64 limit; /* of memory that kernel and modules can use */
};

static int read_kernel(struct load *l, struct boot_file *f, struct err *e)
{
	char a[32], b[32];

	if (f->size > l->limit)
		return err_set(e, -ENOMEM, "kernel %s has %s, the machine only %s of RAM for it", f->path,
		        format_size(f->size, a, sizeof(a)), format_size(l->limit, b, sizeof(b)));
	l->img->file = malloc(f->size);
	if (!l->img->file)
		return err_errno(e, -ENOMEM, "kernel %s", f->path);
	l->img->facts.file_len = f->size;
	return boot_file_read(f, l->img->file, f->size, e);
}

/* As boot loaders do it, for a kernel that is packed as a whole file. */
static int unpack_kernel(struct load *l, u64 *len, const char *path, struct err *e)
{
	enum unpack_format format = unpack_probe(l->img->file, *len);
	s64 got = -EFBIG;

	if (format == UNPACK_NONE)
		return 0;
	for (u64 room = *len; got == -EFBIG && room < l->limit;) {
		room = MIN(4 * room, l->limit);
		free(l->img->unpacked);
		l->img->unpacked = malloc(room);
		got = l->img->unpacked ? unpack(format, l->img->file, *len, l->img->unpacked, room) : -ENOMEM;
	}
	if (got < 0)
		return err_set(e, (int)got, "kernel %s: cannot be unpacked (%s): %s", path,
		        unpack_name(format), got == -EINVAL ? "it is damaged" : strerrordesc_np((int)-got));
	l->img->facts.packed = unpack_name(format);
	*len = (u64)got;
	return 0;
}

static int parse_kernel(struct load *l, const struct boot_file *f, struct err *e)
{
	u64 len = f->size;
	int rc = unpack_kernel(l, &len, f->path, e);

	if (rc < 0)
		return rc;
	return mb_parse(
	        l->img->unpacked ? l->img->unpacked : l->img->file, len, l->limit, f->path, l->img, e);
}

static int load_kernel(struct load *l, struct err *e)
{
	struct boot_file f;
	int rc = boot_file_open(&f, "kernel", l->args->kernel, l->args->lent, e);

	if (rc < 0)
		return rc;
	rc = read_kernel(l, &f, e);
	if (rc == 0)
		rc = parse_kernel(l, &f, e);
	boot_file_close(&f);
	return rc;
}

/* "NAME ARGS", or "NAME" alone. */
static char *with_name(const char *name, const char *args)
{
	char *text;

	return asprintf(&text, "%s%s%s", name, args && *args ? " " : "", args ? args : "") < 0 ? NULL : text;
}

static int place_module(struct load *l, struct boot_file *f, u64 at, struct err *e)
{
	char a[32], b[32];
	void *to;

	if (at > l->limit || f->size > l->limit - at)
		return err_set(e, -ENOMEM,
		        "module %s (%s) does not fit behind the kernel: %s of memory left there", f->path,
		        format_size(f->size, a, sizeof(a)),
		        format_size(at > l->limit ? 0 : l->limit - at, b, sizeof(b)));
	to = mem_ptr(l->m, at, f->size);
	return to ? boot_file_read(f, to, f->size, e) : err_errno(e, -EFAULT, "module %s", f->path);
}

static int load_module(struct load *l, const struct boot_module_args *args, u64 *end, struct err *e)
{
	struct boot_module *mod = &l->img->module[l->img->nmodules];
	u64 at = ALIGN_UP(*end, (u64)PAGE_SIZE);
	struct boot_file f;
	int rc = boot_file_open(&f, "module", args->path, l->args->lent, e);

	if (rc < 0)
		return rc;
	rc = place_module(l, &f, at, e);
	if (rc == 0) {
		*mod = (struct boot_module){
		        .gpa = at, .len = f.size, .text = with_name(args->path, args->args)};
		l->img->nmodules++;
		*end = at + f.size;
		rc = mod->text ? 0 : err_errno(e, -ENOMEM, "module %s", f.path);
	}
	boot_file_close(&f);
	return rc;
}

static int load_modules(struct load *l, struct err *e)
{
	u64 end = l->img->kernel_end;

	for (unsigned n = 0; n < l->args->nmodules; n++) {
		int rc = n == BOOT_MODULES_MAX ? err_usage(e, "more than %u modules", BOOT_MODULES_MAX)
		                               : load_module(l, &l->args->module[n], &end, e);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int load_strings(struct load *l, struct err *e)
{
	struct boot_image *img = l->img;
	u64 len;

	img->cmdline = with_name(l->args->kernel, l->args->cmdline);
	if (!img->cmdline)
		return err_errno(e, -ENOMEM, "command line");
	len = sizeof(loader_name) + strlen(img->cmdline) + 1;
	for (unsigned n = 0; n < img->nmodules; n++)
		len += strlen(img->module[n].text) + 1;
	if (len > STRINGS_ROOM)
		return err_set(e, -E2BIG,
		        "command line and modules' arguments have %llu characters, %u is the most",
		        (unsigned long long)len, STRINGS_ROOM);
	return 0;
}

int boot_multiboot_load(
        const struct boot_multiboot_args *args, struct mem *m, struct boot_image *img, struct err *e)
{
	struct load l = {.args = args, .m = m, .img = img};
	int rc;

	memset(img, 0, sizeof(*img));
	img->multiboot = true;
	if (m->low < BOOT_BIOS_END + BOOT_TABLES_SIZE + MiB)
		return err_set(e, -ENOMEM, "%llu KiB of RAM are too few to boot a kernel",
		        (unsigned long long)(m->low / 1024));
	l.limit = tables_base(m);
	rc = load_kernel(&l, e);
	if (rc == 0)
		rc = load_modules(&l, e);
	if (rc == 0)
		rc = load_strings(&l, e);
	if (rc < 0)
		boot_linux_free(img);
	return rc;
}

/* --- what the kernel finds --- */

/* Strings one after the other; returns where this one is. */
static u32 put_string(struct mem *m, u32 *next, const char *text)
{
	u32 at = *next, len = (u32)strlen(text) + 1;

	memcpy(m->base + at, text, len);
	*next += len;
	return at;
}

static unsigned write_map(u8 *to, const struct boot_region *map, unsigned n)
{
	for (unsigned i = 0; i < n; i++, to += MAP_ENTRY) {
		put_le32(to, MAP_ENTRY - 4);
		put_le64(to + 4, map[i].gpa);
		put_le64(to + 12, map[i].len);
		put_le32(to + 20, map[i].type);
	}
	return n * MAP_ENTRY;
}

/* KiB of RAM from 1 MiB up to the first hole. */
static u32 upper_memory(const struct boot_region *map, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (map[i].gpa == MiB && map[i].type == REGION_RAM)
			return (u32)(map[i].len / KiB);
	return 0;
}

static void write_info(const struct boot_image *img, struct mem *m, const struct boot_region *map, unsigned n)
{
	u8 *info = m->base + INFO_GPA, *mod = m->base + MODULES_GPA;
	u32 strings = STRINGS_GPA;

	memset(info, 0, INFO_LEN);
	put_le32(info + INFO_FLAGS, HAS_MEMORY | HAS_CMDLINE | HAS_MODULES | HAS_MAP | HAS_LOADER_NAME);
	put_le32(info + INFO_MEM_LOWER, EBDA_GPA / KiB);
	put_le32(info + INFO_MEM_UPPER, upper_memory(map, n));
	put_le32(info + INFO_MAP_LENGTH, write_map(m->base + MAP_GPA, map, n));
	put_le32(info + INFO_MAP_ADDR, MAP_GPA);
	put_le32(info + INFO_LOADER_NAME, put_string(m, &strings, loader_name));
	put_le32(info + INFO_CMDLINE, put_string(m, &strings, img->cmdline));
	put_le32(info + INFO_MODS_COUNT, img->nmodules);
	put_le32(info + INFO_MODS_ADDR, MODULES_GPA);
	for (unsigned i = 0; i < img->nmodules; i++, mod += MODULE_ENTRY) {
		put_le32(mod, (u32)img->module[i].gpa);
		put_le32(mod + 4, (u32)(img->module[i].gpa + img->module[i].len));
		put_le32(mod + 8, put_string(m, &strings, img->module[i].text));
		put_le32(mod + 12, 0);
	}
}

static void write_bda(struct mem *m, const struct board_info *b)
{
	for (unsigned n = 0; n < BOARD_MAX_COMS; n++)
		put_le16(m->base + BDA_COM + 2 * n, b->com[n].port);
	put_le16(m->base + BDA_EBDA, EBDA_GPA >> 4);
	put_le16(m->base + BDA_KIB, EBDA_GPA / KiB);
	m->base[EBDA_GPA] = 1; /* its size in KiB */
}

/* 3.2: flat 32-bit segments, no paging, interrupts off. */
static void set_state(struct x86_state *s, const struct boot_image *img, bool x2apic)
{
	const struct x86_seg data = {.sel = DATA_SEL, .attr = 0xc093, .limit = 0xffffffff};

	x86_state_reset(s, true);
	if (x2apic)
		s->apic_base |= APIC_BASE_X2APIC;
	s->cr0 = CR0_PE | CR0_ET;
	for (unsigned n = 0; n < X86_NSEG; n++)
		s->seg[n] = data;
	s->seg[SEG_CS] = (struct x86_seg){.sel = CODE_SEL, .attr = 0xc09b, .limit = 0xffffffff};
	s->gdt = (struct x86_table){.base = GDT_GPA, .limit = 0x1f};
	s->idt = (struct x86_table){.base = 0, .limit = 0};
	s->rip = img->entry;
	s->gpr[RAX] = MB_LOADER_MAGIC;
	s->gpr[RBX] = INFO_GPA;
}

int boot_multiboot_place(const struct boot_image *img, struct mem *m, const struct board_info *b,
        const struct boot_tables_out *tables, struct x86_state *bsp, struct err *e)
{
	struct boot_region map[MAP_MAX];
	int rc = boot_write_segments(img, m, e);

	if (rc < 0)
		return rc;
	if (!mem_is_ram(m, 0, BOOT_BIOS_END))
		return err_set(e, -EFAULT, "the image was loaded for another memory size");
	boot_write_gdt(m, false);
	write_bda(m, b);
	write_info(img, m, map, boot_map(map, MAP_MAX, m, b, tables));
	set_state(bsp, img, b->x2apic);
	return 0;
}

unsigned boot_multiboot_map(const struct mem *m, struct boot_region *map, unsigned max)
{
	const u8 *p = m->base + MAP_GPA;
	unsigned n = MIN(get_le32(m->base + INFO_GPA + INFO_MAP_LENGTH) / MAP_ENTRY, max);

	for (unsigned i = 0; i < n; i++, p += MAP_ENTRY)
		map[i] = (struct boot_region){
		        .gpa = get_le64(p + 4), .len = get_le64(p + 12), .type = get_le32(p + 20)};
	return n;
}
