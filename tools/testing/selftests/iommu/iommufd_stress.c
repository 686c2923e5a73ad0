// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that work against each other, on the objects of the mock IOMMU
 * driver.
 */
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "iommufd_race.h"
#include "iommufd_vm.h"

static void do_vdevice(struct racer *racer)
{
	struct stress *s = racer->stress;
	__u32 vdev = 0;
	int rc;

	rc = vdevice_alloc(s->fd, s->viommu, s->guest, VIRT_ID, &vdev);
	got(racer, rc);
	if (rc)
		return;
	/*
	 * The device is unplugged after 3 ms at most. Half of the vDEVICEs
	 * still exist then.
	 */
	if (rand_r(&racer->seed) % 2)
		some_time(racer, 3000);
	/* The vDEVICE may have gone with its device */
	rc = destroy(s->fd, vdev);
	got(racer, rc == -ENOENT ? -ESTALE : rc);
}

static void do_plug(struct racer *racer)
{
	struct stress *s = racer->stress;
	struct mock dev;
	int rc;

	rc = plug(s->fd, s->ioas, 0, &dev);
	got(racer, rc);
	if (rc)
		return;
	s->guest = dev.id;
	some_time(racer, 3000);
	got(racer, destroy(s->fd, dev.stdev));
}

static bool vdevice_unplugged(const struct racer *racers)
{
	return racers[1].got[ESTALE] || racers[2].got[ESTALE];
}

/* Unplug a device while its vDEVICE is allocated and destroyed */
TEST_F_TIMEOUT(viommu, race_vdevice_unbind, 100)
{
	struct stress stress = {
		.met = vdevice_unplugged,
		.fd = self->fd,
		.ioas = self->ioas,
		.viommu = self->viommu,
	};
	struct racer racers[] = { { .once = do_plug },
				    { .once = do_vdevice },
				    { .once = do_vdevice } };

	run_racers(&stress, racers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&racers[0], 0));
	EXPECT_TRUE(got_only(&racers[1], 0, -ENOENT, -EEXIST, -ESTALE));
	EXPECT_TRUE(got_only(&racers[2], 0, -ENOENT, -EEXIST, -ESTALE));
	EXPECT_TRUE(vdevice_unplugged(racers));
	EXPECT_LT(0, racers[1].got[0] + racers[2].got[0]);
	/* Nothing is left that holds the vIOMMU */
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, self->parent));
}

/* A vDEVICE is destroyed by its ID and with its device at the same time */
TEST_F_TIMEOUT(viommu, race_vdevice_destroyed_twice, 100)
{
	struct iommu_destroy by_id = { .size = sizeof(by_id) };
	struct iommu_destroy unplug = { .size = sizeof(unplug) };
	unsigned int by_device = 0, i;
	struct call a, b;
	struct mock dev;
	double end = now() + STRESS_SECONDS;

	/* If necessary, go on until each of them has been the first */
	for (i = 0; now() < end || ((!by_device || by_device == i) &&
				    now() < end + MEET_SECONDS); i++) {
		ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &dev));
		ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, dev.id,
					   VIRT_ID, &by_id.id));
		unplug.id = dev.stdev;
		if (i & 1) {
			call_start(&a, self->fd, IOMMU_DESTROY, &by_id);
			call_start(&b, self->fd, IOMMU_DESTROY, &unplug);
		} else {
			call_start(&b, self->fd, IOMMU_DESTROY, &unplug);
			call_start(&a, self->fd, IOMMU_DESTROY, &by_id);
		}
		if (call_join(&a)) {
			ASSERT_EQ(-ENOENT, a.rc);
			by_device++;
		}
		ASSERT_EQ(0, call_join(&b));
		ASSERT_EQ(-ENOENT, destroy(self->fd, by_id.id));
	}
	EXPECT_LT(0, by_device);
	EXPECT_LT(by_device, i);
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, self->parent));
}

