/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The main() of iommufd_fuzz as a test: it replays a corpus.
 *
 * The kernel log must be checked for errors separately. The test itself finds
 * objects that are left behind, and a corpus that no longer reaches every call.
 */
#ifndef __SELFTEST_IOMMUFD_FUZZ_REPLAY_H
#define __SELFTEST_IOMMUFD_FUZZ_REPLAY_H

#include <dirent.h>

#include "../kselftest.h"

#define CORPUS_PAGE	4096
#define MAX_LINE	(2 * MAX_RECORDS * RECORD + 2)

/* The number that follows a name in /proc/vmstat */
static long vmstat(const char *name)
{
	FILE *f = fopen("/proc/vmstat", "r");
	char key[64];
	long value, found = -1;

	while (f && fscanf(f, "%63s %ld", key, &value) == 2)
		if (!strcmp(key, name))
			found = value;
	if (f)
		fclose(f);
	return found;
}

static long pinned_pages(void)
{
	FILE *f = fopen("/proc/sys/vm/stat_refresh", "w");

	/* The counters of the CPUs are added up only from time to time */
	if (f) {
		fputs("1", f);
		fclose(f);
	}
	return vmstat("nr_foll_pin_acquired") - vmstat("nr_foll_pin_released");
}

static unsigned int count_files(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned int num = 0;
	struct dirent *e;

	while (d && (e = readdir(d)))
		num += e->d_name[0] != '.';
	if (d)
		closedir(d);
	return num;
}

/* Return: the length, or -1 if the line is not pairs of hexadecimal digits */
static ssize_t parse(const char *line, uint8_t *data)
{
	size_t len = strcspn(line, "\n"), i;
	unsigned int byte;
	int used;

	if (len % 2 || len / 2 > MAX_RECORDS * RECORD)
		return -1;
	for (i = 0; i < len; i += 2) {
		if (sscanf(line + i, "%2x%n", &byte, &used) != 1 || used != 2)
			return -1;
		data[i / 2] = byte;
	}
	return len / 2;
}

static unsigned int replay(FILE *f, const char *path)
{
	static uint8_t data[MAX_RECORDS * RECORD];
	static char line[MAX_LINE];
	unsigned int num = 0;
	ssize_t len;

	while (fgets(line, sizeof(line), f)) {
		if (line[0] == '#')
			continue;
		len = parse(line, data);
		if (len < 0)
			ksft_exit_fail_msg("%s: input %u is not valid\n", path,
					   num + 1);
		num++;
		if (shared->trace)
			ksft_print_msg("input %u\n", num);
		run_input(data, len);
	}
	return num;
}

static const char mocks[] = "/sys/bus/iommufd_mock/devices";

int main(int argc, char **argv)
{
	bool smmu = take_arg(&argc, argv, "smmuv3");
	bool trace = take_arg(&argc, argv, "trace");
	unsigned int devices, inputs, i;
	char path[512];
	FILE *corpus;
	ssize_t len;
	const char *why;
	long pins;

	ksft_print_header();
	if (access("/dev/iommu", R_OK | W_OK) || (!smmu && access(mocks, R_OK)))
		ksft_exit_skip("no iommufd with its mock driver\n");
	if (argc > 1) {
		snprintf(path, sizeof(path), "%s", argv[1]);
	} else {
		len = readlink("/proc/self/exe", path, sizeof(path) - 32);
		while (len > 0 && path[len - 1] != '/')
			len--;
		strcpy(path + (len < 0 ? 0 : len),
		       smmu ? "corpus/smmuv3_fuzz.txt" :
			      "corpus/iommufd_fuzz.txt");
	}

	corpus = fopen(path, "r");
	if (!corpus)
		ksft_exit_fail_msg("%s: %m\n", path);

	/* run_input() closes all files that were opened after its first call */
	why = start(smmu);
	if (why)
		ksft_exit_skip("%s\n", why);
	ksft_set_plan(nr_calls + 3);
	shared->trace = trace;
	run_input(NULL, 0);
	pins = pinned_pages();
	inputs = replay(corpus, path);
	ksft_test_result(inputs > 0, "%u inputs ended\n", inputs);
	/*
	 * A call that never succeeds reaches little of the kernel. With other pages than
	 * those of the corpus, its addresses and lengths are refused more often.
	 */
	for (i = 0; i < nr_calls; i++) {
		if (!shared->good[i] && page_size != CORPUS_PAGE)
			ksft_test_result_skip("%s: the corpus is for pages of %u\n",
					      call_name(i), CORPUS_PAGE);
		else
			ksft_test_result(shared->good[i], "%s succeeds\n",
					 call_name(i));
		ksft_print_msg("%u of %u\n", shared->good[i], shared->calls[i]);
	}
	if (smmu) {
		ksft_test_result(smmu_devices_are_free(), "no device is held\n");
	} else {
		devices = count_files(mocks);
		ksft_test_result(!devices, "no mock device is left\n");
		if (devices)
			ksft_print_msg("%u found\n", devices);
	}
	pins = pinned_pages() - pins;
	ksft_test_result(!pins, "no page is pinned\n");
	if (pins)
		ksft_print_msg("%ld found\n", pins);
	ksft_finished();
}

#endif
