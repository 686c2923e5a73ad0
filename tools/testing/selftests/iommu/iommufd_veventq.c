// SPDX-License-Identifier: GPL-2.0-only
/*
 * vEVENTQs against the mock IOMMU driver: allocation, lifetime, reading, and
 * lost events.
 */
#include <sys/resource.h>

#include "iommufd_vm.h"

static int veventq_alloc_type(int fd, __u32 viommu_id, __u32 type)
{
	__u32 queue;
	int events;

	return iommufd_veventq_alloc(fd, viommu_id, type, 1, &queue, &events);
}

TEST_F(veventq, alloc_sizes)
{
	struct {
		struct iommu_veventq_alloc cmd;
		__u64 tail[2];
	} arg;
	const __u32 min = offsetofend(struct iommu_veventq_alloc,
				      out_veventq_fd);
	__u32 size;

	for (size = 0; size <= sizeof(arg); size += 4) {
		memset(&arg, 0, sizeof(arg));
		arg.cmd.size = size;
		arg.cmd.viommu_id = self->guest.viommu;
		arg.cmd.type = IOMMU_VEVENTQ_TYPE_SELFTEST;
		arg.cmd.veventq_depth = 1;
		if (size < min) {
			EXPECT_EQ(-EINVAL,
				  iommufd_ioctl(self->fd, IOMMU_VEVENTQ_ALLOC,
						&arg));
			continue;
		}
		/* Bytes behind the size are ignored */
		if (size == min)
			arg.cmd.__reserved = 1;
		ASSERT_EQ(0, iommufd_ioctl(self->fd, IOMMU_VEVENTQ_ALLOC,
					   &arg));
		EXPECT_EQ(FD_CLOEXEC, fcntl(arg.cmd.out_veventq_fd, F_GETFD));
		EXPECT_EQ(0, close(arg.cmd.out_veventq_fd));
		EXPECT_EQ(0, destroy(self->fd, arg.cmd.out_veventq_id));
	}

	arg.cmd.size = sizeof(arg);
	arg.tail[1] = 1ULL << 63;
	EXPECT_EQ(-E2BIG, iommufd_ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, &arg));
}

TEST_F(veventq, alloc_reserved)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = self->guest.viommu,
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.veventq_depth = 1,
	};
	unsigned int bit;

	for (bit = 0; bit < 32; bit++) {
		cmd.flags = 1u << bit;
		EXPECT_EQ(-EOPNOTSUPP,
			  iommufd_ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, &cmd));
	}
	cmd.flags = 0;
	for (bit = 0; bit < 32; bit++) {
		cmd.__reserved = 1u << bit;
		EXPECT_EQ(-EOPNOTSUPP,
			  iommufd_ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, &cmd));
	}
	cmd.__reserved = 0;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, &cmd));
}

