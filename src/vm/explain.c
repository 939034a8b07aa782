/*
 * The text of --explain, one paragraph for each kind of fact. Devices are listed in the order in which a
 * Linux guest finds and names them: by bus, slot and function, and by port within a controller.
 */
#include "vm/explain_int.h"

#include "base/log.h"
#include "base/text.h"
#include "boot/boot.h"
#include "net/spec.h"
#include "vm/device_table.h"
#include "vm/identity.h"
#include "vm/machine.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#define MAP_MAX 128

typedef unsigned long long ull;

static void line(struct explain *x, const char *name, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void line(struct explain *x, const char *name, const char *fmt, ...)
{
	va_list ap;

	fprintf(x->out, "%s%-14s", x->now ? "    " : "  ", name);
	va_start(ap, fmt);
	vfprintf(x->out, fmt, ap);
	va_end(ap);
	fputc('\n', x->out);
}

void explain_warn(struct explain *x, const char *fmt, ...)
{
	va_list ap;

	if (x->warnings++ == 0)
		fputs("\nwarnings\n", x->out);
	fputs("  ", x->out);
	va_start(ap, fmt);
	vfprintf(x->out, fmt, ap);
	va_end(ap);
	fputc('\n', x->out);
}

/* 1536M as it is, 20.1G where the exact number would be long. */
static const char *about(u64 bytes, char *buf, size_t len)
{
	static const char unit[] = "BKMGTPE";
	unsigned u = 0;
	u64 whole = bytes;

	while (whole >= 10 * KiB && u < 6) {
		whole /= KiB;
		u++;
	}
	snprintf(buf, len, "%llu%c", (ull)whole, unit[u]);
	return u ? buf : format_size(bytes, buf, len);
}

/* --- the machine --- */

static int show_machine(struct explain *x)
{
	const struct vm_config *c = x->vm->config;
	char text[37], size[32];
	u8 uuid[16];
	int rc = vm_uuid(c, uuid, x->e);

	if (rc < 0)
		return rc;
	format_uuid(uuid, text);
	fputs("machine\n", x->out);
	line(x, "CPUs", "%u, run by %s", c->ncpus, x->vm->accel->name);
	line(x, "memory", "%s", format_size(c->mem, size, sizeof(size)));
	line(x, "UUID", "%s", text);
	line(x, "tables", "%sSMBIOS%s", c->acpi ? "ACPI, " : "", c->no_mptable ? "" : ", MP table");
	return 0;
}

/* --- kernel --- */

/* -f iso, -f disk */
static void show_menu(struct explain *x)
{
	const struct boot_source *s = &x->vm->source;

	if (!boot_source_config(s))
		return;
	fputs("\nboot menu\n", x->out);
	line(x, "found", "%s", boot_source_config(s));
	for (unsigned n = 0; n < boot_source_entries(s); n++) {
		bool starts;
		const char *title = boot_source_entry(s, n, &starts);
		char name[24];

		snprintf(name, sizeof(name), "entry %u%s", n, starts ? " *" : "");
		line(x, name, "%s", title);
	}
	line(x, "", "* starts");
}

static void show_kernel(struct explain *x)
{
	const struct boot_image *img = &x->vm->image;
	const struct boot_facts *f = &img->facts;
	const struct boot_source *s = &x->vm->source;
	char size[32];

	fputs("\nkernel\n", x->out);
	line(x, "file", "%s, %s", s->kernel, about(f->file_len, size, sizeof(size)));
	line(x, "version", "%s", f->version[0] ? f->version : "not told");
	if (f->protocol)
		line(x, "protocol", "Linux boot protocol %u.%02u", f->protocol >> 8, f->protocol & 0xff);
	else
		line(x, "protocol", "%s", img->multiboot ? "Multiboot" : "ELF");
	line(x, "entry", "%s at 0x%llx%s%s", img->entry64 ? "64-bit" : "32-bit", (ull)img->entry,
	        f->packed ? ", unpacked here from " : "", f->packed ? f->packed : "");
	for (unsigned n = 0; n < img->nsegments; n++)
		line(x, n ? "" : "loaded", "0x%09llx-0x%09llx", (ull)img->segment[n].gpa,
		        (ull)(img->segment[n].gpa + img->segment[n].memsz - 1));
	for (unsigned n = 0; s->initrd[n]; n++)
		line(x, n ? "" : "initrd", "%s", s->initrd[n]);
	for (unsigned n = 0; n < img->nmodules; n++)
		line(x, n ? "" : "modules", "%s, %s at 0x%llx", img->module[n].text,
		        about(img->module[n].len, size, sizeof(size)), (ull)img->module[n].gpa);
	if (img->initrd)
		line(x, "", "%s at 0x%llx", about(img->initrd_len, size, sizeof(size)), (ull)img->initrd);
	else
		line(x, "initrd", "none");
	line(x, "command line", "%s", img->cmdline);
}

/* --- memory --- */

static const char *type_name(enum boot_region_type type)
{
	switch (type) {
	case REGION_RAM: return "RAM";
	case REGION_RESERVED: return "reserved";
	case REGION_ACPI: return "ACPI tables";
	case REGION_NVS: return "ACPI memory";
	}
	return "unknown";
}

static void show_memory(struct explain *x)
{
	const struct board_info *b = machine_board(x->vm->machine);
	struct boot_region map[MAP_MAX];
	unsigned n = x->vm->image.multiboot ? boot_multiboot_map(&x->vm->mem, map, MAP_MAX)
	                                    : boot_linux_map(&x->vm->mem, map, MAP_MAX);

	fputs("\nmemory map\n", x->out);
	for (unsigned i = 0; i < n; i++)
		fprintf(x->out, "  0x%010llx-0x%010llx  %s\n", (ull)map[i].gpa,
		        (ull)(map[i].gpa + map[i].len - 1), type_name(map[i].type));
	fprintf(x->out, "  0x%010llx-0x%010llx  registers of PCI devices\n", (ull)b->mmio32.base,
	        (ull)(b->mmio32.base + b->mmio32.len - 1));
	fprintf(x->out, "  0x%010llx-0x%010llx  large registers of PCI devices\n", (ull)b->mmio64.base,
	        (ull)(b->mmio64.base + b->mmio64.len - 1));
}

/* They are shown with their device. */
static bool is_bar(const struct explain *x, const struct region *r)
{
	for (unsigned n = 0; n < x->count; n++)
		for (unsigned i = 0; i < ARRAY_SIZE(x->order[n]->pci->bar); i++)
			if (r == &x->order[n]->pci->bar[i].region)
				return true;
	return false;
}

static void show_regions(struct explain *x, const struct space *s, const char *title, int digits)
{
	fprintf(x->out, "\n%s\n", title);
	for (u32 n = 0; n < s->count; n++) {
		const struct region *r = s->sorted[n];

		if (is_bar(x, r))
			continue;
		fprintf(x->out, "  0x%0*llx-0x%0*llx  %s\n", digits, (ull)r->base, digits,
		        (ull)(r->base + r->len - 1), r->name ? r->name : "");
	}
}

/* --- serial ports --- */

static int add_port(struct explain *x, const char *name, const char *option)
{
	struct explain_port *port = reallocarray(x->port, x->nports + 1, sizeof(*port));

	if (!port)
		return err_errno(x->e, -ENOMEM, "--explain");
	x->port = port;
	snprintf(port[x->nports].name, sizeof(port->name), "%s", name);
	snprintf(port[x->nports++].option, sizeof(port->option), "%s", option);
	return 0;
}

static int show_com(struct explain *x, unsigned n, const struct board_com *com, const char *backend)
{
	char name[8], option[16], tty[EXPLAIN_NAME];

	snprintf(name, sizeof(name), "com%u", n + 1);
	snprintf(option, sizeof(option), "-l %s", name);
	snprintf(tty, sizeof(tty), "ttyS%u", n);
	line(x, name, "%s, port 0x%x, IRQ %u, %s", tty, com->port, com->irq,
	        backend ? backend : "not connected");
	return backend ? add_port(x, tty, option) : 0;
}

static int show_ports(struct explain *x)
{
	const struct board_info *b = machine_board(x->vm->machine);
	const struct vm_config *c = x->vm->config;

	fputs("\nserial ports\n", x->out);
	for (unsigned n = 0; n < CONFIG_LPC_PORTS; n++) {
		int rc = b->com[n].port ? show_com(x, n, &b->com[n], c->com[n]) : 0;

		if (rc < 0)
			return rc;
	}
	if (!b->lpc)
		line(x, "none", "there is no lpc device");
	if (c->bvmcons)
		line(x, "bvmcons", "stdio");
	if (c->bvmdebug_port)
		line(x, "bvmdebug", "TCP port %u of the loopback", c->bvmdebug_port);
	if (c->debugexit_port)
		line(x, "debugexit", "port 0x%x", c->debugexit_port);
	return 0;
}

/* --- devices in slots --- */

#define OPTION_MAX 40

/* The option that makes a device, without what follows its name. Returns buf. */
static const char *slot_option(const struct slot_config *s, char buf[static OPTION_MAX])
{
	if (s->bus)
		snprintf(buf, OPTION_MAX, "-s %u:%u:%u,%s", s->bus, s->slot, s->func, s->type->name);
	else
		snprintf(buf, OPTION_MAX, "-s %u:%u,%s", s->slot, s->func, s->type->name);
	return buf;
}

static void show_bar(struct explain *x, const struct pci_dev *d, unsigned n)
{
	static const char *const kinds[] = {
	        [PCI_BAR_IO] = "I/O", [PCI_BAR_MEM32] = "memory", [PCI_BAR_MEM64] = "memory, 64-bit"};
	const struct pci_bar *bar = &d->bar[n];
	char name[8];

	if (bar->kind == PCI_BAR_NONE)
		return;
	snprintf(name, sizeof(name), "BAR %u", n);
	line(x, name, "0x%llx-0x%llx (%s)", (ull)bar->region.base, (ull)(bar->region.base + bar->size - 1),
	        kinds[bar->kind]);
}

static void show_interrupts(struct explain *x, const struct pci_dev *d)
{
	const struct pci_intx_info i = pci_intx_info(d);
	char text[128] = "";
	size_t n = 0;

	if (d->msix)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "MSI-X with %u vectors", d->msix->count);
	if (d->msi_cap)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%sMSI with %u", n ? ", " : "",
		        1u << (d->cfg[d->msi_cap + 2] >> 1 & 7));
	if (i.pin)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%sINT%c at I/O APIC pin %u", n ? ", " : "",
		        'A' + i.pin - 1, i.gsi);
	if (i.pin && d->cfg[PCI_INTLINE] < 16)
		n += (size_t)snprintf(
		        text + n, sizeof(text) - n, " (without APIC: IRQ %u)", d->cfg[PCI_INTLINE]);
	if (n)
		line(x, "interrupts", "%s", text);
}

