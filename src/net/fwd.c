/*
 * Forwarded ports on the command line:
 *
 *     hostfwd=[tcp|udp]:[ADDR]:PORT-[GUESTADDR]:GUESTPORT     as QEMU writes it
 *     hostfwd=unix:PATH-[GUESTADDR]:GUESTPORT
 *     fwd=[tcp:|udp:]PORT:GUESTPORT                          from 127.0.0.1
 *     guestfwd=[tcp]:[ADDR]:PORT-unix:PATH
 *
 * An IPv6 address stands in brackets.
 */
#include "net/spec.h"

#include "base/text.h"
#include <arpa/inet.h>
#include <stdio.h>

#define FORM "[tcp|udp]:[ADDR]:PORT-[GUESTADDR]:GUESTPORT"

/* What is being parsed: a copy that is cut into pieces, and the words to complain with. */
struct parse {
	const char *option, *value;
	char text[512];
	char *at;
	struct err *e;
};

static int bad(const struct parse *p, const char *why)
{
	return err_usage(p->e, "%s=%s: %s", p->option, p->value, why);
}

static int parse_port(const struct parse *p, const char *text, u16 *out)
{
	u64 v;

	if (parse_uint(text, 1, 65535, &v))
		return err_usage(
		        p->e, "%s=%s: \"%s\" is not a port number (1 to 65535)", p->option, p->value, text);
	*out = (u16)v;
	return 0;
}

/* "ADDR:", "[ADDR6]:" or ":" at p->at, which moves behind it. *v6 is set for any address that is given. */
static int parse_addr(struct parse *p, u8 addr[16], bool *v6, bool *given)
{
	bool brackets = *p->at == '[';
	char *start = p->at + brackets, *end = strchr(start, brackets ? ']' : ':');

	if (!end || (brackets && end[1] != ':'))
		return bad(p, "must be " FORM);
	*end = 0;
	p->at = end + 1 + brackets;
	*given = *start != 0;
	if (!*given)
		return 0;
	*v6 = brackets && inet_pton(AF_INET6, start, addr) == 1;
	if (!*v6 && inet_pton(AF_INET, start, addr) != 1)
		return err_usage(p->e, "%s=%s: \"%s\" is not an IP address", p->option, p->value, start);
	return 0;
}

static int parse_path(const struct parse *p, const char *path, struct net_fwd *f)
{
	size_t len = strlen(path);

	if (len == 0 || len >= sizeof(f->path))
		return bad(p, len ? "the path of the socket is too long" : "names no socket");
	memcpy(f->path, path, len + 1);
	return 0;
}

/* "tcp:" and the like; nothing but a colon means tcp. */
static int parse_kind(struct parse *p, struct net_fwd *f)
{
	char *colon = strchr(p->at, ':');

	if (!colon)
		return bad(p, "must be " FORM);
	*colon = 0;
	if (!*p->at || strcmp(p->at, "tcp") == 0)
		f->kind = NET_FWD_TCP;
	else if (strcmp(p->at, "udp") == 0)
		f->kind = NET_FWD_UDP;
	else if (strcmp(p->at, "unix") == 0)
		f->kind = NET_FWD_UNIX;
	else
		return err_usage(p->e, "%s=%s: \"%s\" is no protocol, only tcp, udp and unix are", p->option,
		        p->value, p->at);
	p->at = colon + 1;
	return 0;
}

/* The dash between both sides: behind the host's port, or the last one of a path. */
static char *cut_guest(struct parse *p, bool path)
{
	char *dash = path ? strrchr(p->at, '-') : strchr(p->at, '-');

	if (dash)
		*dash++ = 0;
	return dash;
}

static int parse_hostfwd(struct parse *p, struct net_fwd *f)
{
	bool v6 = false, guest_v6 = false, given = false, guest_given = false;
	char *guest;
	int rc = parse_kind(p, f);

	if (rc < 0)
		return rc;
	guest = cut_guest(p, f->kind == NET_FWD_UNIX);
	if (!guest)
		return bad(p, "must be " FORM);
	if (f->kind == NET_FWD_UNIX) {
		rc = parse_path(p, p->at, f);
	} else {
		rc = parse_addr(p, f->host, &v6, &given);
		if (rc == 0)
			rc = parse_port(p, p->at, &f->host_port);
	}
	p->at = guest;
	if (rc == 0)
		rc = parse_addr(p, f->guest, &guest_v6, &guest_given);
	if (rc == 0)
		rc = parse_port(p, p->at, &f->guest_port);
	if (rc < 0)
		return rc;
	if (given && guest_given && v6 != guest_v6)
		return bad(p, "both addresses must be IPv4 or both IPv6");
	if (v6 && !guest_given)
		return bad(p, "an IPv6 port needs the guest's address in brackets, too");
	f->v6 = v6 || guest_v6;
	return 0;
}

static int parse_short(struct parse *p, struct net_fwd *f)
{
	static const u8 loopback[4] = {127, 0, 0, 1};
	char *colon;
	int rc;

	if (strncmp(p->at, "udp:", 4) == 0)
		f->kind = NET_FWD_UDP;
	if (strncmp(p->at, "udp:", 4) == 0 || strncmp(p->at, "tcp:", 4) == 0)
		p->at += 4;
	colon = strchr(p->at, ':');
	if (!colon)
		return bad(p, "must be [tcp:|udp:]PORT:GUESTPORT");
	*colon++ = 0;
	memcpy(f->host, loopback, sizeof(loopback));
	rc = parse_port(p, p->at, &f->host_port);
	return rc < 0 ? rc : parse_port(p, colon, &f->guest_port);
}

static int parse_guestfwd(struct parse *p, struct net_fwd *f)
{
	static const char form[] = "must be [tcp]:[ADDR]:PORT-unix:PATH";
	bool v6 = false, given;
	char *host = strstr(p->at, "-unix:");
	int rc;

	if (!host)
		return bad(p, form);
	*host = 0;
	rc = parse_kind(p, f);
	if (rc < 0 || f->kind != NET_FWD_TCP)
		return rc < 0 ? rc : bad(p, form);
	f->kind = NET_FWD_GUEST;
	rc = parse_addr(p, f->guest, &v6, &given);
	if (rc == 0 && v6)
		return bad(p, "the address must be IPv4");
	if (rc == 0)
		rc = parse_port(p, p->at, &f->guest_port);
	return rc < 0 ? rc : parse_path(p, host + strlen("-unix:"), f);
}

int net_parse_fwd(struct net_fwd *f, const char *option, const char *value, struct err *e)
{
	struct parse p = {.option = option, .value = value, .e = e};

	memset(f, 0, sizeof(*f));
	if (strlen(value) >= sizeof(p.text))
		return err_usage(e, "%s=%.64s...: too long", option, value);
	strcpy(p.text, value);
	p.at = p.text;
	snprintf(f->text, sizeof(f->text), "%.16s=%.180s", option, value);
	if (strcmp(option, "fwd") == 0)
		return parse_short(&p, f);
	return strcmp(option, "guestfwd") == 0 ? parse_guestfwd(&p, f) : parse_hostfwd(&p, f);
}