/* If two threads destroy an object, exactly one of them succeeds */
static int destroy_by_two(struct __test_metadata *_metadata, int fd, __u32 id)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = id };
	struct call a, b;

	call_start(&a, fd, IOMMU_DESTROY, &cmd);
	call_start(&b, fd, IOMMU_DESTROY, &cmd);
	call_join(&a);
	call_join(&b);
	EXPECT_EQ(1, !a.rc + !b.rc);
	EXPECT_EQ(-ENOENT, a.rc ?: b.rc);
	return a.rc && b.rc ? -EIO : 0;
}

TEST_F(viommu, race_destroy_one_id)
{
	double end = now() + STRESS_SECONDS;
	__u32 viommu, vdev, nested;

	while (now() < end) {
		ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[0].id,
					  self->parent, &viommu));
		ASSERT_EQ(0, vdevice_alloc(self->fd, viommu, self->dev[0].id,
					   VIRT_ID, &vdev));
		ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, viommu,
					  &nested));
		ASSERT_EQ(0, destroy_by_two(_metadata, self->fd, nested));
		ASSERT_EQ(0, destroy_by_two(_metadata, self->fd, vdev));
		ASSERT_EQ(0, destroy_by_two(_metadata, self->fd, viommu));
	}
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, self->parent));
}

static void do_invalidate_slowly(struct racer *racer)
{
	struct iommu_viommu_invalidate_selftest req = {
		.flags = IOMMU_TEST_INVALIDATE_FLAG_SLOW,
		.vdev_id = VIRT_ID,
	};
	struct stress *s = racer->stress;
	__u32 done;
	int rc;

	rc = viommu_invalidate(s->fd, s->viommu, &req, 1, &done);
	got(racer, rc);
	if (done != !rc)
		got(racer, -EPROTO);
}

/*
 * After the end of a vDEVICE, no invalidation on its vIOMMU may reach the
 * device, which may belong to another VM by then. This includes an invalidation
 * that has begun before.
 */
TEST_F_TIMEOUT(viommu, race_invalidate_vdevice_destroy, 100)
{
	struct stress stress = { .fd = self->fd, .viommu = self->viommu };
	struct racer racers[] = { { .once = do_invalidate_slowly },
				    { .once = do_invalidate_slowly } };
	double end = now() + STRESS_SECONDS;
	unsigned int reached = 0, i;
	unsigned int seed = 1;
	struct mock dev;
	__u32 vdev;
	bool clean;

	for (i = 0; i < 2; i++) {
		racers[i].stress = &stress;
		ASSERT_EQ(0, pthread_create(&racers[i].thread, NULL,
					    racer_thread, &racers[i]));
	}
	/* Each turn waits for grace periods, so there may be few turns */
	for (i = 0; now() < end || (!reached && now() < end + MEET_SECONDS);
	     i++) {
		ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &dev));
		ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, dev.id,
					   VIRT_ID, &vdev));
		usleep(rand_r(&seed) % 1000);
		/* Destroy the vDEVICE and the device by turns */
		if (i & 1) {
			ASSERT_EQ(0, destroy(self->fd, vdev));
			clean = cache_is(self->fd, dev.id, 0, CLEAN);
			usleep(1500);
			ASSERT_EQ(clean,
				  cache_is(self->fd, dev.id, 0, CLEAN));
			reached += clean;
		}
		ASSERT_EQ(0, destroy(self->fd, dev.stdev));
	}
	stress.stop = true;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(racers[i].thread, NULL));
		EXPECT_TRUE(got_only(&racers[i], 0, -EINVAL));
	}
	/* Otherwise it was not a race */
	EXPECT_LT(0, reached);
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, self->parent));
}

static void do_replace(struct racer *racer)
{
	struct stress *s = racer->stress;
	const __u32 to[] = { s->nested[0], s->parent, s->nested[1], s->ioas };
	int rc = attach(s->fd, &s->dev, to[racer->rounds % 4]);

	got(racer, rc);
	if (!rc && racer->rounds % 2 == 0)
		racer->attached++;
}

