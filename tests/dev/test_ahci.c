/*
 * The SATA controller and its disks: registers, resets, every way to read and write, errors, and drivers
 * that break the rules.
 */
#include "ahci_rig.h"

#define DRDY 0x40
#define OK 0x50
#define ABRT 0x0451
#define IDNF 0x1051
#define UNC 0x4051

static struct sata *disk_up(void)
{
	struct sata *s = sata_make(&(struct sata_opts){0});

	port_up(s, 0);
	return s;
}

/* --- registers and resets --- */

static void identity(void **state)
{
	struct sata *s = sata_make(&(struct sata_opts){.ports = 3});

	assert_int_equal(cfg_rd(&s->r, 0, 4), 0x28218086);
	assert_int_equal(cfg_rd(&s->r, 8, 4) >> 8, 0x010601);
	assert_int_equal(hba_rd(s, 0x00), 0xc1348000 | 31 << 8 | 2);
	assert_int_equal(hba_rd(s, 0x0c), 7);
	assert_int_equal(hba_rd(s, 0x10), 0x10300);
	hba_wr(s, 0x0c, 0);
	hba_wr(s, 0x00, 0);
	assert_int_equal(hba_rd(s, 0x0c), 7);
	assert_int_equal(hba_rd(s, GHC), 0x80000000);
	hba_wr(s, GHC, 0);
	assert_int_equal(hba_rd(s, GHC), 0x80000000);
	for (unsigned p = 0; p < 3; p++) {
		assert_int_equal(px(s, p, PXSSTS), 0x133);
		assert_int_equal(px(s, p, PXSIG), 0x101);
		assert_int_equal(px(s, p, PXTFD), 0x150);
		assert_int_equal(px(s, p, PXCMD) & ~6u, 0);
	}
	assert_int_equal(px(s, 3, PXSSTS), 0); /* no such port */
	sata_free(s);
}

static void signature(void **state)
{
	struct sata *s = sata_make(&(struct sata_opts){.ports = 2, .cd = {false, true}});
	static const u8 disk[] = {0x34, 0, 0x50, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0};
	static const u8 cd[] = {0x34, 0, 0x00, 1, 1, 0x14, 0xeb, 0, 0, 0, 0, 0, 1, 0};

	assert_int_equal(px(s, 1, PXSIG), 0xeb140101);
	assert_int_equal(px(s, 1, PXTFD), 0x100);
	port_up(s, 0);
	port_up(s, 1);
	assert_memory_equal(at(s, FIS_AT(0) + 0x40), disk, sizeof(disk));
	assert_memory_equal(at(s, FIS_AT(1) + 0x40), cd, sizeof(cd));
	sata_free(s);
}

static void link_reset(void **state)
{
	struct sata *s = disk_up();

	set_px(s, 0, PXCMD, FRE);
	memset(at(s, FIS_AT(0)), 0, 256);
	set_px(s, 0, PXSCTL, 0x301);
	assert_int_equal(px(s, 0, PXSSTS), 0);
	assert_int_equal(px(s, 0, PXTFD) & 0xff, 0x7f);
	set_px(s, 0, PXSCTL, 0x300);
	assert_int_equal(px(s, 0, PXSSTS), 0x133);
	assert_int_equal(px(s, 0, PXTFD), 0x150);
	assert_int_equal(at(s, FIS_AT(0) + 0x40)[0], 0x34);
	assert_true(px(s, 0, PXSERR) & BIT(26));
	assert_true(px(s, 0, PXIS) & PCS);
	set_px(s, 0, PXIS, ~0u);
	assert_true(px(s, 0, PXIS) & PCS); /* it is PxSERR's bit */
	set_px(s, 0, PXSERR, BIT(26));
	assert_false(px(s, 0, PXIS) & PCS);
	set_px(s, 0, PXSCTL, 0x311); /* 1.5 Gb/s at most */
	set_px(s, 0, PXSCTL, 0x310);
	assert_int_equal(px(s, 0, PXSSTS), 0x113);
	set_px(s, 0, PXSCTL, 0x304);
	assert_int_equal(px(s, 0, PXSSTS), 4);
	set_px(s, 0, PXSCTL, 0x300);
	port_recover(s, 0);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xe7}), OK);
	sata_free(s);
}

static void hba_reset(void **state)
{
	struct sata *s = disk_up();

	assert_int_equal(run(s, 0, &(struct want){.command = 0xe7}), OK);
	assert_true(s->r.line);
	hba_wr(s, GHC, 1);
	assert_int_equal(hba_rd(s, GHC), 0x80000000);
	assert_false(s->r.line);
	assert_int_equal(hba_rd(s, GIS), 0);
	assert_int_equal(px(s, 0, PXIE), 0);
	assert_int_equal(px(s, 0, PXIS), 0);
	assert_int_equal(px(s, 0, PXCMD) & ~6u, 0);
	port_up(s, 0);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xe7}), OK);
	sata_free(s);
}

