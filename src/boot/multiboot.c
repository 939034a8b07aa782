/*
 * Multiboot kernels, see multiboot.h. Every way to name what is loaded ends in elf_add_segment, whose checks
 * are the only ones that matter for memory: what it accepted is inside the file and inside RAM.
 */
#include "boot/multiboot.h"

#include "base/log.h"
#include "boot/elf_kernel.h"
#include <errno.h>

typedef unsigned long long ull;

/* --- the header (3.1) --- */

#define HEADER_LEN 12
#define HEADER_LEN_ADDRESSES 32

bool mb_find(const u8 *file, u64 len, struct mb_header *h)
{
	u64 end = MIN(len, (u64)MB_SEARCH);

	for (u64 at = 0; at + HEADER_LEN <= end; at += 4) {
		const u8 *p = file + at;
		u32 flags = get_le32(p + 4);

		if (get_le32(p) != MB_HEADER_MAGIC || MB_HEADER_MAGIC + flags + get_le32(p + 8) != 0)
			continue;
		*h = (struct mb_header){.at = at, .flags = flags};
		if (!(flags & MB_ADDRESSES))
			return true;
		if (at + HEADER_LEN_ADDRESSES > end)
			continue;
		h->header_addr = get_le32(p + 12);
		h->load_addr = get_le32(p + 16);
		h->load_end_addr = get_le32(p + 20);
		h->bss_end_addr = get_le32(p + 24);
		h->entry_addr = get_le32(p + 28);
		return true;
	}
	return false;
}

static int check_flags(const struct mb_header *h, const char *name, struct err *e)
{
	u32 unknown = h->flags & MB_MUST_KNOW & ~(MB_PAGE_ALIGN | MB_MEMORY_INFO | MB_VIDEO_MODE);

	if (unknown)
		return err_set(e, -ENOEXEC,
		        "kernel %s: its Multiboot header asks for what nobody knows (flags 0x%x)", name,
		        unknown);
	if (h->flags & MB_VIDEO_MODE)
		log_info("kernel %s wants a video mode; the machine has no screen", name);
	return 0;
}

/* --- kernels whose header has addresses (3.1.3) --- */

static int bad_addresses(const char *name, const char *what, struct err *e)
{
	return err_set(e, -EINVAL, "kernel %s: %s in its Multiboot header makes no sense", name, what);
}

static int parse_flat(const struct mb_header *h, const u8 *file, u64 len, u64 limit, const char *name,
        struct boot_image *img, struct err *e)
{
	Elf64_Phdr p = {.p_type = PT_LOAD, .p_paddr = h->load_addr};

	if (h->header_addr < h->load_addr || h->header_addr - h->load_addr > h->at)
		return bad_addresses(name, "header_addr", e);
	p.p_offset = h->at - (h->header_addr - h->load_addr);
	p.p_filesz = len - p.p_offset;
	if (h->load_end_addr) {
		if (h->load_end_addr < h->load_addr)
			return bad_addresses(name, "load_end_addr", e);
		p.p_filesz = h->load_end_addr - h->load_addr;
	}
	p.p_memsz = p.p_filesz;
	if (h->bss_end_addr) {
		if (h->bss_end_addr < h->load_addr || h->bss_end_addr - h->load_addr < p.p_filesz)
			return bad_addresses(name, "bss_end_addr", e);
		p.p_memsz = h->bss_end_addr - h->load_addr;
	}
	if (h->entry_addr < h->load_addr || h->entry_addr - h->load_addr >= p.p_filesz)
		return bad_addresses(name, "entry_addr", e);
	img->entry = h->entry_addr;
	img->kernel_end = p.p_paddr + p.p_memsz;
	return elf_add_segment(&p, file, len, limit, name, img, e);
}

/* --- ELF kernels --- */

/* Entry points are linked addresses: where that byte is loaded counts. */
static bool enters(const Elf64_Phdr *p, u64 entry, u64 *gpa)
{
	if (entry < p->p_vaddr || entry - p->p_vaddr >= p->p_filesz)
		return false;
	*gpa = p->p_paddr + (entry - p->p_vaddr);
	return true;
}

static int parse_elf(
        const u8 *file, u64 len, u64 limit, const char *name, struct boot_image *img, struct err *e)
{
	struct elf x;
	bool entered = false;
	int rc = elf_read(file, len, true, name, &x, e);

	if (rc < 0)
		return rc;
	for (unsigned n = 0; n < x.phnum; n++) {
		Elf64_Phdr p = elf_phdr(file, &x, n);

		if (p.p_type != PT_LOAD || p.p_memsz == 0)
			continue;
		rc = elf_add_segment(&p, file, len, limit, name, img, e);
		if (rc < 0)
			return rc;
		img->kernel_end = MAX(img->kernel_end, p.p_paddr + p.p_memsz);
		entered |= !entered && enters(&p, x.entry, &img->entry);
	}
	if (!entered)
		return err_set(
		        e, -EINVAL, "kernel %s: entry 0x%llx is not inside a segment", name, (ull)x.entry);
	return 0;
}

int mb_parse(const u8 *file, u64 len, u64 limit, const char *name, struct boot_image *img, struct err *e)
{
	struct mb_header h;
	int rc;

	if (!mb_find(file, len, &h))
		return err_set(e, -ENOEXEC, "kernel %s has no Multiboot header in its first %u bytes", name,
		        MB_SEARCH);
	img->nsegments = 0;
	img->kernel_end = 0;
	img->entry64 = false;
	rc = check_flags(&h, name, e);
	if (rc < 0)
		return rc;
	if (h.flags & MB_ADDRESSES)
		return parse_flat(&h, file, len, limit, name, img, e);
	if (!elf_probe(file, len))
		return err_set(e, -ENOEXEC,
		        "kernel %s is no ELF file, and its Multiboot header does not say where it is loaded",
		        name);
	return parse_elf(file, len, limit, name, img, e);
}
