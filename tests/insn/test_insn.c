/*
 * Differential test of single instructions and short sequences: reference engine, or with --jit the
 * translator, against the host CPU.
 *
 *   test_insn [--seed N] [--cases N] [--case K] [--regress FILE] [--only MNEMONIC] [--64] [--table]
 *             [--show N] [--seconds N] [--self] [--jit]
 *
 * --64 leaves out 32-bit code. --case K runs one case of the seed and prints it. --self compares the host
 * with itself. --seconds draws new seeds until the time is up (for long runs by hand). Exit status 1 when
 * anything differs, 77 (skipped) when the host cannot run it.
 */
#include "harness.h"
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <strings.h>
#include <time.h>

struct test {
	struct native *n;
	struct ref *r;
	struct forms forms;
	u8 data[DATA_SIZE];
	u8 self_data[DATA_SIZE];
	u64 seed, cases, one;
	bool have_one, with32, table, self, jit;
	long seconds, show;
	const char *regress, *only;
	u64 ran, sequences, ran32, faults, excepted, differs;
	u32 bad_by_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1];
	u32 ran_by_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1];
};

static int run_both(struct test *t, const struct insn_case *k, char text[DIFF_TEXT])
{
	struct outcome nat = {0}, ref = {0};

	native_run(t->n, k, &nat);
	if (t->self) {
		memcpy(t->self_data, native_data(t->n), DATA_SIZE);
		native_run(t->n, k, &ref);
		return compare(&t->forms, k, &nat, &ref, t->self_data, native_data(t->n), text);
	}
	ref_run(t->r, k, &ref);
	t->faults += nat.faulted;
	return compare(&t->forms, k, &nat, &ref, native_data(t->n), ref_data(t->r), text);
}

/* --- shrinking: plain values wherever the difference stays --- */

static bool still_differs(struct test *t, const struct insn_case *k)
{
	char text[DIFF_TEXT];

	return run_both(t, k, text) > 0;
}

static void try_zero(struct test *t, struct insn_case *k, void *field, const void *plain, u32 len)
{
	u8 old[64];

	memcpy(old, field, len);
	memcpy(field, plain, len);
	if (!still_differs(t, k))
		memcpy(field, old, len);
}

/* Registers whose value bounds what the host touches are left alone. */
static bool is_counter(const struct decoded *d, unsigned r)
{
	if (r == RCX)
		return d->zi.meta.category == ZYDIS_CATEGORY_STRINGOP;
	return d->zi.mnemonic == ZYDIS_MNEMONIC_BT || d->zi.mnemonic == ZYDIS_MNEMONIC_BTS ||
	       d->zi.mnemonic == ZYDIS_MNEMONIC_BTR || d->zi.mnemonic == ZYDIS_MNEMONIC_BTC;
}

static void shrink(struct test *t, struct insn_case *k)
{
	static const u8 zero[64];
	u64 flags = FL_1 | FL_IF;
	u32 mxcsr = 0x1f80;
	u16 fcw = 0x37f;
	struct decoded d;
	u32 addresses = BIT(RSP) | BIT(RBP) | BIT(RSI) | BIT(RDI) | BIT(RBX);

	if (!forms_accept(&t->forms, k->mode, k->code, INSN_MAX_LEN, &d))
		return;
	for (unsigned i = 0; i < d.zi.operand_count; i++)
		if (d.op[i].type == ZYDIS_OPERAND_TYPE_MEMORY)
			addresses |= BIT(ZydisRegisterGetId(d.op[i].mem.base) & 15) |
			             BIT(ZydisRegisterGetId(d.op[i].mem.index) & 15);
	if (k->count > 1)
		addresses = 0; /* sequences work on registers only */
	for (unsigned i = 0; i < 16; i++) {
		bool branch = d.zi.meta.category == ZYDIS_CATEGORY_CALL ||
		              d.zi.meta.category == ZYDIS_CATEGORY_UNCOND_BR;

		if (!(addresses & BIT(i)) && !branch && !is_counter(&d, i))
			try_zero(t, k, &k->in.gpr[i], zero, 8);
		try_zero(t, k, &k->in.vec[i], zero, 32);
	}
	try_zero(t, k, &k->in.rflags, &flags, 8);
	try_zero(t, k, &k->in.mxcsr, &mxcsr, 4);
	try_zero(t, k, &k->in.fpu.fcw, &fcw, 2);
	try_zero(t, k, &k->in.fpu.fsw, zero, 2);
	try_zero(t, k, &k->in.fpu.ftw, zero, 1);
	for (unsigned i = 0; i < 8; i++)
		try_zero(t, k, &k->in.fpu.r[i], zero, sizeof(k->in.fpu.r[i]));
}