TEST_F(veventq, alloc_errors)
{
	static const __u32 depths[] = { 0, (1u << 19) + 1, 1u << 31, ~0u };
	const struct mock_vm *guest = &self->guest;
	const __u32 ids[] = { 0, NO_ID, guest->ioas, guest->dev.id,
			      guest->dev.stdev, guest->dev.hwpt, guest->parent,
			      guest->vdev, guest->nested };
	__u32 queue, bare, no_inv, no_inv_queue;
	unsigned int i;
	int events;

	for (i = 0; i < ARRAY_SIZE(depths); i++)
		EXPECT_EQ(-EINVAL, veventq_alloc(self->fd, guest->viommu,
						 depths[i], &queue, &events));
	for (i = 0; i < ARRAY_SIZE(ids); i++)
		EXPECT_EQ(-ENOENT, veventq_alloc(self->fd, ids[i], 1, &queue,
						 &events));
	EXPECT_EQ(-EOPNOTSUPP, veventq_alloc_type(self->fd, guest->viommu,
						  IOMMU_VEVENTQ_TYPE_DEFAULT));
	EXPECT_EQ(-EOPNOTSUPP,
		  veventq_alloc_type(self->fd, guest->viommu,
				     IOMMU_VEVENTQ_TYPE_ARM_SMMUV3));
	EXPECT_EQ(-EOPNOTSUPP,
		  veventq_alloc_type(self->fd, guest->viommu,
				     IOMMU_VEVENTQ_TYPE_SELFTEST + 1));
	/* If several fields are wrong, the type is reported last */
	EXPECT_EQ(-ENOENT, veventq_alloc_type(self->fd, NO_ID,
					      IOMMU_VEVENTQ_TYPE_ARM_SMMUV3));
	EXPECT_EQ(-EOPNOTSUPP, veventq_alloc_type(self->fd, NO_ID,
						  IOMMU_VEVENTQ_TYPE_DEFAULT));

	/* A vIOMMU without events. With events, the same call succeeds. */
	ASSERT_EQ(0, viommu_alloc_type(self->fd, guest->dev.id, guest->parent,
				       IOMMU_VIOMMU_TYPE_SELFTEST_BARE, &bare));
	EXPECT_EQ(-EOPNOTSUPP,
		  veventq_alloc(self->fd, bare, 1, &queue, &events));
	ASSERT_EQ(0, viommu_alloc_type(self->fd, guest->dev.id, guest->parent,
				       IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV,
				       &no_inv));
	ASSERT_EQ(0, veventq_alloc(self->fd, no_inv, 1, &no_inv_queue,
				   &events));
	EXPECT_EQ(0, close(events));

	/* A queue in place of a vIOMMU or of any other object */
	EXPECT_EQ(-ENOENT, veventq_alloc(self->fd, no_inv_queue, 1, &queue,
					 &events));
	EXPECT_EQ(-ENOENT, vdevice_alloc(self->fd, no_inv_queue, guest->dev.id,
					 1, &queue));
	EXPECT_EQ(-EINVAL, nested_alloc(self->fd, guest->dev.id, no_inv_queue,
					&queue));
	EXPECT_EQ(-EINVAL, attach(self->fd, &guest->dev, no_inv_queue));

	/* The failed calls have left nothing */
	EXPECT_EQ(0, attach(self->fd, &guest->dev, guest->ioas));
	EXPECT_EQ(0, destroy_these(self->fd, no_inv_queue, no_inv, bare,
				   guest->nested, guest->vdev, guest->viommu,
				   guest->parent));
}

TEST_F(veventq, alloc_other_fd)
{
	struct mock_vm other;
	__u32 viommu, queue, id;
	int events, none;

	/*
	 * The other fd has the same objects and two more, which do not exist on
	 * this fd
	 */
	ASSERT_EQ(0, mock_vm_init(&other, 0));
	ASSERT_EQ(0, viommu_alloc(other.fd, other.dev.id, other.parent,
				  &viommu));
	ASSERT_EQ(0, veventq_alloc(other.fd, viommu, 1, &queue, &events));
	EXPECT_EQ(-ENOENT, veventq_alloc(self->fd, viommu, 1, &id, &none));
	EXPECT_EQ(-ENOENT, destroy(self->fd, queue));
	EXPECT_EQ(0, close(events));
	EXPECT_EQ(0, close(other.fd));
}

/* A failure at any stage leaves neither an object nor a file */
TEST_F(veventq, alloc_unwritable)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = self->guest.viommu,
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.veventq_depth = 1,
	};
	struct iommu_veventq_alloc *p = map_guarded(8, PROT_NONE);
	const __u32 next = next_id(self->fd);
	const int fd = next_fd();
	struct rlimit limit, old;
	__u32 queue;
	int events;

	EXPECT_EQ(-EFAULT, ioctl_readonly(self->fd, IOMMU_VEVENTQ_ALLOC, &cmd,
					  sizeof(cmd)));
	EXPECT_EQ(next, next_id(self->fd));
	EXPECT_EQ(-EOPNOTSUPP, trigger(self->fd, self->guest.dev.id));
	EXPECT_EQ(fd, next_fd());

	p->size = sizeof(*p);
	EXPECT_EQ(-EFAULT, iommufd_ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, p));
	EXPECT_EQ(-EFAULT, iommufd_ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, NULL));

	/* No file descriptor is left */
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	limit = (struct rlimit){ .rlim_cur = fd, .rlim_max = old.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(-EMFILE, veventq_alloc(self->fd, self->guest.viommu, 1,
					 &queue, &events));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));

	ASSERT_EQ(0, veventq_alloc(self->fd, self->guest.viommu, 1, &queue,
				   &events));
	EXPECT_EQ(next, queue);
	EXPECT_EQ(fd, events);
	/* An existing queue is the last check */
	EXPECT_EQ(-EEXIST, veventq_alloc(self->fd, self->guest.viommu, 1,
					 &queue, &events));
	EXPECT_EQ(fd + 1, next_fd());
}

