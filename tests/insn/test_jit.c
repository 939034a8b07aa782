/*
 * Short programs with memory on the translator and on the reference engine, step by step there: registers,
 * flags, memory and faults must be the same. Their addresses lie around the edges of pages that can be
 * written, only read, or not be accessed at all, so that accesses cross, fail in the middle of a run of PUSH,
 * or hit the page that another one has just failed on.
 *
 *   test_jit [SEED [CASES [FIRST]]]
 */
#include "harness.h"
#include <stdlib.h>

struct text {
	struct rng r;
	u8 *p;
};

static void put(struct text *t, u8 b)
{
	*t->p++ = b;
}

static u32 below(struct text *t, u32 n)
{
	return rng_below(&t->r, n);
}

/* Registers that programs use as addresses. */
static const u8 bases[] = {RSP, RBX, RBP, RSI, RDI, R12, R10, R15};

/* prefixes, REX, opcode, ModRM for [base + disp8]; map: number of 0F bytes */
static void mem(struct text *t, u8 prefix, bool w, u8 map, u8 op, unsigned reg)
{
	unsigned base = bases[below(t, ARRAY_SIZE(bases))];

	if (prefix)
		put(t, prefix);
	put(t, (u8)(0x40 | w << 3 | reg >> 3 << 2 | base >> 3));
	if (map)
		put(t, 0x0f);
	put(t, op);
	put(t, (u8)(0x40 | (reg & 7) << 3 | (base & 7)));
	if ((base & 7) == 4)
		put(t, 0x24);
	put(t, (u8)(below(t, 33) - 16));
}

static void reg(struct text *t, u8 prefix, bool w, u8 map, u8 op, unsigned r, unsigned rm)
{
	if (prefix)
		put(t, prefix);
	put(t, (u8)(0x40 | w << 3 | r >> 3 << 2 | rm >> 3));
	if (map)
		put(t, 0x0f);
	put(t, op);
	put(t, (u8)(0xc0 | (r & 7) << 3 | (rm & 7)));
}

static void push_pop(struct text *t, u8 op, unsigned r)
{
	if (r >= 8)
		put(t, 0x41);
	put(t, (u8)(op | (r & 7)));
}

static void alu_mem(struct text *t)
{
	u8 op = (u8)(below(t, 8) << 3 | below(t, 4));
	bool to_mem = !(op & 2) && op >> 3 != 7;

	mem(t, to_mem && below(t, 4) == 0 ? 0xf0 : below(t, 4) ? 0 : 0x66, below(t, 2), 0, op, below(t, 16));
}

static void rmw(struct text *t)
{
	static const u8 ops[] = {
	        0xb1, 0xb0, 0xc1, 0xc0, 0xab, 0xb3, 0xbb, 0xa3}; /* CMPXCHG XADD BTS BTR BTC BT */
	u8 op = ops[below(t, ARRAY_SIZE(ops))];

	mem(t, op != 0xa3 && below(t, 2) ? 0xf0 : 0, below(t, 2), 1, op, below(t, 16));
}

static void vector(struct text *t)
{
	static const u8 ops[] = {0x10, 0x11, 0x28, 0x29, 0x58, 0x59, 0xef, 0x6f, 0x7f};
	u8 op = ops[below(t, ARRAY_SIZE(ops))];
	bool integer = op == 0xef || op >= 0x6f;

	mem(t, integer ? 0x66 : below(t, 2) ? 0xf2 : 0, false, 1, op, below(t, 16));
}

static void x87(struct text *t)
{
	static const u8 ops[][2] = {
	        {0xd9, 0}, {0xd9, 3}, {0xdd, 0}, {0xdd, 3}, {0xdb, 0}, {0xdf, 7}, {0xd8, 1}};
	const u8 *o = ops[below(t, ARRAY_SIZE(ops))];

	if (below(t, 3) == 0) { /* FADDP, FXCH, FLD1, FNSTSW AX */
		static const u8 plain[][2] = {{0xde, 0xc1}, {0xd9, 0xc9}, {0xd9, 0xe8}, {0xdf, 0xe0}};
		const u8 *q = plain[below(t, ARRAY_SIZE(plain))];
		put(t, q[0]);
		put(t, q[1]);
		return;
	}
	mem(t, 0, false, 0, o[0], o[1]);
}

