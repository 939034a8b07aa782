/*
 * Instructions on the host CPU and on the reference engine. The input is a mode, a seed for registers
 * and memory, and bytes to decode; what is no instruction that user code may run is drawn by the seed
 * from the list of forms instead, so that every input is a case. A difference is printed and aborts.
 */
#include "harness.h"

#include <signal.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const u8 *data, size_t len);

struct fuzz {
	struct native *native;
	struct ref *ref;
	struct forms forms;
	u8 data[DATA_SIZE];
};

static struct fuzz *set_up(void)
{
	struct fuzz *z = calloc(1, sizeof(*z));
	const char *why = "out of memory";

	if (!z)
		abort();
	gen_data_template(1, z->data);
	if (native_create(&z->native, z->data, &why) < 0 || ref_create(&z->ref, z->data, false) < 0 ||
	        forms_create(&z->forms, z->ref, true) < 0) {
		fprintf(stderr, "fuzz_insn: %s\n", why);
		exit(77);
	}
	return z;
}

static void run(struct fuzz *z, const struct insn_case *k)
{
	struct outcome nat = {0}, ref = {0};
	char text[DIFF_TEXT];
	sigset_t all, old;

	/* The fuzzer's timer must not find a guest's stack pointer. */
	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGTRAP);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	native_run(z->native, k, &nat);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	ref_run(z->ref, k, &ref);
	if (compare(&z->forms, k, &nat, &ref, native_data(z->native), ref_data(z->ref), text) <= 0)
		return;
	report_case(stderr, &z->forms, k);
	fputs(text, stderr);
	abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	static struct fuzz *z; /* the fuzzer gives its targets no other place */
	struct insn_case k;
	u64 seed;

	if (!z)
		z = set_up();
	if (len < 10)
		return 0;
	seed = get_le64(data + 1);
	if (!gen_from_bytes(&z->forms, data[0] & 1 ? MODE_32 : MODE_64, data + 9,
	            (u32)MIN(len - 9, INSN_MAX_LEN), seed, &k))
		gen_case(&z->forms, seed, data[9], &k);
	run(z, &k);
	return 0;
}