TEST_F(veventq, one_of_a_type)
{
	__u32 queue[2], viommu, id;
	int events[2], fd;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->guest.dev.id,
				  self->guest.parent, &viommu));
	ASSERT_EQ(0, veventq_alloc(self->fd, self->guest.viommu, 1, &queue[0],
				   &events[0]));
	EXPECT_EQ(-EEXIST, veventq_alloc(self->fd, self->guest.viommu, 1, &id,
					 &fd));
	ASSERT_EQ(0, veventq_alloc(self->fd, viommu, 1, &queue[1], &events[1]));
	EXPECT_EQ(-EEXIST, veventq_alloc(self->fd, viommu, 2, &id, &fd));

	/* The existing queue is unharmed, and its file still belongs to it */
	EXPECT_EQ(0, trigger(self->fd, self->guest.dev.id));
	EXPECT_EQ(0, read_event(events[0], 0));
	EXPECT_EQ(0, read_empty(events[1]));

	/* The queue exists until it is destroyed, with or without its file */
	EXPECT_EQ(0, close(events[0]));
	EXPECT_EQ(-EEXIST, veventq_alloc(self->fd, self->guest.viommu, 1, &id,
					 &fd));
	EXPECT_EQ(0, trigger(self->fd, self->guest.dev.id));
	EXPECT_EQ(0, destroy(self->fd, queue[0]));
	EXPECT_EQ(-EOPNOTSUPP, trigger(self->fd, self->guest.dev.id));

	/* A new queue counts from 0 */
	ASSERT_EQ(0, veventq_alloc(self->fd, self->guest.viommu, 1, &queue[0],
				   &events[0]));
	EXPECT_EQ(0, read_empty(events[0]));
	EXPECT_EQ(0, trigger(self->fd, self->guest.dev.id));
	EXPECT_EQ(0, read_event(events[0], 0));
}

TEST_F(veventq, destroy_order)
{
	struct mock_vm *guest = &self->guest;

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	ASSERT_EQ(0, attach(self->fd, &guest->dev, guest->ioas));
	ASSERT_EQ(0, destroy_these(self->fd, guest->nested, guest->vdev));

	/* The file holds the queue, the queue holds the vIOMMU */
	EXPECT_EQ(-EBUSY, destroy(self->fd, guest->queue));
	EXPECT_EQ(-EBUSY, destroy(self->fd, guest->viommu));
	EXPECT_EQ(0, read_empty(guest->events));
	EXPECT_EQ(0, close(guest->events));
	EXPECT_EQ(-EBUSY, destroy(self->fd, guest->viommu));
	EXPECT_EQ(0, destroy(self->fd, guest->queue));
	EXPECT_EQ(-ENOENT, destroy(self->fd, guest->queue));
	EXPECT_EQ(0, destroy_these(self->fd, guest->viommu, guest->parent));
}

/* The file of a queue stays valid as long as it is open */
TEST_F(veventq, close_iommufd_first)
{
	struct mock_vm *guest = &self->guest;
	int events;

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	ASSERT_EQ(0, trigger_some(guest, 3));
	events = dup(guest->events);
	ASSERT_NE(-1, events);
	EXPECT_EQ(0, close(guest->events));
	EXPECT_EQ(0, close(self->fd));
	guest->fd = -1;

	EXPECT_EQ(POLLIN, events_of(events, 0));
	EXPECT_EQ(0, read_event(events, 0));
	EXPECT_EQ(0, read_event(events, 1));
	EXPECT_EQ(0, read_lost(events, 2));
	EXPECT_EQ(0, events_of(events, 0));
	EXPECT_EQ(0, close(events));
}

/* The number of references to the module, or -1 if it is built in */
static int module_users(void)
{
	FILE *f = fopen("/sys/module/iommufd/refcnt", "re");
	int num;

	if (!f)
		return -1;
	if (fscanf(f, "%d", &num) != 1)
		num = -1;
	fclose(f);
	return num;
}

/*
 * Each domain and each open file holds the module, even without /dev/iommu
 */
