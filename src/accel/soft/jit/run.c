/*
 * From C into translated code and back: the run loop, the choice between the engines, and what an exit
 * asks for.
 *
 * Locks. Translated code runs without any. The table of blocks, links and the cache are changed under
 * jit.lock, which is never held while a fault may be raised or guest code runs. A CPU says that it is in
 * translated code (jit.inside) before it looks whether it may (jit.stop, jit.gen); who wants it out asks
 * with CPU_REQ_SYNC (cache.c).
 */
#include "accel/soft/debug.h"
#include "accel/soft/engine.h"
#include "accel/soft/idle.h"
#include "accel/soft/interp/insn.h"
#include "accel/soft/jit/jit_int.h"
#include "accel/soft/mmu.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#define HEAT_HOT 24 /* interp runs a block so often before it is translated */

/* --- flags: EFLAGS bits <-> what LAHF and SETO AL leave in AX --- */

static u32 ax_of_flags(u32 fl)
{
	return (fl & (FL_ARITH & ~FL_OF)) << 8 | 0x200 | (fl & FL_OF) >> 11;
}

static u32 flags_of_ax(u32 ax)
{
	return (ax >> 8 & (FL_ARITH & ~FL_OF)) | (ax & 1) << 11;
}
static_assert(FL_OF == 1 << 11 && (FL_ARITH & ~FL_OF) == 0xd5, "LAHF's bits");

/* --- set-up --- */

static int supported(struct err *e)
{
	__builtin_cpu_init();
	if (!__builtin_cpu_supports("bmi2"))
		return err_set(e, -ENOTSUP, "the translator needs a host CPU with BMI2");
	return 0;
}

int jit_create(struct jit **out, struct mem *mem, const struct accel_config *cfg, struct err *e)
{
	struct jit *j;
	int rc = supported(e);

	if (rc < 0)
		return rc;
	j = calloc(1, sizeof(*j));
	if (!j)
		return err_errno(e, -ENOMEM, "cannot create the translator");
	pthread_mutex_init(&j->lock, NULL);
	j->mem = mem;
	j->hot = cfg->hot ? MIN(cfg->hot, 255u) : HEAT_HOT;
	j->check = MIN(cfg->check, 0xffffu);
	j->leave_out = cfg->leave_out;
	j->host_avx = __builtin_cpu_supports("avx");
	j->tr = jit_tr_create();
	j->heat = calloc(HEAT_SIZE, 1);
	rc = j->tr && j->heat ? jit_cache_create(j, cfg->code_cache, e)
	                      : err_errno(e, -ENOMEM, "cannot create the translator");
	if (rc < 0) {
		jit_destroy(j);
		return rc;
	}
	glue_emit(j);
	if (cfg->perf_map)
		perf_map_open(j);
	hostfault_init();
	mem->code_opaque = j;
	mem->code_written = jit_code_written;
	*out = j;
	return 0;
}

void jit_destroy(struct jit *j)
{
	if (!j)
		return;
	if (j->mem->code_opaque == j) {
		j->mem->code_written = NULL;
		hostfault_fini();
	}
	perf_map_close(j);
	jit_cache_destroy(j);
	free(j->tr);
	free(j->heat);
	pthread_mutex_destroy(&j->lock);
	free(j);
}