static void software_reset(void **state)
{
	struct sata *s = disk_up();

	prepare(s, 0, 0, &(struct want){.control = 4});
	set_px(s, 0, PXCI, 1);
	assert_int_equal(px(s, 0, PXCI), 0);
	assert_int_equal(px(s, 0, PXTFD) & 0x80, 0x80);
	memset(at(s, FIS_AT(0)), 0, 256);
	prepare(s, 0, 0, &(struct want){.control = 0});
	set_px(s, 0, PXCI, 1);
	assert_int_equal(px(s, 0, PXTFD), 0x150);
	assert_int_equal(at(s, FIS_AT(0) + 0x40)[0], 0x34);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xe7}), OK);
	sata_free(s);
}

static void interrupts(void **state)
{
	struct sata *s = disk_up();

	assert_false(s->r.line);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xe7}), OK);
	assert_true(s->r.line);
	assert_int_equal(hba_rd(s, GIS), 1);
	hba_wr(s, GIS, 1); /* the port still has it */
	assert_true(s->r.line);
	set_px(s, 0, PXIS, DHRS);
	assert_true(s->r.line);
	hba_wr(s, GIS, 1);
	assert_false(s->r.line);
	hba_wr(s, GHC, 0);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xe7}), OK);
	assert_false(s->r.line);
	hba_wr(s, GHC, 2);
	assert_true(s->r.line);
	sata_free(s);

	s = sata_make(&(struct sata_opts){.ports = 2, .irq = IRQ_MSI});
	port_up(s, 0);
	port_up(s, 1);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xe7}), OK);
	assert_int_equal(rig_msis(&s->r, 0), 1);
	assert_int_equal(run(s, 1, &(struct want){.command = 0xe7}), OK);
	assert_int_equal(rig_msis(&s->r, 0), 1); /* IS was not zero */
	set_px(s, 0, PXIS, ~0u);
	hba_wr(s, GIS, 1); /* the other one is still there: one more message */
	assert_int_equal(rig_msis(&s->r, 0), 2);
	set_px(s, 1, PXIS, ~0u);
	hba_wr(s, GIS, 2);
	assert_int_equal(rig_msis(&s->r, 0), 2);
	assert_int_equal(run(s, 1, &(struct want){.command = 0xe7}), OK);
	assert_int_equal(rig_msis(&s->r, 0), 3);
	assert_int_equal(s->r.rises, 0);
	sata_free(s);
}

/* --- what a disk says --- */

static void identify(void **state)
{
	struct sata *s = disk_up();
	const u8 *id = at(s, BUF);
	u8 sum = 0;

	assert_int_equal(run(s, 0, &(struct want){.command = 0xec, .len = 512}), OK);
	assert_int_equal(prdbc(s, 0, 0), 512);
	assert_true(px(s, 0, PXIS) & PSS);
	assert_int_equal(at(s, FIS_AT(0) + 0x20)[0], 0x5f);
	assert_int_equal(at(s, FIS_AT(0) + 0x20)[1], 0x60);
	assert_int_equal(at(s, FIS_AT(0) + 0x20)[15], 0x50);
	assert_int_equal(get_le16(at(s, FIS_AT(0) + 0x20) + 16), 512);
	for (unsigned n = 0; n < 512; n++)
		sum = (u8)(sum + id[n]);
	assert_int_equal(sum, 0);
	assert_memory_equal(id + 54, "HXVY EASATD SI K", 16);
	assert_memory_equal(id + 20, "HX1-32547698-0BADCFE", 20);
	assert_int_equal(get_le32(id + 120), SECTORS);
	assert_int_equal(get_le64(id + 200), SECTORS);
	assert_int_equal(get_le16(id + 150), 31);
	assert_int_equal(get_le16(id + 212), 0x6003); /* 8 logical sectors in a physical one */
	assert_int_equal(get_le16(id + 338), 1);
	sata_free(s);

	s = sata_make(&(struct sata_opts){.logical = 4096, .ro = true});
	port_up(s, 0);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xec, .len = 512}), OK);
	id = at(s, BUF);
	assert_int_equal(get_le16(id + 212), 0x5000);
	assert_int_equal(get_le32(id + 234), 2048); /* words */
	assert_int_equal(get_le64(id + 200), SECTORS / 8);
	assert_int_equal(get_le16(id + 338), 0);
	sata_free(s);
}

static u16 smart(struct sata *s, u8 what, u8 log)
{
	return run_and_recover(s, 0,
	        &(struct want){.command = 0xb0,
	                .features = what,
	                .count = 1,
	                .lba = 0xc24f00 | log,
	                .len = what < 0xd2 || what == 0xd5 ? 512 : 0});
}

