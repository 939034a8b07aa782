/*
 * The code cache: memory, the table of blocks, links between them, and what happens when the guest
 * writes to code or the cache is full.
 *
 * Shared anonymous memory is mapped twice, writable and executable, at unrelated addresses. Code and records
 * are handed out from the front; when either is full, all CPUs are asked out of translated code and
 * everything is forgotten.
 *
 * Writes to code. A page whose bytes were decoded has bits in mem.code; the TLB grants no direct writes
 * to it, so every store by a CPU takes the slow way, finds the bits and ends up here, as do writes of
 * devices. The blocks of the page are then unlinked and forgotten; who executes one finishes it.
 * When a page gets its first bit, write tags that are already in a TLB are taken back (jit_page_marked).
 *
 * Compiled without vector registers: some of this runs while guest values are in them.
 */
#include "accel/soft/jit/jit_int.h"
#include "accel/soft/mmu.h"
#include "base/log.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CODE_DEFAULT (192 * MiB) /* code and records together; used as far as there is code */
#define CODE_MIN (1 * MiB)
#define BLOCK_MAX (160 * KiB) /* the largest block with its records, and room to spare */

/* low: below 2 GiB if there is room, so that emitted code names records in 5 bytes less. */
static void *reserve(u64 bytes, bool low)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	void *p = low ? mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_32BIT, -1, 0) : MAP_FAILED;

	if (p == MAP_FAILED)
		p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