/* The kernel's names of block devices: vda ... vdz, vdaa ... */
static void letters(char *name, const char *prefix, unsigned n)
{
	char tail[8];
	size_t at = sizeof(tail);

	tail[--at] = 0;
	for (n++; n; n = (n - 1) / 26)
		tail[--at] = (char)('a' + (n - 1) % 26);
	snprintf(name, EXPLAIN_NAME, "%s%s", prefix, tail + at);
}

static void show_usage(struct explain *x, const struct slot_part *p)
{
	char stored[32], segment[32];
	struct image_geometry g;
	struct image_usage u;
	struct err ignored;

	if (dry_image_state(p->disk) == DRY_NEW) {
		line(x, "image", "%s, will be created", p->image->path);
		return;
	}
	if (image_probe(&g, p->image, &host_io, &ignored) < 0 ||
	        image_usage(&u, p->image, &g, &host_io, NULL, &ignored) < 0)
		return;
	line(x, "image", "%s, %s%s, takes %s%s%s", p->image->path,
	        g.sparse     ? "sparse"
	        : g.is_split ? "split"
	                     : "raw",
	        p->image->ro ? ", read-only" : "", about(u.stored, stored, sizeof(stored)),
	        dry_image_state(p->disk) == DRY_BUSY ? ", in use by another process" : "",
	        u.journal && dry_image_state(p->disk) == DRY_THERE ? ", xhyve was killed" : "");
	if (g.is_split)
		line(x, "segments", "%u of %s", g.nseg, format_size(g.segment, segment, sizeof(segment)));
	if (g.sparse)
		line(x, "allocated", "%llu of %llu sectors", (ull)u.allocated, (ull)g.entries);
}