static void do_invalidate(struct racer *racer)
{
	struct iommu_hwpt_invalidate_selftest reqs[8] = {};
	struct stress *s = racer->stress;
	__u32 done;

	got(racer, viommu_invalidate_dev(s->fd, s->viommu, VIRT_ID));
	got(racer, invalidate(s->fd, s->nested[racer->rounds % 2],
			      IOMMU_HWPT_INVALIDATE_DATA_SELFTEST, reqs,
			      sizeof(reqs[0]), 8, &done));
	if (done != 8)
		got(racer, -EPROTO);
}

static void do_map_unmap(struct racer *racer)
{
	struct stress *s = racer->stress;
	unsigned int i;

	for (i = 0; i < 8; i++)
		got(racer, map_at(s->fd, s->ioas,
				  MOCK_APERTURE_START + i * PAGE_SIZE));
	got(racer, ioas_unmap(s->fd, s->ioas, 0, UINT64_MAX));
}

static bool three_met(const struct racer *racers)
{
	return all_met(racers, 3);
}

/* Replace while the stage 2 changes and caches are invalidated */
TEST_F_TIMEOUT(viommu, race_replace, 100)
{
	struct stress stress = {
		.met = three_met,
		.fd = self->fd,
		.ioas = self->ioas,
		.parent = self->parent,
		.viommu = self->viommu,
		.dev = self->dev[0],
	};
	struct racer racers[] = { { .once = do_replace },
				    { .once = do_invalidate },
				    { .once = do_map_unmap } };
	__u32 vdev = 0;
	unsigned int i;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &stress.nested[0]));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &stress.nested[1]));
	run_racers(&stress, racers, 3, STRESS_SECONDS);
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(got_only(&racers[i], 0));
	EXPECT_TRUE(three_met(racers));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->ioas));
	EXPECT_EQ(0, destroy_these(self->fd, stress.nested[0],
				   stress.nested[1], vdev, self->viommu,
				   self->parent));
}

static bool attach_met(const struct racer *racers)
{
	return racers[0].got[ENOENT] && racers[0].attached;
}

/* Replace while the vDEVICE that the attach requires comes and goes */
TEST_F_TIMEOUT(viommu, race_replace_vdevice, 100)
{
	struct stress stress = {
		.met = attach_met,
		.fd = self->fd,
		.ioas = self->ioas,
		.parent = self->parent,
		.viommu = self->viommu,
		.dev = self->dev[0],
		.guest = self->dev[0].id,
	};
	struct racer racers[] = { { .once = do_replace },
				    { .once = do_vdevice } };
	unsigned int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id,
					  self->viommu, &stress.nested[i]));
	run_racers(&stress, racers, 2, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&racers[0], 0, -ENOENT));
	EXPECT_TRUE(got_only(&racers[1], 0));
	EXPECT_TRUE(attach_met(racers));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->ioas));
	EXPECT_EQ(0, destroy_these(self->fd, stress.nested[0],
				   stress.nested[1], self->viommu,
				   self->parent));
}

/* Events against everything that can happen to their recipients */
struct storm {
	struct stress stress;
	struct mock_vm guest;
	int faults;
};

static struct storm *to_storm(struct racer *racer)
{
	return (struct storm *)racer->stress;
}

static void do_trigger(struct racer *racer)
{
	struct storm *storm = to_storm(racer);

	got(racer, trigger(storm->guest.fd, storm->guest.dev.id));
}