static void smart_commands(void **state)
{
	struct sata *s = disk_up();

	assert_int_equal(smart(s, 0xda, 0), OK);
	assert_int_equal(get_le16(at(s, FIS_AT(0) + 0x45)), 0xc24f); /* in its place: all is well */
	assert_int_equal(smart(s, 0xd0, 0), OK);
	assert_int_equal(smart(s, 0xd1, 0), OK);
	assert_int_equal(smart(s, 0xd5, 0), OK); /* directory: one summary of errors */
	assert_int_equal(get_le16(at(s, BUF)), 1);
	assert_int_equal(at(s, BUF)[2], 1);
	assert_int_equal(smart(s, 0xd5, 1), OK);
	assert_int_equal(get_le16(at(s, BUF) + 452), 0); /* none */
	assert_int_equal(smart(s, 0xd5, 2), ABRT);
	assert_int_equal(smart(s, 0xd9, 0), OK);
	assert_int_equal(smart(s, 0xd0, 0), ABRT);
	assert_int_equal(smart(s, 0xd8, 0), OK);
	assert_int_equal(smart(s, 0xd0, 0), OK);
	assert_int_equal(smart(s, 0xd4, 0), ABRT);
	assert_int_equal(
	        run_and_recover(s, 0, &(struct want){.command = 0xb0, .features = 0xda, .lba = 1}), ABRT);
	sata_free(s);
}

static u16 set_features(struct sata *s, u8 what, u8 count)
{
	return run_and_recover(s, 0, &(struct want){.command = 0xef, .features = what, .count = count});
}

static u16 word(struct sata *s, unsigned n)
{
	assert_int_equal(run(s, 0, &(struct want){.command = 0xec, .len = 512}), OK);
	return get_le16(at(s, BUF) + 2 * n);
}

static void settings(void **state)
{
	struct sata *s = disk_up();

	assert_int_equal(set_features(s, 3, 0x42), OK);
	assert_int_equal(word(s, 88), 0x047f);
	assert_int_equal(set_features(s, 3, 0x22), OK);
	assert_int_equal(word(s, 63), 0x0407);
	assert_int_equal(set_features(s, 3, 0x47), ABRT);
	assert_int_equal(set_features(s, 0x77, 0), ABRT);
	assert_int_equal(set_features(s, 0x55, 0), OK);
	assert_int_equal(word(s, 85) & 0x40, 0);
	assert_int_equal(set_features(s, 0xaa, 0), OK);
	assert_int_equal(word(s, 85) & 0x40, 0x40);
	assert_int_equal(run_and_recover(s, 0, &(struct want){.command = 0xc6, .count = 3}), ABRT);
	assert_int_equal(
	        run_and_recover(s, 0, &(struct want){.command = 0xc4, .count = 1, .len = 512}), ABRT);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xc6, .count = 16}), OK);
	assert_int_equal(word(s, 59), 0x110);
	assert_int_equal(
	        run(s, 0, &(struct want){.command = 0xc4, .device = 0x40, .count = 1, .len = 512}), OK);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xe5}), OK);
	assert_int_equal(at(s, FIS_AT(0) + 0x4c)[0], 0xff);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xe0}), OK);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xe5}), OK);
	assert_int_equal(at(s, FIS_AT(0) + 0x4c)[0], 0);
	sata_free(s);
}

/* --- reading and writing --- */

static const struct way {
	u8 read, write;
	bool wide, queued;
} ways[] = {
        {0x20, 0x30, false, false},                                                        /* PIO */
        {0x21, 0x31, false, false}, {0x24, 0x34, true, false}, {0xc8, 0xca, false, false}, /* DMA */
        {0x25, 0x35, true, false}, {0x25, 0x3d, true, false},                              /* FUA */
        {0xc4, 0xc5, false, false},                                                        /* MULTIPLE */
        {0x29, 0x39, true, false}, {0x29, 0xce, true, false}, {0x60, 0x61, true, true},    /* NCQ */
};

static struct want transfer(const struct way *w, bool write, u64 lba, u16 sectors, u32 size)
{
	struct want t = {.command = write ? w->write : w->read,
	        .device = 0x40,
	        .lba = lba,
	        .count = w->queued ? 0 : sectors,
	        .features = w->queued ? sectors : 0,
	        .len = sectors * size};

	if (!w->wide) {
		t.lba = lba & 0xffffff;
		t.device |= (u8)(lba >> 24 & 0xf);
	}
	return t;
}

