/*
 * Loading Linux: reads and checks the files, decides how the kernel is entered, and fits kernel,
 * initrd and page tables into guest RAM.
 *
 * A bzImage is entered in one of three ways. If its payload can be unpacked here, the ELF kernel
 * inside is placed and entered at its own physical entry point: the same code that the kernel's
 * decompressor would jump to, minus the decompressor and its address randomisation (an unrelocated
 * image at its link address needs no relocations). Otherwise the image itself goes to its preferred
 * address and is entered at its 64-bit entry, or at the 32-bit one if it has no other. Unpacking here
 * is worth it most on the software CPU, where the guest's own decompressor takes seconds.
 */
#include "boot/linux.h"

#include "base/text.h"
#include "boot/bzimage.h"
#include "boot/elf_kernel.h"
#include "boot/facts.h"
#include "boot/file.h"
#include "boot/unpack.h"
#include <errno.h>
#include <stdlib.h>

#define HEAD_SIZE 4096
#define LOW_RAM_MIN (2 * MiB)

/* What a plain ELF kernel cannot tell about itself: the limits of every kernel since 2.6.25. */
#define ELF_INITRD_MAX 0x7fffffffu
#define ELF_CMDLINE_MAX 2047
#define ELF_PROTOCOL 0x020c
#define ELF_ALIGNMENT 0x1000000u

/* The state of one load. */
struct load {
	const struct boot_linux_args *args;
	struct mem *m;
	struct boot_image *img;
	u64 file_len;
	u64 limit;      /* of memory that kernel and initrd can use below 4 GiB */
	u32 initrd_max; /* highest address of the initrd's last byte */
	u32 cmdline_max;
};

/* --- kernel --- */

static int no_kernel(const struct load *l, const struct boot_file *f, struct err *e)
{
	int rc = f->fd >= 0 ? boot_file_is_image("kernel", f->path, l->args->lent, e) : 0;

	return rc < 0 ? rc
	              : err_set(e, -ENOEXEC, "kernel %s is neither a Linux bzImage nor an ELF file", f->path);
}

static int read_kernel_file(struct load *l, struct boot_file *f, struct err *e)
{
	u8 head[HEAD_SIZE];
	char a[32], b[32];
	u64 got, len = f->size;
	int rc = boot_file_peek(f, head, sizeof(head), &got, e);

	if (rc < 0)
		return rc;
	if (elf_probe(head, got))
		len = elf_extent(head, got, f->size);
	else if (!bzimage_probe(head, got))
		return no_kernel(l, f, e);
	if (len > l->m->low + l->m->high)
		return err_set(e, -ENOMEM, "kernel %s has %s, the machine only %s of RAM", f->path,
		        format_size(len, a, sizeof(a)), format_size(l->m->low + l->m->high, b, sizeof(b)));
	l->img->file = malloc(len);
	if (!l->img->file)
		return err_errno(e, -ENOMEM, "kernel %s", f->path);
	l->file_len = len;
	return boot_file_read(f, l->img->file, len, e);
}

/*
 * Enters the kernel inside. false: not possible with this kernel or this build, and the image is as
 * before. A payload that is damaged is left to the kernel's own decompressor, which says so.
 */
static bool load_payload(struct load *l, const struct bzimage *z)
{
	const u8 *in = l->img->file + z->payload_off;
	enum unpack_format format = unpack_probe(in, z->payload_len);
	struct boot_image direct = *l->img;
	struct err ignored;
	u8 *out;
	u64 end;
	s64 n;

	if (!z->entry64 || !unpack_have(format))
		return false;
	out = malloc(z->init_size); /* bounded by RAM; the unpacked kernel is never larger */
	if (!out)
		return false;
	n = unpack(format, in, z->payload_len, out, z->init_size);
	if (n < 0 || elf_parse(out, n, l->limit, l->args->kernel, &direct, &end, &ignored) < 0) {
		free(out);
		return false;
	}
	*l->img = direct;
	l->img->unpacked = out;
	l->img->facts.packed = unpack_name(format);
	l->img->kernel_end = MAX(end, l->img->kernel_end);
	return true;
}

