/*
 * Power management of the south bridge: the ACPI fixed registers, the ways into a reset (CF9h,
 * port 92h) and the SMI command port that hands the machine over to ACPI.
 *
 * event is called under the chip's lock and must only note what the machine has to do.
 */
#pragma once

#include "base/loop.h"
#include "bus/space.h"
#include "bus/wire.h"

#define PM_BASE 0x400     /* PM1a_EVT_BLK, 4 bytes */
#define PM_CNT_PORT 0x404 /* PM1a_CNT_BLK, 2 bytes */
#define PM_TMR_PORT 0x408 /* PM_TMR_BLK, 4 bytes, 32 bits wide */
#define PM_SMI_CMD 0xb2
#define PM_ACPI_ENABLE 0xa0  /* FADT ACPI_ENABLE */
#define PM_ACPI_DISABLE 0xa1 /* FADT ACPI_DISABLE */
#define PM_RESET_PORT 0xcf9
#define PM_RESET_VALUE 0x06 /* FADT RESET_VALUE */
#define PM_SLP_TYP_S5 5     /* \_S5 */
#define PM_TIMER_HZ 3579545ull

enum pm_event { PM_RESET, PM_POWEROFF };

struct pm_config {
	struct space *ports;
	struct timerq *timers;
	struct wire sci; /* level */
	void (*event)(void *opaque, enum pm_event what);
	void *opaque;
	/* The PCI host bridge claims CF8h..CFBh whole and calls pm_reset_read/write for byte CF9h. */
	bool pci_owns_cf9;
};

struct pm {
	pthread_mutex_t lock;
	struct pm_config cfg;
	struct timer carry; /* next toggle of the timer's highest bit */
	u16 status, enable; /* PM1a_STS, PM1a_EN */
	u16 control;        /* PM1a_CNT */
	u64 synced;         /* timer count (64 bits) up to which TMR_STS is right */
	u8 smi[2];          /* APM_CNT, APM_STS */
	u8 reset_control;   /* CF9h */
	u8 port92;
	u8 page[16]; /* DMA page registers 80h..8fh: scratch, 80h shows POST codes */
	struct region io, smi_io, cf9, fast, scratch;
};

int pm_init(struct pm *p, const struct pm_config *cfg);
void pm_reset(struct pm *p);
void pm_fini(struct pm *p);

/* The button is pressed. Any thread. A guest that did not enable it learns nothing. */
void pm_power_button(struct pm *p);

/* Has the guest taken over with ACPI, so that it will see the button? Any thread. */
bool pm_acpi_enabled(struct pm *p);

/* Byte CF9h for the owner of the ports around it. Any thread. */
u8 pm_reset_read(struct pm *p);
void pm_reset_write(struct pm *p, u8 val);
