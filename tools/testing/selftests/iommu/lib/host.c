// SPDX-License-Identifier: GPL-2.0-only
/* See host.h */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "host.h"
#include "iort.h"

int read_str(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	while (n && buf[n - 1] == '\n')
		n--;
	buf[n] = 0;
	return 0;
}

int write_str(const char *path, const char *str)
{
	int fd = open(path, O_WRONLY);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, str, strlen(str)) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

bool host_iort_canwbs(void)
{
	static uint8_t iort[65536];
	unsigned int with, without;
	size_t len = 0;
	ssize_t n;
	int fd;

	fd = open("/sys/firmware/acpi/tables/IORT", O_RDONLY);
	if (fd < 0)
		return false;
	/* sysfs hands out a page at a time */
	while ((n = read(fd, iort + len, sizeof(iort) - len)) > 0)
		len += n;
	close(fd);
	return !n && !iort_count_canwbs(iort, len, &with, &without) &&
	       with && !without;
}
