/*
 * ELF64 program headers (System V ABI, ch. 5), checked against file and guest RAM. Sums cannot wrap:
 * sizes are compared with what remains, never added to addresses that were not bounded before.
 */
#include "boot/elf_kernel.h"

#include <errno.h>

#define PHDRS_MAX 64

bool elf_probe(const u8 *file, u64 len)
{
	return len >= SELFMAG && memcmp(file, ELFMAG, SELFMAG) == 0;
}

/* The n-th program header, by copy: the file may be unaligned. The table was checked to be inside. */
static Elf64_Phdr phdr_at(const u8 *file, const Elf64_Ehdr *h, unsigned n)
{
	Elf64_Phdr p;

	memcpy(&p, file + h->e_phoff + (u64)n * sizeof(p), sizeof(p));
	return p;
}

static bool phdrs_inside(const Elf64_Ehdr *h, u64 len)
{
	return h->e_phoff <= len && (u64)h->e_phnum * sizeof(Elf64_Phdr) <= len - h->e_phoff;
}

u64 elf_extent(const u8 *head, u64 len, u64 size)
{
	Elf64_Ehdr h;
	u64 end;

	if (len < sizeof(h))
		return size;
	memcpy(&h, head, sizeof(h));
	if (h.e_phentsize != sizeof(Elf64_Phdr) || !phdrs_inside(&h, len))
		return size;
	end = MAX(sizeof(h), h.e_phoff + (u64)h.e_phnum * sizeof(Elf64_Phdr));
	for (unsigned n = 0; n < h.e_phnum; n++) {
		Elf64_Phdr p = phdr_at(head, &h, n);

		if (p.p_type != PT_LOAD)
			continue;
		if (p.p_offset > size || p.p_filesz > size - p.p_offset)
			return size; /* elf_parse will complain */
		end = MAX(end, p.p_offset + p.p_filesz);
	}
	return end;
}

static int check_header(const Elf64_Ehdr *h, u64 len, const char *name, struct err *e)
{
	if (h->e_ident[EI_CLASS] != ELFCLASS64 || h->e_ident[EI_DATA] != ELFDATA2LSB ||
	        h->e_machine != EM_X86_64)
		return err_set(e, -ENOEXEC, "kernel %s is an ELF file, but not for x86-64", name);
	if (h->e_type != ET_EXEC)
		return err_set(e, -ENOEXEC, "kernel %s is an ELF file, but not an executable (type %u)", name,
		        h->e_type);
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > PHDRS_MAX)
		return err_set(e, -EINVAL, "kernel %s: %u program headers of %u bytes make no sense", name,
		        h->e_phnum, h->e_phentsize);
	if (!phdrs_inside(h, len))
		return err_set(
		        e, -EINVAL, "kernel %s is truncated: its program headers are beyond the end", name);
	return 0;
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
	Elf64_Ehdr h;
	bool entered = false;
	int rc;

	if (!elf_probe(file, len) || len < sizeof(h))
		return err_set(e, -ENOEXEC, "kernel %s is not a complete ELF file", name);
	memcpy(&h, file, sizeof(h));
	rc = check_header(&h, len, name, e);
	if (rc < 0)
		return rc;
	img->nsegments = 0;
	*end = 0;
	for (unsigned n = 0; n < h.e_phnum; n++) {
		Elf64_Phdr p = phdr_at(file, &h, n);

		if (p.p_type != PT_LOAD || p.p_memsz == 0)
			continue;
		rc = elf_add_segment(&p, file, len, limit, name, img, e);
		if (rc < 0)
			return rc;
		*end = MAX(*end, p.p_paddr + p.p_memsz);
		entered |= h.e_entry >= p.p_paddr && h.e_entry - p.p_paddr < p.p_filesz;
	}
	if (!entered)
		return err_set(e, -EINVAL, "kernel %s: entry 0x%llx is not inside a segment", name,
		        (unsigned long long)h.e_entry);
	img->entry = h.e_entry;
	return 0;
}