static void read_and_write(void **state)
{
	for (unsigned n = 0; n < 2 * ARRAY_SIZE(ways); n++) {
		const struct way *w = &ways[n / 2];
		u32 size = n & 1 ? 4096 : 512, sectors = n & 1 ? 2 : 6;
		struct sata *s = sata_make(&(struct sata_opts){.logical = size});
		struct want t = transfer(w, false, 3, (u16)sectors, size);

		port_up(s, 0);
		assert_int_equal(run(s, 0, &(struct want){.command = 0xc6, .count = 8}), OK);
		assert_int_equal(run(s, 0, &t), OK);
		assert_memory_equal(at(s, BUF), s->disk[0].data + 3 * size, sectors * size);
		assert_filled(s, BUF + sectors * size, 512, CANARY);
		if (!w->queued)
			assert_int_equal(prdbc(s, 0, 0), sectors * size);
		memset(at(s, BUF), 0x77, sectors * size);
		t = transfer(w, true, SECTORS * 512 / size - sectors, (u16)sectors, size);
		assert_int_equal(run(s, 0, &t), OK);
		assert_memory_equal(
		        s->disk[0].data + SECTORS * 512 - sectors * size, at(s, BUF), sectors * size);
		t = transfer(w, false, SECTORS * 512 / size - 1, 2, size);
		assert_int_equal(run_and_recover(s, 0, &t), IDNF);
		sata_free(s);
	}
}

/* READ VERIFY reads, and leaves the guest's memory alone. */
static void verify(void **state)
{
	static const u8 commands[] = {0x40, 0x41, 0x42};
	struct sata *s = sata_make(&(struct sata_opts){.large = true});

	port_up(s, 0);
	for (unsigned n = 0; n < ARRAY_SIZE(commands); n++) {
		struct want w = {.command = commands[n], .device = 0x40, .lba = 10, .count = 100};

		s->disk[0].reads = 0;
		assert_int_equal(run(s, 0, &w), OK);
		assert_int_equal(s->disk[0].reads, 2); /* of at most 32 KiB */
		w.lba = SECTORS * 2 - 99;
		assert_int_equal(run_and_recover(s, 0, &w), IDNF);
		w.lba = 10;
		s->disk[0].fail = -EIO;
		assert_int_equal(run_and_recover(s, 0, &w), UNC);
		s->disk[0].fail = 0;
	}
	assert_filled(s, BUF, 512, CANARY);
	sata_free(s);
}

/* Cylinder, head and sector of the default geometry: 16 heads of 63 sectors. */
static void chs(void **state)
{
	struct sata *s = disk_up();

	assert_int_equal(run(s, 0, &(struct want){.command = 0xc8, .lba = 5, .count = 1, .len = 512}), OK);
	assert_memory_equal(at(s, BUF), s->disk[0].data + 4 * 512, 512);
	assert_int_equal(
	        run(s, 0, &(struct want){.command = 0xc8, .lba = 1, .device = 1, .count = 1, .len = 512}),
	        OK);
	assert_memory_equal(at(s, BUF), s->disk[0].data + 63 * 512, 512);
	assert_int_equal(
	        run_and_recover(
	                s, 0, &(struct want){.command = 0xc8, .lba = 0, .device = 1, .count = 1, .len = 512}),
	        IDNF);
	sata_free(s);
}

/* Buffers in pieces of any even size, anywhere. */
static void split_buffers(void **state)
{
	static const u32 sizes[][4] = {{2, 510, 512, 2048}, {512, 512, 512, 1536}, {2, 2, 2, 3066},
	        {1022, 1026, 1022, 2}, {3070, 2, 0, 0}};
	struct sata *s = disk_up();

	for (unsigned n = 0; n < ARRAY_SIZE(sizes) * ARRAY_SIZE(ways); n++) {
		struct want t = transfer(&ways[n % ARRAY_SIZE(ways)], false, n % 50, 6, 512);
		struct prd prds[4];
		u32 done = 0;

		t.nprds = 0;
		for (unsigned i = 0; i < 4 && sizes[n / ARRAY_SIZE(ways)][i]; i++)
			prds[t.nprds++] =
			        (struct prd){BUF + 0x8000 - 0x1ffe * i, sizes[n / ARRAY_SIZE(ways)][i]};
		t.prds = prds;
		memset(at(s, BUF), CANARY, 0x10000);
		assert_int_equal(run(s, 0, &(struct want){.command = 0xc6, .count = 8}), OK);
		assert_int_equal(run(s, 0, &t), OK);
		for (unsigned i = 0; i < t.nprds; done += prds[i++].len) {
			assert_memory_equal(
			        at(s, prds[i].addr), s->disk[0].data + n % 50 * 512 + done, prds[i].len);
			assert_filled(s, prds[i].addr + prds[i].len, 16, CANARY);
			assert_filled(s, prds[i].addr - 16, 16, CANARY);
		}
		assert_int_equal(done, 3072);
	}
	sata_free(s);
}

/* A request of many tiny pieces; bit 0 of address and count is not there. */
static void tiny_pieces(void **state)
{
	struct sata *s = disk_up();
	struct prd prds[PRDS_MAX];
	struct want t = transfer(&ways[4], false, 0, 1, 512);

	for (unsigned n = 0; n < PRDS_MAX; n++)
		prds[n] = (struct prd){BUF + 4 * n + 1, n < 8 ? 0 : n < 247 ? 2 : 0x10000};
	t.prds = prds;
	t.nprds = PRDS_MAX;
	assert_int_equal(run(s, 0, &t), OK);
	for (unsigned n = 0; n < 247; n++) {
		assert_memory_equal(at(s, BUF + 4 * n), s->disk[0].data + 2 * n, 2);
		assert_filled(s, BUF + 4 * n + 2, 2, CANARY);
	}
	sata_free(s);
}

