/*
 * A disk under the control of another program: commands on stdin, one a line; a line of answer to each,
 * "ok", "ok HEX" or "error ERRNO TEXT". For tests/compat.
 *
 *   create SPEC | open SPEC | openro SPEC | close      SPEC as after -s N,virtio-blk,
 *   read OFF N[,N...]          one request, scattered over buffers of these lengths; answers the bytes
 *   write OFF N[,N...] HEX     the same
 *   flush | discard OFF LEN | zero OFF LEN | unmap OFF LEN | size
 */
#include "base/log.h"
#include "block/image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFERS 1024

struct session {
	struct block *b;
	struct err e;
};

struct request {
	struct iovec iov[BUFFERS];
	int n;
	u64 len;
};

static int answer(struct session *s, int r)
{
	if (r < 0)
		printf("error %d %s\n", -r, s->e.text[0] ? s->e.text : strerror(-r));
	else
		printf("ok\n");
	return 0;
}

static int open_spec(struct session *s, const char *spec, unsigned flags, bool ro)
{
	struct image_spec is;
	if (s->b)
		return -EBUSY;
	int r = image_parse(&is, spec, &s->e);
	is.ro |= ro;
	return r < 0 ? r : image_open(&s->b, &is, flags | IMAGE_QUIET, &host_io, &s->e);
}

static int create_spec(struct session *s, const char *spec)
{
	struct image_spec is;
	int r = image_parse(&is, spec, &s->e);
	return r < 0 ? r : image_create(&is, &host_io, &s->e);
}

static int close_disk(struct session *s)
{
	int r = block_close(s->b);
	s->b = NULL;
	return r;
}

/* Buffers of their own, so that the sanitizer sees each one's end. */
static int parse_lengths(struct request *q, const char *text)
{
	char *end;
	for (; *text; text = *end ? end + 1 : end) {
		u64 len = strtoull(text, &end, 10);
		if (end == text || (*end && *end != ',') || q->n == BUFFERS || len > 64 * MiB)
			return -EINVAL;
		q->iov[q->n++] = (struct iovec){malloc(len ? len : 1), len};
		q->len += len;
	}
	return 0;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_hex(struct request *q, const char *hex)
{
	if (strlen(hex) != q->len * 2)
		return -EINVAL;
	for (int i = 0; i < q->n; i++) {
		u8 *to = q->iov[i].iov_base;
		for (size_t k = 0; k < q->iov[i].iov_len; k++, hex += 2) {
			int high = hex_digit(hex[0]), low = hex_digit(hex[1]);
			if (high < 0 || low < 0)
				return -EINVAL;
			to[k] = (u8)(high << 4 | low);
		}
	}
	return 0;
}

static void print_hex(const struct request *q)
{
	fputs("ok ", stdout);
	for (int i = 0; i < q->n; i++) {
		const u8 *from = q->iov[i].iov_base;
		for (size_t k = 0; k < q->iov[i].iov_len; k++) {
			putchar("0123456789abcdef"[from[k] >> 4]);
			putchar("0123456789abcdef"[from[k] & 15]);
		}
	}
	putchar('\n');
}

static int transfer(struct session *s, u64 off, char *lengths, const char *hex)
{
	struct request q = {.n = 0};
	int r = parse_lengths(&q, lengths);
	if (r == 0 && hex)
		r = parse_hex(&q, hex);
	for (int i = 0; i < q.n && !hex; i++)
		memset(q.iov[i].iov_base, 0x77, q.iov[i].iov_len);
	if (r == 0)
		r = hex ? block_pwritev(s->b, q.iov, q.n, off) : block_preadv(s->b, q.iov, q.n, off);
	if (r == 0 && !hex)
		print_hex(&q);
	else
		answer(s, r);
	for (int i = 0; i < q.n; i++)
		free(q.iov[i].iov_base);
	return 0;
}

static int on_disk(struct session *s, const char *word, char *rest)
{
	char *first = strsep(&rest, " "), *second = strsep(&rest, " ");
	u64 off = first ? strtoull(first, NULL, 10) : 0, len = second ? strtoull(second, NULL, 10) : 0;
	if (strcmp(word, "read") == 0 && second)
		return transfer(s, off, second, NULL);
	if (strcmp(word, "write") == 0 && second && rest)
		return transfer(s, off, second, rest);
	if (strcmp(word, "flush") == 0)
		return answer(s, block_flush(s->b));
	if (strcmp(word, "discard") == 0)
		return answer(s, block_discard(s->b, off, len));
	if (strcmp(word, "zero") == 0 || strcmp(word, "unmap") == 0)
		return answer(s, block_write_zeroes(s->b, off, len, word[0] == 'u'));
	if (strcmp(word, "close") == 0)
		return answer(s, close_disk(s));
	if (strcmp(word, "size") == 0)
		return printf("ok %llu\n", (unsigned long long)block_size(s->b)) < 0;
	return answer(s, -EINVAL);
}

static int command(struct session *s, char *line)
{
	char *rest = line, *word = strsep(&rest, " ");
	s->e.text[0] = 0;
	if (rest && strcmp(word, "create") == 0)
		return answer(s, create_spec(s, rest));
	if (rest && strcmp(word, "open") == 0)
		return answer(s, open_spec(s, rest, 0, false));
	if (rest && strcmp(word, "openro") == 0)
		return answer(s, open_spec(s, rest, 0, true));
	return s->b ? on_disk(s, word, rest) : answer(s, -EBADF);
}

int main(void)
{
	struct session s = {.b = NULL};
	char *line = NULL;
	size_t room = 0;
	ssize_t n;
	while ((n = getline(&line, &room, stdin)) > 0) {
		line[strcspn(line, "\n")] = 0;
		command(&s, line);
		fflush(stdout);
	}
	block_close(s.b);
	free(line);
	return 0;
}
