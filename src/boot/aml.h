/*
 * A small writer of ACPI machine language (ACPI 6.5, chapter 20) and of resource descriptors
 * (chapter 6.4). Objects go one behind the other into a buffer of fixed size; what does not fit sets
 * overflow and is dropped, so that callers check once at the end.
 *
 * Everything that has a length (scope, device, method, package, if, template) is opened, filled and
 * closed in the order of nesting.
 *
 * Names are paths like "\\_SB.PCI0.ISA" or "_HID"; segments shorter than four characters are padded.
 */
#pragma once

#include "base/types.h"

#define AML_DEPTH_MAX 16

struct aml {
	u8 *buf;
	size_t cap, len;
	bool overflow;
	unsigned depth;
	size_t open[AML_DEPTH_MAX]; /* where the package length of each open object goes */
};

void aml_init(struct aml *a, u8 *buf, size_t cap);

void aml_scope(struct aml *a, const char *path);
void aml_device(struct aml *a, const char *name);
void aml_method(struct aml *a, const char *name, unsigned nargs);
void aml_package(struct aml *a, u8 count);
void aml_if(struct aml *a); /* the predicate follows, then the body */
void aml_else(struct aml *a);
void aml_close(struct aml *a);

void aml_name(struct aml *a, const char *name); /* its object follows */
void aml_return(struct aml *a);                 /* its value follows */
void aml_ref(struct aml *a, const char *path);
void aml_int(struct aml *a, u64 val);
void aml_string(struct aml *a, const char *s);
void aml_eisaid(struct aml *a, const char *id); /* "PNP0A03" */

/* A buffer of resource descriptors; aml_template_close writes the end tag. */
void aml_template(struct aml *a);
void aml_template_close(struct aml *a);
void aml_res_io(struct aml *a, u16 port, u8 len);
void aml_res_irq(struct aml *a, u8 irq);          /* edge, active high, exclusive */
void aml_res_irq_shared(struct aml *a, u16 mask); /* level, active low, shared */
void aml_res_memory32(struct aml *a, u32 base, u32 len, bool writable);

/* Windows that a bridge passes on. len != 0. */
void aml_res_bus(struct aml *a, u8 first, u8 last);
void aml_res_io_window(struct aml *a, u16 base, u32 len);
void aml_res_memory32_window(struct aml *a, u32 base, u32 len);
void aml_res_memory64_window(struct aml *a, u64 base, u64 len);
