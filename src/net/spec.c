/*
 * The configuration string of a network card (see spec.h).
 */
#include "net/spec.h"

#include "base/text.h"
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define NET_DEFAULT 0x0a000200u /* 10.0.2.0/24 */
#define NETMASK_DEFAULT 0xffffff00u

/* --- MAC addresses --- */

char *net_format_mac(const u8 mac[6], char buf[NET_MAC_TEXT])
{
	snprintf(buf, NET_MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4],
	        mac[5]);
	return buf;
}

static bool scan_mac(const char *t, u8 mac[6])
{
	for (unsigned n = 0; n < 6; n++) {
		char byte[3] = {0}, *end;

		if (!isxdigit((unsigned char)t[0]))
			return false;
		byte[0] = *t++;
		if (isxdigit((unsigned char)t[0]))
			byte[1] = *t++;
		mac[n] = (u8)strtoul(byte, &end, 16);
		if (n < 5 && *t != ':' && *t != '-')
			return false;
		t += n < 5;
	}
	return *t == 0;
}

int net_parse_mac(const char *text, u8 mac[6], struct err *e)
{
	static const u8 zero[6];
	u8 m[6];

	if (!scan_mac(text, m))
		return err_usage(e, "mac=%s: not a MAC address (such as 02:00:00:12:34:56)", text);
	if (m[0] & 1)
		return err_usage(e, "mac=%s: a multicast address; the first byte must be even", text);
	if (memcmp(m, zero, 6) == 0)
		return err_usage(e, "mac=%s: all zeros is no address", text);
	memcpy(mac, m, 6);
	return 0;
}

/* --- options: name, who takes it, how --- */

#define ANY (BIT(NET_USER) | BIT(NET_TAP) | BIT(NET_SOCKET))

struct option {
	const char *name;
	u32 backends;
	int (*parse)(struct net_spec *s, const char *name, const char *value, struct err *e);
};

static int parse_mac(struct net_spec *s, const char *name, const char *value, struct err *e)
{
	s->has_mac = true;
	return net_parse_mac(value, s->mac, e);
}

static int parse_mtu(struct net_spec *s, const char *name, const char *value, struct err *e)
{
	u64 v;

	if (parse_uint(value, NET_MTU_MIN, NET_MTU_MAX, &v))
		return err_usage(e, "mtu=%s: must be %u to %u", value, NET_MTU_MIN, NET_MTU_MAX);
	s->mtu = (u32)v;
	return 0;
}

static int take_path(char *to, size_t room, const char *name, const char *value, struct err *e)
{
	size_t len = strlen(value);

	if (len == 0)
		return err_usage(e, "%s=: names no path", name);
	if (len >= room)
		return err_usage(e, "%s=%.64s...: the path is too long", name, value);
	memcpy(to, value, len + 1);
	return 0;
}

static int parse_pcap(struct net_spec *s, const char *name, const char *value, struct err *e)
{
	return take_path(s->pcap, sizeof(s->pcap), name, value, e);
}

static int parse_forward(struct net_spec *s, const char *name, const char *value, struct err *e)
{
	if (s->nfwd == NET_FWD_MAX)
		return err_usage(e, "%s=%s: there are %u forwarded ports already", name, value, NET_FWD_MAX);
	return net_parse_fwd(&s->fwd[s->nfwd++], name, value, e);
}

static int parse_restrict(struct net_spec *s, const char *name, const char *value, struct err *e)
{
	s->restricted = strcmp(value, "on") == 0 || strcmp(value, "yes") == 0;
	if (!s->restricted && strcmp(value, "off") != 0 && strcmp(value, "no") != 0)
		return err_usage(e, "restrict=%s: must be on or off", value);
	return 0;
}

/* ADDR/LEN; the gateway is .2, the name server .3, the first guest .15. */
static int parse_network(struct net_spec *s, const char *name, const char *value, struct err *e)
{
	const char *slash = strchr(value, '/');
	char addr[INET_ADDRSTRLEN] = "";
	struct in_addr in;
	u64 len;

	if (!slash || (size_t)(slash - value) >= sizeof(addr))
		return err_usage(e, "net=%s: must be ADDRESS/LENGTH (such as 10.0.2.0/24)", value);
	memcpy(addr, value, (size_t)(slash - value));
	if (inet_pton(AF_INET, addr, &in) != 1)
		return err_usage(e, "net=%s: \"%s\" is not an IPv4 address", value, addr);
	if (parse_uint(slash + 1, 8, 27, &len))
		return err_usage(e, "net=%s: the length must be 8 to 27", value);
	s->net = ntohl(in.s_addr);
	s->netmask = ~0u << (32 - len);
	if (s->net & ~s->netmask)
		return err_usage(e, "net=%s: the address has bits beyond its length", value);
	return 0;
}

static int parse_role(struct net_spec *s, const char *name, const char *value, struct err *e)
{
	if (s->role != NET_NO_ROLE)
		return err_usage(e, "%s=%s: only one of listen, connect and dgram", name, value);
	s->role = *name == 'l' ? NET_LISTEN : *name == 'c' ? NET_CONNECT : NET_DGRAM;
	return take_path(s->path, sizeof(s->path), name, value, e);
}

static int parse_peer(struct net_spec *s, const char *name, const char *value, struct err *e)
{
	return take_path(s->peer, sizeof(s->peer), name, value, e);
}

