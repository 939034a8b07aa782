/*
 * Page walks: linear -> guest physical by the tables in guest RAM. No caching, no faults raised;
 * mmu.c does both.
 */
#pragma once

#include "accel/soft/cpu.h"
#include "accel/soft/mmu.h"

/* What the levels of a translation grant together. */
#define PG_W 0x01u
#define PG_U 0x02u
#define PG_X 0x04u
#define PG_D 0x08u /* the leaf is dirty: a store needs no walk */
#define PG_G 0x10u
#define PG_2M 0x20u  /* part of a 2 MiB page */
#define PG_BIG 0x40u /* part of a larger one */

struct xlat {
	u64 page; /* gpa of the 4 KiB page */
	u32 flags;
};

/* May an access be made through a translation with these flags? */
bool mmu_allowed(const struct cpu *c, u32 flags, enum access acc, enum mmu_idx idx);

/*
 * Translates lin for one access and sets accessed and dirty bits as it does. 0, or -1 with the
 * #PF error code in *error.
 */
int mmu_walk(struct cpu *c, u64 lin, enum access acc, enum mmu_idx idx, struct xlat *x, u32 *error);

/* Loads the PAE PDPTE registers from cr3; false if one has a reserved bit set (#GP). */
bool mmu_load_pdptes(struct cpu *c, u64 cr3);