/* CVE-2014-9718: descriptors that have less than a sector, or nothing. */
static void short_buffers(void **state)
{
	struct sata *s = disk_up();
	static const u32 lens[] = {0, 2, 510, 512, 1022};

	for (unsigned n = 0; n < ARRAY_SIZE(lens) * ARRAY_SIZE(ways); n++) {
		const struct way *w = &ways[n % ARRAY_SIZE(ways)];
		const struct prd prd = {BUF, lens[n / ARRAY_SIZE(ways)]};

		for (unsigned write = 0; write < 2; write++) {
			struct want t = transfer(w, write, 1, 2, 512);

			t.prds = &prd;
			t.nprds = n % 2;
			assert_int_equal(run(s, 0, &(struct want){.command = 0xc6, .count = 8}), OK);
			assert_int_equal(run(s, 0, &t), ABRT);
			assert_true(px(s, 0, PXIS) & OFS);
			port_recover(s, 0);
		}
	}
	assert_filled(s, BUF, 2048, CANARY);
	assert_int_equal(s->disk[0].writes, 0);
	sata_free(s);
}

/* --- where addresses must not lead --- */

/* The DMA re-entrancy family: nothing but RAM is reached, each pointer is tried. */
static void own_registers(void **state)
{
	struct sata *s = disk_up();
	const u64 bad[] = {
	        s->r.bar, s->r.bar + 0x100, ECAM, RAM_SIZE - 256, RAM_SIZE, ~0ull - 1023, 0xa0000000};

	for (unsigned n = 0; n < 2 * ARRAY_SIZE(bad); n++) {
		struct want t = transfer(&ways[n & 1 ? 9 : 4], n & 2, 0, 2, 512);
		const struct prd prds[] = {{BUF, 512}, {bad[n / 2], 512}};

		t.prds = prds;
		t.nprds = 2;
		run(s, 0, &t);
		assert_true(px(s, 0, PXIS) & HBFS);
		port_recover(s, 0);
		prepare(s, 0, 0, &(struct want){.command = 0xe7});
		put_le64(at(s, LIST_AT(0) + 8), bad[n / 2] | 128); /* the table */
		set_px(s, 0, PXCI, 1);
		if (n / 2 != 3) {
			assert_true(px(s, 0, PXIS) & HBFS);
			port_recover(s, 0);
		}
		set_px(s, 0, PXCMD, FRE);
		set_px(s, 0, 0x00, (u32)bad[n / 2]); /* the list */
		set_px(s, 0, 0x04, (u32)(bad[n / 2] >> 32));
		set_px(s, 0, PXCMD, FRE | ST);
		set_px(s, 0, PXCI, BIT(31));
		set_px(s, 0, PXCMD, 0);
		port_up(s, 0);
		set_px(s, 0, 0x04, 0);
		set_px(s, 0, 0x08, (u32)bad[n / 2]); /* received FISes */
		set_px(s, 0, 0x0c, (u32)(bad[n / 2] >> 32));
		run(s, 0, &(struct want){.command = 0xe7});
		set_px(s, 0, 0x0c, 0);
		port_up(s, 0);
		port_recover(s, 0);
		assert_int_equal(run(s, 0, &(struct want){.command = 0xe7}), OK);
	}
	sata_free(s);
}

static void not_a_command(void **state)
{
	struct sata *s = disk_up();

	prepare(s, 0, 0, &(struct want){.command = 0xe7});
	at(s, TABLE_AT(0, 0))[0] = 0x46; /* a data FIS */
	set_px(s, 0, PXCI, 1);
	assert_true(px(s, 0, PXIS) & IFS);
	assert_int_equal(px(s, 0, PXCI), 1);
	port_recover(s, 0);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xe7}), OK);
	sata_free(s);
}

/* --- errors --- */