/* What leaves flags undefined is followed by a CMP. */
static unsigned undefined_flags_then_cmp(struct text *t)
{
	bool shift = below(t, 2);

	if (shift)
		reg(t, 0, below(t, 2), 0, 0xd3, below(t, 8), below(t, 16)); /* by CL */
	else
		reg(t, 0, below(t, 2), 0, 0xf7, 6 + below(t, 2), below(t, 16)); /* DIV, IDIV */
	reg(t, 0, below(t, 2), 0, 0x39, below(t, 16), below(t, 16));
	return 2;
}

static unsigned plain(struct text *t, unsigned room)
{
	static const u8 flags[] = {0xf5, 0xf8, 0xf9, 0x9c, 0x9f};

	switch (below(t, 8)) {
	case 0: put(t, flags[below(t, ARRAY_SIZE(flags))]); break;
	case 1: reg(t, 0, below(t, 2), 1, (u8)(0x40 | below(t, 16)), below(t, 16), below(t, 16)); break;
	case 2:
	case 3:
		if (room > 1)
			return undefined_flags_then_cmp(t);
		put(t, 0xf8);
		break;
	case 4: put(t, (u8)(0x70 | below(t, 16))), put(t, 0); break; /* Jcc to the next */
	case 5: put(t, 0xe3), put(t, 0); break;                      /* JRCXZ to the next */
	default:
		reg(t, 0, below(t, 2), 0, (u8)(below(t, 4) << 4 | below(t, 2) << 3 | 3), below(t, 16),
		        below(t, 16));
		break;
	}
	return 1;
}

static void repeat(struct text *t)
{
	static const u8 ops[] = {0xaa, 0xab, 0xa4, 0xa5};

	put(t, 0xf3);
	if (below(t, 2))
		put(t, 0x48);
	put(t, ops[below(t, ARRAY_SIZE(ops))]);
}

static unsigned run(struct text *t, unsigned room)
{
	unsigned n = 1 + below(t, room);
	u8 op = below(t, 2) ? 0x50 : 0x58;

	for (unsigned k = 0; k < n; k++)
		push_pop(t, op, below(t, 16));
	return n;
}

static unsigned one(struct text *t, unsigned room)
{
	switch (below(t, 16)) {
	case 0:
	case 1:
	case 2: return run(t, room);
	case 3:
	case 4: mem(t, 0, below(t, 2), 0, (u8)(0x88 | below(t, 4)), below(t, 16)); break; /* MOV */
	case 5:
	case 6:
	case 7: alu_mem(t); break;
	case 8: rmw(t); break;
	case 9: vector(t); break;
	case 10: x87(t); break;
	case 11: put(t, 0x6a), put(t, (u8)below(t, 256)); break; /* PUSH imm8 */
	case 12: put(t, 0xc9); break;                            /* LEAVE */
	case 13: repeat(t); break;
	case 14: mem(t, 0, true, 0, 0x8d, below(t, 16)); break; /* LEA */
	default: return plain(t, room);
	}
	return 1;
}

static u64 near_an_edge(struct text *t)
{
	static const u16 edges[] = {0, 0x1000, 0x1000, 0x2000, 0x2000, 0x3000, 0x800};

	return DATA_BASE + edges[below(t, ARRAY_SIZE(edges))] + below(t, 97) - 48;
}

static void make(struct text *t, struct insn_case *k)
{
	memset(k, 0, sizeof(*k));
	k->mode = MODE_64;
	value_regs(&t->r, FILL_ANY, &k->in);
	k->in.rip = CODE_BASE + 0x100 + below(t, 0xc00);
	if (below(t, 3) == 0) /* across the end of the page */
		k->in.rip = CODE_BASE + 0x1000 - below(t, 40);
	k->in.rflags = (k->in.rflags & FL_ARITH) | FL_1 | FL_IF;
	k->in.gpr[RCX] = below(t, 3) ? below(t, 40) : rng_next(&t->r);
	for (unsigned n = 0; n < ARRAY_SIZE(bases); n++)
		k->in.gpr[bases[n]] = near_an_edge(t);
	t->p = k->code;
	while (k->count < SEQ_MAX)
		k->count = (u8)(k->count + one(t, SEQ_MAX - k->count));
	if (below(t, 3) == 0) {
		t->p = k->code;
		k->count = (u8)run(t, SEQ_MAX - 1);
		put(t, 0xc3); /* RET */
		k->count++;
	}
	k->len = (u8)(t->p - k->code);
	k->count = 255; /* steps: a REP takes one a page; both end when RIP leaves the program */
}

