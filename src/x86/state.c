/*
 * The power-on state of a CPU (Intel SDM vol. 3, 10.1.1, table 10-1).
 */
#include "x86/state.h"
#include "x86/x86.h"

static const struct x86_seg reset_data = {.attr = 0x93, .limit = 0xffff};

void x86_state_reset(struct x86_state *s, bool bsp)
{
	memset(s, 0, sizeof(*s));
	s->rip = 0xfff0;
	s->rflags = FL_1;
	for (unsigned n = 0; n < X86_NSEG; n++)
		s->seg[n] = reset_data;
	s->seg[SEG_CS] = (struct x86_seg){.sel = 0xf000, .attr = 0x9b, .limit = 0xffff, .base = 0xffff0000};
	s->ldt = (struct x86_seg){.attr = 0x82, .limit = 0xffff};
	s->tr = (struct x86_seg){.attr = 0x8b, .limit = 0xffff};
	s->gdt.limit = s->idt.limit = 0xffff;
	s->cr0 = CR0_CD | CR0_NW | CR0_ET;
	s->dr[6] = 0xffff0ff0;
	s->dr[7] = 0x400;
	s->xcr0 = XCR0_X87;
	s->apic_base = APIC_DEFAULT_BASE | APIC_BASE_ENABLE | (bsp ? APIC_BASE_BSP : 0);
	s->pat = 0x0007040600070406ull;
	s->misc_enable = 1; /* fast strings */
	s->fpu.fcw = 0x0040;
	s->mxcsr = 0x1f80;
	s->wait_sipi = !bsp;
}
