/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VMM with one device, as far as vEVENTQs and page faults are concerned, and
 * the fixtures of more than one program.
 */
#ifndef __SELFTEST_IOMMUFD_VM_H
#define __SELFTEST_IOMMUFD_VM_H

#include "iommufd_wait.h"

/*
 * A VMM with a single device, which is attached through a vIOMMU and has the ID
 * VIRT_ID there, and a queue for its events
 */
struct mock_vm {
	int fd;
	__u32 ioas;
	struct mock dev;
	__u32 parent;
	__u32 viommu;
	__u32 vdev;
	__u32 nested;
	__u32 queue;
	int events;
};

/*
 * Return: whether the device is attached there soon. When nothing holds it up
 * any more, call_join_again() must follow.
 */
static bool attach_beside(struct call *call, const struct mock_vm *guest,
			  __u32 pt_id)
{
	static struct iommu_test_cmd replace;

	replace = (struct iommu_test_cmd){
		.size = sizeof(replace),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
		.id = guest->dev.stdev,
		.mock_domain_replace.pt_id = pt_id,
	};
	call_start(call, guest->fd,
		   _IOMMU_TEST_CMD(IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE), &replace);
	call->joined = call_join_within(call, SOON);
	return call->joined;
}

/* An event as read() returns it, or a header alone */
struct event {
	struct iommufd_vevent_header header;
	struct iommu_viommu_event_selftest data;
};

#define LOST	IOMMU_VEVENTQ_FLAG_LOST_EVENTS
#define DEPTH	16

static int trigger_some(const struct mock_vm *guest, unsigned int num)
{
	int rc = 0;

	while (!rc && num--)
		rc = trigger(guest->fd, guest->dev.id);
	return rc;
}

static int trigger_lost(const struct mock_vm *guest)
{
	return trigger_vevent(guest->fd, guest->dev.id,
			      IOMMU_TEST_VEVENT_FLAG_LOST, 0);
}

static int set_sequence(const struct mock_vm *guest, __u32 sequence)
{
	return trigger_vevent(guest->fd, guest->dev.id,
			      IOMMU_TEST_VEVENT_FLAG_SEQUENCE, sequence);
}

/* Return: 0 if exactly these bytes were read, otherwise the errno or -EPROTO */
static int read_len(int fd, void *buf, size_t count, ssize_t len)
{
	ssize_t rc = read(fd, buf, count);

	if (rc < 0)
		return -errno;
	return rc == len ? 0 : -EPROTO;
}

/* Return: 0 if this event is the next */
static int read_event_of(int fd, __u32 virt_id, __u32 sequence)
{
	struct event event = { .header.flags = ~0u };
	int rc = read_len(fd, &event, sizeof(event), sizeof(event));

	if (rc)
		return rc;
	return event.header.flags || event.header.sequence != sequence ||
			       event.data.virt_id != virt_id ?
		       -EPROTO :
		       0;
}

static int read_event(int fd, __u32 sequence)
{
	return read_event_of(fd, VIRT_ID, sequence);
}

static int read_lost(int fd, __u32 sequence)
{
	struct event event = { .data.virt_id = ~0u };
	int rc = read_len(fd, &event, sizeof(event), sizeof(event.header));

	if (rc)
		return rc;
	return event.header.flags != LOST ||
			       event.header.sequence != sequence ||
			       event.data.virt_id != ~0u ?
		       -EPROTO :
		       0;
}

static int read_empty(int fd)
{
	struct event event;

	return read_len(fd, &event, sizeof(event), 0);
}

/* The events that poll() reports within the timeout */
static int events_of(int fd, int timeout)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN | POLLPRI };

	return poll(&pollfd, 1, timeout) < 0 ? -errno : pollfd.revents;
}

