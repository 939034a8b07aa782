/*
 * The translator's front door: guest code of 64-bit mode as host code, kept in one cache per machine
 * and shared by its CPUs. docs/software-cpu.md tells how it works.
 */
#pragma once

#include "accel/soft/cpu.h"

struct jit;

/* Can this host run translated code? 0 or -ENOTSUP with the reason. */

/*
 * cfg: code_cache, hot and perf_map are used. The machine's memory tells the translator about writes to code
 * from now on. CPUs are attached before they run; they and the memory outlive it not.
 */
int jit_create(struct jit **out, struct mem *mem, const struct accel_config *cfg, struct err *e);
void jit_destroy(struct jit *j);
int jit_attach(struct jit *j, struct cpu *c);
void jit_detach(struct jit *j, struct cpu *c);

/*
 * For the CPU's other parts. A page got its first mark in mem.code: no TLB may grant writes to it any
 * more. A TLB slot has been given a write tag for the page at gpa. An executable page left the TLB.
 */
void jit_page_marked(struct jit *j, struct cpu *self, u64 gpa);
void jit_write_tag(struct cpu *c, unsigned idx, unsigned slot, u64 gpa);
/* All pages that are not global did, or all. */
void jit_forget(struct cpu *c, bool global);
void jit_unmapped(struct cpu *c); /* INVLPG: before translated code goes on */
void jit_page_gone(struct cpu *c, unsigned idx, u64 va);

/*
 * --jit-check, while jit.shadowed is set: the copy of a page of RAM, at real, that takes its place; NULL
 * when there are too many. An access that no copy can stand for ends interp's run (it does not return).
 */
u8 *jit_shadow_page(struct cpu *c, u64 gpa, const u8 *real);
NORETURN void jit_shadow_escape(struct cpu *c);

/* Runs until the machine must decide; as interp_run. */
enum run_exit jit_run(struct cpu *c);

/*
 * For tests: runs until RIP leaves [lo, hi); everything is translated at once. A fault is told, not
 * delivered, as by interp_step.
 */
struct step_result;
void jit_run_range(struct cpu *c, u64 lo, u64 hi, struct step_result *r);

enum jit_stat {
	JIT_TRANSLATED, /* guest instructions */
	JIT_BLOCKS,
	JIT_CODE_BYTES, /* host bytes made */
	JIT_KILLED,     /* blocks whose code was written */
	JIT_FLUSHES,    /* times that the cache was full */
	JIT_CODE_USED,  /* bytes of the cache in use */
	JIT_NSTAT
};
u64 jit_stat(const struct jit *j, enum jit_stat s);
