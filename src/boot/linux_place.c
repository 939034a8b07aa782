/*
 * Placing Linux: segments, page tables, GDT, command line, zero page with the E820 map, and the state
 * of the first CPU as the boot protocol wants it (Documentation/arch/x86/boot.rst, "64-bit Boot
 * Protocol" and "32-bit Boot Protocol"; zero page: zero-page.rst).
 */
#include "boot/linux.h"

#include "boot/bzimage.h"
#include "x86/x86.h"
#include <errno.h>

/* Zero page fields outside the header */
#define ZP_ACPI_RSDP_ADDR 0x070
#define ZP_E820_ENTRIES 0x1e8
#define ZP_E820_TABLE 0x2d0
#define ZP_E820_MAX 128
#define E820_ENTRY_SIZE 20

#define BOOT_CS 0x10
#define BOOT_DS 0x18

/* --- page tables --- */

#define ENTRIES 512
#define PD_SPAN GiB           /* what one page directory of 2 MiB pages maps */
#define PDPT_SPAN (512 * GiB) /* what one page of directory pointers maps */

static u64 pages_for(u64 span, u64 unit)
{
	return (span + unit - 1) / unit;
}

static u64 mapped_span(const struct mem *m)
{
	return MAX(m->span, 4 * GiB); /* the chips below 4 GiB too */
}

u64 page_tables_size(const struct mem *m)
{
	u64 span = mapped_span(m);

	return (1 + pages_for(span, PDPT_SPAN) + pages_for(span, PD_SPAN)) * PAGE_SIZE;
}

static void put_entry(struct mem *m, u64 table, u64 index, u64 entry)
{
	put_le64(m->base + table + index * 8, entry);
}

u64 page_tables_write(struct mem *m, u64 gpa)
{
	u64 span = mapped_span(m);
	u64 npdpt = pages_for(span, PDPT_SPAN), npd = pages_for(span, PD_SPAN);
	u64 pdpt = gpa + PAGE_SIZE, pd = pdpt + npdpt * PAGE_SIZE;
	const u64 table = PTE_P | PTE_W, page = PTE_P | PTE_W | PTE_PS;

	for (u64 n = 0; n < npdpt; n++)
		put_entry(m, gpa, n, (pdpt + n * PAGE_SIZE) | table);
	for (u64 n = 0; n < npd; n++)
		put_entry(m, pdpt, n, (pd + n * PAGE_SIZE) | table);
	for (u64 n = 0; n < npd * ENTRIES; n++)
		put_entry(m, pd, n, n * 2 * MiB | page);
	return gpa;
}

/* --- E820 --- */

struct map {
	struct boot_region *region;
	unsigned count, max;
};

static void map_add(struct map *t, u64 from, u64 to, enum boot_region_type type)
{
	if (from < to && t->count < t->max)
		t->region[t->count++] = (struct boot_region){.gpa = from, .len = to - from, .type = type};
}

unsigned boot_map(struct boot_region *map, unsigned max, const struct mem *m, const struct board_info *b,
        const struct boot_tables_out *tables)
{
	struct map t = {.region = map, .max = max};
	u64 pos = MiB;

	map_add(&t, 0, EBDA_GPA, REGION_RAM);
	map_add(&t, EBDA_GPA, BOOT_BIOS_END, REGION_RESERVED);
	for (unsigned n = 0; n < tables->nregions; n++) {
		const struct boot_region *r = &tables->region[n];

		map_add(&t, pos, r->gpa, REGION_RAM);
		map_add(&t, r->gpa, r->gpa + r->len, r->type);
		pos = r->gpa + r->len;
	}
	map_add(&t, pos, m->low, REGION_RAM);
	/* Linux believes in the ECAM window only if it is reserved here (and in ACPI). */
	map_add(&t, b->ecam.base, b->ecam.base + b->ecam.len, REGION_RESERVED);
	map_add(&t, MEM_HIGH_BASE, MEM_HIGH_BASE + m->high, REGION_RAM);
	return t.count;
}

static void write_e820(
        u8 *zp, const struct mem *m, const struct board_info *b, const struct boot_tables_out *tables)
{
	struct boot_region map[ZP_E820_MAX];
	unsigned n = boot_map(map, ZP_E820_MAX, m, b, tables);

	for (unsigned i = 0; i < n; i++) {
		u8 *p = zp + ZP_E820_TABLE + (size_t)i * E820_ENTRY_SIZE;

		put_le64(p, map[i].gpa);
		put_le64(p + 8, map[i].len);
		put_le32(p + 16, map[i].type);
	}
	zp[ZP_E820_ENTRIES] = (u8)n;
}

/* --- the rest of memory --- */

