// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of smmu-nesting on made-up tables and hosts. TAP.
 *
 *   unit [PROGRAM]	the smmu-nesting to run; default: the test build
 */
#include <errno.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../host.h"
#include "tables.h"

static unsigned int count, bad;

static __printf(2, 3) void ok(bool good, const char *fmt, ...)
{
	va_list ap;

	printf("%sok %u - ", good ? "" : "not ", ++count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	bad += !good;
}

static void same(const char *want, const char *got, const char *what)
{
	bool good = want && got ? !strcmp(want, got) : want == got;

	ok(good, "%s", what);
	if (!good)
		printf("# wanted: %s\n# got:    %s\n", want ? want : "nothing",
		       got ? got : "nothing");
}

/* A part of the message suffices: the tests do not check the wording */
static void says(const char *want, const char *got, const char *what)
{
	bool good = got && strstr(got, want);

	ok(good, "%s", what);
	if (!good)
		printf("# wanted: %s\n# got:    %s\n", want, got ? got : "nothing");
}

/* "SMMU:StreamID" of an ID, or "-" */
static const char *maps_to(struct host *h, unsigned int master, uint32_t id)
{
	static char text[64];
	struct smmu *smmu;
	uint32_t stream;

	if (master >= h->nr_masters)
		return "no such master";
	smmu = host_map_id(h, &h->masters[master], id, &stream);
	if (!smmu)
		return "-";
	snprintf(text, sizeof(text), "%llx:%x", smmu->base,
		 stream);
	return text;
}

static void tables_only(struct host *h)
{
	memset(h, 0, sizeof(*h));
	h->root = "";
	h->tables_only = true;
}

static void test_iort(void)
{
	struct table t;
	struct host h;

	iort_make(&t, IORT_ONE_CANWBS);
	tables_only(&h);
	ok(!iort_parse(&h, t.data, t.len), "IORT: one SMMU");
	ok(h.nr_smmus == 1 && h.smmus[0].base == SMMU_A, "its address");
	ok(h.nr_masters == 1 && h.masters[0].pci && h.masters[0].canwbs,
	   "CANWBS of the root complex");
	ok(!h.nr_warnings, "no warnings");
	same("9050000:100", maps_to(&h, 0, 0x100), "an ID");
	same("9050000:ffff", maps_to(&h, 0, 0xffff), "the last ID");
	same("-", maps_to(&h, 0, 0x10000), "none behind it");
	host_judge(&h);
	ok(h.conditions[COND_COHERENT].met == YES && host_exit_status(&h) == 2,
	   "CANWBS is seen, the rest not known");
	host_free(&h);

	/* CANWBS is bit 2 only */
	t.data[t.len - 56 + 23] = 0xfb;
	iort_end(&t);
	tables_only(&h);
	iort_parse(&h, t.data, t.len);
	ok(h.nr_masters == 1 && !h.masters[0].canwbs, "other flags are not CANWBS");
	host_judge(&h);
	ok(h.conditions[COND_COHERENT].met == UNKNOWN,
	   "without CANWBS, it depends on S2FWB");
	h.smmus[0].s2fwb = NO;
	host_judge(&h);
	ok(host_exit_status(&h) == 1, "without S2FWB either: no");
	h.smmus[0].s2fwb = YES;
	host_judge(&h);
	ok(h.conditions[COND_COHERENT].met == YES, "with S2FWB: yes");
	host_free(&h);
	free(t.data);

	iort_make(&t, IORT_TWO);
	tables_only(&h);
	ok(!iort_parse(&h, t.data, t.len) && h.nr_smmus == 2 &&
	   h.nr_masters == 2, "IORT: two SMMUs, two segments");
	same("9050000:1ff", maps_to(&h, 0, 0xff), "an ID of segment 0");
	same("-", maps_to(&h, 0, 0x100), "an ID that goes to the ITS directly");
	same("4609060000:10100", maps_to(&h, 1, 0x100), "an ID of segment 1");
	ok(!h.masters[0].canwbs && h.masters[1].canwbs,
	   "CANWBS of one of them");
	/* The SMMU that can nest is not the SMMU with CANWBS */
	h.smmus[0].nesting = YES;
	h.smmus[0].s2fwb = NO;
	h.smmus[1].nesting = NO;
	h.smmus[1].s2fwb = NO;
	host_judge(&h);
	ok(h.conditions[COND_STAGES].met == YES &&
	   h.conditions[COND_COHERENT].met == NO,
	   "it takes stages and CANWBS of the same SMMU");
	h.smmus[1].nesting = UNKNOWN;
	host_judge(&h);
	ok(h.conditions[COND_COHERENT].met == UNKNOWN,
	   "not known, while one of them is not");
	host_free(&h);
	free(t.data);

	iort_make(&t, IORT_NAMED);
	tables_only(&h);
	ok(!iort_parse(&h, t.data, t.len) && h.nr_masters == 2 &&
	   !h.masters[1].pci, "IORT: a platform device");
	same("\\_SB.DMA0", h.nr_masters == 2 ? h.masters[1].name : NULL,
	     "its name");
	same("9050000:5a5a", maps_to(&h, 1, 3), "a single mapping takes every ID");
	host_free(&h);
	free(t.data);
}

static void test_iort_odd(void)
{
	static struct id_map busy[3200];
	uint32_t its, smmu;
	struct table t;
	struct host h;
	size_t i;

	/* Firmware that stores the number of IDs: the next mapping wins */
	iort_begin(&t);
	its = iort_its(&t);
	smmu = iort_smmu(&t, 1, SMMU_A, NULL, 0);
	iort_root(&t, 0, 0, (struct id_map[]){
		{ 0, 0x100, 0x1000, smmu, 0 },
		{ 0x100, 0x100, 0x8000, smmu, 0 },
	}, 2);
	iort_end(&t);
	tables_only(&h);
	iort_parse(&h, t.data, t.len);
	same("9050000:8000", maps_to(&h, 0, 0x100), "IORT: overlap by one");
	same("9050000:8100", maps_to(&h, 0, 0x200), "and without one behind it");
	host_free(&h);
	free(t.data);

	/* A loop from a node to itself through another */
	iort_begin(&t);
	iort_its(&t);
	iort_named(&t, "A", (struct id_map[]){ { 0, 9, 0, 0, 0 } }, 1);
	smmu = t.len;
	iort_named(&t, "B", (struct id_map[]){ { 0, 9, 0, 72, 0 } }, 1);
	put32(t.data + 72 + 32 + 12, smmu);
	iort_end(&t);
	tables_only(&h);
	ok(!iort_parse(&h, t.data, t.len), "IORT: mappings in a circle");
	same("-", maps_to(&h, 0, 1), "lead nowhere");
	says("circle", h.nr_warnings ? h.warnings[0] : NULL, "and that is said");
	host_free(&h);
	free(t.data);

	/* The largest amount of work: only the last mapping matches ID 0 */
	for (i = 0; i < ARRAY_SIZE(busy); i++)
		busy[i] = (struct id_map){ 0x1000, 9, 0, 72, 0 };
	busy[i - 1].in = 0;
	iort_begin(&t);
	iort_its(&t);
	iort_named(&t, "A", busy, ARRAY_SIZE(busy));
	smmu = t.len;
	iort_named(&t, "B", busy, ARRAY_SIZE(busy));
	for (i = 0; i < ARRAY_SIZE(busy) * 20; i += 20)
		put32(t.data + 72 + 32 + i + 12, smmu);
	for (i = 0; i < 20; i++)
		iort_root(&t, i, 4, busy, ARRAY_SIZE(busy));
	for (i = 0; i < 64; i++)
		iort_smmu(&t, 1, SMMU_A + i * 0x100000, NULL, 0);
	iort_end(&t);
	tables_only(&h);
	ok(!iort_parse(&h, t.data, t.len), "IORT: mappings that lead around and around");
	host_judge(&h);
	says("too long", h.error, "are not followed for ever");
	ok(host_exit_status(&h) == 2, "and that is an error");
	host_free(&h);
	free(t.data);

	iort_begin(&t);
	its = iort_its(&t);
	iort_root(&t, 0, 4, (struct id_map[]){ { 0, 9, 0, its, 0 } }, 1);
	iort_end(&t);
	tables_only(&h);
	iort_parse(&h, t.data, t.len);
	host_judge(&h);
	ok(host_exit_status(&h) == 1, "IORT: without an SMMUv3 there is no nesting");
	t.data[8]++;
	host_free(&h);
	tables_only(&h);
	ok(!iort_parse(&h, t.data, t.len), "IORT: a bad checksum is survived, as by Linux");
	says("checksum", h.nr_warnings ? h.warnings[0] : NULL, "with a warning");
	host_free(&h);
	free(t.data);
}

struct damage {
	size_t at;
	uint32_t value;
	const char *says;
};

static void test_damaged(void)
{
	/* An ITS at 48, an SMMU at 72, a root complex at 180 of 56 bytes */
	static const struct damage damages[] = {
		{ 0,	0,		"signature" },
		{ 4,	10,		"its length is 10" },
		{ 4,	0xffffffff,	"its length is 4294967295" },
		{ 36,	0x10000000,	"do not fit" },
		{ 36,	4,		"ends in its header" },
		{ 40,	8,		"said to be at 0x8" },
		{ 40,	0xffffff00,	"said to be at 0xffffff00" },
		/* Type and length share a word */
		{ 48,	0x01000000,	"length 0, needs 16" },
		{ 48,	0x01ffff00,	"the table ends" },
		{ 72,	0x04001004,	"length 16, needs 68" },
		{ 180,	0x03001402,	"length 20, needs 32" },
		{ 188,	2,		"no room for 2 ID maps at 0x24" },
		{ 188,	0x0ccccccd,	"ID maps at 0x24" },
		{ 192,	4,		"ID maps at 0x4" },
		{ 192,	0xfffffff0,	"ID maps at 0xfffffff0" },
		{ 180 + 36 + 12, 0,	"no node begins at 0x0" },
		{ 180 + 36 + 12, 73,	"no node begins at 0x49" },
		{ 180 + 36, 0x80,	NULL },
		{ 180 + 36 + 4, 0xffffffff, NULL },
		{ 180 + 36, 0xffff0001,	"IDs beyond 32 bits" },
	};
	struct table t;
	struct host h;
	size_t i;
	int rc;

	for (i = 0; i < ARRAY_SIZE(damages); i++) {
		char what[64];

		iort_make(&t, IORT_ONE);
		put32(t.data + damages[i].at, damages[i].value);
		tables_only(&h);
		rc = iort_parse(&h, t.data, t.len);
		snprintf(what, sizeof(what), "IORT: 0x%x at %zu",
			 damages[i].value, damages[i].at);
		if (damages[i].says)
			says(damages[i].says, rc ? h.error : NULL, what);
		else
			ok(!rc, "%s is none", what);
		host_free(&h);
		free(t.data);
	}

	iort_make(&t, IORT_NAMED);
	/* The path comes right before the mapping, and has no terminating 0 */
	memset(t.data + t.len - 60 + 29, 'x', 60 - 29);
	put32(t.data + t.len - 60 + 8, 0);
	tables_only(&h);
	rc = iort_parse(&h, t.data, t.len);
	says("name does not end", rc ? h.error : NULL, "IORT: a name without end");
	host_free(&h);
	free(t.data);

	iort_make(&t, IORT_ONE);
	for (i = 0, rc = 0; i < t.len; i++) {
		uint8_t *part = malloc(i + 1);

		memcpy(part, t.data, i);
		tables_only(&h);
		if (!iort_parse(&h, part, i) || !h.error)
			rc = 1;
		host_free(&h);
		free(part);
	}
	ok(!rc, "IORT: cut off anywhere, it is refused");
	free(t.data);

	fdt_make(&t, FDT_ONE);
	for (i = 0, rc = 0; i < t.len; i++) {
		uint8_t *part = malloc(i + 1);

		memcpy(part, t.data, i);
		tables_only(&h);
		if (!fdt_parse(&h, part, i) || !h.error)
			rc = 1;
		host_free(&h);
		free(part);
	}
	ok(!rc, "device tree: cut off anywhere, it is refused");
	free(t.data);
}

static void test_fdt(void)
{
	struct table t;
	struct host h;

	fdt_make(&t, FDT_ONE);
	tables_only(&h);
	ok(!fdt_parse(&h, t.data, t.len), "device tree: one SMMU");
	ok(h.nr_smmus == 1 && h.smmus[0].base == SMMU_A, "its address");
	same("/iommu@9050000", h.nr_smmus ? h.smmus[0].node : NULL, "its path");
	same("9050000:1234", maps_to(&h, 0, 0x1234), "an ID");
	same("-", maps_to(&h, 0, 0x10000), "none behind the last");
	ok(h.nr_masters == 1 && !h.masters[0].canwbs, "no CANWBS");
	host_judge(&h);
	ok(host_exit_status(&h) == 2, "without S2FWB known it cannot be told");
	h.smmus[0].s2fwb = NO;
	host_judge(&h);
	ok(host_exit_status(&h) == 1, "with none it can");
	says("boot with ACPI", h.conditions[COND_COHERENT].text, "and what helps");
	host_free(&h);
	free(t.data);

	fdt_make(&t, FDT_SOC);
	tables_only(&h);
	ok(!fdt_parse(&h, t.data, t.len) && h.nr_smmus == 3 &&
	   h.nr_masters == 2, "device tree: three SMMUs, two bridges");
	ok(h.nr_smmus == 3 && h.smmus[0].base == SMMU_B,
	   "an address through ranges");
	says("/soc@4600000000/hidden/iommu@1000: its address is unknown",
	     h.nr_warnings ? h.warnings[0] : NULL, "a bus that the CPU cannot see");
	same("9050000:108", maps_to(&h, 0, 0xf), "a mask");
	same("4609060000:8010", maps_to(&h, 0, 0x217), "the other SMMU");
	same("-", maps_to(&h, 0, 0x100), "between the two");
	same("-", maps_to(&h, 1, 0), "a bridge without an SMMU");
	host_free(&h);
	free(t.data);

	fdt_make(&t, FDT_NONE);
	tables_only(&h);
	ok(!fdt_parse(&h, t.data, t.len) && !h.nr_smmus,
	   "device tree: a disabled SMMU is none");
	host_free(&h);
	free(t.data);

	fdt_make(&t, FDT_LOST);
	tables_only(&h);
	ok(fdt_parse(&h, t.data, t.len), "device tree: an iommu-map to nowhere");
	says("no phandle 0x9", h.error, "is named");
	host_free(&h);
	free(t.data);

	fdt_make(&t, FDT_SHORT);
	tables_only(&h);
	ok(fdt_parse(&h, t.data, t.len), "device tree: a part of an iommu-map");
	says("12 bytes", h.error, "is said");
	host_free(&h);
	free(t.data);

	fdt_make(&t, FDT_LONG);
	tables_only(&h);
	ok(fdt_parse(&h, t.data, t.len), "device tree: a path that is too long");
	says("characters", h.error, "is said");
	host_free(&h);
	free(t.data);

	fdt_make(&t, FDT_DEEP);
	tables_only(&h);
	ok(fdt_parse(&h, t.data, t.len), "device tree: too deep");
	says("levels", h.error, "is said");
	host_free(&h);
	free(t.data);
}

/* A host in a directory */
static char dir[32];

static __printf(1, 2) char *in_dir(const char *fmt, ...)
{
	static char path[4096];
	int head = snprintf(path, sizeof(path), "%s/", dir);
	va_list ap;
	char *at;

	va_start(ap, fmt);
	vsnprintf(path + head, sizeof(path) - head, fmt, ap);
	va_end(ap);
	for (at = path + head; (at = strchr(at, '/')); *at++ = '/') {
		*at = 0;
		mkdir(path, 0755);
	}
	return path;
}

static void must(bool good, const char *what)
{
	if (good)
		return;
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_bytes(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "w");

	must(f && fwrite(data, 1, len, f) == len && !fclose(f), path);
}

static void write_text(const char *path, const char *text)
{
	write_bytes(path, text, strlen(text));
}

static void link_to(const char *path, const char *target)
{
	unlink(path);
	must(!symlink(target, path), path);
}

static int remove_one(const char *path, const struct stat *st, int flag,
		      struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static void remove_all(void)
{
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* @parents: its bridges below the root bus, "" or with a trailing / */
static void add_pci(const char *bdf, const char *parents, const char *class,
		    const char *driver, int group, const char *reset)
{
	char base[256], target[512];

	snprintf(base, sizeof(base), "sys/devices/pci0000:00/%s%s", parents, bdf);
	write_text(in_dir("%s/vendor", base), "0x1234\n");
	write_text(in_dir("%s/device", base), "0x11e8\n");
	write_text(in_dir("%s/class", base), class);
	if (reset)
		write_text(in_dir("%s/reset_method", base), reset);
	if (driver) {
		snprintf(target, sizeof(target), "/sys/bus/pci/drivers/%s",
			 driver);
		link_to(in_dir("%s/driver", base), target);
	}
	if (group >= 0) {
		snprintf(target, sizeof(target), "%s/sys/kernel/iommu_groups/%d",
			 dir, group);
		link_to(in_dir("%s/iommu_group", base), target);
		write_text(in_dir("sys/kernel/iommu_groups/%d/type", group),
			   "DMA\n");
		write_text(in_dir("sys/kernel/iommu_groups/%d/reserved_regions",
				  group),
			   "0x0000000008000000 0x00000000080fffff msi\n");
		write_text(in_dir("sys/kernel/iommu_groups/%d/devices/%s",
				  group, bdf), "");
	}
	snprintf(target, sizeof(target), "../../../../%s", base);
	link_to(in_dir("sys/bus/pci/devices/%s", bdf), target);
}

/* A PCIe function of this type */
static void add_config(const char *base, uint8_t type, bool bridge)
{
	uint8_t config[256] = {};

	config[0x06] = 0x10;
	config[0x0e] = bridge;
	config[0x19] = 5;
	config[0x1a] = 7;
	config[0x34] = 0x40;
	config[0x40] = 0x01;
	config[0x41] = 0x50;
	config[0x50] = 0x10;
	config[0x52] = type << 4;
	write_bytes(in_dir("%s/config", base), config, sizeof(config));
}

#define SMMU_NAME "smmu3.0x0000000009050000"
#define SMMU_DIR "sys/devices/platform/arm-smmu-v3.0.auto/iommu/" SMMU_NAME
#define RP0	"0000:00:02.0"
#define RP1	"0000:00:03.0"
#define PCIE_PCI "0000:02:00.0"
#define DEVS	"sys/devices/pci0000:00/"

/* A host that can nest: each test then removes something */
static void make_host(void)
{
	static const char * const parts[] = { "class/iommu", "bus/pci/devices" };
	struct table t;
	size_t i;

	remove_all();
	must(!mkdir(dir, 0755), dir);
	for (i = 0; i < ARRAY_SIZE(parts); i++)
		in_dir("sys/%s/", parts[i]);
	iort_make(&t, IORT_ONE_CANWBS);
	write_bytes(in_dir("sys/firmware/acpi/tables/IORT"), t.data, t.len);
	free(t.data);

	in_dir(SMMU_DIR "/");
	link_to(in_dir("sys/class/iommu/" SMMU_NAME), "../../../" SMMU_DIR);
	link_to(in_dir(SMMU_DIR "/device"), "../../../arm-smmu-v3.0.auto");
	in_dir("sys/bus/platform/drivers/arm-smmu-v3/");
	in_dir("sys/bus/pci/drivers/vfio-pci/");
	write_text(in_dir("proc/sys/kernel/osrelease"), "6.12.0-test\n");
	write_text(in_dir("proc/devices"),
		   "Character devices:\n 10 misc\n511 vfio-dev\n");
	write_text(in_dir("proc/kallsyms"),
		   "0000000000000000 t arm_smmu_attach_dev\n"
		   "0000000000000000 T arm_vsmmu_init\n");
	write_text(in_dir("dev/iommu"), "");
	write_text(in_dir("dev/kmsg"),
		   "6,2,0,-;arm-smmu-v3 arm-smmu-v3.0.auto: ias 44-bit, oas 44-bit (features 0x00088705)\n"
		   " SUBSYSTEM=platform\n"
		   "6,1,0,-;arm-smmu-v3 arm-smmu-v3.1.auto: ias 44-bit, oas 44-bit (features 0x00000000)\n");

	/* A port with a device, and a port with a bridge to PCI and a device */
	add_pci(RP0, "", "0x060400\n", "pcieport", 1, NULL);
	add_config(DEVS RP0, 4, true);
	add_pci("0000:01:00.0", RP0 "/", "0x00ff00\n", NULL, 2, "bus\n");
	add_config(DEVS RP0 "/0000:01:00.0", 0, false);
	add_pci(RP1, "", "0x060400\n", "pcieport", 3, NULL);
	add_config(DEVS RP1, 4, true);
	add_pci(PCIE_PCI, RP1 "/", "0x060400\n", NULL, 4, NULL);
	add_config(DEVS RP1 "/" PCIE_PCI, 7, true);
	add_pci("0000:05:01.0", RP1 "/" PCIE_PCI "/", "0x00ff00\n", NULL, 5,
		"bus\n");
}

static void look_at(struct host *h)
{
	memset(h, 0, sizeof(*h));
	h->root = dir;
	if (!sys_read_tables(h)) {
		sys_read(h);
		host_judge(h);
	}
}

static struct pci_device *device(struct host *h, const char *bdf)
{
	unsigned int i;

	for (i = 0; i < h->nr_devices; i++) {
		if (!strcmp(h->devices[i].bdf, bdf))
			return &h->devices[i];
	}
	printf("Bail out! %s was not found\n", bdf);
	exit(1);
}

/* Read the host again after a change: check the exit status and a condition */
static void expect(int status, enum condition_id id, enum answer met,
		   const char *text, const char *what)
{
	struct host h;
	bool good;

	look_at(&h);
	good = !h.error && host_exit_status(&h) == status &&
	       h.conditions[id].met == met && strstr(h.conditions[id].text, text);
	ok(good, "%s", what);
	if (!good)
		printf("# exit status %d, %s %s: %s\n", host_exit_status(&h),
		       condition_names[id], answer_name(h.conditions[id].met),
		       h.error ? h.error : h.conditions[id].text);
	host_free(&h);
	make_host();
}

/* The same for a device */
static void expect_device(const char *bdf, enum answer met, const char *text,
			  const char *what)
{
	struct host h;
	struct pci_device *d;
	bool good;

	look_at(&h);
	d = device(&h, bdf);
	good = d->passthrough == met &&
	       (!text || (d->why && strstr(d->why, text)));
	ok(good, "%s", what);
	if (!good)
		printf("# %s: %s\n", answer_name(d->passthrough),
		       d->why ? d->why : "no reason");
	host_free(&h);
	make_host();
}

static void test_host(void)
{
	struct host h;
	struct pci_device *d;
	struct table t;

	make_host();
	look_at(&h);
	ok(!h.error && host_exit_status(&h) == 0, "a host that can nest");
	ok(!h.nr_warnings, "no warnings");
	same("arm-smmu-v3.0.auto", h.nr_smmus ? h.smmus[0].device : NULL,
	     "the SMMU's device");
	ok(h.nr_smmus && h.smmus[0].nesting == YES && h.smmus[0].s2fwb == NO,
	   "its features, from its own line of the log");
	ok(h.nr_devices == 5, "all devices are seen");
	d = device(&h, "0000:01:00.0");
	ok(d->passthrough == YES && d->nr_streams == 1 && d->streams[0] == 0x100 &&
	   d->smmu == &h.smmus[0] && d->group == 2, "a device: StreamID and group");
	says("bind it to vfio-pci", d->todo, "and what is left to do");
	ok(device(&h, RP0)->bridge && device(&h, RP0)->passthrough == NO,
	   "a bridge is not given away");
	d = device(&h, "0000:05:01.0");
	ok(d->passthrough == NO && d->nr_streams == 2 && d->streams[1] == 0x500,
	   "a second StreamID behind a PCIe-to-PCI bridge");
	host_free(&h);

	/* Missing parts of a host */
	remove(in_dir("dev/iommu"));
	expect(1, COND_IOMMUFD, NO, "/dev/iommu", "no /dev/iommu");
	write_text(in_dir("proc/kallsyms"),
		   "0000000000000000 t arm_smmu_attach_dev\n");
	expect(1, COND_KERNEL, NO, "ARM_SMMU_V3_IOMMUFD", "a driver without vSMMUs");
	remove(in_dir("proc/kallsyms"));
	expect(2, COND_KERNEL, UNKNOWN, "/proc/kallsyms", "nothing tells of the driver");
	remove(in_dir("proc/kallsyms"));
	write_text(in_dir("boot/config-6.12.0-test"),
		   "CONFIG_ARM_SMMU_V3=y\nCONFIG_ARM_SMMU_V3_IOMMUFD=y\n"
		   "CONFIG_IOMMUFD=m\nCONFIG_VFIO_PCI=m\n"
		   "CONFIG_VFIO_DEVICE_CDEV=y\n");
	expect(0, COND_KERNEL, YES, "", "a configuration in /boot");
	write_text(in_dir("boot/config-6.12.0-test"),
		   "CONFIG_ARM_SMMU_V3=y\nCONFIG_ARM_SMMU_V3_IOMMUFD=y\n"
		   "CONFIG_IOMMUFD=m\nCONFIG_VFIO_PCI=m\n"
		   "# CONFIG_VFIO_DEVICE_CDEV is not set\n");
	expect(1, COND_VFIO, NO, "CONFIG_VFIO_DEVICE_CDEV", "no VFIO_DEVICE_CDEV");
	write_text(in_dir("boot/config-6.12.0-test"),
		   "CONFIG_ARM_SMMU_V3=y\nXCONFIG_ARM_SMMU_V3_IOMMUFD=y\n"
		   "CONFIG_ARM_SMMU_V3_IOMMUFD_MORE=y\n");
	expect(1, COND_KERNEL, NO, "ARM_SMMU_V3_IOMMUFD",
	       "options whose names are alike");
	write_text(in_dir("proc/devices"), "Character devices:\n 10 misc\n");
	expect(2, COND_VFIO, UNKNOWN, "CDEV", "vfio is not loaded");
	write_text(in_dir("dev/kmsg"), "6,1,0,-;something else\n");
	expect(2, COND_STAGES, UNKNOWN, "--log", "the log has no line any more");
	write_text(in_dir("dev/kmsg"),
		   "arm-smmu-v3 arm-smmu-v3.0.auto: ias 44-bit, oas 44-bit (features 0x00008705)\n");
	expect(1, COND_STAGES, NO, "erratum", "both stages, but an erratum");
	unlink(in_dir("sys/class/iommu/" SMMU_NAME));
	expect(1, COND_SMMU, NO, "drives none", "an SMMU without a driver");
	remove(in_dir("sys/firmware/acpi/tables/IORT"));
	expect(1, COND_SMMU, NO, "IORT", "ACPI without an IORT");

	iort_make(&t, IORT_ONE);
	write_bytes(in_dir("sys/firmware/acpi/tables/IORT"), t.data, t.len);
	expect(1, COND_COHERENT, NO, "CANWBS", "no CANWBS, no S2FWB");
	write_bytes(in_dir("sys/firmware/acpi/tables/IORT"), t.data, t.len);
	write_text(in_dir("dev/kmsg"),
		   "arm-smmu-v3 arm-smmu-v3.0.auto: ias 44-bit, oas 44-bit (features 0x00888705)\n");
	expect(0, COND_COHERENT, YES, "S2FWB", "no CANWBS, but S2FWB");
	/* This driver does not check for S2FWB */
	write_bytes(in_dir("sys/firmware/acpi/tables/IORT"), t.data, t.len);
	write_text(in_dir("proc/kallsyms"),
		   "0000000000000000 t arm_smmu_attach_dev\n");
	expect(1, COND_COHERENT, UNKNOWN, "S2FWB", "a driver that does not look for S2FWB");
	free(t.data);

	fdt_make(&t, FDT_ONE);
	remove(in_dir("sys/firmware/acpi/tables/IORT"));
	rmdir(in_dir("sys/firmware/acpi/tables"));
	write_bytes(in_dir("sys/firmware/fdt"), t.data, t.len);
	write_text(in_dir("sys/kernel/iommu_groups/2/reserved_regions"),
		   "0x00000000f0000000 0x00000000f0ffffff direct\n");
	write_text(in_dir("dev/kmsg"),
		   "arm-smmu-v3 arm-smmu-v3.0.auto: ias 44-bit, oas 44-bit (features 0x00888705)\n");
	look_at(&h);
	d = device(&h, "0000:01:00.0");
	ok(host_exit_status(&h) == 0 && h.source == SOURCE_FDT &&
	   d->streams[0] == 0x100, "a host by device tree, with S2FWB");
	says("reserved-memory of the device tree requires 0xf0000000-0xf0ffffff",
	     d->why, "and one of its devices with memory of its own");
	host_free(&h);
	write_text(in_dir("dev/kmsg"),
		   "arm-smmu-v3 arm-smmu-v3.0.auto: ias 44-bit, oas 44-bit (features 0x00088705)\n");
	look_at(&h);
	ok(host_exit_status(&h) == 1 && h.source == SOURCE_FDT,
	   "a host by device tree, without");
	host_free(&h);
	free(t.data);
	remove(in_dir("sys/firmware/fdt"));
	look_at(&h);
	says("neither ACPI tables nor a device tree", h.error, "no firmware at all");
	host_free(&h);
	make_host();

	/* Obstacles of a device */
	add_pci("0000:01:00.1", RP0 "/", "0x00ff00\n", NULL, 2, NULL);
	expect_device("0000:01:00.0", NO,
		      "shares its IOMMU group with 0000:01:00.1: ",
		      "a device that is not alone in its group");
	/* Without ACS the port above a device is in the same group */
	write_text(in_dir("sys/kernel/iommu_groups/2/devices/" RP0), "");
	expect_device("0000:01:00.0", YES, NULL, "alone with its port");
	add_pci("0000:01:00.1", RP0 "/", "0x00ff00\n", NULL, 2, NULL);
	write_text(in_dir("sys/kernel/iommu_groups/2/devices/" RP0), "");
	expect_device("0000:01:00.0", NO, "group with 0000:01:00.1: ",
		      "a port does not count, a function beside it does");
	write_text(in_dir("sys/kernel/iommu_groups/2/devices/dma.0"), "");
	expect_device("0000:01:00.0", NO, "group with dma.0: ",
		      "nor does what is no PCI device go unseen");
	write_text(in_dir("sys/kernel/iommu_groups/2/reserved_regions"),
		   "0x0000000008000000 0x00000000080fffff msi\n"
		   "0x00000000f0000000 0x00000000f0ffffff direct\n");
	expect_device("0000:01:00.0", NO,
		      "an RMR of the IORT that forbids remapping requires 0xf0000000-0xf0ffffff",
		      "an RMR that forbids remapping, and where");
	add_pci("0000:01:00.1", RP0 "/", "0x00ff00\n", NULL, 2, NULL);
	write_text(in_dir("sys/kernel/iommu_groups/2/reserved_regions"),
		   "0x00000000f0000000 0x00000000f0ffffff direct");
	expect_device("0000:01:00.0", NO, "VFIO refuses it",
		      "which is worse than a shared group");
	write_text(in_dir("sys/kernel/iommu_groups/2/reserved_regions"),
		   "0x00000000f0000000 0x00000000f0ffffff direct-relaxable\n"
		   "direct\n0x1 direct\n0x1 0x2\n\n");
	expect_device("0000:01:00.0", YES, NULL,
		      "one that permits it, and lines that say nothing");
	unlink(in_dir(DEVS RP0 "/0000:01:00.0/iommu_group"));
	expect_device("0000:01:00.0", UNKNOWN, "only with a driver",
		      "a device that has no driver yet, and no group");
	add_pci("0000:01:00.0", RP0 "/", "0x00ff00\n", "some", -1, "bus\n");
	unlink(in_dir(DEVS RP0 "/0000:01:00.0/iommu_group"));
	expect_device("0000:01:00.0", NO, "IOMMU group",
		      "a device with a driver, but without a group");
	must(!truncate(in_dir(DEVS RP0 "/config"), 64), "config");
	expect_device("0000:01:00.0", UNKNOWN, "only root",
		      "what others than root may read does not tell of aliases");
	link_to(in_dir(DEVS RP0 "/0000:01:00.0/iommu"),
		"../../../virtual/iommu/smmu3.0x1");
	look_at(&h);
	says("behind smmu3.0x1 for the kernel", h.nr_warnings ? h.warnings[0] : NULL,
	     "kernel and firmware disagree");
	host_free(&h);
}

static void test_registers(void)
{
	static const struct {
		uint32_t idr0, idr3, iidr;
		enum answer log, nesting, s2fwb;
		const char *what;
	} cases[] = {
		{ 3, 0, 0, UNKNOWN, YES, NO, "both stages" },
		{ 3, 0x100, 0, UNKNOWN, YES, YES, "and S2FWB" },
		{ 3, ~0x100U, 0, UNKNOWN, YES, NO, "and everything but S2FWB" },
		{ 2, 0x100, 0, UNKNOWN, NO, YES, "stage 1 alone" },
		{ 1, 0x100, 0, UNKNOWN, NO, YES, "stage 2 alone" },
		{ 3, 0, 0, NO, NO, NO, "the log knows better" },
		{ 2, 0, 0, YES, NO, NO, "but not of a stage that is not there" },
		{ 3, 0, 0x4831143b, UNKNOWN, NO, NO, "MMU-600 r1" },
		{ 3, 0, 0x4832043b, UNKNOWN, YES, NO, "MMU-600 r2" },
		{ 3, 0, 0x4831f43b, UNKNOWN, NO, NO, "MMU-600 r1p15" },
		{ 3, 0, 0x4870043b, UNKNOWN, NO, NO, "MMU-700 r0p0" },
		{ 3, 0, 0x4870f43b, UNKNOWN, NO, NO, "MMU-700 r0p15" },
		{ 3, 0, 0x4871043b, UNKNOWN, NO, NO, "MMU-700 r1p0" },
		{ 3, 0, 0x4871143b, UNKNOWN, YES, NO, "MMU-700 r1p1" },
		{ 3, 0, 0x4872043b, UNKNOWN, YES, NO, "MMU-700 r2p0" },
		{ 3, 0, 0x4872143b, UNKNOWN, YES, NO, "MMU-700 r2p1" },
		{ 3, 0, 0x4870043c, UNKNOWN, YES, NO, "another implementer" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t idr[6] = { cases[i].idr0, 0, 0, cases[i].idr3 };
		struct smmu smmu = { .nesting = cases[i].log };

		hwinfo_set(&smmu, idr, cases[i].iidr, 0);
		ok(smmu.nesting == cases[i].nesting &&
		   smmu.s2fwb == cases[i].s2fwb, "registers: %s",
		   cases[i].what);
	}
}

/* The program */

/* Its exit status and standard output */
static int run(char *out, size_t size, const char *fmt, ...)
{
	va_list ap;
	char *cmd;
	size_t n;
	FILE *f;
	int rc;

	va_start(ap, fmt);
	must(vasprintf(&cmd, fmt, ap) >= 0, "memory");
	va_end(ap);
	f = popen(cmd, "r");
	must(f, cmd);
	n = fread(out, 1, size - 1, f);
	out[n] = 0;
	rc = pclose(f);
	free(cmd);
	return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static void test_program(const char *tool)
{
	static char out[1 << 20];
	struct table t;
	char *at;
	int rc;

	make_host();
	rc = run(out, sizeof(out), "%s --root %s", tool, dir);
	ok(rc == 0, "exit status of a host that can nest");
	says("This host can nest", out, "and its text");
	rc = run(out, sizeof(out), "%s --root %s --json", tool, dir);
	ok(rc == 0 && json_valid(out), "and its JSON");
	says("\n  {\"address\": \"0000:01:00.0\", \"vendor\": 4660, \"device\": 4584, ",
	     out, "a device in JSON");
	says("\"smmu\": \"0x9050000\", \"streams\": [256], \"group\": 2,", out,
	     "and where it is");
	says("\"group_others\": null, \"direct\": null,", out,
	     "and what its group has");
	write_text(in_dir("sys/kernel/iommu_groups/2/devices/" RP0), "");
	write_text(in_dir("sys/kernel/iommu_groups/2/devices/a\033b"), "");
	write_text(in_dir("sys/kernel/iommu_groups/2/reserved_regions"),
		   "0x00000000f0000000 0x00000000f0ffffff direct\n");
	rc = run(out, sizeof(out), "%s --root %s --json", tool, dir);
	ok(rc == 0 && json_valid(out), "a group with others, in JSON");
	says("\"group_others\": \"" RP0 " a\\u001bb\", \"direct\": \"0xf0000000-0xf0ffffff\"",
	     out, "its members, and the range of the RMR");
	rc = run(out, sizeof(out), "%s --root %s", tool, dir);
	says(", group 2 with " RP0 " a\\x1bb\n", out, "its members in text");
	make_host();
	remove(in_dir("dev/iommu"));
	rc = run(out, sizeof(out), "%s -j -r %s", tool, dir);
	ok(rc == 1 && strstr(out, "\"can_nest\": \"no\""), "one that cannot");

	iort_make(&t, IORT_NAMED);
	at = memmem(t.data, t.len, "DMA0", 4);
	memcpy(at, "\"\033\377\\", 4);
	write_bytes(in_dir("odd"), t.data, t.len);
	rc = run(out, sizeof(out), "%s -j -i %s/odd", tool, dir);
	ok(rc == 2 && json_valid(out) && strstr(out, "_SB.\\\"\\u001b\\u00ff\\\\"),
	   "a name of odd bytes in JSON");
	rc = run(out, sizeof(out), "%s -i %s/odd", tool, dir);
	ok(rc == 2 && strstr(out, "_SB.\"\\x1b\\xff\\"), "and in text");
	write_bytes(in_dir("odd"), t.data, t.len - 1);
	rc = run(out, sizeof(out), "%s -i %s/odd 2>&1", tool, dir);
	ok(rc == 2 && strstr(out, "smmu-nesting: IORT: its length is"),
	   "a damaged table");
	rc = run(out, sizeof(out), "%s -j -i %s/odd 2>/dev/null", tool, dir);
	ok(rc == 2 && json_valid(out) && strstr(out, "\"error\": \"IORT: its length"),
	   "in JSON as well");
	free(t.data);
	rc = run(out, sizeof(out), "%s -i %s/none 2>&1", tool, dir);
	ok(rc == 2 && strstr(out, "cannot read"), "no such file");
	rc = run(out, sizeof(out), "%s -f /dev/zero 2>&1", tool);
	ok(rc == 2 && strstr(out, "cannot read"), "a file without end");
	rc = run(out, sizeof(out), "%s --nonsense 2>&1", tool);
	ok(rc == 2 && strstr(out, "--json"), "an option that it does not know");
	rc = run(out, sizeof(out), "%s -w -r %s 2>&1", tool, dir);
	ok(rc == 2 && strstr(out, "--hw-info"), "registers are for the machine itself");
	rc = run(out, sizeof(out), "%s -r %s >/dev/full 2>/dev/null", tool, dir);
	ok(rc == 2, "a full disk");
}

int main(int argc, char **argv)
{
	char self[4096], *tool = argc > 1 ? argv[1] : NULL;
	ssize_t n;

	/* The program is in the directory above the tests */
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	must(n > 0, "/proc/self/exe");
	self[n] = 0;
	if (!tool)
		tool = xasprintf("%.*s/../san-smmu-nesting",
				 (int)(strrchr(self, '/') - self), self);
	snprintf(dir, sizeof(dir), "/tmp/smmu-nesting.XXXXXX");
	must(mkdtemp(dir), dir);
	/* Stop a table that makes a walk run forever */
	alarm(600);
	/* Keep the output even if a sanitizer stops the program */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	test_iort();
	test_iort_odd();
	test_damaged();
	test_fdt();
	test_host();
	test_registers();
	test_program(tool);
	if (argc < 2)
		free(tool);
	remove_all();
	printf("1..%u\n", count);
	return !!bad;
}