static void errors(void **state)
{
	struct sata *s = disk_up();

	for (unsigned n = 0; n < ARRAY_SIZE(ways); n++) {
		struct want t = transfer(&ways[n], n & 1, 9, 1, 512);

		assert_int_equal(run(s, 0, &(struct want){.command = 0xc6, .count = 8}), OK);
		s->disk[0].fail = -EIO;
		assert_int_equal(run(s, 0, &t), UNC);
		assert_true(px(s, 0, PXIS) & TFES);
		if (!ways[n].queued) {
			assert_int_equal(px(s, 0, PXCI), 1); /* it stays there (6.2.2.1) */
			assert_int_equal(at(s, FIS_AT(0) + 0x42)[0], 0x51);
			assert_int_equal(at(s, FIS_AT(0) + 0x42)[1], 0x40);
		} else {
			assert_int_equal(px(s, 0, PXSACT), 1);
			assert_int_equal(at(s, FIS_AT(0) + 0x5a)[0], 0x51);
		}
		s->disk[0].fail = 0;
		prepare(s, 0, 1, &t);
		set_px(s, 0, PXCI, 2); /* nothing happens before a restart */
		assert_true(px(s, 0, PXCI) & 2);
		port_recover(s, 0);
		assert_int_equal(run(s, 0, &t), OK);
	}
	sata_free(s);

	s = sata_make(&(struct sata_opts){.ro = true});
	port_up(s, 0);
	for (unsigned n = 0; n < ARRAY_SIZE(ways); n++) {
		struct want t = transfer(&ways[n], true, 9, 1, 512);

		assert_int_equal(run_and_recover(s, 0, &t), ABRT);
	}
	assert_int_equal(s->disk[0].writes, 0);
	sata_free(s);
}

/* --- flush, cache, FUA --- */

static void durability(void **state)
{
	struct sata *s = disk_up();
	struct disk *d = &s->disk[0];
	struct want t = transfer(&ways[4], true, 0, 1, 512);

	assert_int_equal(run(s, 0, &(struct want){.command = 0xea}), OK);
	assert_int_equal(d->flushes, 1);
	assert_int_equal(run(s, 0, &t), OK);
	assert_int_equal(d->flushes, 1);
	t = transfer(&ways[5], true, 0, 1, 512);
	assert_int_equal(run(s, 0, &t), OK);
	assert_int_equal(d->flushes, 2);
	t = transfer(&ways[9], true, 0, 1, 512);
	t.device |= 0x80;
	assert_int_equal(run(s, 0, &t), OK);
	assert_int_equal(d->flushes, 3);
	assert_int_equal(set_features(s, 0x82, 0), OK);
	assert_int_equal(word(s, 85) & 0x20, 0);
	t = transfer(&ways[0], true, 0, 1, 512);
	assert_int_equal(run(s, 0, &t), OK);
	assert_int_equal(d->flushes, 4);
	assert_int_equal(set_features(s, 0x02, 0), OK);
	assert_int_equal(run(s, 0, &t), OK);
	assert_int_equal(d->flushes, 4);
	d->fail = -EIO;
	assert_int_equal(run_and_recover(s, 0, &(struct want){.command = 0xe7}), UNC);
	sata_free(s);
}

/* --- TRIM --- */

static u16 trim(struct sata *s, const u64 *ranges, unsigned n, u16 blocks)
{
	memset(at(s, BUF), 0, 0x2000);
	memcpy(at(s, BUF), ranges, n * sizeof(*ranges));
	return run_and_recover(
	        s, 0, &(struct want){.command = 0x06, .features = 1, .count = blocks, .len = 512u * blocks});
}

#define RANGE(lba, n) ((lba) | (u64)(n) << 48)

static void discards(void **state)
{
	struct sata *s = disk_up();
	struct disk *d = &s->disk[0];
	u64 ranges[64];

	assert_int_equal(trim(s, (u64[]){RANGE(8ull, 8), 0, RANGE(40ull, 1)}, 3, 1), OK);
	assert_int_equal(d->discards, 2);
	assert_int_equal(d->data[8 * 512], 0);
	assert_int_equal(d->data[40 * 512 + 511], 0);
	assert_int_equal(d->data[41 * 512], (u8)(41 * 7 + 41 * 512));
	for (unsigned n = 0; n < 64; n++)
		ranges[n] = RANGE((u64)n, 1);
	assert_int_equal(trim(s, ranges, 64, 8), OK);
	assert_int_equal(d->discards, 66);
	/* nothing is done when one range is wrong */
	assert_int_equal(trim(s, (u64[]){RANGE(0ull, 8), RANGE(SECTORS - 1ull, 2)}, 2, 1), IDNF);
	assert_int_equal(trim(s, (u64[]){RANGE(0xffffffffffffull, 0xffff)}, 1, 1), IDNF);
	assert_int_equal(trim(s, ranges, 0, 9), ABRT); /* more blocks than word 105 */
	assert_int_equal(trim(s, ranges, 0, 0), ABRT);
	assert_int_equal(
	        run_and_recover(s, 0, &(struct want){.command = 0x06, .count = 1, .len = 512}), ABRT);
	assert_int_equal(
	        run_and_recover(s, 0, &(struct want){.command = 0x06, .features = 1, .count = 8, .len = 512}),
	        ABRT);
	assert_int_equal(d->discards, 66);
	sata_free(s);

	for (unsigned ro = 0; ro < 2; ro++) {
		s = sata_make(&(struct sata_opts){.ro = ro, .no_discard = !ro});
		port_up(s, 0);
		assert_int_equal(word(s, 169), 0);
		assert_int_equal(trim(s, ranges, 1, 1), ABRT);
		sata_free(s);
	}
}

