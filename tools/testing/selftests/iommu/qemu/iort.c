// SPDX-License-Identifier: GPL-2.0-only
/*
 * Set CANWBS in every root complex of an IORT, and HTTU in every SMMUv3 if there is an
 * argument; with another argument, 0, leave CANWBS as it is; with -r, remove the reserved
 * memory ranges (RMR) instead.
 *
 * This reads the table as hexadecimal digits from standard input, in the format
 * of init's report, and writes the changed table to standard output as binary,
 * for kernel/firmware/acpi/ at the start of an initrd. The first argument is HTTU as in
 * the SMMU's IDR0.
 */
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "../lib/iort.h"

static int hex_digit(int c)
{
	return isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;
}

int main(int argc, char **argv)
{
	bool drop = argc == 2 && !strcmp(argv[1], "-r");
	bool canwbs = argc < 3 || atoi(argv[2]);
	static uint8_t table[65536];
	size_t digits = 0, size;
	int c;

	while ((c = getchar()) != EOF) {
		if (isspace(c))
			continue;
		if (!isxdigit(c) || digits == 2 * sizeof(table)) {
			fprintf(stderr, "iort: not a table in hexadecimal\n");
			return 1;
		}
		table[digits / 2] = table[digits / 2] << 4 | hex_digit(c);
		digits++;
	}
	size = digits / 2;
	if (drop)
		size = iort_drop_rmrs(table, size);
	else if (iort_set_roots(table, size, canwbs) ||
		 (argc > 1 && iort_set_httu(table, size, atoi(argv[1]) & 3)))
		size = 0;
	if (digits % 2 || !size) {
		fprintf(stderr, "iort: the table is malformed\n");
		return 1;
	}
	iort_seal(table, size);
	if (fwrite(table, size, 1, stdout) != 1 || fflush(stdout)) {
		perror("iort");
		return 1;
	}
	return 0;
}