static unsigned differ(FILE *out, const char *what, unsigned n, u64 a, u64 b)
{
	if (a == b)
		return 0;
	if (out)
		fprintf(out, "  %s %u: interp %016llx jit %016llx\n", what, n, (unsigned long long)a,
		        (unsigned long long)b);
	return 1;
}

static unsigned differences(
        FILE *out, const struct outcome *a, const struct outcome *b, const u8 *da, const u8 *db)
{
	unsigned n = differ(out, "rip", 0, a->out.rip, b->out.rip);

	/* A fault's vector and error code say where it happened. */
	n += differ(out, "faulted", 0, a->faulted, b->faulted) +
	     differ(out, "vector", 0, a->vector, b->vector) + differ(out, "error", 0, a->error, b->error) +
	     differ(out, "address", 0, a->addr, b->addr);
	n += differ(out, "flags", 0, a->out.rflags, b->out.rflags) +
	     differ(out, "mxcsr", 0, a->out.mxcsr, b->out.mxcsr);
	for (unsigned r = 0; r < 16; r++) {
		n += differ(out, "gpr", r, a->out.gpr[r], b->out.gpr[r]);
		for (unsigned k = 0; k < 4; k++)
			n += differ(out, "vec", r, a->out.vec[r].q[k], b->out.vec[r].q[k]);
	}
	n += differ(out, "fcw", 0, a->out.fpu.fcw, b->out.fpu.fcw) +
	     differ(out, "fsw", 0, a->out.fpu.fsw, b->out.fpu.fsw) +
	     differ(out, "ftw", 0, a->out.fpu.ftw, b->out.fpu.ftw);
	for (unsigned r = 0; r < 8; r++)
		n += memcmp(&a->out.fpu.r[r], &b->out.fpu.r[r], 10) != 0;
	for (unsigned k = 0; k < DATA_SIZE; k += 8)
		n += differ(out, "data +", k, get_le64(da + k), get_le64(db + k));
	return n;
}

static void show(const struct insn_case *k)
{
	u64 rip = k->in.rip;

	for (u64 at = 0; at < k->len;) {
		ZydisDisassembledInstruction d;

		if (!ZYAN_SUCCESS(ZydisDisassembleIntel(
		            ZYDIS_MACHINE_MODE_LONG_64, rip + at, k->code + at, k->len - at, &d)))
			break;
		printf("  %llx: %s\n", (unsigned long long)(rip + at), d.text);
		at += d.info.length;
	}
	for (unsigned n = 0; n < 16; n++)
		printf("  r%u %016llx%s", n, (unsigned long long)k->in.gpr[n], n % 4 == 3 ? "\n" : "");
}

int main(int argc, char **argv)
{
	u64 seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1,
	    cases = argc > 2 ? strtoull(argv[2], NULL, 0) : 20000;
	static u8 data[DATA_SIZE];
	struct ref *interp, *jit;
	u64 bad = 0, faults = 0;

	if (ref_create(&interp, data, false) < 0 || ref_create(&jit, data, true) < 0) {
		fprintf(stderr, "test_jit: set-up failed\n");
		return 1;
	}
	gen_data_template(seed, data);
	for (u64 n = argc > 3 ? strtoull(argv[3], NULL, 0) : 0; n < cases; n++) {
		struct text t = {.r = {seed * 0x100000001b3ull + n}};
		struct outcome a = {0}, b = {0};
		struct insn_case k;

		make(&t, &k);
		ref_run(interp, &k, &a);
		ref_run(jit, &k, &b);
		faults += a.faulted;
		if (!differences(NULL, &a, &b, ref_data(interp), ref_data(jit)) || ++bad > 5)
			continue;
		printf("DIFFERS: seed %llu case %llu\n", (unsigned long long)seed, (unsigned long long)n);
		show(&k);
		differences(stdout, &a, &b, ref_data(interp), ref_data(jit));
	}
	printf("jit: %llu programs, %llu ended in a fault, %llu differ\n", (unsigned long long)cases,
	        (unsigned long long)faults, (unsigned long long)bad);
	ref_destroy(jit);
	ref_destroy(interp);
	return bad != 0;
}