static int map_code(struct jit *j, struct err *e)
{
	j->rw = mmap(
	        NULL, 2 * j->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (j->rw != MAP_FAILED) /* length 0: another mapping of the same shared pages (mremap(2)) */
		j->rx = mremap(j->rw, 0, 2 * j->size, MREMAP_MAYMOVE);
	if (j->rw == MAP_FAILED || j->rx == MAP_FAILED ||
	        mprotect(j->rx, 2 * j->size, PROT_READ | PROT_EXEC) < 0)
		return err_errno(e, -errno, "cannot map the code cache");
	return 0;
}

static int map_records(struct jit *j, struct err *e)
{
	j->pages = j->mem->span >> PAGE_SHIFT;
	if (j->pages > INT32_MAX / 2 - 1)
		return err_set(e, -ENOTSUP, "the translator cannot number so many pages of memory");
	j->order_size = (u32)(j->size / 128);
	j->arena = reserve(j->size, true);
	j->sites = reserve(j->size, true);
	j->page = reserve(j->pages * sizeof(*j->page), false);
	j->whint = reserve(j->pages * sizeof(*j->whint), false);
	j->order = reserve(j->order_size * sizeof(*j->order), false);
	if (!j->arena || !j->sites || !j->page || !j->whint || !j->order)
		return err_errno(e, -ENOMEM, "cannot allocate the translator's tables");
	j->arena_used = 8;
	return 0;
}

int jit_cache_create(struct jit *j, u64 bytes, struct err *e)
{
	int rc;

	j->size = ALIGN_UP(bytes ? MAX(bytes, CODE_MIN) : CODE_DEFAULT, PAGE_SIZE);
	rc = map_code(j, e);
	if (rc == 0)
		rc = map_records(j, e);
	return rc;
}

static void unmap(void *p, u64 len)
{
	if (p && p != MAP_FAILED)
		munmap(p, len);
}

void jit_cache_destroy(struct jit *j)
{
	unmap(j->rw, 2 * j->size);
	unmap(j->rx, 2 * j->size);
	unmap(j->arena, j->size);
	unmap(j->sites, j->size);
	unmap(j->page, j->pages * sizeof(*j->page));
	unmap(j->whint, j->pages * sizeof(*j->whint));
	unmap(j->order, j->order_size * sizeof(*j->order));
}

u64 jit_cache_used(const struct jit *j)
{
	return j->used + (j->far - j->size) + j->arena_used + j->nsites * sizeof(*j->sites);
}

bool jit_cache_full(const struct jit *j)
{
	return jit_cache_used(j) + BLOCK_MAX > j->size || j->norder == j->order_size;
}

void *jit_arena(struct jit *j, u64 bytes)
{
	u8 *p = j->arena + j->arena_used;

	bytes = ALIGN_UP(bytes, 8);
	if (bytes > j->size - j->arena_used)
		return NULL;
	j->arena_used += bytes;
	return p;
}

struct site *jit_site(struct jit *j)
{
	if ((j->nsites + 1) * sizeof(*j->sites) > j->size)
		return NULL;
	memset(&j->sites[j->nsites], 0, sizeof(*j->sites));
	return &j->sites[j->nsites++];
}

/* --- the table --- */

static unsigned tb_hash(u64 gpa, u32 key)
{
	return (unsigned)((gpa + ((u64)key << 40)) * 0x9e3779b97f4a7c15ull >> (64 - TB_HASH_BITS));
}

struct tb *jit_find(struct jit *j, u64 gpa, u32 key)
{
	struct tb *b = jit_tb(j, __atomic_load_n(&j->hash[tb_hash(gpa, key)], __ATOMIC_ACQUIRE));

	while (b && (b->gpa != gpa || b->key != key))
		b = jit_tb(j, __atomic_load_n(&b->hash_next, __ATOMIC_ACQUIRE));
	return b;
}

static unsigned start_hash(u64 gpa)
{
	return (unsigned)(gpa * 0x9e3779b97f4a7c15ull >> (64 - STARTS_BITS));
}

bool jit_starts(struct jit *j, u64 gpa, u32 key)
{
	unsigned h = start_hash(gpa);

	return (j->starts[h / 64] >> (h % 64) & 1) && jit_find(j, gpa, key);
}

void jit_insert(struct jit *j, struct tb *b)
{
	unsigned h = tb_hash(b->gpa, b->key), start = start_hash(b->gpa);
	u64 page = b->gpa >> PAGE_SHIFT;
	ref r = jit_ref(j, b);

	b->page_next = j->page[page];
	j->page[page] = r;
	if (b->page2 != TB_ONE_PAGE) {
		b->page2_next = j->page[b->page2];
		j->page[b->page2] = r;
	}
	j->starts[start / 64] |= BIT64(start % 64);
	j->order[j->norder] = r;
	__atomic_store_n(&j->norder, j->norder + 1, __ATOMIC_RELEASE);
	b->hash_next = j->hash[h];
	__atomic_store_n(&j->hash[h], r, __ATOMIC_RELEASE);
}

/* The block whose code contains pc. No lock: blocks are appended in the order of their addresses. */
struct tb *jit_tb_at(struct jit *j, const u8 *pc)
{
	u32 lo = 0, hi = __atomic_load_n(&j->norder, __ATOMIC_ACQUIRE);
	place at = jit_place(j, pc);

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (jit_tb(j, j->order[mid])->code <= at)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == 0)
		return NULL;
	struct tb *b = jit_tb(j, j->order[lo - 1]);
	return at - b->code < b->code_len ? b : NULL;
}

/* --- links --- */

/* A displacement. One store inside 8 bytes: a CPU that jumps meanwhile goes to the old or to the new place.
 */
static void point(struct jit *j, place hole, place to)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
	*(volatile u32_any *)(void *)(j->rw + hole) = to - (hole + 4);
}

/* Which page the exit to another page is for. */
static u32 *cross_field(struct jit *j, const struct xit *x)
{
	return (u32 *)(void *)(j->rw + x->hole - CROSS_PAGE);
}

/*
 * Does the exit, which has been pointed at a block of that page, lead to this page? The first one that it
 * meets is its own; who sees the page sees the jump. For any other it looks up its target from now on.
 */
static bool cross_to(struct jit *j, struct xit *x, const struct tb *target)
{
	u32 page = *cross_field(j, x);

	if (page == CROSS_NEVER || page == (u32)cross_page(target->gpa))
		return true;
	point(j, x->hole - CROSS_ELSE, x->stub + x->elsewhere);
	return false;
}

