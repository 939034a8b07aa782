/*
 * What the guest finds at power-on. Two halves, both fed with plain data and without any knowledge
 * of chips: a kernel by the Linux boot protocol, and the firmware tables (ACPI, MP, SMBIOS) that
 * describe the board.
 *
 * Order of use: boot_linux_load reads and checks every file and decides where everything goes (so
 * that a bad file is refused before anything else exists); boot_tables writes the firmware tables of
 * the finished board; boot_linux_place writes kernel, zero page and page tables and fills the first
 * CPU's state.
 *
 * Guest memory at entry:
 *   0x2000 GDT, 0x3000 zero page, 0x4000 command line (64 KiB at most)
 *   0xf0000 MP table, 0xf1000 SMBIOS, 0xf2400 ACPI RSDP
 *   the kernel where its header wants it, normally 16 MiB
 *   (a Multiboot kernel: information at 0x3000, strings at 0x4000, modules behind the kernel)
 *   initrd as high as the kernel allows; above it page tables; at the top of low RAM, if the board
 *   has ACPI, BOOT_TABLES_SIZE bytes of ACPI tables, the first page of them NVS with the FACS
 */
#pragma once

#include "base/err.h"
#include "base/types.h"
#include "fs/place.h"
#include "mem/mem.h"
#include "x86/state.h"

/* --- the board as plain data; machine.c fills it from what it really built --- */

#define BOARD_MAX_CPUS 255
#define BOARD_MAX_PCI 256
#define BOARD_MAX_LINKS 8
#define BOARD_MAX_COMS 4
#define BOARD_MAX_IO_WINDOWS 4

struct board_range {
	u64 base;
	u64 len; /* 0: absent */
};

/* One function on a PCI bus. Functions that use the same pin of the same slot share gsi and link. */
struct board_pci_fn {
	u8 bus, slot, func;
	u8 pin;  /* INTx: 0 none, 1..4 = A..D */
	u8 gsi;  /* global interrupt of that pin when the IOAPIC is in use */
	u8 link; /* index into links: how that pin reaches the 8259s */
};

/* A PIRQ link: one byte of the LPC bridge's configuration space routes it to an ISA interrupt. */
struct board_link {
	u8 reg;   /* offset in the bridge's configuration space: bit 7 = disabled, bits 3:0 = IRQ */
	u16 irqs; /* mask of ISA interrupts it may be routed to */
};

struct board_com {
	u16 port;
	u8 irq;
};

struct board_info {
	unsigned ncpus; /* APIC ids are 0..ncpus-1, 0 is the boot CPU */
	const struct mem *mem;
	u8 uuid[16]; /* in the order of its text form */

	bool acpi;    /* -A */
	bool mptable; /* no -Y */
	bool x2apic;  /* CPUs start in x2APIC mode */
	bool i8042;   /* there is a keyboard controller (beyond its reset command) */

	u32 lapic_base;
	u32 ioapic_base;
	u8 ioapic_id;
	u8 ioapic_pins;
	u32 hpet_base;     /* 0: none */
	u32 hpet_id;       /* low half of its capabilities register */
	u16 hpet_min_tick; /* smallest period in clock ticks that it can do */

	u8 sci_irq;
	u16 pm1a_evt, pm1a_cnt, pm_tmr; /* I/O ports */
	u16 smi_cmd;                    /* 0: none, ACPI mode is always on */
	u8 acpi_enable, acpi_disable;
	u16 reset_port;
	u8 reset_value;

	bool pci;
	struct board_range ecam; /* base is that of bus 0 */
	u8 bus_first, bus_last;  /* buses that configuration space reaches */
	struct board_range mmio32, mmio64;
	struct board_range io[BOARD_MAX_IO_WINDOWS]; /* ports that the root bridge passes on; len 0 ends */
	struct board_pci_fn fn[BOARD_MAX_PCI];
	unsigned nfn;

	bool lpc;
	u8 lpc_slot, lpc_func; /* on bus 0 */
	struct board_link link[BOARD_MAX_LINKS];
	unsigned nlinks;
	struct board_com com[BOARD_MAX_COMS]; /* port 0: absent, the index still counts (COM1, COM2) */
};

/* --- firmware tables --- */

#define BOOT_MPTABLE_GPA 0xf0000u
#define BOOT_SMBIOS_GPA 0xf1000u
#define BOOT_RSDP_GPA 0xf2400u
#define BOOT_BIOS_END 0x100000u
#define BOOT_TABLES_SIZE (64 * KiB) /* ACPI tables at the top of low RAM */

/* Values are those of the E820 interface (ACPI 6.5, 15.1). */
enum boot_region_type { REGION_RAM = 1, REGION_RESERVED = 2, REGION_ACPI = 3, REGION_NVS = 4 };

struct boot_region {
	u64 gpa, len;
	enum boot_region_type type;
};