static const struct option options[] = {
        {"mac", ANY, parse_mac},
        {"mtu", ANY, parse_mtu},
        {"pcap", ANY, parse_pcap},
        {"hostfwd", BIT(NET_USER), parse_forward},
        {"fwd", BIT(NET_USER), parse_forward},
        {"guestfwd", BIT(NET_USER), parse_forward},
        {"restrict", BIT(NET_USER), parse_restrict},
        {"net", BIT(NET_USER), parse_network},
        {"listen", BIT(NET_SOCKET), parse_role},
        {"connect", BIT(NET_SOCKET), parse_role},
        {"dgram", BIT(NET_SOCKET), parse_role},
        {"peer", BIT(NET_SOCKET), parse_peer},
};

static const char *const backend_names[] = {[NET_USER] = "user", [NET_TAP] = "tap", [NET_SOCKET] = "socket"};

static int parse_option(struct net_spec *s, char *word, struct err *e)
{
	const char *names[ARRAY_SIZE(options)], *near;
	char *value = strchr(word, '=');

	if (!*word)
		return err_usage(e, "empty network option");
	if (value)
		*value++ = 0;
	for (size_t n = 0; n < ARRAY_SIZE(options); n++) {
		const struct option *o = &options[n];

		names[n] = o->name;
		if (strcmp(o->name, word) != 0)
			continue;
		if (!(o->backends & BIT(s->backend)))
			return err_usage(
			        e, "%s: the back end %s has no such option", word, backend_names[s->backend]);
		if (!value && o->parse == parse_restrict)
			return parse_restrict(s, word, "on", e);
		if (!value)
			return err_usage(e, "%s: needs a value: %s=...", word, word);
		return o->parse(s, word, value, e);
	}
	near = suggest(word, names, ARRAY_SIZE(options));
	return err_usage(e, "unknown network option \"%s\"%s%s%s", word, near ? ": did you mean " : "",
	        near ? near : "", near ? "?" : "");
}

/* --- back ends --- */

/* prefix and a number, as vmnet0 and tap3 */
static bool numbered(const char *word, const char *prefix)
{
	size_t len = strlen(prefix), digits = strspn(word + MIN(len, strlen(word)), "0123456789");

	return strncmp(word, prefix, len) == 0 && digits && !word[len + digits];
}

static int take_interface(struct net_spec *s, const char *name, struct err *e)
{
	size_t len = strlen(name);

	s->backend = NET_TAP;
	if (len == 0 || len >= sizeof(s->ifname))
		return err_usage(
		        e, "tap=%s: an interface has a name of 1 to %u characters", name, IFNAMSIZ - 1);
	if (strchr(name, '/') || strchr(name, '%') || strpbrk(name, " \t\n"))
		return err_usage(e, "tap=%s: not the name of an interface", name);
	memcpy(s->ifname, name, len + 1);
	return 0;
}

static bool is_option(const char *word)
{
	size_t len = strcspn(word, "=");

	for (size_t n = 0; n < ARRAY_SIZE(options); n++)
		if (strlen(options[n].name) == len && strncmp(word, options[n].name, len) == 0)
			return true;
	return false;
}

static int unknown_backend(const char *word, struct err *e)
{
	static const char *const names[] = {"user", "tap0", "socket", "vmnet0"};
	const char *near = suggest(word, names, ARRAY_SIZE(names));

	return err_usage(e, "unknown network back end \"%s\"%s%s%s (user, tapN, tap=INTERFACE, socket)", word,
	        near ? ": did you mean " : "", near ? near : "", near ? "?" : "");
}

/* The first word: a back end, or already an option of the default one. *taken: it was a back end. */
static int parse_backend(struct net_spec *s, const char *word, bool *taken, struct err *e)
{
	*taken = true;
	if (!*word || strcmp(word, "user") == 0 || strcmp(word, "vmnet") == 0 || numbered(word, "vmnet"))
		return 0;
	if (numbered(word, "tap"))
		return take_interface(s, word, e);
	if (strncmp(word, "tap=", 4) == 0)
		return take_interface(s, word + 4, e);
	if (strcmp(word, "tap") == 0)
		return err_usage(e, "tap: names no interface: tap0 or tap=INTERFACE");
	if (strcmp(word, "socket") == 0) {
		s->backend = NET_SOCKET;
		return 0;
	}
	*taken = false;
	/* "key=" that nobody knows is more likely a wrong option than a wrong back end */
	return is_option(word) || strchr(word, '=') ? 0 : unknown_backend(word, e);
}

static int check(const struct net_spec *s, struct err *e)
{
	if (s->backend != NET_SOCKET)
		return 0;
	if (s->role == NET_NO_ROLE)
		return err_usage(e, "socket: needs listen=PATH, connect=PATH, or dgram=PATH and peer=PATH");
	if (s->role == NET_DGRAM && !s->peer[0])
		return err_usage(e, "dgram=%s: needs the other side's peer=PATH", s->path);
	if (s->role != NET_DGRAM && s->peer[0])
		return err_usage(e, "peer=%s: only with dgram=", s->peer);
	return 0;
}

static int parse_words(struct net_spec *s, char *rest, struct err *e)
{
	char *word = strsep(&rest, ",");
	bool taken;
	int rc = parse_backend(s, word, &taken, e);

	if (rc == 0 && !taken)
		rc = parse_option(s, word, e);
	while (rc == 0 && (word = strsep(&rest, ",")))
		rc = parse_option(s, word, e);
	return rc < 0 ? rc : check(s, e);
}

int net_parse(struct net_spec *s, const char *config, struct err *e)
{
	char *copy = strdup(config);
	int rc;

	memset(s, 0, sizeof(*s));
	s->net = NET_DEFAULT;
	s->netmask = NETMASK_DEFAULT;
	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	rc = parse_words(s, copy, e);
	free(copy);
	return rc;
}
