/*
 * --jit-check's copies of pages of RAM, as the TLB asks for them. Compiled without vector registers: the
 * guest's values may be in them.
 */
#include "accel/soft/jit/shadow.h"

static void copy_page(void *to, const void *from)
{
	u64 n = PAGE_SIZE / 8;

	asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
}

u8 *jit_shadow_page(struct cpu *c, u64 gpa, const u8 *real)
{
	struct shadow *s = c->jit.shadow;
	unsigned n = 0;

	while (n < s->n && s->page[n].gpa != gpa)
		n++;
	if (n == SHADOW_PAGES)
		return NULL;
	if (n == s->n) {
		s->page[n].gpa = gpa;
		s->page[n].have[BY_JIT] = s->page[n].have[BY_INTERP] = false;
		copy_page(s->data[n][0], real);
		s->n++;
	}
	if (!s->page[n].have[s->side]) {
		copy_page(s->data[n][1 + s->side], s->data[n][0]);
		s->page[n].have[s->side] = true;
	}
	return s->data[n][1 + s->side];
}

NORETURN void jit_shadow_escape(struct cpu *c)
{
	c->fault.vector = ESCAPE_VECTOR;
	longjmp(c->fault_jmp, 1);
}