static int mock_vm_init(struct mock_vm *guest, __u32 dev_flags)
{
	int rc;

	memset(guest, 0, sizeof(*guest));
	guest->fd = iommufd_open();
	if (guest->fd < 0)
		return guest->fd;
	rc = ioas_alloc(guest->fd, &guest->ioas);
	if (rc)
		return rc;
	rc = plug(guest->fd, guest->ioas, dev_flags, &guest->dev);
	if (rc)
		return rc;
	rc = hwpt_alloc(guest->fd, guest->dev.id, guest->ioas,
			IOMMU_HWPT_ALLOC_NEST_PARENT, &guest->parent);
	if (rc)
		return rc;
	rc = viommu_alloc(guest->fd, guest->dev.id, guest->parent,
			  &guest->viommu);
	if (rc)
		return rc;
	rc = vdevice_alloc(guest->fd, guest->viommu, guest->dev.id, VIRT_ID,
			   &guest->vdev);
	if (rc)
		return rc;
	rc = nested_alloc(guest->fd, guest->dev.id, guest->viommu,
			  &guest->nested);
	if (rc)
		return rc;
	return attach(guest->fd, &guest->dev, guest->nested);
}

static int mock_vm_get_queue(struct mock_vm *guest, __u32 depth)
{
	return veventq_alloc(guest->fd, guest->viommu, depth, &guest->queue,
			     &guest->events);
}

/* Everything that a VMM with a queue does. No step may wait for another VMM */
static int mock_vm_works(struct mock_vm *guest)
{
	const int fd = guest->fd;
	double start = now();
	struct event event;
	int rc;

	rc = attach(fd, &guest->dev, guest->ioas);
	if (!rc)
		rc = trigger(fd, guest->dev.id) == -ENOENT ? 0 : -EPROTO;
	if (!rc)
		rc = attach(fd, &guest->dev, guest->nested);
	if (!rc)
		rc = trigger(fd, guest->dev.id);
	if (!rc)
		rc = read_len(guest->events, &event, sizeof(event),
			      sizeof(event));
	if (!rc)
		rc = destroy(fd, guest->vdev);
	if (!rc)
		rc = vdevice_alloc(fd, guest->viommu, guest->dev.id, VIRT_ID,
				   &guest->vdev);
	if (!rc)
		rc = read_empty(guest->events);
	return rc ?: now() - start < SOON ? 0 : -ETIME;
}

#define FAULT_ADDR	0x123456789000ULL

static int fault(int fd, __u32 dev_id, __u32 pasid, __u32 grpid)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_TRIGGER_IOPF,
		.trigger_iopf = {
			.dev_id = dev_id,
			.pasid = pasid,
			.grpid = grpid,
			.perm = IOMMU_PGFAULT_PERM_WRITE,
			.addr = FAULT_ADDR,
		},
	};

	return iommufd_ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_TRIGGER_IOPF),
			     &cmd);
}

/* Whether the device has seen these numbers of answers */
static bool faults_are(int fd, __u32 dev_id, __u32 pending, __u32 success,
		       __u32 invalid)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_GET_IOPF,
		.id = dev_id,
	};

	if (ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_GET_IOPF), &cmd))
		return false;
	if (cmd.dev_get_iopf.out_pending == pending &&
	    cmd.dev_get_iopf.out_success == success &&
	    cmd.dev_get_iopf.out_invalid == invalid)
		return true;
	printf("# pending %u success %u invalid %u\n",
	       cmd.dev_get_iopf.out_pending, cmd.dev_get_iopf.out_success,
	       cmd.dev_get_iopf.out_invalid);
	return false;
}

/* Return: 0 if this is the next fault, otherwise the errno or -EPROTO */
static int read_fault(int fd, __u32 dev_id, __u32 pasid, __u32 grpid,
		      __u32 *cookie)
{
	const __u32 flags = IOMMU_PGFAULT_FLAGS_LAST_PAGE |
			    (pasid ? IOMMU_PGFAULT_FLAGS_PASID_VALID : 0);
	struct iommu_hwpt_pgfault fault = {};
	int rc = read_len(fd, &fault, sizeof(fault), sizeof(fault));

	if (rc)
		return rc;
	*cookie = fault.cookie;
	return fault.flags == flags && fault.dev_id == dev_id &&
			       fault.pasid == pasid && fault.grpid == grpid &&
			       fault.perm == IOMMU_PGFAULT_PERM_WRITE &&
			       fault.addr == FAULT_ADDR && !fault.length ?
		       0 :
		       -EPROTO;
}