/* --- runs --- */

static void run_case(struct test *t, struct insn_case *k, const char *what, u64 index)
{
	char text[DIFF_TEXT];
	struct decoded d;
	int n = run_both(t, k, text);

	if (!forms_accept(&t->forms, k->mode, k->code, INSN_MAX_LEN, &d))
		return;
	t->ran_by_mnemonic[d.zi.mnemonic]++;
	t->sequences += k->count > 1;
	t->ran32 += k->mode == MODE_32;
	t->excepted += n == COMPARE_EXCEPTED;
	n = MAX(n, 0);
	if (n == 0 && !t->have_one)
		return;
	t->differs += n != 0;
	t->bad_by_mnemonic[d.zi.mnemonic] += n != 0;
	if (t->bad_by_mnemonic[d.zi.mnemonic] > (u32)t->show)
		return;
	if (n) {
		shrink(t, k);
		run_both(t, k, text);
	}
	printf("%s: %s seed %llu case %llu\n", n ? "DIFFERS" : "same", what, (unsigned long long)t->seed,
	        (unsigned long long)index);
	report_case(stdout, &t->forms, k);
	fputs(text, stdout);
	fflush(stdout);
}

static bool wanted(const struct test *t, const struct insn_case *k)
{
	struct decoded d;

	return !t->only || (forms_accept(&t->forms, k->mode, k->code, INSN_MAX_LEN, &d) &&
	                           !strcasecmp(t->only, ZydisMnemonicGetString(d.zi.mnemonic)));
}

static void run_seed(struct test *t)
{
	struct insn_case k;

	gen_data_template(t->seed, t->data);
	for (u64 i = 0; i < t->cases; i++) {
		if (t->have_one)
			i = t->one;
		gen_case(&t->forms, t->seed, i, &k);
		if (wanted(t, &k)) {
			run_case(t, &k, "random", i);
			t->ran++;
		}
		if (t->have_one)
			break;
	}
}

/* Lines: "64|32 hex-bytes seed"; # starts a comment. */
static int run_regress(struct test *t)
{
	FILE *in = fopen(t->regress, "r");
	char line[256];
	u64 number = 0;

	if (!in) {
		fprintf(stderr, "insn: %s: %s\n", t->regress, strerror(errno));
		return -1;
	}
	while (fgets(line, sizeof(line), in)) {
		struct insn_case k;
		char hex[64];
		u8 bytes[INSN_MAX_LEN] = {0};
		unsigned mode, len = 0, byte;
		unsigned long long seed;

		number++;
		if (line[0] == '#' || sscanf(line, "%u %60s %llu", &mode, hex, &seed) != 3)
			continue;
		while (len < INSN_MAX_LEN && sscanf(hex + 2 * len, "%2x", &byte) == 1)
			bytes[len++] = (u8)byte;
		for (u64 i = 0; i < 16; i++) {
			if (!gen_from_bytes(
			            &t->forms, mode == 32 ? MODE_32 : MODE_64, bytes, len, seed + i, &k))
				continue;
			run_case(t, &k, "regress line", number);
			t->ran++;
		}
	}
	fclose(in);
	return 0;
}

static int by_bad(const void *a, const void *b, void *t)
{
	const u32 *bad = ((struct test *)t)->bad_by_mnemonic;

	return (int)bad[*(const u32 *)b] - (int)bad[*(const u32 *)a];
}

static void print_table(struct test *t)
{
	u32 order[ZYDIS_MNEMONIC_MAX_VALUE + 1];

	for (u32 i = 0; i <= ZYDIS_MNEMONIC_MAX_VALUE; i++)
		order[i] = i;
	qsort_r(order, ARRAY_SIZE(order), sizeof(order[0]), by_bad, t);
	for (u32 i = 0; i <= ZYDIS_MNEMONIC_MAX_VALUE; i++) {
		u32 m = order[i];

		if (t->bad_by_mnemonic[m] || (t->table && t->ran_by_mnemonic[m]))
			printf("insn: %-16s %7u cases %7u differ\n", ZydisMnemonicGetString((ZydisMnemonic)m),
			        t->ran_by_mnemonic[m], t->bad_by_mnemonic[m]);
	}
}

