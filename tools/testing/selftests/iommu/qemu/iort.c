// SPDX-License-Identifier: GPL-2.0-only
/*
 * Set CANWBS in every root complex of an IORT.
 *
 * This reads the table as hexadecimal digits from standard input, in the format
 * of init's report, and writes the changed table to standard output as binary,
 * for kernel/firmware/acpi/ at the start of an initrd.
 */
#include <ctype.h>
#include <stdio.h>

#include "../lib/iort.h"

static int hex_digit(int c)
{
	return isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;
}

int main(void)
{
	static uint8_t table[65536];
	size_t digits = 0;
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
	if (digits % 2 || iort_set_canwbs(table, digits / 2)) {
		fprintf(stderr, "iort: the table does not hold together\n");
		return 1;
	}
	if (fwrite(table, digits / 2, 1, stdout) != 1 || fflush(stdout)) {
		perror("iort");
		return 1;
	}
	return 0;
}
