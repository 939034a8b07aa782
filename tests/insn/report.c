/*
 * Prints a case so that a person can read it: disassembly, bytes, and the registers and memory that
 * it starts from, leaving out what is zero.
 */
#include "harness.h"

static void print_code(FILE *out, const struct forms *f, const struct insn_case *k)
{
	ZydisFormatter fmt;
	u32 at = 0;

	ZydisFormatterInit(&fmt, ZYDIS_FORMATTER_STYLE_INTEL);
	for (unsigned i = 0; i < k->count; i++) {
		struct decoded d;
		char text[128];

		if (!forms_accept(f, k->mode, k->code + at, sizeof(k->code) - at, &d) ||
		        !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&fmt, &d.zi, d.op,
		                d.zi.operand_count_visible, text, sizeof(text), k->in.rip + at, NULL)))
			return;
		fprintf(out, "  %08llx:", (unsigned long long)k->in.rip + at);
		for (unsigned n = 0; n < d.zi.length; n++)
			fprintf(out, " %02x", k->code[at + n]);
		fprintf(out, "   %s%s\n", text, k->mode == MODE_32 ? "   (32-bit)" : "");
		at += d.zi.length;
	}
}

static void print_fpu(FILE *out, const struct x86_fpu *f)
{
	if (f->fcw != 0x37f || f->fsw || f->ftw)
		fprintf(out, "  fcw %04x fsw %04x ftw %02x\n", f->fcw, f->fsw, f->ftw);
	for (unsigned i = 0; i < 8; i++)
		if (f->r[i].mant || f->r[i].exp)
			fprintf(out, "  R%u %04x %016llx\n", i, f->r[i].exp,
			        (unsigned long long)f->r[i].mant);
}

void report_case(FILE *out, const struct forms *f, const struct insn_case *k)
{
	static const char *const names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
	        "r9", "r10", "r11", "r12", "r13", "r14", "r15"};

	print_code(out, f, k);
	fprintf(out, "  rflags %llx mxcsr %x", (unsigned long long)k->in.rflags, k->in.mxcsr);
	for (unsigned i = 0; i < 16; i++)
		if (k->in.gpr[i])
			fprintf(out, " %s %llx", names[i], (unsigned long long)k->in.gpr[i]);
	if (k->in.fs_base || k->in.gs_base)
		fprintf(out, " fs %llx gs %llx", (unsigned long long)k->in.fs_base,
		        (unsigned long long)k->in.gs_base);
	fprintf(out, "\n");
	print_fpu(out, &k->in.fpu);
	for (unsigned i = 0; i < 16; i++)
		if (k->in.vec[i].q[0] | k->in.vec[i].q[1] | k->in.vec[i].q[2] | k->in.vec[i].q[3])
			fprintf(out, "  ymm%u %016llx %016llx %016llx %016llx\n", i,
			        (unsigned long long)k->in.vec[i].q[3], (unsigned long long)k->in.vec[i].q[2],
			        (unsigned long long)k->in.vec[i].q[1], (unsigned long long)k->in.vec[i].q[0]);
	for (unsigned i = 0; i < k->npatches; i++) {
		fprintf(out, "  [%llx]", (unsigned long long)(DATA_BASE + k->patch[i].off));
		for (unsigned n = 0; n < k->patch[i].len; n++)
			fprintf(out, " %02x", k->patch[i].bytes[n]);
		fprintf(out, "\n");
	}
}