int jit_attach(struct jit *j, struct cpu *c)
{
	void *stack = mmap(NULL, JIT_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (stack == MAP_FAILED)
		return -errno;
	if (!j->ncpus)
		decoders_init(&j->decoders, &c->cpuid);
	if (j->check && check_attach(c) < 0) {
		munmap(stack, JIT_STACK);
		return -ENOMEM;
	}
	c->jit.stack = stack;
	c->jit.self = (u64)c;
	for (unsigned idx = 0; idx < JC_NIDX; idx++)
		c->jit.jc[idx][0].tag = 2; /* slot 0 is empty: no address of its */
	mmu_forget(c);                     /* tags of the time before may grant writes to code */
	c->jit.j = j;
	for (unsigned idx = 0; idx < JC_NIDX; idx++)
		rs_clear(c, idx);
	pthread_mutex_lock(&j->lock);
	j->cpus[c->id] = c;
	j->ncpus = MAX(j->ncpus, c->id + 1);
	pthread_mutex_unlock(&j->lock);
	return 0;
}

void jit_detach(struct jit *j, struct cpu *c)
{
	pthread_mutex_lock(&j->lock);
	j->cpus[c->id] = NULL;
	pthread_mutex_unlock(&j->lock);
	c->jit.j = NULL;
	check_detach(c);
	munmap(c->jit.stack, JIT_STACK);
}

u64 jit_stat(const struct jit *j, enum jit_stat s)
{
	return s == JIT_CODE_USED ? jit_cache_used(j) : j->stat[s];
}

/* --- finding --- */

static bool is_hot(struct jit *j, u64 gpa)
{
	u8 *h = jit_heat(j, gpa);

	if (*h < j->hot)
		(*h)++;
	return *h >= j->hot;
}

static u64 second_page(struct cpu *c, u64 rip)
{
	return mmu_fetch_gpa(c, (rip | (PAGE_SIZE - 1)) + 1);
}

static struct tb *translate(struct jit *j, struct cpu *c, u64 gpa, u64 gpa2, u32 key)
{
	if (jit_cache_full(j))
		jit_flush(j, c);
	return jit_translate(j, c, gpa, gpa2, key);
}

static struct tb *find(struct jit *j, struct cpu *c, u64 gpa, u32 key, bool make, bool *crosses, u64 *gen)
{
	struct tb *b;

	pthread_mutex_lock(&j->lock);
	b = jit_find(j, gpa, key);
	*crosses = b && b->page2 != TB_ONE_PAGE;
	if (!b && make) {
		b = translate(j, c, gpa, JIT_ONE_PAGE, key);
		*crosses = !b && j->why == TR_CROSSES;
	}
	*gen = j->gen;
	pthread_mutex_unlock(&j->lock);
	return b;
}

/* The block of an instruction that crosses into another page, which may be another one than before. */
static struct tb *find_crossing(struct jit *j, struct cpu *c, u64 gpa, u64 gpa2, bool make, u64 *gen)
{
	struct tb *b;

	pthread_mutex_lock(&j->lock);
	b = jit_find(j, gpa, jit_key(c));
	if (b && b->page2 != gpa2 >> PAGE_SHIFT) {
		jit_drop(j, b);
		b = NULL;
	}
	if (!b && make && mem_is_ram(j->mem, gpa2, 1))
		b = translate(j, c, gpa, gpa2, jit_key(c));
	*gen = j->gen;
	pthread_mutex_unlock(&j->lock);
	return b;
}

/* The translation of what is at rip. False: it is interp's, or not hot yet. Raises faults of the fetch. */
static bool locate_key(struct cpu *c, u64 rip, u32 key, bool always, struct target *p)
{
	struct jit *j = c->jit.j;
	u64 gpa = mmu_fetch_gpa(c, rip);
	bool crosses, make = always || is_hot(j, gpa);

	if (!mem_is_ram(j->mem, gpa, 1))
		return false;
	p->tb = find(j, c, gpa, key, make, &crosses, &p->gen);
	if (crosses)
		p->tb = find_crossing(j, c, gpa, second_page(c, rip), make, &p->gen);
	if (!p->tb)
		return false;
	p->code = tb_entry_a(j, p->tb);
	return true;
}

static bool locate(struct cpu *c, u64 rip, bool always, struct target *p)
{
	return locate_key(c, rip, jit_key(c), always, p);
}

/* The CPU's table of branch targets learns rip. Its tags are a subset of the TLB's execute tags. */
static void learn(struct cpu *c, u64 rip, const struct target *p)
{
	struct jit *j = c->jit.j;
	const struct tlb *t = &c->tlb[c->fetch_idx];
	bool tagged = t->x[tlb_slot(rip)] == (rip & ~(PAGE_SIZE - 1));

	if (p->tb->page2 != TB_ONE_PAGE)
		tagged = tagged && t->x[tlb_slot(rip + PAGE_SIZE)] == (rip & ~(PAGE_SIZE - 1)) + PAGE_SIZE;
	pthread_mutex_lock(&j->lock);
	if (tagged && j->gen == p->gen && !p->tb->dead && tb_checked(j, p->tb))
		jc_learn(c, rip, p->tb);
	pthread_mutex_unlock(&j->lock);
}

/* --- in and out --- */

static bool take_stale(struct cpu *c)
{
	return unlikely(__atomic_load_n(&c->jit.rs_stale, __ATOMIC_SEQ_CST)) &&
	       __atomic_exchange_n(&c->jit.rs_stale, 0, __ATOMIC_SEQ_CST);
}

static void forget_targets(struct cpu *c, unsigned idx)
{
	jc_clear(c, idx);
	rs_clear(c, idx);
}

/*
 * After a flush of the cache, or in another mode, the tables of branch targets are of no use; what CALLs have
 * left neither, after a block died.
 */
static void refresh(struct cpu *c, u64 gen)
{
	u32 key = jit_key(c), idx = c->mmu_idx;
	bool other = c->jit.gen != gen;

	if (take_stale(c))
		for (unsigned n = 0; n < JC_NIDX; n++)
			rs_clear(c, n);
	for (unsigned n = 0; unlikely(other) && n < JC_NIDX; n++)
		forget_targets(c, n);
	c->jit.gen = gen;
	/* STAC and CLAC go from one of the kernel's tables to the other without coming here. */
	for (unsigned n = idx == MMU_USER ? MMU_USER : MMU_KERNEL; n <= MAX(idx, (u32)MMU_KERNEL_AC); n++) {
		u32 want = (key & 0xffff) | n << 16;

		if (unlikely(c->jit.jc_key[n] != want)) {
			forget_targets(c, n);
			c->jit.jc_key[n] = want;
		}
	}
}

/* How translated code was left. Records may vanish as soon as the CPU is outside: copied before. */
struct way_out {
	enum exit_kind kind;
	struct xit *x;
	u16 off;
	bool narrow;
	bool has_site;
	struct site site;
	const struct insn *insn; /* NULL: interp decodes */
};

static void copy_record(struct cpu *c, struct way_out *w)
{
	w->has_site = false;
	w->insn = NULL;
	if (w->kind == EXIT_LINK) {
		w->x = (struct xit *)c->jit.ptr;
		w->off = w->x->off;
		w->narrow = w->x->flags & XIT_NARROW;
	} else if (c->jit.ptr) {
		w->has_site = true;
		w->site = *(const struct site *)c->jit.ptr;
	}
	if (w->has_site && w->site.insn) {
		memcpy(c->jit.insn, jit_record(c->jit.j, w->site.insn), sizeof(struct insn));
		w->insn = (const struct insn *)(const void *)c->jit.insn;
	}
}

/* Executes translated code; false if the place is gone. */
static bool enter(struct cpu *c, const struct target *p, struct way_out *w)
{
	struct jit *j = c->jit.j;
	int (*go)(void);

	refresh(c, p->gen);
	__atomic_store_n(&c->jit.inside, 1, __ATOMIC_SEQ_CST);
	if (unlikely(__atomic_load_n(&j->stop, __ATOMIC_SEQ_CST) ||
	             __atomic_load_n(&j->gen, __ATOMIC_SEQ_CST) != p->gen)) {
		__atomic_store_n(&c->jit.inside, 0, __ATOMIC_SEQ_CST);
		return false;
	}
	c->jit.ax = ax_of_flags(cpu_arith_flags(c));
	c->jit.target = p->code;
	memcpy(&go, &j->glue.enter, sizeof(go));
	if (c->jit.x87)
		x87_to_host(c);
	w->kind = (enum exit_kind)go();
	if (c->jit.x87)
		x87_from_host(c);
	copy_record(c, w);
	__atomic_store_n(&c->jit.epoch, c->jit.epoch + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&c->jit.inside, 0, __ATOMIC_RELEASE);
	cpu_set_arith(c, flags_of_ax(c->jit.ax));
	return true;
}

/* --- exits --- */

static bool must_attend(const struct cpu *c)
{
	return c->slow || cpu_asked(c);
}

/* Where RIP may be: all addresses, but in tests. */
struct range {
	u64 lo, len;
	bool always; /* translate code that is not hot */
};

static bool in_range(const struct range *r, u64 rip)
{
	return rip - r->lo < r->len;
}

/* A jump to another block. True: p is where to go on. */
static bool take_link(struct cpu *c, const struct range *r, const struct way_out *w, struct target *p)
{
	struct jit *j = c->jit.j;
	u64 gen = p->gen;
	bool narrow = w->narrow;

	c->stat[STAT_LINK]++;
	c->gpr[REG_RIP] = c->jit.vpage + w->off;
	if (!in_range(r, cpu_rip(c)))
		return false;
	if (must_attend(c) ||
	        !locate_key(c, cpu_rip(c), jit_key(c) | (narrow ? KEY_NARROW : 0), r->always || narrow, p)) {
		if (narrow) /* nothing has been executed: a request that stays would keep us here */
			interp_insn(c);
		return false;
	}
	pthread_mutex_lock(&j->lock);
	if (j->gen == gen && p->gen == gen)
		jit_link(j, w->x, p->tb);
	pthread_mutex_unlock(&j->lock);
	return true;
}

static bool take_lookup(struct cpu *c, const struct range *r, const struct way_out *w, struct target *p)
{
	u64 rip = c->jit.aux;

	c->stat[STAT_LOOKUP]++;
	if (w->has_site && !mmu_canonical(rip)) {
		c->gpr[REG_RIP] = c->jit.vpage + w->site.off;
		c->gpr[RSP] += (u64)(s64)w->site.undo;
		interp_insn(c);
		return false;
	}
	c->gpr[REG_RIP] = rip;
	if (must_attend(c) || !in_range(r, rip) || !locate(c, rip, r->always, p))
		return false;
	refresh(c, p->gen);
	learn(c, rip, p);
	c->jit.vpage = rip & ~(PAGE_SIZE - 1);
	return true;
}

/* Has the instruction's page of data come into the TLB? Then the block only has to try again. */
static bool retry_site(struct cpu *c, const struct site *s, struct target *p)
{
	if (!s->retry || !mmu_walk_in(c, c->jit.aux, s->access))
		return false;
	c->stat[STAT_ACCESS]++;
	p->code = jit_address(c->jit.j, s->retry);
	p->tb = NULL;
	return true;
}

/* One instruction by interp. True: the block goes on behind it. */
static bool take_site(struct cpu *c, const struct range *r, const struct way_out *w, struct target *p)
{
	const struct site *s = &w->site;
	u32 key = jit_key(c);
	u64 rip = c->jit.vpage + s->off;

	c->gpr[REG_RIP] = rip;
	if (!in_range(r, rip))
		return false;
	if (retry_site(c, s, p))
		return !(s->flags & SITE_LIVE);
	c->stat[STAT_CALLOUT]++;
	if (w->insn)
		interp_exec(c, w->insn);
	else
		interp_insn(c);
	p->code = jit_address(c->jit.j, s->after);
	p->tb = NULL;
	/* For --jit-check what follows begins another block. A block that was forgotten with all others is
	 * caught by its generation. */
	return s->after && !c->jit.shadow && cpu_rip(c) == rip + s->len && jit_key(c) == key &&
	       !must_attend(c) && in_range(r, cpu_rip(c)) &&
	       !__atomic_load_n(&jit_tb(c->jit.j, s->tb)->dead, __ATOMIC_RELAXED);
}

/* By the CPU's table of branch targets, as translated code itself would. */
static bool known(struct cpu *c, struct target *p)
{
	u64 rip = cpu_rip(c);
	unsigned idx = c->mmu_idx, h = jc_hash(rip);

	if (c->jit.jc_key[idx] != jit_key(c) || c->jit.jc[idx][h].tag != rip ||
	        c->jit.gen != __atomic_load_n(&c->jit.j->gen, __ATOMIC_SEQ_CST))
		return false;
	p->code = c->jit.jc[idx][h].host;
	p->gen = c->jit.gen;
	p->tb = NULL;
	return true;
}

bool jit_run_one(struct cpu *c, const struct target *start, struct stop *s)
{
	struct target p = *start;
	struct way_out w = {0};

	c->jit.vpage = cpu_rip(c) & ~(PAGE_SIZE - 1);
	for (;;) {
		if (!enter(c, &p, &w))
			return false;
		if (w.kind == EXIT_X87) {
			c->jit.x87 = 1;
			p.code = jit_address(c->jit.j, w.site.retry);
		} else if (w.kind != EXIT_SITE || !retry_site(c, &w.site, &p)) {
			break;
		}
	}
	*s = (struct stop){.rip = c->jit.aux};
	if (w.kind == EXIT_LINK) {
		s->rip = c->jit.vpage + w.off;
		s->before = w.narrow;
	} else if (w.kind == EXIT_SITE || (w.has_site && !mmu_canonical(c->jit.aux))) {
		s->rip = c->jit.vpage + w.site.off;
		s->before = true;
		if (w.kind == EXIT_LOOKUP)
			c->gpr[RSP] += (u64)(s64)w.site.undo;
	}
	return true;
}

/* Runs translated code from RIP as long as nothing else is to be done. False: there is none. */
static bool run_translated(struct cpu *c, const struct range *r)
{
	struct target p;
	struct way_out w = {0};
	bool on = true;

	if (!known(c, &p)) {
		if (!locate(c, cpu_rip(c), r->always, &p))
			return false;
		refresh(c, p.gen);
		learn(c, cpu_rip(c), &p);
	}
	c->jit.vpage = cpu_rip(c) & ~(PAGE_SIZE - 1);
	c->jit.x87 = 0;
	while (on) {
		if (p.tb && !tb_checked(c->jit.j, p.tb) && !check_block(c, &p))
			c->jit.broken = true;
		if (unlikely(c->jit.broken) || !enter(c, &p, &w))
			break;
		switch (w.kind) {
		case EXIT_LINK: on = take_link(c, r, &w, &p); break;
		case EXIT_LOOKUP: on = take_lookup(c, r, &w, &p); break;
		case EXIT_X87:
			c->jit.x87 = 1;
			p.code = jit_address(c->jit.j, w.site.retry);
			p.tb = NULL;
			break;
		default: on = take_site(c, r, &w, &p); break;
		}
	}
	return true;
}

/* --- the loops --- */

static __attribute__((noinline)) enum run_exit run_loop(struct cpu *c)
{
	static const struct range everywhere = {.lo = 0, .len = ~0ull};
	enum run_exit why;

	for (;;) {
		if (unlikely(c->slow & SLOW_EVENT)) {
			if (c->shutdown)
				return RUN_TRIPLE_FAULT;
			cpu_deliver(c);
		}
		if (unlikely(must_attend(c) && (cpu_asked(c) || (c->slow & SLOW_IDLE)))) {
			if (cpu_attend(c, &why))
				return why;
			if (c->slow & SLOW_EVENT)
				continue;
		}
		if (c->slow || !jit_mode(c) || !run_translated(c, &everywhere))
			interp_block(c);
		if (unlikely(c->jit.broken))
			return RUN_ERROR;
	}
}

enum run_exit jit_run(struct cpu *c)
{
	enum run_exit why;

	hostfault_enter(c);
	if (setjmp(c->fault_jmp))
		cpu_fault_taken(c);
	why = run_loop(c);
	hostfault_leave();
	return why;
}

static __attribute__((noinline)) void range_loop(struct cpu *c, const struct range *r)
{
	while (in_range(r, cpu_rip(c)))
		if (c->slow || !jit_mode(c) || !run_translated(c, r))
			interp_insn(c);
}

void jit_run_range(struct cpu *c, u64 lo, u64 hi, struct step_result *r)
{
	struct range range = {.lo = lo, .len = hi - lo, .always = true};

	memset(r, 0, sizeof(*r));
	c->jit.only_known = true; /* C sees where the range is left */
	hostfault_enter(c);
	if (setjmp(c->fault_jmp)) {
		cpu_fault_taken(c);
		step_fault(c, r);
	} else {
		range_loop(c, &range);
	}
	hostfault_leave();
}
