// SPDX-License-Identifier: GPL-2.0-only
/*
 * tools/iommu/smmu-nesting against a host whose properties are known
 *
 * The program's report on this host is compared with other sources: the SMMU's
 * registers, the driver's link from a device to its SMMU, and the StreamID that
 * the SMMU itself puts into an event. The program must be in the directory of
 * this test. The devices are edu, as in smmuv3_vm.h.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "smmuv3_guest.h"

#define HOLE_IPA	0x02400000ULL
/* Longer than the rate limit of the log, and attempts against its effect */
#define EVENT_WAIT_MS	10000
#define EVENT_ATTEMPTS	6

/* The program's output, until its next run */
static char answer[1 << 18];

/* Return: the exit status of the program, or a negative errno */
static int run_tool(const char *option)
{
	char path[PATH_MAX], *slash;
	size_t have = 0;
	int out[2], status;
	ssize_t n;
	pid_t pid;

	n = readlink("/proc/self/exe", path, sizeof(path) - 16);
	if (n < 0)
		return -errno;
	path[n] = 0;
	slash = strrchr(path, '/');
	snprintf(slash, 16, "/smmu-nesting");
	if (pipe(out))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		dup2(out[1], STDOUT_FILENO);
		close(out[0]);
		close(out[1]);
		execl(path, path, "--json", option, NULL);
		_exit(127);
	}
	close(out[1]);
	while (have < sizeof(answer) - 1) {
		n = read(out[0], answer + have, sizeof(answer) - 1 - have);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		have += n;
	}
	answer[have] = 0;
	close(out[0]);
	if (waitpid(pid, &status, 0) != pid)
		return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -ECHILD;
}

/* The line of a list in which @key has the value @value, or "" */
static const char *item(const char *key, const char *value)
{
	static char line[4096];
	char want[128];
	char *at;

	snprintf(want, sizeof(want), "\n  {\"%s\": \"%s\"", key, value);
	at = strstr(answer, want);
	snprintf(line, sizeof(line), "%.*s",
		 at ? (int)strcspn(at + 1, "\n") : 0, at ? at + 1 : "");
	return line;
}

