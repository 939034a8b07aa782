/*
 * Guest memory. One PROT_NONE reservation holds a guard, guest physical address 0 up to the last
 * RAM byte, and another guard; the two RAM ranges are then made accessible. A host pointer is base +
 * gpa, so bounds are one comparison and a stray offset meets a guard, never other host memory.
 *
 * The record of code lines makes decoded instructions coherent without stopping anybody. A writer
 * stores first and looks at the mask after; a decoder sets the mask first and reads bytes after. On
 * x86 the writer's look may overtake its store, so the decoder puts a barrier into every thread of
 * the process (membarrier) when it sets bits that were clear: then either the writer sees the mask, or
 * the decoder sees the store. Bits are never cleared for a page while the machine runs except by
 * the first hit, which drops the mask and counts the generation: the next decode marks again.
 */
#include "mem/mem.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Larger than any access plus displacement that an engine may form from a checked base. */
#define GUARD (4 * GiB)

static int barrier(int cmd)
{
	return (int)syscall(SYS_membarrier, cmd, 0, 0);
}

static int commit(struct mem *m, u64 gpa, u64 len, bool dump, struct err *e)
{
	char *p = (char *)m->base + gpa;

	if (len == 0)
		return 0;
	if (mprotect(p, len, PROT_READ | PROT_WRITE) < 0)
		return err_errno(e, -errno, "-m: cannot allocate %llu MiB of guest memory",
		        (unsigned long long)(len / MiB));
	/* Large pages cut the host's page faults and TLB misses, for a footprint that grows in steps of 2
	 * MiB. */
	madvise(p, len, MADV_HUGEPAGE);
	if (!dump)
		madvise(p, len, MADV_DONTDUMP);
	return 0;
}

static int check_host_size(u64 size, struct err *e)
{
	u64 have = (u64)sysconf(_SC_PHYS_PAGES) * (u64)sysconf(_SC_PAGESIZE);

	if (size > have)
		return err_set(e, -ENOMEM,
		        "-m: the guest's %llu MiB of memory do not fit the host's %llu MiB",
		        (unsigned long long)(size / MiB), (unsigned long long)(have / MiB));
	return 0;
}

static void *map_table(u64 len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int track_start(struct mem *m, struct err *e)
{
	u64 pages = m->span >> PAGE_SHIFT;

	m->code = map_table(pages * sizeof(*m->code));
	m->gen = map_table(pages * sizeof(*m->gen));
	if (!m->code || !m->gen)
		return err_errno(e, -ENOMEM, "cannot allocate the code map");
	if (barrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) < 0)
		return err_errno(e, -errno, "membarrier is not available (Linux 4.14 or newer is needed)");
	return 0;
}

int mem_create(struct mem *m, u64 size, bool dump, bool track, struct err *e)
{
	int rc;

	memset(m, 0, sizeof(*m));
	if (size < MiB || size % PAGE_SIZE)
		return err_set(e, -EINVAL, "-m: memory size must be at least 1M and a multiple of 4K");
	rc = check_host_size(size, e);
	if (rc < 0)
		return rc;
	m->low = MIN(size, MEM_LOW_MAX);
	m->high = size - m->low;
	m->span = m->high ? MEM_HIGH_BASE + m->high : m->low;
	m->map_len = GUARD + m->span + GUARD;
	m->map = mmap(NULL, m->map_len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->map == MAP_FAILED) {
		m->map = NULL;
		return err_errno(e, -errno, "cannot reserve address space for the guest");
	}
	m->base = (u8 *)m->map + GUARD;
	m->track = track;
	rc = commit(m, 0, m->low, dump, e);
	if (rc == 0)
		rc = commit(m, MEM_HIGH_BASE, m->high, dump, e);
	if (rc == 0 && track)
		rc = track_start(m, e);
	if (rc < 0)
		mem_destroy(m);
	return rc;
}

void mem_destroy(struct mem *m)
{
	u64 pages = m->span >> PAGE_SHIFT;

	if (m->code)
		munmap(m->code, pages * sizeof(*m->code));
	if (m->gen)
		munmap(m->gen, pages * sizeof(*m->gen));
	if (m->map)
		munmap(m->map, m->map_len);
	memset(m, 0, sizeof(*m));
}

/* Mask of the lines that [off, off+len) of a page touches; len > 0 and inside the page. */
static u64 line_mask(u64 off, u64 len)
{
	unsigned first = (unsigned)(off >> 6);
	unsigned last = (unsigned)((off + len - 1) >> 6);

	return (~0ull << first) & (~0ull >> (63 - last));
}

static void page_wrote(struct mem *m, u64 page, u64 off, u64 len)
{
	if (!(__atomic_load_n(&m->code[page], __ATOMIC_SEQ_CST) & line_mask(off, len)))
		return;
	if (m->code_written)
		m->code_written(m->code_opaque, page);
	else
		mem_code_clear(m, page);
}

/* Generation first: a decoder that marks after we cleared must get the new number. */
void mem_code_clear(struct mem *m, u64 page)
{
	__atomic_fetch_add(&m->gen[page], 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&m->code[page], 0, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&m->gen[page], 1, __ATOMIC_SEQ_CST);
}

void mem_wrote(struct mem *m, u64 gpa, u64 len)
{
	if (!m->track || !mem_is_ram(m, gpa, len))
		return;
	while (len) {
		u64 off = gpa & (PAGE_SIZE - 1);
		u64 n = MIN(len, PAGE_SIZE - off);

		page_wrote(m, gpa >> PAGE_SHIFT, off, n);
		gpa += n;
		len -= n;
	}
}

int mem_read(const struct mem *m, u64 gpa, void *buf, u64 len)
{
	const void *p = mem_ptr(m, gpa, len);

	if (len == 0)
		return 0;
	if (!p)
		return -EFAULT;
	memcpy(buf, p, len);
	return 0;
}

int mem_write(struct mem *m, u64 gpa, const void *buf, u64 len)
{
	void *p = mem_ptr(m, gpa, len);

	if (len == 0)
		return 0;
	if (!p)
		return -EFAULT;
	memcpy(p, buf, len);
	mem_wrote(m, gpa, len);
	return 0;
}

int mem_zero(struct mem *m, u64 gpa, u64 len)
{
	void *p = mem_ptr(m, gpa, len);

	if (len == 0)
		return 0;
	if (!p)
		return -EFAULT;
	memset(p, 0, len);
	mem_wrote(m, gpa, len);
	return 0;
}

static int clear_range(struct mem *m, u64 gpa, u64 len)
{
	if (len == 0)
		return 0;
	if (madvise(m->base + gpa, len, MADV_DONTNEED) < 0)
		return -errno;
	mem_wrote(m, gpa, len);
	return 0;
}

int mem_clear(struct mem *m)
{
	int rc = clear_range(m, 0, m->low);

	return rc < 0 ? rc : clear_range(m, MEM_HIGH_BASE, m->high);
}

u32 mem_code_mark(struct mem *m, u64 gpa, u64 len, bool *first)
{
	u64 page = gpa >> PAGE_SHIFT;
	u64 want = line_mask(gpa & (PAGE_SIZE - 1), len);
	u32 gen = __atomic_load_n(&m->gen[page], __ATOMIC_SEQ_CST);
	u64 had = __atomic_fetch_or(&m->code[page], want, __ATOMIC_SEQ_CST);

	*first = had == 0;
	if ((had & want) != want)
		barrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	return gen;
}