/* Allocate a queue, read it a few times, and destroy it */
static void do_queue(struct racer *racer)
{
	struct mock_vm *guest = &to_storm(racer)->guest;
	long sequence, last = -1;
	struct event event;
	unsigned int i;
	__u32 queue;
	int events;
	int rc;

	rc = veventq_alloc(guest->fd, guest->viommu, 2, &queue, &events);
	got(racer, rc);
	if (rc)
		return;
	for (i = 0; i < 20; i++) {
		ssize_t len = read(events, &event, sizeof(event));

		if (!len)
			continue;
		sequence = event.header.sequence;
		/*
		 * A loss may be reported twice, the second time as a longer
		 * loss
		 */
		if (sequence <= last ||
		    (len != sizeof(event) &&
		     (len != sizeof(event.header) ||
		      event.header.flags != LOST)) ||
		    (len == sizeof(event) &&
		     (event.header.flags || event.data.virt_id != VIRT_ID)))
			got(racer, -EPROTO);
		last = sequence;
	}
	/* Close and destroy in either order */
	if (racer->rounds & 1)
		got(racer, destroy(guest->fd, queue) == -EBUSY ? 0 : -EPROTO);
	close(events);
	got(racer, destroy(guest->fd, queue));
}

static void do_guest_vdevice(struct racer *racer)
{
	struct mock_vm *guest = &to_storm(racer)->guest;
	int rc;

	some_time(racer, 2000);
	rc = destroy(guest->fd, guest->vdev);
	got(racer, rc);
	if (!rc)
		got(racer, vdevice_alloc(guest->fd, guest->viommu,
					 guest->dev.id, VIRT_ID,
					 &guest->vdev));
}

static void do_detach(struct racer *racer)
{
	struct mock_vm *guest = &to_storm(racer)->guest;

	got(racer, attach(guest->fd, &guest->dev, guest->ioas));
	got(racer, attach(guest->fd, &guest->dev, guest->nested));
}

/* Two devices of a group, for each of which HWPTs are allocated on demand */
struct group_race {
	struct stress stress;
	struct mock dev[2];
	__u32 to[3];
};

static void move_group(struct racer *racer, const struct mock *dev)
{
	struct group_race *race = (struct group_race *)racer->stress;

	got(racer, attach(race->stress.fd, dev,
			  race->to[rand_r(&racer->seed) % 3]));
}

static void do_move_first(struct racer *racer)
{
	move_group(racer, &((struct group_race *)racer->stress)->dev[0]);
}

static void do_move_second(struct racer *racer)
{
	move_group(racer, &((struct group_race *)racer->stress)->dev[1]);
}

/*
 * A third device joins the group. This succeeds only if it asks for the HWPT of
 * the group.
 */
static void do_join(struct racer *racer)
{
	struct group_race *race = (struct group_race *)racer->stress;
	struct mock dev;
	int rc;

	rc = plug_beside(race->stress.fd, race->to[racer->rounds % 3], 0,
			 &race->dev[0], &dev);
	got(racer, rc);
	if (!rc)
		got(racer, destroy(race->stress.fd, dev.stdev));
}

static bool joined(const struct racer *racers)
{
	return all_met(racers, 3) && racers[2].got[0] &&
	       racers[2].got[EINVAL];
}

/*
 * Either device leaves a domain that the other has just been attached to. The
 * last user frees it, so the domain must be complete by then.
 */
TEST_F_TIMEOUT(group, race, 100)
{
	struct group_race race = {
		.stress = { .fd = self->fd, .met = joined },
		.dev = { self->dev[0], self->dev[1] },
		.to = { self->ioas[0], self->ioas[1], self->hwpt[0] },
	};
	struct racer racers[] = { { .once = do_move_first },
				    { .once = do_move_second },
				    { .once = do_join } };

	run_racers(&race.stress, racers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&racers[0], 0));
	EXPECT_TRUE(got_only(&racers[1], 0));
	EXPECT_TRUE(got_only(&racers[2], 0, -EINVAL));
	EXPECT_TRUE(joined(racers));

	/* No object has a user too many or too few */
	ASSERT_EQ(0, attach(self->fd, &self->dev[1], self->ioas[1]));
	EXPECT_EQ(0, destroy_these(self->fd, self->hwpt[0], self->hwpt[1],
				   self->nested, self->viommu, self->parent,
				   self->ioas[0]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->ioas[1]));
	EXPECT_EQ(0, destroy_these(self->fd, self->dev[1].stdev,
				   self->dev[0].stdev, self->ioas[1]));
}