TEST_F(veventq, module_in_use)
{
	struct mock_vm *guest = &self->guest;
	__u32 fault, hwpt, nested;
	int faults, users;

	if (module_users() < 0)
		SKIP(return, "iommufd is not a module here");
	/* A domain needs the mock driver, which is in this module */
	users = module_users();
	ASSERT_EQ(0, hwpt_alloc(self->fd, guest->dev.id, guest->ioas,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &hwpt));
	EXPECT_EQ(users + 1, module_users());
	ASSERT_EQ(0, nested_alloc(self->fd, guest->dev.id, hwpt, &nested));
	EXPECT_EQ(users + 2, module_users());
	ASSERT_EQ(0, destroy(self->fd, nested));
	ASSERT_EQ(0, nested_alloc(self->fd, guest->dev.id, guest->viommu,
				  &nested));
	EXPECT_EQ(users + 2, module_users());
	ASSERT_EQ(0, destroy(self->fd, nested));
	ASSERT_EQ(0, destroy(self->fd, hwpt));
	EXPECT_EQ(users, module_users());

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	ASSERT_EQ(0, fault_alloc(self->fd, &fault, &faults));
	ASSERT_EQ(0, trigger_some(guest, 2));
	users = module_users();
	/* The files hold the context with all of its objects as well */
	EXPECT_EQ(0, close(self->fd));
	guest->fd = -1;
	EXPECT_EQ(users, module_users());
	EXPECT_EQ(0, close(faults));
	EXPECT_EQ(users - 1, module_users());
	EXPECT_EQ(-EWOULDBLOCK,
		  err(syscall(SYS_delete_module, "iommufd", O_NONBLOCK)));
	EXPECT_EQ(0, read_event(guest->events, 0));
	EXPECT_EQ(0, read_event(guest->events, 1));
	EXPECT_EQ(0, close(guest->events));
	EXPECT_EQ(0, module_users());
}

/* A vIOMMU keeps its queue when its last device leaves */
TEST_F(veventq, device_leaves)
{
	struct mock_vm *guest = &self->guest;
	struct mock dev;

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	ASSERT_EQ(0, destroy(self->fd, guest->dev.stdev));
	EXPECT_EQ(-ENOENT, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(0, read_event(guest->events, 0));

	ASSERT_EQ(0, plug(self->fd, guest->ioas, 0, &dev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, guest->viommu, dev.id, 5,
				   &guest->vdev));
	ASSERT_EQ(0, attach(self->fd, &dev, guest->nested));
	EXPECT_EQ(0, trigger(self->fd, dev.id));
	EXPECT_EQ(0, read_event_of(guest->events, 5, 1));
}

TEST_F(veventq, read_sizes)
{
	struct mock_vm *guest = &self->guest;
	struct event event[2];
	size_t count;

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	/*
	 * A buffer smaller than a header is an error even if the queue is empty
	 */
	for (count = 0; count < sizeof(event[0].header); count++)
		EXPECT_EQ(-EINVAL,
			  read_len(guest->events, event, count, 0));
	for (; count <= sizeof(event); count++)
		EXPECT_EQ(0, read_len(guest->events, event, count, 0));

	/*
	 * A buffer that is too small for the next event leaves it in the queue
	 */
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	for (count = 0; count < sizeof(event[0]); count++) {
		EXPECT_EQ(-EINVAL, read_len(guest->events, event, count, 0));
		EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	}
	EXPECT_EQ(0, read_event(guest->events, 0));

	/* The rest of a larger buffer is not written */
	memset(event, 0x5a, sizeof(event));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(0, read_len(guest->events, event, sizeof(event),
			      sizeof(event[0])));
	EXPECT_EQ(VIRT_ID, event[0].data.virt_id);
	EXPECT_EQ(0x5a5a5a5a, event[1].header.flags);
	EXPECT_EQ(0x5a5a5a5a, event[1].data.virt_id);

	/* The file cannot be written, and has no position to read from */
	EXPECT_EQ(-EBADF, err(write(guest->events, event, 12) < 0));
	EXPECT_EQ(-ESPIPE, err(pread(guest->events, event, 12, 0) < 0));
	EXPECT_EQ(-ESPIPE, err(lseek(guest->events, 0, SEEK_CUR) < 0));
}

/* A read returns whole events, as many as fit */
TEST_F(veventq, read_several)
{
	struct mock_vm *guest = &self->guest;
	struct event event[DEPTH] = {};
	unsigned int i;

	ASSERT_EQ(0, mock_vm_get_queue(guest, DEPTH));
	ASSERT_EQ(0, trigger_some(guest, 5));
	EXPECT_EQ(0, read_len(guest->events, event, 4 * sizeof(event[0]) - 1,
			      3 * sizeof(event[0])));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, event[i].header.flags);
		EXPECT_EQ(i, event[i].header.sequence);
		EXPECT_EQ(VIRT_ID, event[i].data.virt_id);
	}
	EXPECT_EQ(0, event[3].data.virt_id);
	EXPECT_EQ(0, read_len(guest->events, event, sizeof(event),
			      2 * sizeof(event[0])));
	EXPECT_EQ(3, event[0].header.sequence);
	EXPECT_EQ(4, event[1].header.sequence);
	EXPECT_EQ(0, read_empty(guest->events));

	/* Wrap around the end of the ring */
	for (i = 5; i < 5 * DEPTH; i += DEPTH - 1) {
		unsigned int j;

		ASSERT_EQ(0, trigger_some(guest, DEPTH - 1));
		ASSERT_EQ(0, read_len(guest->events, event, sizeof(event),
				      (DEPTH - 1) * sizeof(event[0])));
		for (j = 0; j < DEPTH - 1; j++)
			EXPECT_EQ(i + j, event[j].header.sequence);
	}
}