static int load_bzimage(struct load *l, struct err *e)
{
	struct boot_image *img = l->img;
	struct bzimage z;
	int rc = bzimage_parse(img->file, l->file_len, l->args->kernel, &z, e);

	if (rc < 0)
		return rc;
	if (z.load > l->limit || z.init_size > l->limit - z.load)
		return err_set(e, -ENOMEM,
		        "kernel %s needs %llu KiB of RAM below 4 GiB, the machine has %llu KiB",
		        l->args->kernel,
		        (unsigned long long)((z.load + z.init_size + l->m->low - l->limit + 1023) / 1024),
		        (unsigned long long)(l->m->low / 1024));
	memcpy(img->header + HDR_SETUP_SECTS, img->file + HDR_SETUP_SECTS, z.header_end - HDR_SETUP_SECTS);
	put_le32(img->header + HDR_CODE32_START, z.load);
	img->kernel_end = z.load + z.init_size;
	boot_facts_bzimage(&img->facts, img->file, l->file_len, z.version);
	l->initrd_max = z.initrd_addr_max;
	l->cmdline_max = z.cmdline_max;
	if (l->args->unpack != BOOT_UNPACK_NEVER && z.payload_len && load_payload(l, &z)) {
		img->entry64 = true;
		return 0;
	}
	img->segment[0] = (struct boot_segment){
	        .gpa = z.load, .memsz = z.image_len, .data = img->file + z.image_off, .filesz = z.image_len};
	img->nsegments = 1;
	img->entry = z.load + (z.entry64 ? 0x200 : 0);
	img->entry64 = z.entry64;
	return 0;
}

static int load_elf(struct load *l, struct err *e)
{
	u8 *h = l->img->header;
	int rc = elf_parse(
	        l->img->file, l->file_len, l->limit, l->args->kernel, l->img, &l->img->kernel_end, e);

	if (rc < 0)
		return rc;
	boot_facts_elf(&l->img->facts, l->img->file, l->file_len);
	l->img->entry64 = true;
	put_le16(h + HDR_BOOT_FLAG, HDR_BOOT_FLAG_VALUE);
	put_le32(h + HDR_MAGIC, HDR_MAGIC_VALUE);
	put_le16(h + HDR_VERSION, ELF_PROTOCOL);
	h[HDR_LOADFLAGS] = LOADFLAG_LOADED_HIGH;
	put_le32(h + HDR_KERNEL_ALIGNMENT, ELF_ALIGNMENT);
	l->initrd_max = ELF_INITRD_MAX;
	l->cmdline_max = ELF_CMDLINE_MAX;
	return 0;
}

static int load_kernel(struct load *l, struct err *e)
{
	struct boot_file f;
	int rc = boot_file_open(&f, "kernel", l->args->kernel, l->args->lent, e);

	if (rc < 0)
		return rc;
	rc = read_kernel_file(l, &f, e);
	boot_file_close(&f);
	if (rc < 0)
		return rc;
	return elf_probe(l->img->file, l->file_len) ? load_elf(l, e) : load_bzimage(l, e);
}

/* --- command line --- */

static int load_cmdline(struct load *l, struct err *e)
{
	const char *text = l->args->cmdline ? l->args->cmdline : "";
	u64 len = strlen(text);
	u64 max = MIN(l->cmdline_max, CMDLINE_ROOM - 1);

	if (len > max)
		return err_set(e, -E2BIG,
		        "the kernel's command line has %llu characters, kernel %s takes %llu",
		        (unsigned long long)len, l->args->kernel, (unsigned long long)max);
	l->img->cmdline = strdup(text);
	return l->img->cmdline ? 0 : err_errno(e, -ENOMEM, "command line");
}

/* --- initrd --- */

/* All of them, one behind the other as the kernel reads them. */
struct initrds {
	struct boot_file file[BOOT_INITRDS_MAX];
	unsigned count; /* that are open */
	u64 size;
};