struct boot_tables_out {
	u64 rsdp;                     /* 0: no ACPI */
	struct boot_region region[4]; /* parts of RAM that hold tables, below 4 GiB, ascending */
	unsigned nregions;
};

/* Writes the tables that the board asks for. Needs 2 MiB of RAM. */
int boot_tables(struct mem *m, const struct board_info *b, struct boot_tables_out *out, struct err *e);

/* --- Linux --- */

enum boot_unpack {
	BOOT_UNPACK_AUTO,  /* enter the kernel inside a bzImage directly when it can be unpacked here */
	BOOT_UNPACK_NEVER, /* let the kernel unpack itself */
};

#define BOOT_INITRDS_MAX 16

/* Files are those of the host, or IMAGE:/PATH inside an image (boot/file.h). */
struct boot_linux_args {
	const char *kernel;
	const char *initrd; /* NULL for none */
	const char *const
	        *more; /* initrds that follow it, at most BOOT_INITRDS_MAX - 1, then NULL; NULL: none */
	const char *cmdline;
	enum boot_unpack unpack;
	const struct place_lent *lent; /* images that are open already (fs/place.h) */
};

/* --- kernels by the Multiboot specification (version 1) --- */

#define BOOT_MODULES_MAX 64u

struct boot_module_args {
	const char *path;
	const char *args; /* what follows the path in its string; NULL: nothing */
};

struct boot_multiboot_args {
	const char *kernel;
	const char *cmdline;
	const struct boot_module_args *module;
	unsigned nmodules;
	const struct place_lent *lent; /* as with Linux */
};

/* A module that was read to its place. */
struct boot_module {
	u64 gpa, len;
	char *text; /* path and arguments */
};

/* --- images of both kinds --- */

#define BOOT_MAX_SEGMENTS 16

/* Bytes that place copies into RAM; memory behind data up to memsz becomes zero. */
struct boot_segment {
	u64 gpa, memsz;
	const u8 *data;
	u64 filesz;
};

/* What a kernel says about itself, for the user. */
struct boot_facts {
	char version[96]; /* "6.1.0-28-amd64", printable; "" if it does not tell */
	u16 protocol;     /* of a bzImage; 0: an ELF file */
	u64 file_len;
	const char *packed; /* how the kernel inside was packed that is entered; NULL: not unpacked here */
};

/* A kernel that was read, checked and fitted into memory. */
struct boot_image {
	u8 *file;     /* owned: the kernel file */
	u8 *unpacked; /* owned: the ELF kernel inside, or NULL */
	char *cmdline;
	struct boot_segment segment[BOOT_MAX_SEGMENTS];
	unsigned nsegments;
	u64 entry;
	bool entry64;     /* long mode, else flat 32-bit protected mode */
	u8 header[0x290]; /* of the file, as far as it belongs into the zero page: bytes 0x1f1.. */
	u64 initrd;       /* gpa, 0: none */
	u64 initrd_len;
	u64 kernel_end;  /* first byte that the kernel does not need before it knows the memory map */
	u64 page_tables; /* gpa */
	u64 page_tables_len;
	struct boot_facts facts;
	bool multiboot; /* below only then; header, initrd and page tables only else */
	struct boot_module module[BOOT_MODULES_MAX];
	unsigned nmodules;
};

/*
 * Reads, checks and fits everything; the initrd is read straight to its place in RAM. Errors name the
 * file. On success the caller owes boot_linux_free (which also takes a zeroed image).
 */
int boot_linux_load(const struct boot_linux_args *args, struct mem *m, struct boot_image *img, struct err *e);
int boot_linux_place(const struct boot_image *img, struct mem *m, const struct board_info *b,
        const struct boot_tables_out *tables, struct x86_state *bsp, struct err *e);
void boot_linux_free(struct boot_image *img);

/* The same for Multiboot kernels; modules are read straight to their places. */
int boot_multiboot_load(
        const struct boot_multiboot_args *args, struct mem *m, struct boot_image *img, struct err *e);
int boot_multiboot_place(const struct boot_image *img, struct mem *m, const struct board_info *b,
        const struct boot_tables_out *tables, struct x86_state *bsp, struct err *e);
unsigned boot_multiboot_map(const struct mem *m, struct boot_region *map, unsigned max);

/* The map of memory that boot_linux_place has written for the kernel: entries, at most max. */
unsigned boot_linux_map(const struct mem *m, struct boot_region *map, unsigned max);

/* Kernel compressions that this build can unpack, as "gzip xz zstd"; "" if none. */
const char *boot_features(void);

/* --- identity --- */

/* Strict 8-4-4-4-12 hexadecimal: 0 or -EINVAL. */
int parse_uuid(const char *s, u8 uuid[16]);
void format_uuid(const u8 uuid[16], char buf[37]);

/* RFC 9562 version 5 of the machine's name in xhyve's own name space: the same name, the same UUID. */
void uuid_derive(const char *name, u8 uuid[16]);
