/*
 * What -s says about SATA drives (see ahci_spec.h). Paths have no commas, so ",hd:" and ",cd:" begin a
 * drive wherever they stand.
 */
#include "vm/ahci_spec.h"

#include "dev/ahci.h"
#include <stdlib.h>

static bool is_prefix(const char *s)
{
	return strncmp(s, "hd:", 3) == 0 || strncmp(s, "cd:", 3) == 0;
}

/* The comma behind the first drive, or the end. */
static const char *end_of_drive(const char *s)
{
	const char *comma = strchrnul(s, ',');

	while (*comma && !is_prefix(comma + 1))
		comma = strchrnul(comma + 1, ',');
	return comma;
}

static int parse_cd(struct ahci_drive_spec *d, const char *text, struct err *e)
{
	int rc;

	d->empty = !*text;
	if (d->empty)
		return 0;
	rc = image_parse(&d->image, text, e);
	d->image.ro = true;
	return rc;
}

static int parse_disk(struct ahci_drive_spec *d, const char *text, struct err *e)
{
	int rc = image_parse(&d->image, text, e);

	if (rc == 0 && d->image.logical > AHCI_SECTOR_MAX)
		return err_usage(e, "sectorsize=%u: a SATA disk has sectors of up to %u bytes",
		        d->image.logical, AHCI_SECTOR_MAX);
	return rc;
}

static int parse_drive(struct ahci_drive_spec *d, const char *text, size_t len, struct err *e)
{
	char *copy = strndup(text, len);
	int rc;

	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	rc = d->cd ? parse_cd(d, copy, e) : parse_disk(d, copy, e);
	free(copy);
	return rc;
}

int ahci_spec_next(struct ahci_drive_spec *d, enum ahci_kind kind, const char **rest, struct err *e)
{
	const char *text = *rest, *end = strchr(text, '\0');

	memset(d, 0, sizeof(*d));
	d->cd = kind == AHCI_CD;
	if (kind == AHCI_DRIVES) {
		if (!is_prefix(text))
			return err_usage(e, "\"%s\": hd:PATH or cd:PATH is expected", text);
		d->cd = text[0] == 'c';
		text += 3;
		end = end_of_drive(text);
	}
	*rest = *end ? end + 1 : NULL;
	return parse_drive(d, text, (size_t)(end - text), e);
}

int ahci_spec_check(enum ahci_kind kind, const char *config, unsigned *drives, struct err *e)
{
	struct ahci_drive_spec d;
	const char *rest = config;
	int rc;

	for (*drives = 0; rest; ++*drives) {
		if (*drives == AHCI_PORTS_MAX)
			return err_usage(e, "a SATA controller has at most %u ports", AHCI_PORTS_MAX);
		rc = ahci_spec_next(&d, kind, &rest, e);
		if (rc < 0)
			return rc;
	}
	return 0;
}