static int add_disk(struct explain *x, const struct slot_part *p)
{
	struct explain_disk *disk = reallocarray(x->disk, x->ndisks + 1, sizeof(*disk)), *d;

	if (!disk)
		return err_errno(x->e, -ENOMEM, "--explain");
	x->disk = disk;
	d = &disk[x->ndisks++];
	memset(d, 0, sizeof(*d));
	d->kind = p->kind;
	d->block = p->disk;
	d->slot = x->now;
	memcpy(d->path, p->image->path, sizeof(d->path));
	if (p->disk)
		d->state = dry_image_state(p->disk);
	switch (p->kind) {
	case PART_VIRTIO_DISK: letters(d->name, "vd", x->nvirtio++); break;
	case PART_SATA_DISK: letters(d->name, "sd", x->nsata++); break;
	case PART_CD: snprintf(d->name, sizeof(d->name), "sr%u", x->ncds++); break;
	case PART_NET:
	case PART_TTY:
	case PART_HVC: BUG("that is no disk");
	}
	return 0;
}

static int show_disk(struct explain *x, const struct slot_part *p)
{
	char size[32];
	int rc = add_disk(x, p);

	if (rc < 0)
		return rc;
	if (!p->disk) {
		line(x, "guest", "/dev/%s, no disc", x->disk[x->ndisks - 1].name);
		return 0;
	}
	line(x, "guest", "/dev/%s, %s, sectors of %u/%u", x->disk[x->ndisks - 1].name,
	        format_size(block_size(p->disk), size, sizeof(size)),
	        p->kind == PART_CD ? 2048 : p->disk->logical, p->kind == PART_CD ? 2048 : p->disk->physical);
	show_usage(x, p);
	return 0;
}