/* --- many at a time --- */

static void queue_slots(struct sata *s, unsigned p, bool write, unsigned slots)
{
	u32 mask = (u32)(BIT64(slots) - 1);

	for (unsigned n = 0; n < slots; n++) {
		struct want t = transfer(&ways[9], write, n, 1, 512);
		const struct prd prd = {BUF + 512 * n, 512};

		t.prds = &prd;
		t.nprds = 1;
		t.count = (u16)(n << 3);
		prepare(s, p, n, &t);
	}
	set_px(s, p, PXSACT, mask);
	set_px(s, p, PXCI, mask);
}

static void queued(void **state)
{
	struct sata *s = disk_up();

	gate(&s->disk[0], true);
	queue_slots(s, 0, false, 32);
	assert_int_equal(px(s, 0, PXCI), 0); /* the drive has taken them */
	assert_int_equal(px(s, 0, PXSACT), ~0u);
	wait_at_gate(&s->disk[0], 16);
	assert_int_equal(px(s, 0, PXSACT), ~0u);
	gate(&s->disk[0], false);
	wait_for(s, 0, ~0u);
	assert_memory_equal(at(s, BUF), s->disk[0].data, 32 * 512);
	assert_true(px(s, 0, PXIS) & SDBS);
	assert_int_equal(at(s, FIS_AT(0) + 0x58)[0], 0xa1);
	sata_free(s);
}

/* A command that is not queued waits for those that are. */
static void mixed(void **state)
{
	struct sata *s = disk_up();
	struct want t = transfer(&ways[9], false, 0, 1, 512);

	gate(&s->disk[0], true);
	prepare(s, 0, 0, &t);
	set_px(s, 0, PXSACT, 1);
	set_px(s, 0, PXCI, 1);
	prepare(s, 0, 1, &(struct want){.command = 0xec, .len = 512});
	set_px(s, 0, PXCI, 2);
	assert_int_equal(px(s, 0, PXCI), 2);
	gate(&s->disk[0], false);
	wait_for(s, 0, 3);
	assert_int_equal(px(s, 0, PXTFD), OK);
	sata_free(s);
}

static void queued_error(void **state)
{
	struct sata *s = disk_up();
	struct want t = transfer(&ways[9], false, SECTORS - 1, 2, 512);
	struct want log = {.command = 0x2f, .lba = 0x10, .count = 1, .len = 512};

	t.count = 7 << 3;
	prepare(s, 0, 7, &t);
	set_px(s, 0, PXSACT, BIT(7));
	set_px(s, 0, PXCI, BIT(7));
	assert_true(wait_for(s, 0, BIT(7)) & TFES);
	assert_int_equal(px(s, 0, PXSACT), BIT(7));
	port_recover(s, 0);
	for (unsigned dma = 0; dma < 2; dma++) {
		log.command = dma ? 0x47 : 0x2f;
		assert_int_equal(run(s, 0, &log), OK);
		if (dma) { /* it was read */
			assert_int_equal(at(s, BUF)[0], 0x80);
			continue;
		}
		assert_int_equal(at(s, BUF)[0], 7);
		assert_int_equal(at(s, BUF)[2], 0x51);
		assert_int_equal(at(s, BUF)[3], 0x10);
		assert_int_equal(at(s, BUF)[4], SECTORS - 1);
	}
	log.lba = 0;
	assert_int_equal(run(s, 0, &log), OK);
	assert_int_equal(get_le16(at(s, BUF)), 1);
	assert_int_equal(get_le16(at(s, BUF) + 0x20), 1);
	log.lba = 0x11;
	assert_int_equal(run_and_recover(s, 0, &log), ABRT);
	sata_free(s);
}

/* --- stopping what is in flight --- */

enum stop { STOP_ST, STOP_LINK, STOP_HBA, STOP_SRST, STOP_BOARD, STOP_DESTROY, STOPS };

struct stopper {
	struct sata *s;
	enum stop how;
};

static void *stop_it(void *opaque)
{
	struct stopper *t = opaque;
	struct sata *s = t->s;

	switch (t->how) {
	case STOP_ST: set_px(s, 0, PXCMD, FRE); break;
	case STOP_LINK: set_px(s, 0, PXSCTL, 0x301); break;
	case STOP_HBA: hba_wr(s, GHC, 1); break;
	case STOP_SRST:
		prepare(s, 0, 31, &(struct want){.control = 4});
		set_px(s, 0, PXCI, BIT(31));
		break;
	case STOP_BOARD: ahci_reset(s->h); break;
	default:
		ahci_destroy(s->h);
		s->h = NULL;
		break;
	}
	return NULL;
}