static void do_read(struct racer *racer)
{
	struct mock_vm *guest = &to_storm(racer)->guest;
	struct event event[4];
	ssize_t rc;

	rc = read(guest->events, event, sizeof(event));
	got(racer, rc < 0 ? -errno : 0);
}

/*
 * The first racer has both found and missed the object that the second racer
 * destroys
 */
static bool trigger_met(const struct racer *racers)
{
	return racers[0].got[0] &&
	       (racers[0].got[ENOENT] || racers[0].got[EOPNOTSUPP]);
}

static bool has_happened(const struct racer *racer, int rc)
{
	return racer->got[-rc] > 0;
}

TEST_F_TIMEOUT(veventq, race_queue_destroy, 100)
{
	struct storm storm = { .stress.met = trigger_met,
			       .guest = self->guest };
	struct racer racers[] = { { .once = do_trigger },
				    { .once = do_queue } };

	run_racers(&storm.stress, racers, 2, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&racers[0], 0, -EOPNOTSUPP));
	EXPECT_TRUE(got_only(&racers[1], 0));
	EXPECT_TRUE(has_happened(&racers[0], 0));
	EXPECT_TRUE(has_happened(&racers[0], -EOPNOTSUPP));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.ioas));
	EXPECT_EQ(0, destroy_these(self->fd, self->guest.nested,
				   self->guest.vdev, self->guest.viommu,
				   self->guest.parent));
}

static bool queues_met(const struct racer *racers)
{
	return racers[0].got[EEXIST] || racers[1].got[EEXIST];
}

/* Two threads compete for the only queue of a type */
TEST_F_TIMEOUT(veventq, race_one_of_a_type, 100)
{
	struct storm storm = { .stress.met = queues_met,
			       .guest = self->guest };
	struct racer racers[] = { { .once = do_queue },
				    { .once = do_queue },
				    { .once = do_trigger } };

	run_racers(&storm.stress, racers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&racers[0], 0, -EEXIST));
	EXPECT_TRUE(got_only(&racers[1], 0, -EEXIST));
	EXPECT_TRUE(got_only(&racers[2], 0, -EOPNOTSUPP));
	EXPECT_LT(0, racers[0].got[EEXIST] + racers[1].got[EEXIST]);
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.ioas));
	EXPECT_EQ(0, destroy_these(self->fd, self->guest.nested,
				   self->guest.vdev, self->guest.viommu,
				   self->guest.parent));
}

/* Events while @once destroys and restores something that they need */
static void race_trigger(struct __test_metadata *_metadata, struct mock_vm *guest,
			 void (*once)(struct racer *racer))
{
	struct storm storm = { .stress.met = trigger_met };
	struct racer racers[] = { { .once = do_trigger },
				  { .once = once },
				  { .once = do_read } };

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	storm.guest = *guest;
	run_racers(&storm.stress, racers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&racers[0], 0, -ENOENT));
	EXPECT_TRUE(got_only(&racers[1], 0));
	EXPECT_TRUE(got_only(&racers[2], 0));
	EXPECT_TRUE(has_happened(&racers[0], 0));
	EXPECT_TRUE(has_happened(&racers[0], -ENOENT));
	while (read_empty(guest->events))
		;
	EXPECT_EQ(0, mock_vm_works(&storm.guest));
}

TEST_F_TIMEOUT(veventq, race_vdevice_destroy, 100)
{
	race_trigger(_metadata, &self->guest, do_guest_vdevice);
}

TEST_F_TIMEOUT(veventq, race_detach, 100)
{
	race_trigger(_metadata, &self->guest, do_detach);
}

