/*
 * Requests from other threads (interrupts, NMI, INIT, SIPI, kick) and sleeping.
 *
 * A requester sets bits in c->request and wakes the futex on that word if the CPU sleeps. The CPU
 * announces its sleep before it looks at the word for the last time, so no request is lost: either it
 * sees the bits, or the requester sees the announcement, or the futex finds the word changed.
 */
#include "accel/soft/idle.h"
#include "accel/soft/engine.h"
#include "accel/soft/mmu.h"
#include "accel/soft/seg.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

static u32 requests(const struct cpu *c)
{
	return __atomic_load_n(&c->request, __ATOMIC_SEQ_CST);
}

static void done(struct cpu *c, u32 bits)
{
	__atomic_fetch_and(&c->request, ~bits, __ATOMIC_SEQ_CST);
}

static void wake(struct cpu *c)
{
	if (__atomic_load_n(&c->sleeping, __ATOMIC_SEQ_CST))
		syscall(SYS_futex, &c->request, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void request(struct cpu *c, u32 bits)
{
	__atomic_fetch_or(&c->request, bits, __ATOMIC_SEQ_CST);
	wake(c);
}

static void request_sipi(struct cpu *c, u8 page)
{
	u32 old = requests(c), new;

	do
		new = (old & 0x00ffffffu) | CPU_REQ_SIPI | (u32)page << 24;
	while (!__atomic_compare_exchange_n(
	        &c->request, &old, new, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	wake(c);
}

void cpu_signal(struct cpu *c, enum cpu_signal sig, u8 arg)
{
	switch (sig) {
	case CPU_SIG_INTR: request(c, CPU_REQ_INTR); break;
	case CPU_SIG_NMI: request(c, CPU_REQ_NMI); break;
	case CPU_SIG_INIT: request(c, CPU_REQ_INIT); break;
	case CPU_SIG_SIPI: request_sipi(c, arg); break;
	case CPU_SIG_SMI: break;
	}
}

void cpu_kick(struct cpu *c)
{
	request(c, CPU_REQ_KICK);
}

/* --- on the CPU's own thread --- */

static void take_sipi(struct cpu *c, u32 req)
{
	u32 page = req >> 24;

	done(c, CPU_REQ_SIPI | 0xff000000u);
	if (!c->wait_sipi)
		return;
	c->wait_sipi = false;
	seg_real(&c->seg[SEG_CS], (u16)(page << 8));
	c->gpr[REG_RIP] = 0;
	cpu_update_mode(c);
}

/* An interrupt the CPU may take now becomes the event to deliver. */
static void take_intr(struct cpu *c)
{
	int vector;

	done(c, CPU_REQ_INTR);
	if (!c->intc.ops)
		return;
	vector = c->intc.ops->accept(c->intc.opaque);
	if (vector < 0)
		return;
	/* More may be waiting: look again when this one is delivered. */
	__atomic_fetch_or(&c->request, CPU_REQ_INTR, __ATOMIC_SEQ_CST);
	c->halted = false;
	cpu_set_event(c, (unsigned)vector, EV_EXT);
}

static void serve(struct cpu *c, u32 req)
{
	if (req & CPU_REQ_INIT) {
		done(c, CPU_REQ_INIT | CPU_REQ_NMI);
		cpu_init_state(c);
	}
	if (req & CPU_REQ_SIPI)
		take_sipi(c, req);
	if (req & CPU_REQ_TLB) {
		done(c, CPU_REQ_TLB);
		mmu_flush(c, true);
	}
	if (c->wait_sipi || c->shadow)
		return;
	if ((req & CPU_REQ_NMI) && !c->nmi_blocked) {
		done(c, CPU_REQ_NMI);
		c->halted = false;
		cpu_set_event(c, EXC_NMI, EV_NMI);
	} else if ((req & CPU_REQ_INTR) && (c->eflags & FL_IF)) {
		take_intr(c);
	}
}

/* Could one of these requests end the idleness? */
static bool wakes(const struct cpu *c, u32 req)
{
	u32 mask = CPU_REQ_INIT | CPU_REQ_SIPI | CPU_REQ_KICK | CPU_REQ_TLB;

	if (!c->wait_sipi) {
		if (!c->nmi_blocked)
			mask |= CPU_REQ_NMI;
		if (c->eflags & FL_IF)
			mask |= CPU_REQ_INTR;
	}
	return req & mask;
}

static enum cpu_idle idleness(const struct cpu *c)
{
	if (c->wait_sipi)
		return CPU_WAIT_SIPI;
	return c->eflags & FL_IF ? CPU_HALTED_IF : CPU_HALTED_DEAD;
}

static void report(const struct cpu *c, enum cpu_idle state)
{
	if (c->host->idle)
		c->host->idle(c->host->opaque, c->id, state);
}

static void sleep_until_request(struct cpu *c)
{
	u32 req;

	report(c, idleness(c));
	__atomic_store_n(&c->sleeping, 1, __ATOMIC_SEQ_CST);
	while (!wakes(c, req = requests(c)))
		syscall(SYS_futex, &c->request, FUTEX_WAIT_PRIVATE, req, NULL, NULL, 0);
	__atomic_store_n(&c->sleeping, 0, __ATOMIC_SEQ_CST);
	report(c, CPU_RUNNING);
}

/*
 * An interrupt that must wait for IF is put aside: a handler, which runs with IF clear, would otherwise be
 * stopped at every look at the request word.
 */
static void put_aside(struct cpu *c)
{
	if ((c->eflags & FL_IF) || !(requests(c) & CPU_REQ_INTR))
		return;
	done(c, CPU_REQ_INTR);
	c->masked = CPU_REQ_INTR;
}

static void take_up(struct cpu *c)
{
	if (!c->masked || !(c->eflags & FL_IF))
		return;
	__atomic_fetch_or(&c->request, c->masked, __ATOMIC_SEQ_CST);
	c->masked = 0;
}

bool cpu_attend(struct cpu *c, enum run_exit *why)
{
	for (;;) {
		u32 req;

		take_up(c);
		req = requests(c);
		if (req & CPU_REQ_SYNC)
			done(c, CPU_REQ_SYNC);
		if (req & CPU_REQ_KICK) {
			done(c, CPU_REQ_KICK);
			*why = RUN_KICKED;
			return true;
		}
		if (req)
			serve(c, req);
		put_aside(c);
		if (!c->halted && !c->wait_sipi) {
			c->slow &= ~SLOW_IDLE;
			return false;
		}
		c->slow |= SLOW_IDLE;
		if (!wakes(c, requests(c)))
			sleep_until_request(c);
	}
}