/* An exit inside a page may be taken later, by a RET, when another page is there. */
static bool may_lead_to(struct jit *j, struct xit *x, const struct tb *target)
{
	if (x->flags & XIT_CROSS)
		return cross_to(j, x, target);
	return jit_tb(j, x->src)->gpa >> PAGE_SHIFT == target->gpa >> PAGE_SHIFT;
}

void jit_link(struct jit *j, struct xit *x, struct tb *target)
{
	unsigned flags = x->flags & target->prefers ? target->prefers : x->flags;

	if (!may_lead_to(j, x, target) || x->target || target->dead || jit_tb(j, x->src)->dead ||
	        !tb_checked(j, target) || !tb_checked(j, jit_tb(j, x->src)))
		return;
	x->target = jit_ref(j, target);
	x->next_in = target->in;
	target->in = jit_ref(j, x);
	point(j, x->hole, target->code + (flags == FLAGS_HOST ? target->entry_h : target->entry_a));
	if (x->flags & XIT_CROSS)
		__atomic_store_n(cross_field(j, x), (u32)cross_page(target->gpa), __ATOMIC_RELEASE);
}

/* The tag of an empty slot is an address that belongs to another one. */
static void jc_drop(struct cpu *c, unsigned idx, unsigned i)
{
	__atomic_store_n(&c->jit.jc[idx][i].tag, i ? 0 : 2, __ATOMIC_RELEASE);
}

static void unhash(struct jit *j, struct tb *b)
{
	ref *at = &j->hash[tb_hash(b->gpa, b->key)], r = jit_ref(j, b);

	while (*at && *at != r)
		at = &jit_tb(j, *at)->hash_next;
	if (*at)
		__atomic_store_n(at, b->hash_next, __ATOMIC_RELEASE);
}

/*
 * Forget all targets of indirect branches: some of them are dead. What CALLs have left is its CPU's own,
 * which looks at the request word before it uses that.
 */
static void forget_lookups(struct jit *j)
{
	for (unsigned n = 0; n < j->ncpus; n++) {
		struct cpu *c = j->cpus[n];

		for (unsigned idx = 0; c && idx < JC_NIDX; idx++)
			jc_clear(c, idx);
		if (!c)
			continue;
		__atomic_store_n(&c->jit.rs_stale, 1, __ATOMIC_SEQ_CST);
		__atomic_fetch_or(&c->request, CPU_REQ_SYNC, __ATOMIC_SEQ_CST);
	}
}

static void kill(struct jit *j, struct tb *b)
{
	if (b->dead)
		return;
	__atomic_store_n(&b->dead, true, __ATOMIC_SEQ_CST);
	unhash(j, b);
	for (struct xit *x = jit_xit(j, b->in); x; x = jit_xit(j, x->next_in)) {
		point(j, x->hole, x->stub);
		x->target = 0;
	}
	b->in = 0;
	*jit_heat(j, b->gpa) = 0; /* what is rewritten again and again is interp's */
	j->stat[JIT_KILLED]++;
}

void jit_drop(struct jit *j, struct tb *b)
{
	kill(j, b);
	forget_lookups(j);
}

static ref next_of_page(const struct tb *b, u64 page)
{
	return b->gpa >> PAGE_SHIFT == page ? b->page_next : b->page2_next;
}

/*
 * The memory's hook: somebody wrote to code of this page. Any thread. The page loses its marks when all its
 * blocks are dead, not before: another CPU that has written to the page, too, and finds no marks executes
 * what it wrote.
 */
void jit_code_written(void *opaque, u64 page)
{
	struct jit *j = opaque;

	pthread_mutex_lock(&j->lock);
	for (ref r = j->page[page]; r; r = next_of_page(jit_tb(j, r), page))
		kill(j, jit_tb(j, r));
	if (j->page[page])
		forget_lookups(j);
	j->page[page] = 0;
	mem_code_clear(j->mem, page);
	pthread_mutex_unlock(&j->lock);
}

/* --- other CPUs --- */