/* Archives in an initrd begin at multiples of 4. */
static u64 padded(u64 size)
{
	return ALIGN_UP(size, 4ull);
}

static int open_initrds(struct load *l, struct initrds *all, struct err *e)
{
	const char *const *more = l->args->more;
	const char *path = l->args->initrd;

	for (; path && all->count < BOOT_INITRDS_MAX; path = more ? *more++ : NULL) {
		struct boot_file *f = &all->file[all->count];
		int rc = boot_file_open(f, "initrd", path, l->args->lent, e);

		if (rc < 0)
			return rc;
		all->count++;
		all->size = padded(all->size) + f->size;
	}
	return 0;
}

/* As high as kernel and RAM allow: older kernels overwrite what lies close behind them. */
static int fit_initrds(struct load *l, const struct initrds *all, struct err *e)
{
	u64 top = MIN(l->limit, (u64)l->initrd_max + 1), size = all->size;
	char a[32], b[32];

	if (size > top || ALIGN_DOWN(top - size, PAGE_SIZE) < l->img->kernel_end)
		return err_set(e, -ENOMEM,
		        "initrd %s%s (%s) does not fit behind the kernel: %s of memory left there",
		        all->file[0].path, all->count > 1 ? " and those behind it" : "",
		        format_size(size, a, sizeof(a)),
		        format_size(top > l->img->kernel_end ? top - l->img->kernel_end : 0, b, sizeof(b)));
	l->img->initrd = ALIGN_DOWN(top - size, PAGE_SIZE);
	l->img->initrd_len = size;
	return 0;
}

static int read_initrds(struct load *l, struct initrds *all, struct err *e)
{
	u8 *to = mem_ptr(l->m, l->img->initrd, all->size);
	u64 at = 0;
	int rc = to ? 0 : err_errno(e, -EFAULT, "initrd %s", all->file[0].path);

	for (unsigned i = 0; i < all->count && rc == 0; i++) {
		memset(to + at, 0, padded(at) - at);
		at = padded(at);
		rc = boot_file_read(&all->file[i], to + at, all->file[i].size, e);
		at += all->file[i].size;
	}
	return rc;
}

static int load_initrd(struct load *l, struct err *e)
{
	struct initrds *all;
	int rc;

	if (!l->args->initrd)
		return 0;
	all = calloc(1, sizeof(*all));
	if (!all)
		return err_errno(e, -ENOMEM, "initrd %s", l->args->initrd);
	rc = open_initrds(l, all, e);
	if (rc == 0)
		rc = fit_initrds(l, all, e);
	if (rc == 0)
		rc = read_initrds(l, all, e);
	for (unsigned i = 0; i < all->count; i++)
		boot_file_close(&all->file[i]);
	free(all);
	return rc;
}

int boot_linux_load(const struct boot_linux_args *args, struct mem *m, struct boot_image *img, struct err *e)
{
	struct load l = {.args = args, .m = m, .img = img};
	int rc;

	memset(img, 0, sizeof(*img));
	img->page_tables_len = page_tables_size(m);
	if (m->low < LOW_RAM_MIN + img->page_tables_len)
		return err_set(e, -ENOMEM,
		        "%llu KiB of RAM are too few to boot a kernel; %llu KiB are the least",
		        (unsigned long long)(m->low / 1024),
		        (unsigned long long)((LOW_RAM_MIN + img->page_tables_len) / 1024));
	img->page_tables = tables_base(m) - img->page_tables_len;
	l.limit = img->page_tables;
	rc = load_kernel(&l, e);
	if (rc == 0)
		rc = load_cmdline(&l, e);
	if (rc == 0)
		rc = load_initrd(&l, e);
	if (rc < 0)
		boot_linux_free(img);
	return rc;
}

void boot_linux_free(struct boot_image *img)
{
	free(img->file);
	free(img->unpacked);
	free(img->cmdline);
	for (unsigned n = 0; n < img->nmodules; n++)
		free(img->module[n].text);
	memset(img, 0, sizeof(*img));
}

const char *boot_features(void)
{
	return unpack_features();
}