static int answer(int fd, __u32 cookie, __u32 code)
{
	struct iommu_hwpt_page_response response = {
		.cookie = cookie,
		.code = code,
	};

	return err(write(fd, &response, sizeof(response)) !=
		   sizeof(response));
}

/*
 * Two devices behind an IOMMU and a third behind another, all attached to an
 * IOAS, and a vIOMMU on a nesting parent of the same IOAS
 */
FIXTURE(viommu)
{
	int fd;
	__u32 ioas;
	struct mock dev[2];
	struct mock far;
	__u32 parent;
	__u32 viommu;
};

FIXTURE_SETUP(viommu)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	ASSERT_EQ(0, ioas_alloc(self->fd, &self->ioas));
	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &self->dev[0]));
	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &self->dev[1]));
	ASSERT_EQ(0, plug(self->fd, self->ioas, MOCK_FLAGS_DEVICE_IOMMU2,
			  &self->far));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev[0].id, self->ioas,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &self->viommu));
}

FIXTURE_TEARDOWN(viommu)
{
	teardown_iommufd(self->fd, _metadata);
}

FIXTURE(veventq)
{
	struct mock_vm guest;
	int fd;
};

FIXTURE_SETUP(veventq)
{
	ASSERT_EQ(0, mock_vm_init(&self->guest, 0));
	self->fd = self->guest.fd;
}

FIXTURE_TEARDOWN(veventq)
{
	teardown_iommufd(self->guest.fd, _metadata);
}

/*
 * Page faults below a nested HWPT. With any PASID they belong to the guest,
 * because the PASID table does.
 */
FIXTURE(iopf)
{
	struct mock_vm guest;
	int fd;
	__u32 dev;
	/* The object that nested HWPTs are allocated on */
	__u32 on;
	__u32 fault[2];
	__u32 nested[2];
	int faults[2];
};

FIXTURE_VARIANT(iopf)
{
	bool on_viommu;
};

FIXTURE_VARIANT_ADD(iopf, viommu)
{
	.on_viommu = true,
};

FIXTURE_VARIANT_ADD(iopf, parent)
{
};

FIXTURE_SETUP(iopf)
{
	int i;

	ASSERT_EQ(0, mock_vm_init(&self->guest, 0));
	self->fd = self->guest.fd;
	self->dev = self->guest.dev.id;
	self->on = variant->on_viommu ? self->guest.viommu : self->guest.parent;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, fault_alloc(self->fd, &self->fault[i],
					 &self->faults[i]));
		ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev, self->on,
						self->fault[i],
						&self->nested[i]));
	}
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->nested[0]));
}

FIXTURE_TEARDOWN(iopf)
{
	close(self->faults[0]);
	close(self->faults[1]);
	teardown_iommufd(self->guest.fd, _metadata);
}

/* Two devices in an IOMMU group, which are always attached to the same HWPT */
FIXTURE(group)
{
	int fd;
	__u32 ioas[2];
	struct mock dev[2];
	__u32 hwpt[2];
	__u32 parent;
	__u32 viommu;
	__u32 nested;
};

FIXTURE_SETUP(group)
{
	unsigned int i;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, ioas_alloc(self->fd, &self->ioas[i]));
	ASSERT_EQ(0, plug(self->fd, self->ioas[0], 0, &self->dev[0]));
	ASSERT_EQ(0, plug_beside(self->fd, self->ioas[0], 0, &self->dev[0],
				 &self->dev[1]));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev[i].id,
					self->ioas[0], 0, &self->hwpt[i]));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev[0].id, self->ioas[0],
				IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &self->viommu));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &self->nested));
}

FIXTURE_TEARDOWN(group)
{
	teardown_iommufd(self->fd, _metadata);
}

#endif