static void barrier_all(void)
{
	syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

/*
 * Waits until c has been out of translated code once. It leaves at its next look at the request word,
 * which every loop has. Nobody waits inside translated code, so two who wait for each other both see
 * the other outside.
 */
static void wait_out(struct cpu *c)
{
	u32 epoch = __atomic_load_n(&c->jit.epoch, __ATOMIC_SEQ_CST);

	while (__atomic_load_n(&c->jit.inside, __ATOMIC_SEQ_CST) &&
	        __atomic_load_n(&c->jit.epoch, __ATOMIC_SEQ_CST) == epoch) {
		__atomic_fetch_or(&c->request, CPU_REQ_SYNC, __ATOMIC_SEQ_CST);
		sched_yield();
	}
}

void jit_flush(struct jit *j, struct cpu *self)
{
	__atomic_store_n(&j->stop, 1, __ATOMIC_SEQ_CST);
	barrier_all();
	for (unsigned n = 0; n < j->ncpus; n++)
		if (j->cpus[n] && j->cpus[n] != self)
			wait_out(j->cpus[n]);
	memset(j->hash, 0, sizeof(j->hash));
	memset(j->starts, 0, sizeof(j->starts));
	for (u32 n = 0; n < j->norder; n++) {
		const struct tb *b = jit_tb(j, j->order[n]);

		j->page[b->gpa >> PAGE_SHIFT] = 0;
		if (b->page2 != TB_ONE_PAGE)
			j->page[b->page2] = 0;
	}
	__atomic_store_n(&j->norder, 0, __ATOMIC_RELEASE);
	j->used = j->start;
	j->far = j->size;
	madvise(j->arena, j->size, MADV_DONTNEED); /* zero again */
	j->arena_used = 8;
	j->nsites = 0;
	j->stat[JIT_FLUSHES]++;
	__atomic_fetch_add(&j->gen, 1, __ATOMIC_SEQ_CST);
	__atomic_store_n(&j->stop, 0, __ATOMIC_SEQ_CST);
}

static u64 take_all(u64 *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST) ? __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST) : 0;
}

static void clear_used(struct cpu *c, unsigned idx, struct jc_used *u)
{
	for (unsigned s = 0; s < ARRAY_SIZE(u->sum); s++) {
		for (u64 sum = take_all(&u->sum[s]); sum; sum &= sum - 1) {
			unsigned w = s * 64 + (unsigned)__builtin_ctzll(sum);

			for (u64 used = take_all(&u->bit[w]); used; used &= used - 1)
				jc_drop(c, idx, w * 64 + (unsigned)__builtin_ctzll(used));
		}
	}
}

/* Any thread (a block was forgotten), also while the CPU learns: see jc_learn. */
void jc_clear(struct cpu *c, unsigned idx)
{
	clear_used(c, idx, &c->jit.jc_used[idx][0]);
	clear_used(c, idx, &c->jit.jc_used[idx][1]);
}

static void fill(u64 *p, u64 v, u64 n)
{
	__asm__ volatile("rep stosq" : "+D"(p), "+c"(n) : "a"(v) : "memory");
}

/* Tag 0 fits an address, too, but leads nowhere. */
void rs_clear(struct cpu *c, unsigned idx)
{
	fill(c->jit.rs[idx].tag, 0, RS_SIZE);
	fill(c->jit.rs[idx].host, (u64)c->jit.j->glue.nowhere, RS_SIZE);
}

/*
 * The tag is written before the record of it. So who clears the table either finds the record and drops the
 * tag, or came too early; then the block that it came for is seen to be dead here.
 */
void jc_learn(struct cpu *c, u64 va, const struct tb *b)
{
	unsigned idx = c->mmu_idx, h = jc_hash(va);
	bool global = mmu_global_code(c, va) && mmu_global_code(c, va + INSN_MAX - 1);
	struct jc_used *u = &c->jit.jc_used[idx][global];

	__atomic_store_n(&c->jit.jc[idx][h].host, tb_entry_a(c->jit.j, b), __ATOMIC_RELAXED);
	__atomic_store_n(&c->jit.jc[idx][h].tag, va, __ATOMIC_RELEASE);
	__atomic_fetch_or(&u->bit[h / 64], BIT64(h % 64), __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&u->sum[h / 4096], BIT64(h / 64 % 64), __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&b->dead, __ATOMIC_SEQ_CST))
		jc_drop(c, idx, h);
}

