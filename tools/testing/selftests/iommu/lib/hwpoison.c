// SPDX-License-Identifier: GPL-2.0-only
/* See hwpoison.h */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "host.h"
#include "hwpoison.h"

__u64 pfn_of(void *mem)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 entry = 0;

	if (fd < 0)
		return 0;
	if (pread(fd, &entry, sizeof(entry),
		  (uintptr_t)mem / sysconf(_SC_PAGE_SIZE) * sizeof(entry)) !=
	    sizeof(entry))
		entry = 0;
	close(fd);
	/* The page is present */
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

int heal_pfn(__u64 pfn)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)pfn);
	return write_str(HWPOISON_HEAL, text);
}
