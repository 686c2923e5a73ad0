// SPDX-License-Identifier: GPL-2.0-only
/* See iommufd_fuzz_cover.h */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <linux/kcov.h>

#include "iommufd_fuzz.h"
#include "iommufd_fuzz_cover.h"

#define COVER_WORDS	(256 << 10)
#define COUNTERS	(1 << 15)
#define SAVE_SECONDS	30
/* Number of inputs to keep for a place, because some of them need luck */
#define ENOUGH		2

/* libFuzzer takes each of these as the counter of a place in the code */
__attribute__((section("__libfuzzer_extra_counters")))
static uint8_t counters[COUNTERS];

/* All places that were ever reached, as a hash table */
static unsigned long seen[COUNTERS];
static unsigned int num_seen;
static unsigned long *covers[NR_THREADS + 1];
static char dir[128];
static int log_fd;

/* The latest inputs, because an error may be due to an earlier input */
#define SLOTS		32

static struct {
	size_t size;
	uint8_t data[MAX_RECORDS * RECORD];
} last[SLOTS];
static unsigned int num_last;

static unsigned int place(unsigned long pc)
{
	unsigned int at = (uint32_t)(pc * 0x9e3779b1u) >> 17;

	while (seen[at] && seen[at] != pc)
		at = (at + 1) % COUNTERS;
	if (!seen[at]) {
		seen[at] = pc;
		if (++num_seen > COUNTERS / 2) {
			fprintf(stderr, "too many places\n");
			abort();
		}
	}
	return at;
}

static void save_seen(void)
{
	char path[256];
	unsigned int i;
	FILE *f;

	snprintf(path, sizeof(path), "%s/seen", dir);
	f = fopen(path, "w");
	if (!f) {
		perror(path);
		return;
	}
	for (i = 0; i < COUNTERS; i++)
		if (seen[i])
			fprintf(f, "%lx\n", seen[i]);
	fclose(f);
}

static void save_last(void)
{
	char path[256];
	unsigned int i;
	FILE *f;

	for (i = 0; i < SLOTS && i < num_last; i++) {
		unsigned int slot = (num_last - 1 - i) % SLOTS;

		snprintf(path, sizeof(path), "%s/before-%02u", dir, i);
		f = fopen(path, "w");
		if (!f)
			continue;
		fwrite(last[slot].data, 1, last[slot].size, f);
		fclose(f);
	}
}

void cover_open(const char *to)
{
	char path[256];
	unsigned long pc;
	FILE *f;

	snprintf(dir, sizeof(dir), "%s", to);
	log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (log_fd < 0) {
		perror("kmsg");
		exit(1);
	}
	lseek(log_fd, 0, SEEK_END);
	/* The places that previous runs reached */
	snprintf(path, sizeof(path), "%s/seen", dir);
	f = fopen(path, "r");
	while (f && fscanf(f, "%lx", &pc) == 1)
		place(pc);
	if (f)
		fclose(f);
	atexit(save_seen);
}

void cover_thread(unsigned int self)
{
	int fd = open("/sys/kernel/debug/kcov", O_RDWR);

	if (fd < 0 || ioctl(fd, KCOV_INIT_TRACE, COVER_WORDS)) {
		perror("kcov");
		exit(1);
	}
	covers[self] = mmap(NULL, COVER_WORDS * sizeof(long),
			    PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (covers[self] == MAP_FAILED || ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC)) {
		perror("kcov");
		exit(1);
	}
	/* Do not close the file: the coverage of the thread depends on it */
}

void cover_start(unsigned int self)
{
	__atomic_store_n(&covers[self][0], 0, __ATOMIC_RELAXED);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void cover_stop(unsigned int self)
{
	unsigned long num = __atomic_load_n(&covers[self][0], __ATOMIC_RELAXED);
	unsigned long i;

	pthread_mutex_lock(&lock);
	for (i = 1; i <= num && i < COVER_WORDS; i++) {
		uint8_t *counter = &counters[place(covers[self][i])];

		if (*counter != 255)
			++*counter;
	}
	pthread_mutex_unlock(&lock);
}

void cover_feature(unsigned int number)
{
	pthread_mutex_lock(&lock);
	/* No code of the kernel is there */
	counters[place(0x10000 + number)] = 1;
	pthread_mutex_unlock(&lock);
}

bool cover_is_new(void)
{
	static uint8_t inputs[COUNTERS];
	bool is_new = false;
	unsigned int i;

	for (i = 0; i < COUNTERS; i++) {
		if (counters[i] && inputs[i] < ENOUGH)
			is_new = true;
	}
	for (i = 0; i < COUNTERS; i++) {
		if (is_new && counters[i] && inputs[i] < ENOUGH)
			inputs[i]++;
		counters[i] = 0;
	}
	return is_new;
}

void cover_note(const uint8_t *data, size_t size)
{
	unsigned int slot = num_last++ % SLOTS;
	static time_t saved;

	if (size > sizeof(last[slot].data))
		size = sizeof(last[slot].data);
	memcpy(last[slot].data, data, size);
	last[slot].size = size;
	if (time(NULL) >= saved + SAVE_SECONDS) {
		save_seen();
		saved = time(NULL);
	}
}

void cover_check(void)
{
	static const char *const bad[] = {
		"WARNING", "BUG", "KASAN", "UBSAN", "Oops", "refcount_t",
		"INFO: task", "possible recursive", "possible circular",
		"suspicious RCU", "cut here", "general protection",
		"inconsistent lock", "list_add corruption", "list_del corruption",
		"rcu: INFO", "sleeping function", "Call Trace", "Call trace",
		"Internal error", "Unable to handle", "CMDQ error", "CMDQ timeout",
		"CMD_SYNC timeout", "global error",
	};
	static bool found;
	char text[2048];
	unsigned int i;
	ssize_t len;

	while ((len = read(log_fd, text, sizeof(text) - 1)) > 0 || found) {
		if (len <= 0)
			break;
		text[len] = 0;
		for (i = 0; !found && i < sizeof(bad) / sizeof(bad[0]); i++)
			found = strstr(text, bad[i]);
		if (found)
			fprintf(stderr, "%s", text);
	}
	if (found) {
		save_seen();
		save_last();
		abort();
	}
}
