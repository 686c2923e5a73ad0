// SPDX-License-Identifier: GPL-2.0-only
/*
 * The fuzzer of iommufd, and the replay of its corpus: see iommufd_fuzz.h.
 *
 * Built with -DFUZZ and linked to libFuzzer, which sees the coverage of the kernel by
 * KCOV as its extra counters. Otherwise this is a test, which reads inputs in
 * hexadecimal, a line for each, from the file in its last argument. If the first is
 * "smmuv3", devices of VFIO behind an SMMUv3 take the place of the mock driver. With
 * "trace" the test reports each call.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "iommufd_fuzz.h"
#include "iommufd_fuzz_cover.h"

/* A gate may hold a thread that has not ended after this time */
#define GATE_MS		100

static struct worker {
	pthread_t thread;
	const uint8_t *data;
	size_t num;
	bool busy;
} workers[NR_THREADS];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t work = PTHREAD_COND_INITIALIZER;
static pthread_cond_t done = PTHREAD_COND_INITIALIZER;
static unsigned int busy;

static void *worker_thread(void *arg)
{
	struct worker *w = arg;
	unsigned int self = w - workers;
	size_t i;

	cover_thread(self);
	/* The thread has opened its files */
	pthread_mutex_lock(&lock);
	if (!--busy)
		pthread_cond_signal(&done);
	pthread_mutex_unlock(&lock);
	for (;;) {
		pthread_mutex_lock(&lock);
		while (!w->busy)
			pthread_cond_wait(&work, &lock);
		pthread_mutex_unlock(&lock);
		cover_start(self);
		for (i = 0; i < w->num; i++) {
			const uint8_t *record = w->data + i * RECORD;

			if ((record[AT_WHERE] & WHERE_THREAD) % NR_THREADS ==
			    self)
				run_record(record, self);
		}
		cover_stop(self);
		pthread_mutex_lock(&lock);
		w->busy = false;
		if (!--busy)
			pthread_cond_signal(&done);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void run_workers(const uint8_t *data, size_t num)
{
	bool used[NR_THREADS] = {};
	struct timespec end;
	unsigned int i;

	for (i = 0; i < num; i++)
		used[(data[i * RECORD + AT_WHERE] & WHERE_THREAD) % NR_THREADS] =
			true;
	pthread_mutex_lock(&lock);
	for (i = 0; i < NR_THREADS; i++) {
		if (!used[i])
			continue;
		workers[i].data = data;
		workers[i].num = num;
		workers[i].busy = true;
		busy++;
	}
	pthread_cond_broadcast(&work);
	while (busy) {
		clock_gettime(CLOCK_REALTIME, &end);
		end.tv_nsec += GATE_MS * 1000000;
		if (end.tv_nsec >= 1000000000) {
			end.tv_nsec -= 1000000000;
			end.tv_sec++;
		}
		if (pthread_cond_timedwait(&done, &lock, &end) != ETIMEDOUT ||
		    !busy)
			continue;
		pthread_mutex_unlock(&lock);
		/* A thread that an error of the kernel has killed never ends */
		cover_check();
		open_gates();
		pthread_mutex_lock(&lock);
	}
	pthread_mutex_unlock(&lock);
}

/* Whether the first argument is this. It is removed */
static bool take_arg(int *argc, char **argv, const char *arg)
{
	if (*argc < 2 || strcmp(argv[1], arg))
		return false;
	memmove(argv + 1, argv + 2, (*argc - 1) * sizeof(*argv));
	--*argc;
	return true;
}

/* Return: NULL, or why it cannot start */
static const char *start(bool smmu)
{
	struct rlimit all = { RLIM_INFINITY, RLIM_INFINITY };
	const char *why;
	unsigned int i;

	setrlimit(RLIMIT_MEMLOCK, &all);
	why = fuzz_init(smmu);
	if (why)
		return why;
	busy = NR_THREADS;
	for (i = 0; i < NR_THREADS; i++)
		if (pthread_create(&workers[i].thread, NULL, worker_thread,
				   &workers[i])) {
			perror("thread");
			exit(1);
		}
	cover_thread(NR_THREADS);
	pthread_mutex_lock(&lock);
	while (busy)
		pthread_cond_wait(&done, &lock);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void run_input(const uint8_t *data, size_t size)
{
	uint8_t last[RECORD] = {};
	size_t num = size / RECORD;

	if (num > MAX_RECORDS)
		num = MAX_RECORDS;
	cover_start(NR_THREADS);
	fuzz_begin();
	run_workers(data, num);
	/* Pad an incomplete last record with zeros */
	if (num < MAX_RECORDS && size % RECORD) {
		memcpy(last, data + num * RECORD, size % RECORD);
		run_workers(last, 1);
	}
	fuzz_end();
	cover_stop(NR_THREADS);
}

#ifdef FUZZ

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

struct input {
	size_t size;
	uint8_t data[MAX_RECORDS * RECORD];
	char name[256];
};

static int smaller(const void *a, const void *b)
{
	const struct input *const *x = a, *const *y = b;

	if ((*x)->size != (*y)->size)
		return (*x)->size < (*y)->size ? -1 : 1;
	return strcmp((*x)->name, (*y)->name);
}

static struct input *read_input(const char *name)
{
	struct input *input = calloc(1, sizeof(*input));
	int fd = open(name, O_RDONLY);
	ssize_t len;

	if (!input) {
		perror("memory");
		exit(1);
	}
	len = fd < 0 ? -1 : read(fd, input->data, sizeof(input->data));
	if (fd >= 0)
		close(fd);
	if (len < 0) {
		free(input);
		return NULL;
	}
	input->size = len;
	snprintf(input->name, sizeof(input->name), "%s", name);
	return input;
}

/* Add the names of the inputs that together reach all known places to a list */
static void minimise(const char *dir, const char *list)
{
	struct input **inputs = NULL;
	unsigned int num = 0, i;
	FILE *out = fopen(list, "a");
	struct dirent *e;
	DIR *d;

	d = opendir(dir);
	if (!out || !d || chdir(dir)) {
		perror(dir);
		exit(1);
	}
	while ((e = readdir(d))) {
		if (!(num % 1024))
			inputs = reallocarray(inputs, num + 1024,
					      sizeof(*inputs));
		if (!inputs) {
			perror("memory");
			exit(1);
		}
		inputs[num] = read_input(e->d_name);
		num += !!inputs[num];
	}
	closedir(d);
	qsort(inputs, num, sizeof(*inputs), smaller);
	for (i = 0; i < num; i++) {
		cover_note(inputs[i]->data, inputs[i]->size);
		run_input(inputs[i]->data, inputs[i]->size);
		cover_check();
		if (cover_is_new())
			fprintf(out, "%s\n", inputs[i]->name);
	}
	fclose(out);
}

/*
 * The corpus and the findings are in a directory of the machine that emulates, or, as not
 * all emulators have that, on a disk, which the kernel must not lose if it crashes.
 * With --minimise the fuzzer only chooses the inputs that reach all places.
 */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *why;

	mkdir("/tmp/fuzz", 0755);
	if (mount("fuzz", "/tmp/fuzz", "9p", 0,
		  "trans=virtio,version=9p2000.L,msize=65536,cache=none") &&
	    mount("/dev/vda", "/tmp/fuzz", "ext2", MS_SYNCHRONOUS, NULL)) {
		perror("mount of fuzz");
		exit(1);
	}
	cover_open("/tmp/fuzz");
	why = start(take_arg(argc, *argv, "smmuv3"));
	if (why) {
		fprintf(stderr, "%s\n", why);
		exit(1);
	}
	if (take_arg(argc, *argv, "--minimise")) {
		minimise("/tmp/fuzz/corpus", "/tmp/fuzz/least");
		exit(0);
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cover_note(data, size);
	run_input(data, size);
	cover_check();
	return 0;
}

static uint32_t next(unsigned int *seed)
{
	return rand_r(seed);
}

static void new_record(uint8_t *record, unsigned int *seed)
{
	unsigned int i, call, kind = next(seed) % 4;

	memset(record, 0, RECORD);
	/* Prefer a call that has rarely succeeded */
	record[AT_CALL] = next(seed) % nr_calls;
	for (i = 0; i < 3; i++) {
		call = next(seed) % nr_calls;
		if (shared->good[call] < shared->good[record[AT_CALL]])
			record[AT_CALL] = call;
	}
	/* Prefer small values, above all 0: it selects the latest object */
	for (i = AT_ARGS; kind && i < RECORD; i++)
		if (next(seed) % 2)
			record[i] = kind > 1 || next(seed) % 3 ? next(seed) % 8 :
								 next(seed);
}

static void change_record(uint8_t *record, unsigned int *seed)
{
	unsigned int i;

	switch (next(seed) % 12) {
	case 0:
		record[AT_CALL] = next(seed) % nr_calls;
		break;
	case 1:
		record[AT_WHERE] ^= 1 << next(seed) % 7;
		break;
	case 2:
		if (record[AT_WHERE] & WHERE_FAIL)
			record[AT_DAMAGE] = next(seed) % 16;
		else
			record[AT_DAMAGE] = next(seed) % 3 ? 0 : next(seed);
		record[AT_DAMAGE_ARG] = next(seed);
		break;
	case 3:
		record[AT_WHERE] = 0;
		record[AT_DAMAGE] = 0;
		break;
	default:
		i = AT_ARGS + next(seed) % RECORD_ARGS;
		if (next(seed) % 2)
			record[i] = next(seed) % 8;
		else if (next(seed) % 2)
			record[i] = next(seed);
		else
			record[i] ^= 1 << next(seed) % 8;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max,
			       unsigned int seed)
{
	size_t num, from, to, len, i;

	if (max > MAX_RECORDS * RECORD)
		max = MAX_RECORDS * RECORD;
	if (size > max)
		size = max;
	/* Sometimes use libFuzzer's own mutations, with its dictionaries */
	if (next(&seed) % 16 == 0)
		return LLVMFuzzerMutate(data, size, max);
	num = size / RECORD;
	max /= RECORD;
	if (!max)
		return LLVMFuzzerMutate(data, size, max * RECORD + RECORD);
	do {
		to = next(&seed) % (num + 1);
		from = num ? next(&seed) % num : 0;
		switch (num ? next(&seed) % 12 : 0) {
		case 0:
		case 1:
		case 10:
		case 11:
			/* A new record, more often at the end */
			if (num == max)
				break;
			if (next(&seed) % 2)
				to = num;
			memmove(data + (to + 1) * RECORD, data + to * RECORD,
				(num - to) * RECORD);
			new_record(data + to * RECORD, &seed);
			num++;
			break;
		case 2:
			/* Repeat a record */
			if (num == max)
				break;
			memmove(data + (to + 1) * RECORD, data + to * RECORD,
				(num - to) * RECORD);
			if (from >= to)
				from++;
			memcpy(data + to * RECORD, data + from * RECORD, RECORD);
			num++;
			break;
		case 3:
			memmove(data + from * RECORD, data + (from + 1) * RECORD,
				(num - from - 1) * RECORD);
			num--;
			break;
		case 4:
			/* Distribute the rest of the input among the threads */
			if (next(&seed) % 4)
				break;
			for (i = from; i < num; i++)
				data[i * RECORD + AT_WHERE] =
					(data[i * RECORD + AT_WHERE] &
					 ~WHERE_THREAD) | next(&seed) % NR_THREADS;
			break;
		case 5:
			len = next(&seed) % 4 + 1;
			for (i = from; i < num && i < from + len; i++)
				change_record(data + i * RECORD, &seed);
			break;
		default:
			change_record(data + from * RECORD, &seed);
		}
	} while (next(&seed) % 3);
	return num * RECORD;
}

size_t LLVMFuzzerCustomCrossOver(const uint8_t *a, size_t a_size,
				 const uint8_t *b, size_t b_size, uint8_t *out,
				 size_t max, unsigned int seed)
{
	size_t from_a = next(&seed) % (a_size / RECORD + 1);
	size_t from_b = next(&seed) % (b_size / RECORD + 1);
	size_t rest = b_size / RECORD - from_b;

	max /= RECORD;
	if (from_a > max)
		from_a = max;
	if (rest > max - from_a)
		rest = max - from_a;
	memcpy(out, a, from_a * RECORD);
	memcpy(out + from_a * RECORD, b + from_b * RECORD, rest * RECORD);
	return (from_a + rest) * RECORD;
}

#else
#include "iommufd_fuzz_replay.h"
#endif
