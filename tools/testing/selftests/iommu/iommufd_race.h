/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Threads that work against each other, on the objects of the mock IOMMU
 * driver.
 */
#ifndef __SELFTEST_IOMMUFD_RACE_H
#define __SELFTEST_IOMMUFD_RACE_H

#include "iommufd_wait.h"

/* Seconds that threads work against each other */
#define STRESS_SECONDS	1.5
/* Seconds that they may need in addition to meet, on a busy machine */
#define MEET_SECONDS	60

/*
 * Threads that work against each other for a while. A racer counts the errnos
 * that it got, and the test decides which of them are allowed.
 */
#define MAX_ERRNO	133

struct racer;

struct stress {
	int fd;
	__u32 ioas;
	__u32 parent;
	atomic_uint viommu;
	__u32 nested[2];
	struct mock dev;
	/* A device that comes and goes, 0 in between */
	atomic_uint guest;
	atomic_bool stop;
	/* Whether the racers have met. The race goes on until they have */
	bool (*met)(const struct racer *racers);
	struct racer *racers;
	unsigned int num;
};

#define MAX_RACERS	4

struct racer {
	pthread_t thread;
	struct stress *stress;
	void (*once)(struct racer *racer);
	unsigned long rounds;
	/* In the middle of a round */
	atomic_bool busy;
	/* For each other racer: own rounds that began during its rounds */
	unsigned long beside[MAX_RACERS];
	/* The number of attaches to nested HWPTs by do_replace() */
	unsigned long attached;
	unsigned long got[MAX_ERRNO];
	unsigned int seed;
};

static void got(struct racer *racer, int rc)
{
	racer->got[-rc < MAX_ERRNO ? -rc : MAX_ERRNO - 1]++;
}

/* Whether the racer got no other errno than these */
#define got_only(racer, ...)                                           \
	({                                                              \
		static const int __ok[] = { __VA_ARGS__ };              \
		__got_only(racer, __ok, ARRAY_SIZE(__ok));              \
	})
static bool __got_only(const struct racer *racer, const int *ok, size_t num)
{
	bool only = true;
	size_t j;
	int i;

	for (i = 0; i < MAX_ERRNO; i++) {
		if (!racer->got[i])
			continue;
		for (j = 0; j < num && ok[j] != -i; j++)
			;
		if (j == num) {
			printf("# %lu times %s\n", racer->got[i], strerror(i));
			only = false;
		}
	}
	return only;
}

static void *racer_thread(void *arg)
{
	struct racer *racer = arg;
	struct stress *stress = racer->stress;
	unsigned int i;

	while (!stress->stop) {
		racer->busy = true;
		for (i = 0; i < stress->num; i++)
			racer->beside[i] += stress->racers[i].busy;
		racer->once(racer);
		racer->busy = false;
		racer->rounds++;
	}
	return NULL;
}

/*
 * Whether each racer has begun a number of rounds in the middle of rounds of
 * each other racer. This is a small number, for the slowest of kernels: other
 * kernels make thousands of them in the least time of a race.
 */
static bool all_met(const struct racer *racers, unsigned int num)
{
	unsigned int i, j;

	for (i = 0; i < num; i++) {
		for (j = 0; j < num; j++) {
			if (j != i && racers[i].beside[j] < 10)
				return false;
		}
	}
	return true;
}

static void run_racers(struct stress *stress, struct racer *racers,
		       unsigned int num, double seconds)
{
	unsigned int i;
	double end;

	assert(num <= MAX_RACERS);
	stress->stop = false;
	stress->racers = racers;
	stress->num = num;
	for (i = 0; i < num; i++) {
		racers[i].stress = stress;
		racers[i].seed = i + 1;
		assert(!pthread_create(&racers[i].thread, NULL, racer_thread,
				       &racers[i]));
	}
	usleep(seconds * 1e6);
	end = now() + MEET_SECONDS;
	while (stress->met && !stress->met(racers) && now() < end)
		usleep(100 * 1000);
	stress->stop = true;
	for (i = 0; i < num; i++)
		assert(!pthread_join(racers[i].thread, NULL));
}

static void some_time(struct racer *racer, unsigned int max_us)
{
	usleep(rand_r(&racer->seed) % max_us);
}

#endif
