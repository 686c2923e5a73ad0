// SPDX-License-Identifier: GPL-2.0-only
/*
 * smmu-nesting: whether this host can nest with SMMUv3, and if not, why not
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"

static void usage(FILE *f)
{
	fputs("smmu-nesting [options]: can this host give VMs an SMMUv3 of their own?\n"
	      "\n"
	      "  -j, --json       answer in JSON\n"
	      "  -l, --log FILE   read the driver's messages from FILE, not from the kernel log\n"
	      "  -w, --hw-info    also read the ID registers of the SMMUs, through devices that\n"
	      "                   are bound to vfio-pci. Opens, and so resets, one such device\n"
	      "                   behind each SMMU; not one that is in use\n"
	      "  -r, --root DIR   look at DIR/sys, DIR/proc, DIR/dev, DIR/boot and DIR/lib\n"
	      "  -i, --iort FILE  read this IORT\n"
	      "  -f, --fdt FILE   read this flattened device tree\n"
	      "                   (with a table and no --root: look at nothing else)\n"
	      "  -h, --help       show this text\n"
	      "\n"
	      "Nothing is bound or written. Ends with 0 if the host can nest, 1 if it cannot,\n"
	      "2 if this is unknown. Some of the sources are readable for root only.\n", f);
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "json",	no_argument,		NULL, 'j' },
		{ "log",	required_argument,	NULL, 'l' },
		{ "hw-info",	no_argument,		NULL, 'w' },
		{ "root",	required_argument,	NULL, 'r' },
		{ "iort",	required_argument,	NULL, 'i' },
		{ "fdt",	required_argument,	NULL, 'f' },
		{ "help",	no_argument,		NULL, 'h' },
		{}
	};
	bool json = false, hw_info = false;
	struct host h = { .root = "" };
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "jl:wr:i:f:h", longs, NULL)) != -1) {
		switch (opt) {
		case 'j':
			json = true;
			break;
		case 'l':
			h.log_path = optarg;
			break;
		case 'w':
			hw_info = true;
			break;
		case 'r':
			h.root = optarg;
			break;
		case 'i':
			h.iort_path = optarg;
			break;
		case 'f':
			h.fdt_path = optarg;
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	h.tables_only = (h.iort_path || h.fdt_path) && !*h.root;
	if (optind != argc || (h.iort_path && h.fdt_path) ||
	    (hw_info && (h.tables_only || *h.root))) {
		fprintf(stderr, "smmu-nesting: %s\n",
			optind != argc ? "takes no arguments" :
			hw_info ? "--hw-info is for the machine that this runs on" :
			"one table at a time");
		return 2;
	}

	if (!sys_read_tables(&h)) {
		if (!h.tables_only)
			sys_read(&h);
		if (hw_info)
			hwinfo_read(&h);
		host_judge(&h);
	}
	if (h.error)
		fprintf(stderr, "smmu-nesting: %s\n", h.error);
	if (json)
		report_json(&h, stdout);
	else if (!h.error)
		report_text(&h, stdout);
	rc = host_exit_status(&h);
	if (fflush(stdout) || ferror(stdout)) {
		fprintf(stderr, "smmu-nesting: cannot write: %s\n",
			strerror(errno));
		rc = 2;
	}
	host_free(&h);
	return rc;
}
