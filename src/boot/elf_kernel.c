/*
 * ELF program headers (System V ABI, ch. 5), checked against file and guest RAM. Sums cannot wrap:
 * sizes are compared with what remains, never added to addresses that were not bounded before.
 */
#include "boot/elf_kernel.h"

#include <errno.h>

#define PHDRS_MAX 64

bool elf_probe(const u8 *file, u64 len)
{
	return len >= SELFMAG && memcmp(file, ELFMAG, SELFMAG) == 0;
}

static struct elf from_32(const Elf32_Ehdr *h)
{
	return (struct elf){.type = h->e_type,
	        .machine = h->e_machine,
	        .phnum = h->e_phnum,
	        .phentsize = h->e_phentsize,
	        .entry = h->e_entry,
	        .phoff = h->e_phoff};
}

static struct elf from_64(const Elf64_Ehdr *h)
{
	return (struct elf){.wide = true,
	        .type = h->e_type,
	        .machine = h->e_machine,
	        .phnum = h->e_phnum,
	        .phentsize = h->e_phentsize,
	        .entry = h->e_entry,
	        .phoff = h->e_phoff};
}

/* Copies, as everywhere here: the file may be unaligned. */
static bool read_header(const u8 *file, u64 len, struct elf *x)
{
	Elf32_Ehdr h32;
	Elf64_Ehdr h64;

	if (!elf_probe(file, len) || len < sizeof(h64))
		return false;
	memcpy(&h32, file, sizeof(h32));
	memcpy(&h64, file, sizeof(h64));
	*x = h32.e_ident[EI_CLASS] == ELFCLASS64 ? from_64(&h64) : from_32(&h32);
	x->known = h32.e_ident[EI_DATA] == ELFDATA2LSB &&
	           (x->wide ? x->machine == EM_X86_64
	                    : h32.e_ident[EI_CLASS] == ELFCLASS32 && x->machine == EM_386);
	return true;
}

static bool phdrs_sized(const struct elf *x)
{
	return x->phentsize == (x->wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr));
}

static bool phdrs_inside(const struct elf *x, u64 len)
{
	return x->phoff <= len && (u64)x->phnum * x->phentsize <= len - x->phoff;
}

int elf_read(const u8 *file, u64 len, bool narrow, const char *name, struct elf *x, struct err *e)
{
	if (!read_header(file, len, x))
		return err_set(e, -ENOEXEC, "kernel %s is not a complete ELF file", name);
	if (!x->known || !(x->wide || narrow))
		return err_set(e, -ENOEXEC, "kernel %s is an ELF file, but not for x86%s", name,
		        narrow ? "" : "-64");
	if (x->type != ET_EXEC)
		return err_set(e, -ENOEXEC, "kernel %s is an ELF file, but not an executable (type %u)", name,
		        x->type);
	if (!phdrs_sized(x) || x->phnum == 0 || x->phnum > PHDRS_MAX)
		return err_set(e, -EINVAL, "kernel %s: %u program headers of %u bytes make no sense", name,
		        x->phnum, x->phentsize);
	if (!phdrs_inside(x, len))
		return err_set(
		        e, -EINVAL, "kernel %s is truncated: its program headers are beyond the end", name);
	return 0;
}

Elf64_Phdr elf_phdr(const u8 *file, const struct elf *x, unsigned n)
{
	const u8 *at = file + x->phoff + (u64)n * x->phentsize;
	Elf64_Phdr wide;
	Elf32_Phdr p;

	if (x->wide) {
		memcpy(&wide, at, sizeof(wide));
		return wide;
	}
	memcpy(&p, at, sizeof(p));
	return (Elf64_Phdr){.p_type = p.p_type,
	        .p_offset = p.p_offset,
	        .p_vaddr = p.p_vaddr,
	        .p_paddr = p.p_paddr,
	        .p_filesz = p.p_filesz,
	        .p_memsz = p.p_memsz};
}

u64 elf_extent(const u8 *head, u64 len, u64 size)
{
	struct elf x;
	u64 end;

	if (!read_header(head, len, &x) || !phdrs_sized(&x) || !phdrs_inside(&x, len))
		return size;
	end = MAX(sizeof(Elf64_Ehdr), x.phoff + (u64)x.phnum * x.phentsize);
	for (unsigned n = 0; n < x.phnum; n++) {
		Elf64_Phdr p = elf_phdr(head, &x, n);

		if (p.p_type != PT_LOAD)
			continue;
		if (p.p_offset > size || p.p_filesz > size - p.p_offset)
			return size; /* elf_parse will complain */
		end = MAX(end, p.p_offset + p.p_filesz);
	}
	return end;
}

int elf_add_segment(const Elf64_Phdr *p, const u8 *file, u64 len, u64 limit, const char *name,
        struct boot_image *img, struct err *e)
{
	if (p->p_offset > len || p->p_filesz > len - p->p_offset)
		return err_set(e, -EINVAL,
		        "kernel %s is truncated: a segment ends beyond the end of the file", name);
	if (p->p_filesz > p->p_memsz)
		return err_set(
		        e, -EINVAL, "kernel %s: a segment has more bytes in the file than in memory", name);
	if (p->p_paddr < MiB)
		return err_set(e, -EINVAL, "kernel %s: a segment wants address 0x%llx, below 1 MiB", name,
		        (unsigned long long)p->p_paddr);
	if (p->p_paddr > limit || p->p_memsz > limit - p->p_paddr)
		return err_set(e, -ENOMEM,
		        "kernel %s needs 0x%llx bytes of memory at 0x%llx; the machine has 0x%llx bytes for "
		        "it",
		        name, (unsigned long long)p->p_memsz, (unsigned long long)p->p_paddr,
		        (unsigned long long)limit);
	for (unsigned n = 0; n < img->nsegments; n++) {
		const struct boot_segment *s = &img->segment[n];

		if (p->p_paddr < s->gpa + s->memsz && s->gpa < p->p_paddr + p->p_memsz)
			return err_set(e, -EINVAL, "kernel %s: two segments overlap at 0x%llx", name,
			        (unsigned long long)MAX(s->gpa, p->p_paddr));
	}
	if (img->nsegments == BOOT_MAX_SEGMENTS)
		return err_set(e, -EINVAL, "kernel %s has more than %u segments", name, BOOT_MAX_SEGMENTS);
	img->segment[img->nsegments++] = (struct boot_segment){
	        .gpa = p->p_paddr, .memsz = p->p_memsz, .data = file + p->p_offset, .filesz = p->p_filesz};
	return 0;
}

int elf_parse(
        const u8 *file, u64 len, u64 limit, const char *name, struct boot_image *img, u64 *end, struct err *e)
{
	struct elf x;
	bool entered = false;
	int rc = elf_read(file, len, false, name, &x, e);

	if (rc < 0)
		return rc;
	img->nsegments = 0;
	*end = 0;
	for (unsigned n = 0; n < x.phnum; n++) {
		Elf64_Phdr p = elf_phdr(file, &x, n);

		if (p.p_type != PT_LOAD || p.p_memsz == 0)
			continue;
		rc = elf_add_segment(&p, file, len, limit, name, img, e);
		if (rc < 0)
			return rc;
		*end = MAX(*end, p.p_paddr + p.p_memsz);
		entered |= x.entry >= p.p_paddr && x.entry - p.p_paddr < p.p_filesz;
	}
	if (!entered)
		return err_set(e, -EINVAL, "kernel %s: entry 0x%llx is not inside a segment", name,
		        (unsigned long long)x.entry);
	img->entry = x.entry;
	return 0;
}
