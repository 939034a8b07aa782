/*
 * --perf-map: a line for each block in /tmp/perf-PID.map, where perf(1) looks for names of code that no file
 * holds. A block is called by its privilege and guest address. After the cache was emptied the file has
 * blocks of the time before, too, and perf takes any: raise --code-cache.
 */
#include "accel/soft/jit/jit_int.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

void perf_map_open(struct jit *j)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "/tmp/perf-%d.map", (int)getpid());
	unlink(name); /* of a process that had our number */
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	j->perf_map = fd < 0 ? NULL : fdopen(fd, "w");
	if (!j->perf_map) {
		log_warn("--perf-map: %s: %s", name, strerror(errno));
		return;
	}
	fprintf(j->perf_map, "%llx %llx xhyve_glue\n", (unsigned long long)j->rx,
	        (unsigned long long)j->start);
}

void perf_map_close(struct jit *j)
{
	if (j->perf_map)
		fclose(j->perf_map);
}

void perf_map_add(struct jit *j, const struct cpu *c, const struct tb *b)
{
	u64 va = (cpu_rip(c) & ~(PAGE_SIZE - 1)) | (b->gpa & (PAGE_SIZE - 1));

	fprintf(j->perf_map, "%llx %x %s_%llx\n", (unsigned long long)jit_address(j, b->code), b->code_len,
	        b->key & HF_CPL ? "user" : "kernel", (unsigned long long)va);
}