TEST_F(veventq, read_never_waits)
{
	struct mock_vm *guest = &self->guest;

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	EXPECT_EQ(O_RDONLY, fcntl(guest->events, F_GETFL) & O_ACCMODE);
	EXPECT_EQ(0, read_empty(guest->events));
	EXPECT_EQ(0, events_of(guest->events, 0));
	ASSERT_EQ(0, fcntl(guest->events, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(0, read_empty(guest->events));
	EXPECT_EQ(0, events_of(guest->events, 0));

	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, read_event(guest->events, 0));
	EXPECT_EQ(0, events_of(guest->events, 0));
	EXPECT_EQ(0, read_empty(guest->events));
}

/* The loss is reported at the end, and does not take the place of an event */
TEST_F(veventq, overflow)
{
	struct mock_vm *guest = &self->guest;
	struct event event[3];

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	ASSERT_EQ(0, trigger_some(guest, 2));
	EXPECT_EQ(0, read_len(guest->events, event, sizeof(event), 24));
	ASSERT_EQ(0, trigger_some(guest, 3));
	EXPECT_EQ(0, read_event(guest->events, 2));
	EXPECT_EQ(0, read_event(guest->events, 3));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(-EINVAL, read_len(guest->events, event, 7, 0));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, read_lost(guest->events, 4));
	EXPECT_EQ(0, events_of(guest->events, 0));
	EXPECT_EQ(0, read_empty(guest->events));

	/*
	 * The loss has the number of the last lost event, and comes in the same
	 * read if it fits
	 */
	ASSERT_EQ(0, trigger_some(guest, 100));
	EXPECT_EQ(0, read_len(guest->events, event, 24 + 7, 24));
	EXPECT_EQ(5, event[0].header.sequence);
	EXPECT_EQ(6, event[1].header.sequence);
	EXPECT_EQ(0, read_len(guest->events, event, 8, 8));
	EXPECT_EQ(LOST, event[0].header.flags);
	EXPECT_EQ(104, event[0].header.sequence);

	ASSERT_EQ(0, trigger_some(guest, 4));
	memset(event, 0, sizeof(event));
	EXPECT_EQ(0, read_len(guest->events, event, sizeof(event), 24 + 8));
	EXPECT_EQ(0, event[0].header.flags);
	EXPECT_EQ(105, event[0].header.sequence);
	EXPECT_EQ(0, event[1].header.flags);
	EXPECT_EQ(106, event[1].header.sequence);
	EXPECT_EQ(VIRT_ID, event[1].data.virt_id);
	EXPECT_EQ(LOST, event[2].header.flags);
	EXPECT_EQ(108, event[2].header.sequence);
	EXPECT_EQ(0, event[2].data.virt_id);

	/* The next event is as if there had been no loss */
	ASSERT_EQ(0, trigger_some(guest, 1));
	EXPECT_EQ(0, read_event(guest->events, 109));
	EXPECT_EQ(0, events_of(guest->events, 0));
}

/*
 * A later event replaces the report of a loss, because the gap in the numbers
 * shows the loss
 */