static __printf(2, 3) bool says(const char *line, const char *fmt, ...)
{
	char want[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(want, sizeof(want), fmt, ap);
	va_end(ap);
	if (strstr(line, want))
		return true;
	fprintf(stderr, "# no %s in: %.2000s\n", want, line);
	return false;
}

/* The drivers of all PCI devices, which must not change */
static void all_drivers(char *buf, size_t size)
{
	struct dirent **list;
	size_t at = 0;
	int n, i;

	n = scandir(SYS_PCI, &list, NULL, alphasort);
	for (i = 0; i < n; i++) {
		char path[PATH_MAX], link[PATH_MAX];
		ssize_t len;

		snprintf(path, sizeof(path), SYS_PCI "/%s/driver",
			 list[i]->d_name);
		len = readlink(path, link, sizeof(link) - 1);
		link[len < 0 ? 0 : len] = 0;
		if (at < size)
			at += snprintf(buf + at, size - at, "%s %s\n",
				       list[i]->d_name, link);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
}

/*
 * Before any device is bound to vfio-pci, if this is the first test of a host
 */
TEST(binds_nothing)
{
	static char before[8192], after[8192];
	int rc;

	all_drivers(before, sizeof(before));
	rc = run_tool(NULL);
	ASSERT_LE(0, rc);
	ASSERT_NE(127, rc) {
		TH_LOG("smmu-nesting is not in the directory of this test");
	}
	all_drivers(after, sizeof(after));
	EXPECT_EQ(0, strcmp(before, after));
	/* The output is complete up to its end */
	EXPECT_NE(NULL, strstr(answer, "}\n"));
	EXPECT_TRUE(says(answer, "\"error\": null"));
}

FIXTURE(host)
{
	int fd;
	struct guest g;
	struct edu dev;
	char bdf[16];
};

FIXTURE_SETUP(host)
{
	char why[128];

	if (edu_find(self->bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	self->fd = iommufd_open();
	if (self->fd == -ENOENT)
		SKIP(return, "no /dev/iommu");
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, edu_open(&self->dev, self->bdf, self->fd));
}

FIXTURE_TEARDOWN(host)
{
	edu_close(&self->dev);
	close(self->fd);
}

TEST_F(host, answer)
{
	bool yes = smmu_can_nest(&self->dev.info);
	const __u32 *idr = self->dev.info.idr;
	const char *line;
	int rc;

	rc = run_tool(NULL);
	EXPECT_EQ(yes ? 0 : 1, rc);
	EXPECT_TRUE(says(answer, "\"can_nest\": \"%s\"", yes ? "yes" : "no"));

	EXPECT_TRUE(says(item("name", "stages"), "\"met\": \"%s\"",
			 smmu_has_stages(&self->dev.info) ? "yes" : "no"));
	line = item("name", "coherent");
	EXPECT_TRUE(says(line, "\"met\": \"%s\"",
			 (idr[3] & IDR3_FWB) || host_iort_canwbs() ? "yes" : "no"));
	EXPECT_TRUE(says(line, "CANWBS"));
	EXPECT_TRUE(says(line, "S2FWB"));
	EXPECT_TRUE(says(item("name", "smmu"), "\"met\": \"yes\""));
	EXPECT_TRUE(says(item("name", "kernel"), "\"met\": \"yes\""));
	EXPECT_TRUE(says(item("name", "iommufd"), "\"met\": \"yes\""));
	EXPECT_TRUE(says(item("name", "vfio"), "\"met\": \"yes\""));

	/*
	 * An edu is alone behind its port, so only the SMMU can lack something
	 */
	line = item("address", self->bdf);
	EXPECT_TRUE(says(line, "\"passthrough\": \"%s\"", yes ? "yes" : "no"));
	EXPECT_TRUE(says(line, "\"driver\": \"vfio-pci\", \"vfio\": \"vfio"));
	EXPECT_TRUE(says(line, "\"reset\": \"%s\"",
			 pci_has_flr(self->bdf) ? "flr bus" : "bus"));
	EXPECT_TRUE(says(line, "\"canwbs\": %s",
			 host_iort_canwbs() ? "true" : "false"));
}

/* The other members of a device's group, as JSON: a string, or null */
static void group_others(const char *bdf, char *buf, size_t size)
{
	char path[PATH_MAX];
	struct dirent **list;
	size_t at = 0;
	int n, i;

	snprintf(path, sizeof(path), SYS_PCI "/%s/iommu_group/devices", bdf);
	n = scandir(path, &list, NULL, alphasort);
	for (i = 0; i < n; i++) {
		if (list[i]->d_name[0] != '.' && strcmp(list[i]->d_name, bdf) &&
		    at < size)
			at += snprintf(buf + at, size - at, "%s%s",
				       at ? " " : "\"", list[i]->d_name);
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	if (at < size)
		snprintf(buf + at, size - at, "%s", at ? "\"" : "null");
}

/* All devices behind an SMMU, each with the SMMU and the group of its links */
TEST_F(host, devices)
{
	unsigned int n = 0;
	struct dirent *ent;
	DIR *dir;

	ASSERT_LE(0, run_tool(NULL));
	dir = opendir(SYS_PCI);
	ASSERT_NE(NULL, dir);
	while ((ent = readdir(dir))) {
		char path[PATH_MAX], link[PATH_MAX], others[1024], *name;
		unsigned long long base;
		const char *line;
		ssize_t len;

		snprintf(path, sizeof(path), SYS_PCI "/%s/iommu", ent->d_name);
		len = readlink(path, link, sizeof(link) - 1);
		if (len < 0)
			continue;
		link[len] = 0;
		name = strrchr(link, '/');
		ASSERT_NE(NULL, name);
		ASSERT_EQ(0, strncmp(name, "/smmu3.", 7));
		base = strtoull(name + 7, NULL, 16);
		line = item("address", ent->d_name);
		EXPECT_TRUE(says(line, "\"smmu\": \"0x%llx\"", base));

		snprintf(path, sizeof(path), SYS_PCI "/%s/iommu_group",
			 ent->d_name);
		len = readlink(path, link, sizeof(link) - 1);
		ASSERT_LT(0, len);
		link[len] = 0;
		EXPECT_TRUE(says(line, "\"group\": %s,",
				 strrchr(link, '/') + 1));
		group_others(ent->d_name, others, sizeof(others));
		EXPECT_TRUE(says(line, "\"group_others\": %s,", others));
		n++;
	}
	closedir(dir);
	EXPECT_LE(1, n);
	EXPECT_EQ(NULL, strstr(answer, "behind smmu3"));
}

/* The first word of the next event that the SMMU's driver reports, or 0 */
static __u64 next_event(int kmsg)
{
	struct pollfd pfd = { .fd = kmsg, .events = POLLIN };
	bool ours = false;
	char line[1024];

	while (poll(&pfd, 1, EVENT_WAIT_MS) > 0) {
		ssize_t n = read(kmsg, line, sizeof(line) - 1);
		char *at;

		/* EPIPE: records were overwritten, and later records exist */
		if (n < 0 && errno != EPIPE)
			return 0;
		if (n < 0)
			continue;
		line[n] = 0;
		at = strstr(line, "0x");
		if (strstr(line, "event 0x") && strstr(line, "received"))
			ours = true;
		else if (ours && strstr(line, "arm-smmu-v3") && at)
			return strtoull(at, NULL, 16);
	}
	return 0;
}

TEST_F(host, stream_id)
{
	__u64 event = 0, page;
	int kmsg, i;

	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, kmsg);
	ASSERT_LE(0, lseek(kmsg, 0, SEEK_END));
	ASSERT_EQ(0, guest_init(&self->g, self->fd));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.dev_id, self->g.ioas_id, 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &self->g.s2_id));
	ASSERT_EQ(0, edu_attach(&self->dev, self->g.s2_id));
	page = guest_page(&self->g);
	edu_load(&self->dev, &self->g, page, page);
	for (i = 0; i != EVENT_ATTEMPTS && !event; i++) {
		EXPECT_EQ(NOWHERE, edu_write_lands(&self->dev, &self->g,
						   HOLE_IPA));
		event = next_event(kmsg);
	}
	close(kmsg);
	ASSERT_NE(0, event) {
		TH_LOG("the SMMU reported no event");
	}

	ASSERT_LE(0, run_tool(NULL));
	EXPECT_TRUE(says(item("address", self->bdf), "\"streams\": [%u]",
			 (unsigned int)(event >> 32)));
	/* The DMA was not disturbed */
	EXPECT_EQ(page, edu_write_lands(&self->dev, &self->g, page));
}

/* A device in use is not taken away, and causes no event */
TEST_F(host, hw_info_in_use)
{
	__u64 page;
	int rc;

	ASSERT_EQ(0, guest_init(&self->g, self->fd));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.dev_id, self->g.ioas_id, 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &self->g.s2_id));
	ASSERT_EQ(0, edu_attach(&self->dev, self->g.s2_id));
	page = guest_page(&self->g);
	edu_load(&self->dev, &self->g, page, page);
	rc = run_tool("--hw-info");
	EXPECT_EQ(smmu_can_nest(&self->dev.info) ? 0 : 1, rc);
	EXPECT_TRUE(says(answer, "\"%s: cannot be bound", self->bdf));
	EXPECT_EQ(page, edu_write_lands(&self->dev, &self->g, page));
}

TEST_F(host, hw_info)
{
	static char before[8192], after[8192];
	const __u32 *idr = self->dev.info.idr;
	char base[32];
	int rc;

	edu_close(&self->dev);
	all_drivers(before, sizeof(before));
	rc = run_tool("--hw-info");
	all_drivers(after, sizeof(after));
	EXPECT_EQ(0, strcmp(before, after));
	EXPECT_EQ(smmu_can_nest(&self->dev.info) ? 0 : 1, rc);
	snprintf(base, sizeof(base), "0x%llx",
		 strtoull(self->dev.smmu + strcspn(self->dev.smmu, ".") + 1,
			  NULL, 16));
	EXPECT_TRUE(says(item("base", base), "\"idr\": [%u, %u, %u, %u, %u, %u]",
			 idr[0], idr[1], idr[2], idr[3], idr[4], idr[5]));
	EXPECT_TRUE(says(item("base", base), "\"learned\": \"its registers\""));
	ASSERT_EQ(0, edu_open(&self->dev, self->bdf, self->fd));
}

TEST_HARNESS_MAIN