static void write_zero_page(const struct boot_image *img, struct mem *m, const struct board_info *b,
        const struct boot_tables_out *tables)
{
	u8 *zp = m->base + ZERO_PAGE_GPA;

	memset(zp, 0, PAGE_SIZE); /* no screen, no disks, no set-up data, sentinel 0 */
	memcpy(zp + HDR_SETUP_SECTS, img->header + HDR_SETUP_SECTS, HDR_END_MAX - HDR_SETUP_SECTS);
	put_le64(zp + ZP_ACPI_RSDP_ADDR, tables->rsdp);
	put_le16(zp + HDR_VID_MODE, VID_MODE_NORMAL);
	zp[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	/* The heap belongs to the 16-bit part; KASLR is said by the decompressor when it did it. */
	zp[HDR_LOADFLAGS] &= (u8) ~(LOADFLAG_CAN_USE_HEAP | LOADFLAG_KASLR);
	put_le32(zp + HDR_RAMDISK_IMAGE, img->initrd);
	put_le32(zp + HDR_RAMDISK_SIZE, img->initrd_len);
	put_le32(zp + HDR_CMD_LINE_PTR, CMDLINE_GPA);
	put_le64(zp + HDR_SETUP_DATA, 0);
	write_e820(zp, m, b, tables);
}

/* Selectors 0x10 and 0x18 as both protocols want them. */
void boot_write_gdt(struct mem *m, bool code64)
{
	u8 *gdt = m->base + GDT_GPA;

	put_le64(gdt, 0);
	put_le64(gdt + 8, 0);
	put_le64(gdt + BOOT_CS, code64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull);
	put_le64(gdt + BOOT_DS, 0x00cf93000000ffffull);
}

int boot_write_segments(const struct boot_image *img, struct mem *m, struct err *e)
{
	for (unsigned n = 0; n < img->nsegments; n++) {
		const struct boot_segment *s = &img->segment[n];
		u8 *to = mem_ptr(m, s->gpa, s->memsz);

		if (!to || s->filesz > s->memsz)
			return err_set(e, -EFAULT, "the kernel's segment at 0x%llx is not in RAM",
			        (unsigned long long)s->gpa);
		memcpy(to, s->data, s->filesz);
		memset(to + s->filesz, 0, s->memsz - s->filesz);
	}
	return 0;
}

/* --- CPU --- */

static void set_state(struct x86_state *s, const struct boot_image *img, u64 cr3, bool x2apic)
{
	const struct x86_seg data = {.sel = BOOT_DS, .attr = 0xc093, .limit = 0xffffffff};
	struct x86_seg code = {.sel = BOOT_CS, .attr = 0xc09b, .limit = 0xffffffff};

	x86_state_reset(s, true);
	if (x2apic)
		s->apic_base |= APIC_BASE_X2APIC;
	s->cr0 = CR0_PE | CR0_ET;
	if (img->entry64) {
		code.attr = 0xa09b;
		s->cr0 |= CR0_PG;
		s->cr3 = cr3;
		s->cr4 = CR4_PAE;
		s->efer = EFER_LME | EFER_LMA;
	}
	for (unsigned n = 0; n < X86_NSEG; n++)
		s->seg[n] = data;
	s->seg[SEG_CS] = code;
	s->gdt = (struct x86_table){.base = GDT_GPA, .limit = 0x1f};
	s->idt = (struct x86_table){.base = 0, .limit = 0};
	s->rip = img->entry;
	s->gpr[RSI] = ZERO_PAGE_GPA;
}

int boot_linux_place(const struct boot_image *img, struct mem *m, const struct board_info *b,
        const struct boot_tables_out *tables, struct x86_state *bsp, struct err *e)
{
	u64 cmdline_len = strlen(img->cmdline) + 1;
	int rc = boot_write_segments(img, m, e);

	if (rc < 0)
		return rc;
	if (!mem_is_ram(m, img->page_tables, img->page_tables_len) || !mem_is_ram(m, 0, BOOT_BIOS_END))
		return err_set(e, -EFAULT, "the image was loaded for another memory size");
	boot_write_gdt(m, img->entry64);
	memcpy(m->base + CMDLINE_GPA, img->cmdline, cmdline_len);
	write_zero_page(img, m, b, tables);
	set_state(bsp, img, page_tables_write(m, img->page_tables), b->x2apic);
	return 0;
}

unsigned boot_linux_map(const struct mem *m, struct boot_region *map, unsigned max)
{
	const u8 *zp = m->base + ZERO_PAGE_GPA;
	unsigned n = MIN(zp[ZP_E820_ENTRIES], max);

	for (unsigned i = 0; i < n; i++) {
		const u8 *p = zp + ZP_E820_TABLE + (size_t)i * E820_ENTRY_SIZE;

		map[i] = (struct boot_region){
		        .gpa = get_le64(p), .len = get_le64(p + 8), .type = get_le32(p + 16)};
	}
	return n;
}