/*
 * Called by translated code that looks for the target of a branch: its host code, 0 if C must find it. No
 * lock: who holds it may wait for this CPU, and nothing is emptied while it is inside.
 */
u64 jit_find_target(struct cpu *c, u64 va)
{
	const struct tlb *t = &c->tlb[c->fetch_idx];
	struct jit *j = c->jit.j;
	unsigned n = tlb_slot(va);
	const struct tb *b;

	if (c->slow || __atomic_load_n(&c->request, __ATOMIC_RELAXED) || t->x[n] != (va & ~(PAGE_SIZE - 1)))
		return 0;
	b = jit_find(j, t->host[n] - (u64)j->mem->base + (va & (PAGE_SIZE - 1)), jit_key(c));
	if (!b || b->page2 != TB_ONE_PAGE || c->jit.only_known || !tb_checked(j, b))
		return 0;
	jc_learn(c, va, b);
	c->jit.vpage = va & ~(PAGE_SIZE - 1);
	return tb_entry_a(j, b);
}

/* Is there still an execute tag for code at va, and for the page that it may cross into? */
static bool tagged(const struct cpu *c, unsigned idx, u64 va)
{
	const struct tlb *t = &c->tlb[idx == MMU_USER ? MMU_USER : MMU_KERNEL];
	u64 page = va & ~(PAGE_SIZE - 1), last = (va + INSN_MAX - 1) & ~(PAGE_SIZE - 1);

	return t->x[tlb_slot(page)] == page && t->x[tlb_slot(last)] == last;
}

/* Drops the entries of one word whose tags are gone; does the word still have any? */
static bool prune_word(struct cpu *c, unsigned idx, u64 *word, unsigned first)
{
	for (u64 used = *word; used; used &= used - 1) {
		unsigned i = first + (unsigned)__builtin_ctzll(used);

		if (tagged(c, idx, c->jit.jc[idx][i].tag))
			continue;
		jc_drop(c, idx, i);
		__atomic_fetch_and(word, ~BIT64(i % 64), __ATOMIC_SEQ_CST);
	}
	return *word;
}

/* Invariant: who is in jc_* has execute tags, so flushing the TLB is enough. */
static void prune(struct cpu *c, unsigned idx, bool global)
{
	struct jc_used *u = &c->jit.jc_used[idx][global];

	for (unsigned s = 0; s < ARRAY_SIZE(u->sum); s++) {
		for (u64 sum = u->sum[s]; sum; sum &= sum - 1) {
			unsigned w = s * 64 + (unsigned)__builtin_ctzll(sum);

			if (!prune_word(c, idx, &u->bit[w], w * 64))
				__atomic_fetch_and(&u->sum[s], ~BIT64(w % 64), __ATOMIC_SEQ_CST);
		}
	}
}

/*
 * A translation is no longer true. CALLs on its page may have left where they will return to even after the
 * page lost its tag to another one, so this does not depend on tags.
 */
void jit_unmapped(struct cpu *c)
{
	__atomic_store_n(&c->jit.rs_stale, 1, __ATOMIC_RELAXED);
}

void jit_forget(struct cpu *c, bool global)
{
	jit_unmapped(c);
	for (unsigned idx = 0; idx < JC_NIDX; idx++) {
		prune(c, idx, false);
		if (global)
			prune(c, idx, true);
	}
}

/* Entries of addresses in [va, va + len), which are neighbours. */
static void gone(struct cpu *c, unsigned idx, u64 va, unsigned len)
{
	unsigned first = jc_hash(va), last = jc_hash(va + len - 1);

	for (unsigned w = first / 64;; w = (w + 1) % (JC_SIZE / 64)) {
		u64 used = c->jit.jc_used[idx][0].bit[w] | c->jit.jc_used[idx][1].bit[w];

		for (; used; used &= used - 1) {
			unsigned i = w * 64 + (unsigned)__builtin_ctzll(used);

			if (c->jit.jc[idx][i].tag - va < len)
				jc_drop(c, idx, i);
		}
		if (w == last / 64)
			return;
	}
}
static_assert(JC_SIZE * 2 > 2 * PAGE_SIZE, "a page's addresses are not all entries");