TEST_F(veventq, overflow_later_event)
{
	struct mock_vm *guest = &self->guest;

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	ASSERT_EQ(0, trigger_some(guest, 4));
	EXPECT_EQ(0, read_event(guest->events, 0));
	ASSERT_EQ(0, trigger_some(guest, 1));
	EXPECT_EQ(0, read_event(guest->events, 1));
	EXPECT_EQ(0, read_event(guest->events, 4));
	EXPECT_EQ(0, events_of(guest->events, 0));
	EXPECT_EQ(0, read_empty(guest->events));

	/* Another loss may follow */
	ASSERT_EQ(0, trigger_some(guest, 3));
	EXPECT_EQ(0, read_event(guest->events, 5));
	ASSERT_EQ(0, trigger_some(guest, 2));
	EXPECT_EQ(0, read_event(guest->events, 6));
	EXPECT_EQ(0, read_event(guest->events, 8));
	EXPECT_EQ(0, read_lost(guest->events, 9));
	EXPECT_EQ(0, read_empty(guest->events));
}

/* Events that the IOMMU itself has lost */
TEST_F(veventq, lost_before)
{
	struct mock_vm *guest = &self->guest;

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	ASSERT_EQ(0, trigger_lost(guest));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, read_lost(guest->events, 0));
	EXPECT_EQ(0, events_of(guest->events, 0));

	ASSERT_EQ(0, trigger_lost(guest));
	ASSERT_EQ(0, trigger_lost(guest));
	EXPECT_EQ(0, read_lost(guest->events, 2));
	EXPECT_EQ(0, read_empty(guest->events));

	ASSERT_EQ(0, trigger_lost(guest));
	ASSERT_EQ(0, trigger_some(guest, 1));
	ASSERT_EQ(0, trigger_lost(guest));
	EXPECT_EQ(0, read_event(guest->events, 4));
	EXPECT_EQ(0, read_lost(guest->events, 5));
	/* Such a loss does not take a place in the queue */
	ASSERT_EQ(0, trigger_lost(guest));
	ASSERT_EQ(0, trigger_some(guest, 2));
	EXPECT_EQ(0, read_event(guest->events, 7));
	EXPECT_EQ(0, read_event(guest->events, 8));
	EXPECT_EQ(0, events_of(guest->events, 0));

	/* Without a queue, there is no reader to notify */
	EXPECT_EQ(0, close(guest->events));
	EXPECT_EQ(0, destroy(self->fd, guest->queue));
	EXPECT_EQ(0, trigger_lost(guest));
}

TEST_F(veventq, depth_one)
{
	struct mock_vm *guest = &self->guest;
	unsigned int i;

	ASSERT_EQ(0, mock_vm_get_queue(guest, 1));
	for (i = 0; i < 6; i += 3) {
		ASSERT_EQ(0, trigger_some(guest, 1));
		EXPECT_EQ(0, read_event(guest->events, i));
		ASSERT_EQ(0, trigger_some(guest, 2));
		EXPECT_EQ(0, read_event(guest->events, i + 1));
		EXPECT_EQ(0, read_lost(guest->events, i + 2));
		EXPECT_EQ(0, events_of(guest->events, 0));
	}
}

TEST_F(veventq, depth_max)
{
	struct mock_vm *guest = &self->guest;
	struct event *event;
	unsigned int i;
	int rc;

	rc = mock_vm_get_queue(guest, 1u << 19);
	if (rc == -ENOMEM)
		SKIP(return, "6 MB are too much for this machine");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, trigger_some(guest, 1000));
	event = calloc(1000, sizeof(*event));
	ASSERT_NE(NULL, event);
	ASSERT_EQ(0, read_len(guest->events, event, 1000 * sizeof(*event),
			      1000 * sizeof(*event)));
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(i, event[i].header.sequence);
	free(event);
	EXPECT_EQ(0, read_empty(guest->events));
}

