// SPDX-License-Identifier: GPL-2.0-only
/* See pci.h */
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/pci_regs.h>

#include "host.h"
#include "pci.h"

unsigned long pci_attr(const char *bdf, const char *attr)
{
	char path[PATH_MAX], buf[32];

	snprintf(path, sizeof(path), SYS_PCI "/%s/%s", bdf, attr);
	if (read_str(path, buf, sizeof(buf)))
		return 0;
	return strtoul(buf, NULL, 16);
}

int pci_link(const char *bdf, const char *link, char *name, size_t len)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), SYS_PCI "/%s/%s", bdf, link);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = 0;
	snprintf(name, len, "%s", strrchr(target, '/') + 1);
	return 0;
}

int dir_entries(const char *path, char *name, size_t len)
{
	struct dirent *ent;
	int n = 0;
	DIR *dir;

	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((ent = readdir(dir))) {
		if (ent->d_name[0] == '.')
			continue;
		snprintf(name, len, "%.*s", (int)len - 1, ent->d_name);
		n++;
	}
	closedir(dir);
	return n;
}

static int bdf_cmp(const void *a, const void *b)
{
	return strcmp(a, b);
}

unsigned int pci_list(__u32 id, char bdfs[MAX_DEVICES][BDF_LEN])
{
	struct dirent *ent;
	unsigned int n = 0;
	DIR *dir;

	dir = opendir(SYS_PCI);
	if (!dir)
		return 0;
	while (n != MAX_DEVICES && (ent = readdir(dir))) {
		const char *bdf = ent->d_name;

		if (strlen(bdf) < BDF_LEN &&
		    pci_attr(bdf, "vendor") == (id & 0xffff) &&
		    pci_attr(bdf, "device") == id >> 16)
			strcpy(bdfs[n++], bdf);
	}
	closedir(dir);
	qsort(bdfs, n, sizeof(*bdfs), bdf_cmp);
	return n;
}

static int open_config(const char *bdf)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), SYS_PCI "/%s/config", bdf);
	return open(path, O_RDONLY | O_CLOEXEC);
}

bool pci_has_flr(const char *bdf)
{
	unsigned char cfg[PCI_CFG_SPACE_SIZE] = {};
	int fd = open_config(bdf);
	unsigned int at;
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, cfg, sizeof(cfg));
	close(fd);
	if (len != sizeof(cfg))
		return false;
	for (at = cfg[PCI_CAPABILITY_LIST]; at >= PCI_STD_HEADER_SIZEOF;
	     at = cfg[at + PCI_CAP_LIST_NEXT])
		if (cfg[at] == PCI_CAP_ID_EXP)
			/* The upper byte of the register */
			return cfg[at + PCI_EXP_DEVCAP + 3] &
			       (PCI_EXP_DEVCAP_FLR >> 24);
	return false;
}

bool pci_has_ext_cap(const char *bdf, unsigned int id)
{
	unsigned int at = PCI_CFG_SPACE_SIZE, i;
	int fd = open_config(bdf);
	bool found = false;
	__le32 header;

	if (fd < 0)
		return false;
	for (i = 0; at && !found && i != 960 / 8; i++) {
		if (pread(fd, &header, sizeof(header), at) != sizeof(header))
			break;
		found = PCI_EXT_CAP_ID(le32toh(header)) == id;
		at = PCI_EXT_CAP_NEXT(le32toh(header));
	}
	close(fd);
	return found;
}

int pci_unbind(const char *bdf)
{
	char path[PATH_MAX];
	int rc;

	snprintf(path, sizeof(path), SYS_PCI "/%s/driver/unbind", bdf);
	rc = write_str(path, bdf);
	return rc == -ENOENT ? 0 : rc;
}

static bool bound_to_vfio(const char *bdf)
{
	char name[64];

	return !pci_link(bdf, "driver", name, sizeof(name)) &&
	       !strcmp(name, "vfio-pci");
}

int pci_bind_vfio(const char *bdf)
{
	char path[PATH_MAX];
	int rc;

	if (bound_to_vfio(bdf))
		return 0;
	rc = pci_unbind(bdf);
	if (rc)
		return rc;
	snprintf(path, sizeof(path), SYS_PCI "/%s/driver_override", bdf);
	rc = write_str(path, "vfio-pci");
	if (!rc)
		rc = write_str("/sys/bus/pci/drivers_probe", bdf);
	if (rc)
		return rc;
	return bound_to_vfio(bdf) ? 0 : -ENODEV;
}

unsigned int pci_list_vfio(__u32 id, int group, char bdfs[MAX_DEVICES][BDF_LEN],
			   char *why, size_t len)
{
	char all[MAX_DEVICES][BDF_LEN];
	unsigned int have, n = 0, i;

	snprintf(why, len, "no device %04x:%04x", id & 0xffff, id >> 16);
	have = pci_list(id, all);
	/* A device may get its IOMMU, and so its group, only with its driver */
	for (i = 0; i != have; i++)
		if (pci_bind_vfio(all[i]))
			snprintf(why, len, "%s does not bind to vfio-pci",
				 all[i]);
	for (i = 0; i != have; i++) {
		char path[PATH_MAX], name[64];

		if (!bound_to_vfio(all[i]))
			continue;
		if (pci_link(all[i], "iommu", name, sizeof(name))) {
			snprintf(why, len, "%s has no IOMMU", all[i]);
			continue;
		}
		snprintf(path, sizeof(path), SYS_PCI "/%s/iommu_group/devices",
			 all[i]);
		if (dir_entries(path, name, sizeof(name)) != group) {
			snprintf(why, len,
				 "%s is not one of %d devices in its IOMMU group",
				 all[i], group);
			continue;
		}
		memcpy(bdfs[n++], all[i], BDF_LEN);
	}
	return n;
}

int device_find(__u32 id, char bdf[BDF_LEN], char *why, size_t len)
{
	char bdfs[MAX_DEVICES][BDF_LEN];

	if (!pci_list_vfio(id, 1, bdfs, why, len))
		return -ENODEV;
	memcpy(bdf, bdfs[0], BDF_LEN);
	return 0;
}