/* "enp0s3" is what systemd makes of the slot; without it the kernel's own name stays. */
static int show_card(struct explain *x, const struct slot_part *p)
{
	const struct slot_config *s = x->now->config;
	char mac[NET_MAC_TEXT], func[8] = "";

	if (x->now->pci->cfg[PCI_HEADER] & 0x80 || s->func)
		snprintf(func, sizeof(func), "f%u", s->func);
	line(x, "guest", "eth%u, with systemd enp%us%u%s", x->ncards++, s->bus, s->slot, func);
	line(x, "address", "%s", net_format_mac(p->mac, mac));
	return 0;
}

/* A device that may be the kernel's console. */
static int show_console(struct explain *x, const struct slot_part *p, const char *prefix, unsigned n)
{
	char name[EXPLAIN_NAME], option[OPTION_MAX];

	snprintf(name, sizeof(name), "%s%u", prefix, n);
	line(x, "guest", "%s, %s", name, p->backend[0] ? p->backend : "not connected");
	return p->backend[0] ? add_port(x, name, slot_option(x->now->config, option)) : 0;
}

static int show_hvc(struct explain *x, const struct slot_part *p)
{
	if (!p->port)
		return show_console(x, p, "hvc", x->nhvcs++);
	line(x, "guest", "/dev/virtio-ports/%s, %s", p->port, p->backend[0] ? p->backend : "not connected");
	return 0;
}

static int show_part(void *opaque, const struct slot_part *p)
{
	struct explain *x = opaque;

	switch (p->kind) {
	case PART_NET: return show_card(x, p);
	case PART_TTY: /* Linux numbers them behind the two of the board */
		return show_console(x, p, "ttyS", CONFIG_LPC_PORTS + x->nttys++);
	case PART_HVC: return show_hvc(x, p);
	default: return show_disk(x, p);
	}
}

static int show_slot(struct explain *x, struct slot_dev *s)
{
	const struct slot_config *c = s->config;
	const struct pci_dev *d = s->pci;
	char option[OPTION_MAX];

	fprintf(x->out, "  %s%s%s\n", slot_option(c, option), c->config[0] ? "," : "", c->config);
	x->now = s;
	line(x, "PCI", "%04x:%04x, class %02x%02x%02x", get_le16(d->cfg + PCI_VENDOR),
	        get_le16(d->cfg + PCI_DEVICE), d->cfg[PCI_CLASS + 2], d->cfg[PCI_CLASS + 1],
	        d->cfg[PCI_CLASS]);
	if (s->ops->parts) {
		int rc = s->ops->parts(s, show_part, x);

		if (rc < 0)
			return rc;
	}
	for (unsigned n = 0; n < ARRAY_SIZE(d->bar); n++)
		show_bar(x, d, n);
	show_interrupts(x, d);
	x->now = NULL;
	return 0;
}

static int by_address(const void *a, const void *b)
{
	const struct slot_config *l = (*(struct slot_dev *const *)a)->config;
	const struct slot_config *r = (*(struct slot_dev *const *)b)->config;

	return (int)slot_address(l) - (int)slot_address(r);
}

static int show_slots(struct explain *x)
{
	const struct slots *all = machine_slots(x->vm->machine);

	x->count = slots_count(all);
	x->order = calloc(x->count + 1, sizeof(*x->order));
	if (!x->order)
		return err_errno(x->e, -ENOMEM, "--explain");
	for (unsigned n = 0; n < x->count; n++)
		x->order[n] = slots_at(all, n);
	qsort(x->order, x->count, sizeof(*x->order), by_address);
	fputs("\ndevices\n", x->out);
	for (unsigned n = 0; n < x->count; n++) {
		int rc = show_slot(x, x->order[n]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int vm_explain(struct vm *vm, FILE *out, struct err *e)
{
	struct explain x = {.vm = vm, .out = out, .e = e};
	int rc = show_machine(&x);

	if (rc == 0) {
		show_menu(&x);
		show_kernel(&x);
		rc = show_ports(&x);
	}
	if (rc == 0)
		rc = show_slots(&x);
	if (rc == 0) {
		show_memory(&x);
		show_regions(&x, &vm->memory, "chips in memory", 10);
		show_regions(&x, &vm->ports, "chips at I/O ports", 4);
		rc = explain_check(&x);
		if (rc == 0 && !x.warnings)
			fputs("\nno warnings\n", out);
	}
	free(x.order);
	free(x.disk);
	free(x.port);
	if (rc == 0 && (fflush(out) != 0 || ferror(out)))
		rc = err_errno(e, -errno, "cannot write to standard output");
	return rc;
}