/* The device itself goes, and with it the vDEVICE and the attachment */
static void do_replug(struct racer *racer)
{
	struct storm *storm = to_storm(racer);
	struct mock_vm *guest = &storm->guest;
	struct mock dev;
	__u32 vdev;
	int rc;

	rc = plug(guest->fd, guest->ioas, 0, &dev);
	got(racer, rc);
	if (rc)
		return;
	got(racer, vdevice_alloc(guest->fd, guest->viommu, dev.id, 1, &vdev));
	got(racer, attach(guest->fd, &dev, guest->nested));
	storm->stress.guest = dev.id;
	some_time(racer, 2000);
	got(racer, destroy(guest->fd, dev.stdev));
}

static void do_trigger_plugged(struct racer *racer)
{
	struct storm *storm = to_storm(racer);

	got(racer, trigger(storm->guest.fd, storm->stress.guest));
}

TEST_F_TIMEOUT(veventq, race_unplug, 100)
{
	struct storm storm = { .stress.met = trigger_met };
	struct racer racers[] = { { .once = do_trigger_plugged },
				    { .once = do_replug },
				    { .once = do_read } };

	ASSERT_EQ(0, mock_vm_get_queue(&self->guest, 2));
	storm.guest = self->guest;
	run_racers(&storm.stress, racers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&racers[0], 0, -ENOENT));
	EXPECT_TRUE(got_only(&racers[1], 0));
	EXPECT_TRUE(got_only(&racers[2], 0));
	EXPECT_TRUE(has_happened(&racers[0], 0));
	EXPECT_TRUE(has_happened(&racers[0], -ENOENT));
}

static void do_fault(struct racer *racer)
{
	struct mock_vm *guest = &to_storm(racer)->guest;

	got(racer, fault(guest->fd, guest->dev.id, racer->rounds & 1, 0));
}

static void do_answer(struct racer *racer)
{
	struct iommu_hwpt_pgfault fault;
	struct storm *storm = to_storm(racer);

	/*
	 * Answer some of the faults. A fault that is gone in the meantime has
	 * no entry.
	 */
	if (read(storm->faults, &fault, sizeof(fault)) != sizeof(fault))
		return;
	if (racer->rounds & 1)
		got(racer, answer(storm->faults, fault.cookie,
				  IOMMUFD_PAGE_RESP_SUCCESS));
}

static bool answer_met(const struct racer *racers)
{
	return racers[2].got[0] && all_met(racers, 3);
}

/* Page faults, all of which must have an answer in the end */
TEST_F_TIMEOUT(iopf, race_detach, 100)
{
	struct storm storm = {
		.stress.met = answer_met,
		.guest = self->guest,
		.faults = self->faults[0],
	};
	struct racer racers[] = { { .once = do_fault },
				    { .once = do_detach },
				    { .once = do_answer } };
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_GET_IOPF,
		.id = self->dev,
	};

	storm.guest.nested = self->nested[0];
	run_racers(&storm.stress, racers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&racers[0], 0));
	EXPECT_TRUE(got_only(&racers[1], 0));
	EXPECT_TRUE(got_only(&racers[2], 0, -EINVAL));
	EXPECT_TRUE(answer_met(racers));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.ioas));
	ASSERT_EQ(0, iommufd_ioctl(self->fd,
				   _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_GET_IOPF),
				   &cmd));
	EXPECT_EQ(0, cmd.dev_get_iopf.out_pending);
	EXPECT_EQ(racers[0].rounds, cmd.dev_get_iopf.out_success +
					     cmd.dev_get_iopf.out_invalid);
	EXPECT_LT(0, cmd.dev_get_iopf.out_success);
}

/* A VMM, for many objects or mappings */
struct many {
	int fd;
	struct mock dev;
	__u32 ioas;
	__u32 plain;		/* No device uses this */
};

static int make_hwpt(const struct many *many, unsigned int i)
{
	__u32 id;

	return hwpt_alloc(many->fd, many->dev.id, many->ioas, 0, &id);
}