/* After INT_MAX comes 0 */
TEST_F(veventq, sequence_wraps)
{
	struct mock_vm *guest = &self->guest;

	EXPECT_EQ(-EOPNOTSUPP, set_sequence(guest, 0));
	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	EXPECT_EQ(-EINVAL, set_sequence(guest, INT32_MAX + 1u));

	ASSERT_EQ(0, set_sequence(guest, INT32_MAX));
	ASSERT_EQ(0, trigger_some(guest, 2));
	EXPECT_EQ(0, read_event(guest->events, INT32_MAX));
	EXPECT_EQ(0, read_event(guest->events, 0));

	/* The lost event has the highest number, and then the number 0 */
	ASSERT_EQ(0, set_sequence(guest, INT32_MAX - 2));
	ASSERT_EQ(0, trigger_some(guest, 3));
	EXPECT_EQ(0, read_event(guest->events, INT32_MAX - 2));
	EXPECT_EQ(0, read_event(guest->events, INT32_MAX - 1));
	EXPECT_EQ(0, read_lost(guest->events, INT32_MAX));
	EXPECT_EQ(0, events_of(guest->events, 0));
	ASSERT_EQ(0, set_sequence(guest, INT32_MAX - 1));
	ASSERT_EQ(0, trigger_some(guest, 3));
	EXPECT_EQ(0, read_event(guest->events, INT32_MAX - 1));
	EXPECT_EQ(0, read_event(guest->events, INT32_MAX));
	EXPECT_EQ(0, read_lost(guest->events, 0));
	EXPECT_EQ(0, events_of(guest->events, 0));
}

/* Each VM gets its own events, with its own virt_ids */
TEST_F(veventq, two_guests)
{
	struct mock_vm *guest = &self->guest;
	struct mock_vm other;
	struct mock dev;
	__u32 vdev;

	ASSERT_EQ(0, mock_vm_init(&other, MOCK_FLAGS_DEVICE_IOMMU2));
	ASSERT_EQ(0, mock_vm_get_queue(&other, 4));
	ASSERT_EQ(0, mock_vm_get_queue(guest, 4));
	ASSERT_EQ(0, plug(self->fd, guest->ioas, 0, &dev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, guest->viommu, dev.id, 0, &vdev));
	ASSERT_EQ(0, attach(self->fd, &dev, guest->nested));

	ASSERT_EQ(0, trigger(self->fd, dev.id));
	ASSERT_EQ(0, trigger(other.fd, other.dev.id));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(0, read_event_of(guest->events, 0, 0));
	EXPECT_EQ(0, read_event_of(guest->events, VIRT_ID, 1));
	EXPECT_EQ(0, read_empty(guest->events));
	EXPECT_EQ(0, read_event(other.events, 0));
	EXPECT_EQ(0, read_empty(other.events));
	EXPECT_EQ(0, close(other.events));
	EXPECT_EQ(0, close(other.fd));
}

/* The driver is called for each vDEVICE that appears or disappears */
TEST_F(veventq, vdevice_changes)
{
	struct mock_vm *guest = &self->guest;

	ASSERT_EQ(0, mock_vm_get_queue(guest, DEPTH));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	ASSERT_EQ(0, destroy(self->fd, guest->vdev));
	EXPECT_EQ(-ENOENT, trigger(self->fd, guest->dev.id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, guest->viommu, guest->dev.id,
				   VIRT_ID + 1, &guest->vdev));
	EXPECT_EQ(0, trigger(self->fd, guest->dev.id));

	/* Earlier events are unchanged, and a refusal has not been an event */
	EXPECT_EQ(0, read_event_of(guest->events, VIRT_ID, 0));
	EXPECT_EQ(0, read_event_of(guest->events, VIRT_ID + 1, 1));
	EXPECT_EQ(0, read_empty(guest->events));
}

/* Events that could not be copied are still in the queue */
TEST_F(veventq, read_unwritable)
{
	struct mock_vm *guest = &self->guest;
	struct event *event = map_guarded(sizeof(*event) + 4, PROT_READ);

	ASSERT_EQ(0, mock_vm_get_queue(guest, 2));
	ASSERT_EQ(0, trigger_some(guest, 3));
	EXPECT_EQ(-EFAULT, read_len(guest->events, map_guarded(0, PROT_NONE),
				    12, 0));
	EXPECT_EQ(-EFAULT, read_len(guest->events, event + 1, 12, 0));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));

	/* The first event fits, and the second crosses the end of the page */
	EXPECT_EQ(0, read_len(guest->events, event, 36, 12));
	EXPECT_EQ(0, event->header.sequence);
	EXPECT_EQ(-EFAULT, read_len(guest->events, event + 1, 12, 0));
	EXPECT_EQ(0, read_event(guest->events, 1));

	/* A loss is no exception */
	EXPECT_EQ(-EFAULT, read_len(guest->events, event + 1, 12, 0));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, read_lost(guest->events, 2));
	EXPECT_EQ(0, read_empty(guest->events));
}

TEST_HARNESS_MAIN