static void page_gone(struct cpu *c, unsigned idx, u64 va)
{
	gone(c, idx, va - INSN_MAX, PAGE_SIZE + INSN_MAX); /* code that crosses into the page, too */
}

void jit_page_gone(struct cpu *c, unsigned idx, u64 va)
{
	page_gone(c, idx, va);
	if (idx == MMU_KERNEL) /* fetches with EFLAGS.AC use its tags, too */
		page_gone(c, MMU_KERNEL_AC, va);
}

/* --- write tags of code pages --- */

#define HINT_NONE 0u
#define HINT_MANY (~0u)

static u32 hint_of(unsigned cpu, unsigned idx, unsigned slot)
{
	return (cpu << 22 | idx << 20 | slot) + 1;
}

void jit_write_tag(struct cpu *c, unsigned idx, unsigned slot, u64 gpa)
{
	u32 *h = &c->jit.j->whint[gpa >> PAGE_SHIFT];
	u32 mine = hint_of(c->id, idx, slot);
	u32 old = HINT_NONE;

	if (__atomic_load_n(h, __ATOMIC_RELAXED) == mine)
		return;
	if (!__atomic_compare_exchange_n(h, &old, mine, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) &&
	        old != mine)
		__atomic_store_n(h, HINT_MANY, __ATOMIC_SEQ_CST);
}

static bool drop_write(struct cpu *c, unsigned idx, unsigned slot, u64 host)
{
	struct tlb *t = &c->tlb[idx];

	if (__atomic_load_n(&t->host[slot], __ATOMIC_RELAXED) != host)
		return false;
	__atomic_store_n(&t->w[slot], slot ? 0 : TLB_NONE_0, __ATOMIC_SEQ_CST);
	return true;
}

static bool drop_all_writes(struct cpu *c, u64 host)
{
	bool any = false;

	for (unsigned k = 0; k < 2 * MMU_NIDX; k++) {
		unsigned i = k / 2;
		const struct tlb_used *used = &c->tlb_used[k & 1][i];

		for (unsigned s = 0; s < ARRAY_SIZE(used->sum); s++) {
			u64 sum = __atomic_load_n(&used->sum[s], __ATOMIC_RELAXED);
			for (; sum; sum &= sum - 1) {
				unsigned w = s * 64 + (unsigned)__builtin_ctzll(sum);
				u64 bits = __atomic_load_n(&used->bit[w], __ATOMIC_RELAXED);
				for (; bits; bits &= bits - 1)
					any |= drop_write(
					        c, i, w * 64 + (unsigned)__builtin_ctzll(bits), host);
			}
		}
	}
	return any;
}

/*
 * A page got its first code bit. TLBs that grant writes to it must stop doing so before its bytes are
 * read for good. A CPU in translated code may have passed its check already: wait for it.
 */
void jit_page_marked(struct jit *j, struct cpu *self, u64 gpa)
{
	u64 host = (u64)(j->mem->base + (gpa & ~(PAGE_SIZE - 1)));
	u32 hint = __atomic_exchange_n(&j->whint[gpa >> PAGE_SHIFT], HINT_NONE, __ATOMIC_SEQ_CST);

	if (hint == HINT_NONE)
		return;
	for (unsigned n = 0; n < j->ncpus; n++) {
		struct cpu *c = j->cpus[n];
		bool had;

		if (!c || (hint != HINT_MANY && (hint - 1) >> 22 != n))
			continue;
		had = hint == HINT_MANY
		              ? drop_all_writes(c, host)
		              : drop_write(c, (hint - 1) >> 20 & 3, (hint - 1) & (TLB_SIZE - 1), host);
		if (had && c != self) {
			barrier_all();
			wait_out(c);
		}
	}
}