static int make_area(const struct many *many, unsigned int i)
{
	return map_at(many->fd, many->plain,
		      MOCK_APERTURE_START + i * PAGE_SIZE);
}

/*
 * How long the close takes, and how often it is interrupted by other processes.
 * Before it, the process does nothing in user space for as long as @spun.
 */
struct closing {
	double seconds;
	long switches;
	double spun;
	long spun_switches;
};

/* Long enough for some turns on a busy machine */
#define SPIN_SECONDS	0.6
#define MOST_OBJECTS	0x20000

/*
 * Whether others got their turns during the close. How many these are depends
 * on the load of the machine. A short close may miss two of them.
 */
static bool yields(const struct closing *closing)
{
	long missed = closing->seconds < SPIN_SECONDS ? 2 : 0;

	return closing->spun_switches &&
	       closing->spun_switches / closing->spun * closing->seconds / 2 <=
		       closing->switches + missed;
}

static long switches(void)
{
	struct rusage usage;

	assert(!getrusage(RUSAGE_SELF, &usage));
	return usage.ru_nivcsw;
}

/* A process that makes many objects or mappings and closes them */
static void __attribute__((noreturn))
close_many(struct closing *closing, unsigned int num,
	   int (*make)(const struct many *many, unsigned int i))
{
	struct many many = { .fd = iommufd_open() };
	double begin;
	long before;

	if (many.fd < 0 || ioas_alloc(many.fd, &many.ioas) ||
	    ioas_alloc(many.fd, &many.plain) ||
	    plug(many.fd, many.ioas, 0, &many.dev))
		_exit(1);
	while (num--) {
		if (make(&many, num))
			_exit(1);
	}
	begin = now();
	before = switches();
	do {
		closing->spun = now() - begin;
	} while (closing->spun < SPIN_SECONDS);
	closing->spun_switches = switches() - before;

	begin = now();
	before = switches();
	close(many.fd);
	closing->switches = switches() - before;
	closing->seconds = now() - begin;
	_exit(0);
}

/*
 * A file can have as many objects and mappings as the memory of its owner
 * permits. Closing the file must let other processes run, here a process on the
 * same CPU.
 */
static void expect_yields(struct __test_metadata *_metadata,
			  int (*make)(const struct many *many, unsigned int i))
{
	double end = now() + 30;
	struct closing *closing;
	unsigned int num = 64;
	cpu_set_t cpus;
	int status;
	pid_t pid;

	closing = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, closing);
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(cpus), &cpus));
	/*
	 * A close must take much longer than a turn of the scheduler. If the
	 * CPU itself was away for a while, it only seems to have taken long, or
	 * to have missed turns: try again.
	 */
	do {
		if (closing->seconds < SPIN_SECONDS && num < MOST_OBJECTS)
			num *= 2;
		pid = fork();
		if (!pid)
			close_many(closing, num, make);
		ASSERT_LT(0, pid);
		/* Use the CPU all the time */
		while (!waitpid(pid, &status, WNOHANG))
			;
		ASSERT_EQ(0, status);
	} while ((closing->seconds < SPIN_SECONDS && num < MOST_OBJECTS &&
		  now() < end) || (!yields(closing) && now() < end + 30));
	TH_LOG("%u of them, %.3f s to close, %ld turns of others, %ld in %.3f s of user space",
	       num, closing->seconds, closing->switches, closing->spun_switches,
	       closing->spun);
	EXPECT_TRUE(yields(closing));
	munmap(closing, PAGE_SIZE);
}

/* The time to remove a HWPT grows with the number of HWPTs */
TEST_F_TIMEOUT(viommu, close_many_hwpts, 240)
{
	expect_yields(_metadata, make_hwpt);
}

TEST_F_TIMEOUT(viommu, close_many_areas, 240)
{
	expect_yields(_metadata, make_area);
}

TEST_HARNESS_MAIN