/* The buffers are the guest's again once the port has stopped; port 1 goes on all the time. */
static void stopped(void **state)
{
	for (unsigned how = 0; how < STOPS; how++) {
		struct sata *s = sata_make(&(struct sata_opts){.ports = 2});
		struct stopper t = {s, how};
		pthread_t thread;

		port_up(s, 0);
		port_up(s, 1);
		gate(&s->disk[0], true);
		queue_slots(s, 0, how & 1, how == STOP_SRST ? 31 : 32);
		wait_at_gate(&s->disk[0], 16);
		assert_int_equal(pthread_create(&thread, NULL, stop_it, &t), 0);
		if (how < STOP_HBA)
			assert_int_equal(run(s, 1, &(struct want){.command = 0xec, .len = 512}), OK);
		gate(&s->disk[0], false);
		pthread_join(thread, NULL);
		if (how == STOP_SRST) /* it comes after them */
			assert_false(wait_for(s, 0, ~0u) & TROUBLE);
		assert_int_equal(count(&s->disk[0], &s->disk[0].at_gate), 0);
		if (s->h) {
			assert_int_equal(px(s, 0, PXCI), 0);
			assert_int_equal(px(s, 0, PXSACT), 0);
			set_px(s, 0, PXSCTL, 0x300);
			port_up(s, 0);
			assert_int_equal(run_and_recover(s, 0, &(struct want){.command = 0xe7}), OK);
		}
		sata_free(s);
	}
}

/* --- whatever a driver does --- */

/* CVE-2015-6855 and its family: every command to every kind of drive; then it still works. */
static void every_command(void **state)
{
	const struct sata_opts o = {.ports = 3, .cd = {false, true, true}, .empty = {false, false, true}};
	struct sata *s = sata_make(&o);

	for (unsigned p = 0; p < 3; p++) {
		port_up(s, p);
		for (unsigned n = 1; n < 4 * 256; n++) {
			struct want w = {.command = (u8)n,
			        .features = n & 256 ? 0xffff : 1,
			        .count = n & 256 ? 0xffff : 1,
			        .lba = n & 256 ? ~0ull : 0,
			        .device = 0x40,
			        .len = n & 512 ? 0x20000 : 512};

			if (w.command)
				run_and_recover(s, p, &w);
		}
		assert_int_equal(
		        run_and_recover(s, p, &(struct want){.command = p ? 0xa1 : 0xec, .len = 512}) & 0xff,
		        p ? DRDY : OK);
	}
	sata_free(s);
}

static void register_sweep(void **state)
{
	struct sata *s = sata_make(&(struct sata_opts){.ports = 2, .cd = {false, true}});

	bench_sweep(&s->r.memory, s->r.bar, 0x240);
	hba_wr(s, GHC, 1);
	port_up(s, 0);
	set_px(s, 0, 0x04, 0);
	set_px(s, 0, 0x0c, 0);
	assert_int_equal(run(s, 0, &(struct want){.command = 0xec, .len = 512}), OK);
	sata_free(s);
}

static void wrong_config(void **state)
{
	struct mem mem = {0};
	struct block b = {.ops = &disk_ops, .size = 1 << 20, .logical = 8192, .physical = 8192};
	struct ahci *h;

	assert_int_equal(ahci_create(&h, &(struct ahci_config){.mem = &mem}), -EINVAL);
	assert_int_equal(ahci_create(&h, &(struct ahci_config){.mem = &mem, .nports = 33}), -EINVAL);
	assert_int_equal(ahci_create(&h, &(struct ahci_config){.mem = &mem, .nports = 1}), -EINVAL);
	assert_int_equal(
	        ahci_create(&h, &(struct ahci_config){.mem = &mem, .nports = 1, .drive = {{.block = &b}}}),
	        -EINVAL);
	ahci_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(identity),
	        cmocka_unit_test(signature),
	        cmocka_unit_test(link_reset),
	        cmocka_unit_test(hba_reset),
	        cmocka_unit_test(software_reset),
	        cmocka_unit_test(interrupts),
	        cmocka_unit_test(identify),
	        cmocka_unit_test(smart_commands),
	        cmocka_unit_test(settings),
	        cmocka_unit_test(read_and_write),
	        cmocka_unit_test(verify),
	        cmocka_unit_test(chs),
	        cmocka_unit_test(split_buffers),
	        cmocka_unit_test(tiny_pieces),
	        cmocka_unit_test(short_buffers),
	        cmocka_unit_test(own_registers),
	        cmocka_unit_test(not_a_command),
	        cmocka_unit_test(errors),
	        cmocka_unit_test(durability),
	        cmocka_unit_test(discards),
	        cmocka_unit_test(queued),
	        cmocka_unit_test(mixed),
	        cmocka_unit_test(queued_error),
	        cmocka_unit_test(stopped),
	        cmocka_unit_test(every_command),
	        cmocka_unit_test(register_sweep),
	        cmocka_unit_test(wrong_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