static void print_summary(struct test *t)
{
	u32 tested = 0, forms_without = 0;
	bool *known = calloc(ZYDIS_MNEMONIC_MAX_VALUE + 1, 1);

	print_table(t);
	for (u32 m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
		tested += t->ran_by_mnemonic[m] != 0;
	for (u32 i = 0; known && i < t->forms.n; i++) {
		u16 m = t->forms.f[i].mnemonic;

		if (!known[m] && !t->ran_by_mnemonic[m]) {
			forms_without++;
			if (!t->only && !t->have_one)
				printf("insn: no case of %s\n", ZydisMnemonicGetString((ZydisMnemonic)m));
		}
		known[m] = true;
	}
	free(known);
	printf("insn: %llu cases (%llu sequences, %llu in 32-bit mode), %u mnemonics in %u forms, %u without "
	       "a case, "
	       "%llu ended in a fault, %llu excepted, %llu differ\n",
	        (unsigned long long)t->ran, (unsigned long long)t->sequences, (unsigned long long)t->ran32,
	        tested, t->forms.n, forms_without, (unsigned long long)t->faults,
	        (unsigned long long)t->excepted, (unsigned long long)t->differs);
}

static int parse(struct test *t, int argc, char **argv)
{
	static const struct option options[] = {{"seed", 1, NULL, 's'}, {"cases", 1, NULL, 'n'},
	        {"case", 1, NULL, 'c'}, {"regress", 1, NULL, 'r'}, {"only", 1, NULL, 'o'},
	        {"64", 0, NULL, '6'}, {"table", 0, NULL, 't'}, {"show", 1, NULL, 'w'},
	        {"seconds", 1, NULL, 'S'}, {"self", 0, NULL, 'x'}, {"jit", 0, NULL, 'j'}, {NULL, 0, NULL, 0}};
	int o;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (o) {
		case 's': t->seed = strtoull(optarg, NULL, 0); break;
		case 'n': t->cases = strtoull(optarg, NULL, 0); break;
		case 'c': t->one = strtoull(optarg, NULL, 0), t->have_one = true; break;
		case 'r': t->regress = optarg; break;
		case 'o': t->only = optarg; break;
		case '6': t->with32 = false; break;
		case 't': t->table = true; break;
		case 'w': t->show = strtol(optarg, NULL, 0); break;
		case 'S': t->seconds = strtol(optarg, NULL, 0); break;
		case 'x': t->self = true; break;
		case 'j': t->jit = true; break;
		default: return -1;
		}
	}
	return optind == argc ? 0 : -1;
}

static int run(struct test *t)
{
	time_t end = time(NULL) + t->seconds;

	if (t->regress && !t->have_one && run_regress(t) < 0)
		return 1;
	run_seed(t);
	while (t->seconds && time(NULL) < end) {
		t->seed++;
		run_seed(t);
	}
	print_summary(t);
	return t->differs != 0;
}

int main(int argc, char **argv)
{
	struct test *t = calloc(1, sizeof(*t));
	const char *why = NULL;
	int rc;

	if (!t)
		return 1;
	t->seed = 1;
	t->cases = 200000;
	t->show = 1;
	t->with32 = true;
	if (parse(t, argc, argv) < 0)
		return 2;
	/* First, because the host's handler of signals passes on those of the translator. */
	if (ref_create(&t->r, t->data, t->jit) < 0) {
		fprintf(stderr, "insn: set-up failed\n");
		return 1;
	}
	rc = native_create(&t->n, t->data, &why);
	if (rc == -ENOTSUP) {
		printf("insn: skipped: %s\n", why);
		ref_destroy(t->r);
		free(t);
		return 77;
	}
	if (rc < 0 || forms_create(&t->forms, t->r, t->with32) < 0) {
		fprintf(stderr, "insn: set-up failed\n");
		return 1;
	}
	rc = run(t);
	forms_destroy(&t->forms);
	ref_destroy(t->r);
	native_destroy(t->n);
	free(t);
	return rc;
}
