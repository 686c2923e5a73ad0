// SPDX-License-Identifier: GPL-2.0-only
/*
 * A VMM at the limit of its memory cgroup, and another VMM that works beside it
 *
 * A child is the VMM in the cgroup. It makes the same call until it gets an
 * error, which must be ENOMEM. If the kernel may kill the child, this must
 * happen instead. All that it allocates must be charged to the cgroup, and must
 * be freed when it ends. The other VMM, outside of the cgroup, must not notice.
 */
#include <limits.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "iommufd_hw_queue.h"
#include "klog_expect.h"
#include "lib/host.h"

#define CGROUP		"/sys/fs/cgroup"
#define CGROUP_VMM	CGROUP "/iommufd_cgroup"
#define KMEMLEAK	"/sys/kernel/debug/kmemleak"
/* A CPU charges 64 pages in advance, and an object may be alone in a slab */
#define SLACK		((long)(128 * PAGE_SIZE))
/* The memory that the calls may take, in addition to that of the process */
#define ROOM		(8 * SLACK)
/* With larger pages than 16K, so many calls would take too long */
#define MAX_ROOM	(16L << 20)
#define MAX_CALLS	(MAX_ROOM / 128)
#define DEPTH		64

/* The xarray needs three levels of nodes for these indices */
#define DEEP_PAGE	4096
#define ROUNDS		96
#define MAX_ROUNDS	(10 * ROUNDS)
#define ENOUGH		3
#define DEEP_PASID	(1 << 13)

/* The parts of a VMM that calls work on */
struct vmm {
	int fd;
	int file;
	__u32 ioas;		/* The device is attached to this */
	__u32 plain;		/* In use by no device, with a mapping */
	struct mock dev;
	__u32 parent;
	__u32 viommu;
	__u32 pasid_hwpt;
	__u32 access;
	unsigned int num;
	__u32 *ids;		/* Objects, to be destroyed in reverse order */
};

static int vmm_init(struct vmm *vmm)
{
	int rc;

	vmm->num = 0;
	vmm->fd = iommufd_open();
	if (vmm->fd < 0)
		return vmm->fd;
	vmm->file = memfd_create("iommufd", MFD_CLOEXEC);
	if (vmm->file < 0 || ftruncate(vmm->file, PAGE_SIZE))
		return -errno;
	rc = ioas_alloc(vmm->fd, &vmm->ioas);
	if (!rc)
		rc = ioas_alloc(vmm->fd, &vmm->plain);
	if (!rc)
		rc = plug(vmm->fd, vmm->ioas, MOCK_FLAGS_DEVICE_PASID,
			  &vmm->dev);
	if (!rc)
		rc = hwpt_alloc(vmm->fd, vmm->dev.id, vmm->ioas,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &vmm->parent);
	if (!rc)
		rc = viommu_alloc(vmm->fd, vmm->dev.id, vmm->parent,
				  &vmm->viommu);
	if (!rc)
		rc = map_at(vmm->fd, vmm->ioas, IOVA);
	if (!rc)
		rc = map_at(vmm->fd, vmm->plain, IOVA);
	return rc;
}

/* The next address that has no mapping */
static __u64 next_iova(const struct vmm *vmm, unsigned int i)
{
	return IOVA + (i + 1) * PAGE_SIZE;
}

/* @id is an address, as it may be evaluated before the call that gives @rc */
static int keep(struct vmm *vmm, int rc, const __u32 *id)
{
	if (!rc)
		vmm->ids[vmm->num++] = *id;
	return rc;
}

static int call_ioas(struct vmm *vmm, unsigned int i)
{
	__u32 id;

	return keep(vmm, ioas_alloc(vmm->fd, &id), &id);
}

static int call_allow(struct vmm *vmm, unsigned int i)
{
	struct iommu_iova_range ranges[16];
	struct iommu_ioas_allow_iovas cmd = {
		.size = sizeof(cmd),
		.num_iovas = ARRAY_SIZE(ranges),
		.allowed_iovas = (uintptr_t)ranges,
	};
	unsigned int n;
	int rc;

	for (n = 0; n < ARRAY_SIZE(ranges); n++) {
		ranges[n].start = IOVA + 2 * n * PAGE_SIZE;
		ranges[n].last = ranges[n].start + PAGE_SIZE - 1;
	}
	rc = keep(vmm, ioas_alloc(vmm->fd, &cmd.ioas_id), &cmd.ioas_id);
	return rc ?: iommufd_ioctl(vmm->fd, IOMMU_IOAS_ALLOW_IOVAS, &cmd);
}

static int call_map(struct vmm *vmm, unsigned int i)
{
	return map_at(vmm->fd, vmm->plain, next_iova(vmm, i));
}

static int call_map_file(struct vmm *vmm, unsigned int i)
{
	return ioas_map_file_at(vmm->fd, vmm->plain, vmm->file, 0, PAGE_SIZE,
				next_iova(vmm, i), RW);
}

static int call_copy(struct vmm *vmm, unsigned int i)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | RW,
		.dst_ioas_id = vmm->plain,
		.src_ioas_id = vmm->plain,
		.length = PAGE_SIZE,
		.dst_iova = next_iova(vmm, i),
		.src_iova = IOVA,
	};

	return iommufd_ioctl(vmm->fd, IOMMU_IOAS_COPY, &cmd);
}

static int call_hwpt(struct vmm *vmm, unsigned int i)
{
	__u32 id;

	return keep(vmm, hwpt_alloc(vmm->fd, vmm->dev.id, vmm->ioas,
				    IOMMU_HWPT_ALLOC_NEST_PARENT, &id), &id);
}

static int call_nested(struct vmm *vmm, unsigned int i)
{
	__u32 id;

	return keep(vmm, nested_alloc(vmm->fd, vmm->dev.id, vmm->viommu, &id),
		    &id);
}

static int call_viommu(struct vmm *vmm, unsigned int i)
{
	__u32 id;

	return keep(vmm, viommu_alloc(vmm->fd, vmm->dev.id, vmm->parent, &id),
		    &id);
}

/* A vIOMMU with memory for mmap() */
static int call_viommu_mem(struct vmm *vmm, unsigned int i)
{
	struct iommu_viommu_selftest data = {};
	__u32 id;

	return keep(vmm, viommu_alloc_mem(vmm->fd, vmm->dev.id, vmm->parent,
					  IOMMU_VIOMMU_TYPE_SELFTEST, &data,
					  &id), &id);
}

/* Each call needs a vIOMMU of its own, which has one queue of each kind */
static int call_veventq(struct vmm *vmm, unsigned int i)
{
	int rc = call_viommu(vmm, i), events;
	__u32 id;

	if (rc)
		return rc;
	rc = keep(vmm, veventq_alloc(vmm->fd, vmm->ids[vmm->num - 1], DEPTH,
				     &id, &events), &id);
	if (!rc)
		close(events);
	return rc;
}

static int call_hw_queue(struct vmm *vmm, unsigned int i)
{
	int rc = call_viommu(vmm, i);
	__u32 id;

	if (rc)
		return rc;
	return keep(vmm, hw_queue_alloc(vmm->fd, vmm->ids[vmm->num - 1], TYPE, 0,
					IOVA, PAGE_SIZE, &id), &id);
}

static int call_fault(struct vmm *vmm, unsigned int i)
{
	int rc, faults;
	__u32 id;

	rc = keep(vmm, fault_alloc(vmm->fd, &id, &faults), &id);
	if (!rc)
		close(faults);
	return rc;
}

/* Calls that need memory only for a while, or whose number is limited */
static int call_hw_info(struct vmm *vmm, unsigned int i)
{
	struct iommu_test_hw_info info;
	__u32 type = IOMMU_HW_INFO_TYPE_DEFAULT, len = sizeof(info);

	return hw_info(vmm->fd, vmm->dev.id, 0, &type, &info, &len);
}

static int call_vdevice(struct vmm *vmm, unsigned int i)
{
	__u32 id;

	return keep(vmm, vdevice_alloc(vmm->fd, vmm->viommu, vmm->dev.id,
				       VIRT_ID, &id), &id);
}

static int call_ranges(struct vmm *vmm, unsigned int i)
{
	struct iommu_iova_range ranges[16];
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.ioas_id = vmm->ioas,
		.num_iovas = ARRAY_SIZE(ranges),
		.allowed_iovas = (uintptr_t)ranges,
	};

	return iommufd_ioctl(vmm->fd, IOMMU_IOAS_IOVA_RANGES, &cmd);
}

static int call_map_attached(struct vmm *vmm, unsigned int i)
{
	return map_at(vmm->fd, vmm->ioas, next_iova(vmm, i));
}

static int call_attach(struct vmm *vmm, unsigned int i)
{
	return attach(vmm->fd, &vmm->dev, vmm->ioas);
}

static int (*const other_calls[])(struct vmm *vmm, unsigned int i) = {
	call_hw_info, call_vdevice, call_ranges, call_map_attached, call_attach,
};

/*
 * The child reports in memory that both have, because the kernel would have to
 * allocate a buffer for a pipe
 */
struct report {
	/* The points that the child has reached, and that it may go on to */
	atomic_uint at;
	atomic_uint allowed;
	unsigned int calls;
	int rc;
	int others[ARRAY_SIZE(other_calls)];
	int undone;
	/* Successes and failures of each of deep_calls[] */
	unsigned int deep[2][2];
};

/* The VMM outside of the cgroup, and the child */
struct pair {
	struct vmm vmm;
	struct report *report;
	pid_t pid;
	int status;		/* Once the child has ended, and pid is 0 */
	unsigned long turns;
};

FIXTURE(limit)
{
	struct pair pair;
};

FIXTURE_VARIANT(limit)
{
	int (*call)(struct vmm *vmm, unsigned int i);
	/*
	 * The number of bytes charged for a call, or a little less. If an
	 * allocation were not charged, more calls would succeed.
	 */
	long bytes;
	/* The time for a call grows with the number of objects */
	bool slow;
};

FIXTURE_VARIANT_ADD(limit, ioas)
{
	.call = call_ioas,
	.bytes = 480,
};

FIXTURE_VARIANT_ADD(limit, allow)
{
	.call = call_allow,
	.bytes = 1500,
};

FIXTURE_VARIANT_ADD(limit, map)
{
	.call = call_map,
	.bytes = 360,
};

FIXTURE_VARIANT_ADD(limit, map_file)
{
	.call = call_map_file,
	.bytes = 360,
};

FIXTURE_VARIANT_ADD(limit, copy)
{
	.call = call_copy,
	.bytes = 180,
};

FIXTURE_VARIANT_ADD(limit, hwpt)
{
	.call = call_hwpt,
	.bytes = 2000,
	.slow = true,
};

FIXTURE_VARIANT_ADD(limit, nested)
{
	.call = call_nested,
	.bytes = 256,
};

FIXTURE_VARIANT_ADD(limit, viommu)
{
	.call = call_viommu,
	.bytes = 256,
};

FIXTURE_VARIANT_ADD(limit, viommu_mem)
{
	.call = call_viommu_mem,
	.bytes = 256 + 2 * 4096,
};

FIXTURE_VARIANT_ADD(limit, veventq)
{
	.call = call_veventq,
	.bytes = 512 + DEPTH * sizeof(struct iommufd_vevent_header),
};

FIXTURE_VARIANT_ADD(limit, hw_queue)
{
	.call = call_hw_queue,
	.bytes = 350,
};

FIXTURE_VARIANT_ADD(limit, fault)
{
	.call = call_fault,
	.bytes = 192,
};

static long number_in(const char *path)
{
	char buf[32];

	if (read_str(path, buf, sizeof(buf)))
		return -1;
	return strtol(buf, NULL, 10);
}

/* Find the number that follows @name in a file, in the unit of the file */
static long number_of(const char *path, const char *name)
{
	long value = -1;
	char line[128];
	FILE *f = fopen(path, "re");

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, strlen(name)))
			value = strtol(line + strlen(name), NULL, 10);
	}
	fclose(f);
	return value;
}

static long charged(void)
{
	return number_in(CGROUP_VMM "/memory.current");
}

/* All slab memory of the kernel, charged or not */
static long slab(void)
{
	return number_of("/proc/meminfo", "Slab:") * 1024;
}

static int grace_period(void)
{
	return err(syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0));
}

/* Wait until the parent allows the child to go on */
static void stop_at(struct report *report, unsigned int point)
{
	report->at = point;
	while (report->allowed < point)
		usleep(1000);
}

static int pasid_op(struct vmm *vmm, __u32 op, __u32 pt_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = op,
		.id = vmm->dev.stdev,
		.pasid_attach = { .pasid = DEEP_PASID, .pt_id = pt_id },
	};

	return iommufd_ioctl(vmm->fd, _IOMMU_TEST_CMD(op), &cmd);
}

/*
 * Attach and detach a PASID. If this fails, the device must still be able to
 * move to a domain that allows no PASIDs.
 */
static int deep_pasid(struct vmm *vmm, unsigned int round)
{
	int rc = pasid_op(vmm, IOMMU_TEST_OP_PASID_ATTACH, vmm->pasid_hwpt);

	if (!rc)
		return pasid_op(vmm, IOMMU_TEST_OP_PASID_DETACH, 0);
	if (attach(vmm->fd, &vmm->dev, vmm->parent) ||
	    attach(vmm->fd, &vmm->dev, vmm->pasid_hwpt))
		return -EPROTO;
	return rc;
}

static __u64 deep_iova(unsigned int round)
{
	return (round % ROUNDS + 2) * 2 * DEEP_PAGE * PAGE_SIZE;
}

/* Pin the last page of a mapping for a while */
static int deep_page(struct vmm *vmm, unsigned int round)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_ACCESS_PAGES,
		.id = vmm->access,
		.access_pages = {
			.iova = deep_iova(round) + DEEP_PAGE * PAGE_SIZE,
			.length = PAGE_SIZE,
		},
	};
	int rc = iommufd_ioctl(vmm->fd,
			       _IOMMU_TEST_CMD(IOMMU_TEST_OP_ACCESS_PAGES),
			       &cmd);

	return rc ?: err(_test_cmd_destroy_access_pages(vmm->fd, vmm->access,
				cmd.access_pages.out_access_pages_id));
}

static int (*const deep_calls[])(struct vmm *vmm, unsigned int round) = {
	deep_pasid, deep_page,
};

/* Each round has its own mapping, so that the traces of a failure remain */
static int deep_init(struct vmm *vmm)
{
	unsigned int round;
	int rc;

	if (ftruncate(vmm->file, (DEEP_PAGE + 1) * PAGE_SIZE) ||
	    pwrite(vmm->file, "", 1, DEEP_PAGE * PAGE_SIZE) != 1 ||
	    _test_cmd_create_access(vmm->fd, vmm->plain, &vmm->access,
				    MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES))
		return -errno;
	for (round = 0; round < ROUNDS; round++) {
		rc = ioas_map_file_at(vmm->fd, vmm->plain, vmm->file, 0,
				      (DEEP_PAGE + 1) * PAGE_SIZE,
				      deep_iova(round), RW);
		if (rc)
			return rc;
	}
	rc = hwpt_alloc(vmm->fd, vmm->dev.id, vmm->ioas, IOMMU_HWPT_ALLOC_PASID,
			&vmm->pasid_hwpt);
	return rc ?: attach(vmm->fd, &vmm->dev, vmm->pasid_hwpt);
}

/*
 * Use up all memory with vIOMMUs: each is a single allocation, and smaller than
 * a node of an xarray. The kernel frees such nodes only after a grace period,
 * so wait for grace periods until a wait has brought nothing back.
 */
static int take_all(struct vmm *vmm)
{
	bool again;
	int rc;

	do {
		again = false;
		while (!(rc = call_viommu(vmm, 0)))
			again = true;
		if (rc != -ENOMEM)
			return rc;
		rc = grace_period();
	} while (again && !rc);
	return rc;
}

static bool deep_enough(const struct report *report)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(deep_calls); i++) {
		if (report->deep[i][0] < ENOUGH || report->deep[i][1] < ENOUGH)
			return false;
	}
	return true;
}

/*
 * Make calls with different amounts of free memory, so that each allocation
 * fails in some of the rounds. A failed store in an xarray may leave empty
 * nodes, which must not mislead the kernel. Go on until enough calls have
 * succeeded and failed, because the size of a node depends on the
 * configuration.
 */
static int deep_rounds(struct vmm *vmm, struct report *report)
{
	unsigned int round, i, n;
	cpu_set_t cpus;
	int rc = 0;

	/* Stay on one CPU: each CPU has memory that is charged in advance */
	CPU_ZERO(&cpus);
	CPU_SET(sched_getcpu(), &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		return -errno;
	for (round = 0; round < MAX_ROUNDS && !rc; round++) {
		if (round >= ROUNDS && deep_enough(report))
			break;
		rc = take_all(vmm);
		if (rc)
			break;
		n = round / 2 % 16;
		n = n * n / 4;
		for (i = 0, rc = 0; i < n && !rc; i++)
			rc = destroy(vmm->fd, vmm->ids[--vmm->num]);
		if (rc)
			break;
		rc = deep_calls[round % 2](vmm, round);
		report->deep[round % 2][rc ? 1 : 0]++;
		if (rc == -ENOMEM)
			rc = 0;
	}
	return rc;
}

/* Without a @call, test deep_calls[] */
static void __attribute__((noreturn))
be_child(struct report *report, bool may_kill,
	 int (*call)(struct vmm *vmm, unsigned int i))
{
	static __u32 ids[2 * MAX_CALLS];
	struct vmm vmm = { .ids = ids };
	unsigned int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* Lock memory: a page fault at the limit would wait for ever */
	if (write_str(CGROUP_VMM "/cgroup.procs", "0") ||
	    write_str("/proc/self/oom_score_adj", may_kill ? "0" : "-1000") ||
	    vmm_init(&vmm) || mlockall(MCL_CURRENT | MCL_FUTURE))
		_exit(1);
	if (!call && deep_init(&vmm))
		_exit(1);
	stop_at(report, 1);
	if (!call) {
		report->undone = deep_rounds(&vmm, report);
		_exit(0);
	}
	for (i = 0; i < MAX_CALLS && !report->rc; i++)
		report->rc = call(&vmm, i);
	report->calls = i;
	stop_at(report, 2);

	for (i = 0; i < ARRAY_SIZE(other_calls); i++)
		report->others[i] = other_calls[i](&vmm, report->calls);
	/* A VMM at its limit must be able to release all that it has */
	report->undone = attach(vmm.fd, &vmm.dev, vmm.ioas);
	while (vmm.num && !report->undone)
		report->undone = destroy(vmm.fd, vmm.ids[--vmm.num]);
	if (!report->undone)
		report->undone = destroy_these(vmm.fd, vmm.viommu, vmm.parent,
					       vmm.plain);
	_exit(0);
}

/* Whether the child has ended */
static bool has_ended(struct pair *pair)
{
	if (pair->pid > 0 && waitpid(pair->pid, &pair->status, WNOHANG) > 0)
		pair->pid = 0;
	return pair->pid <= 0;
}

/* Start the child, and wait until its VMM is set up */
static int child_start(struct pair *pair, bool may_kill,
		       int (*call)(struct vmm *vmm, unsigned int i))
{
	pair->pid = fork();
	if (!pair->pid)
		be_child(pair->report, may_kill, call);
	while (!has_ended(pair) && pair->report->at < 1)
		usleep(1000);
	return pair->pid > 0 ? 0 : -ECHILD;
}

/* A turn of the VMM outside of the cgroup: all of its calls must succeed */
static int turn(struct vmm *vmm)
{
	__u32 ioas, hwpt, nested;
	int rc;

	rc = ioas_alloc(vmm->fd, &ioas);
	if (!rc)
		rc = map_at(vmm->fd, ioas, IOVA);
	if (!rc)
		rc = hwpt_alloc(vmm->fd, vmm->dev.id, ioas, 0, &hwpt);
	if (!rc)
		rc = attach(vmm->fd, &vmm->dev, hwpt);
	if (!rc)
		rc = nested_alloc(vmm->fd, vmm->dev.id, vmm->viommu, &nested);
	if (!rc)
		rc = attach(vmm->fd, &vmm->dev, vmm->ioas);
	return rc ?: destroy_these(vmm->fd, nested, hwpt, ioas);
}

/*
 * Let the child go on, and do turns until it has reached the next point or has
 * ended. The kernel frees a part of the memory of a turn after a grace period:
 * wait for this, so that slab() does not grow with the number of turns. Returns
 * 0, or the error of a turn.
 */
static int turns_beside(struct pair *pair)
{
	unsigned int point = ++pair->report->allowed;
	int rc;

	pair->turns = 0;
	do {
		rc = turn(&pair->vmm);
		if (!rc)
			rc = grace_period();
		if (rc)
			return rc;
		pair->turns++;
	} while (!has_ended(pair) && pair->report->at == point);
	return 0;
}

static void pair_init(struct __test_metadata *_metadata, struct pair *pair)
{
	if (ROOM > MAX_ROOM)
		SKIP(return, "charges of %ld KiB in advance would hide objects",
		     SLACK / 2 / 1024);
	if (access(CGROUP "/cgroup.controllers", F_OK))
		SKIP(return, "no cgroup v2 at " CGROUP);
	if (write_str(CGROUP "/cgroup.subtree_control", "+memory"))
		SKIP(return, "no memory controller in " CGROUP);
	if (mkdir(CGROUP_VMM, 0755))
		ASSERT_EQ(EEXIST, errno);
	pair->report = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, pair->report);
	ASSERT_EQ(0, vmm_init(&pair->vmm));
}

static void pair_exit(struct __test_metadata *_metadata, struct pair *pair)
{
	if (pair->pid > 0) {
		kill(pair->pid, SIGKILL);
		waitpid(pair->pid, NULL, 0);
	}
	teardown_iommufd(pair->vmm.fd, _metadata);
	rmdir(CGROUP_VMM);
}

FIXTURE_SETUP(limit)
{
	if (variant->slow && PAGE_SIZE > 4096)
		SKIP(return, "so many objects as with larger pages take minutes");
	pair_init(_metadata, &self->pair);
}

FIXTURE_TEARDOWN(limit)
{
	pair_exit(_metadata, &self->pair);
}

/* Set the limit to ROOM above the current charge. Returns this charge. */
static long set_limit(struct __test_metadata *_metadata)
{
	long before = charged();
	char max[32];

	EXPECT_LT(0, before);
	snprintf(max, sizeof(max), "%ld", before + ROOM);
	EXPECT_EQ(0, write_str(CGROUP_VMM "/memory.max", max));
	return before;
}

/* All memory of the process must be freed, but not necessarily at once */
static void expect_gone(struct __test_metadata *_metadata)
{
	double end = now() + 60;
	long left, slabs;

	do {
		usleep(10 * 1000);
		left = charged();
		slabs = number_of(CGROUP_VMM "/memory.stat", "slab ");
	} while ((left > 2 * SLACK || slabs > SLACK / 2) && now() < end);
	EXPECT_GE(2 * SLACK, left);
	EXPECT_GE(SLACK / 2, slabs);
	EXPECT_EQ(0, rmdir(CGROUP_VMM));
}

TEST_F_TIMEOUT(limit, enomem, 300)
{
	struct pair *pair = &self->pair;
	long before, slab_before, taken, slab_taken, slab_max;
	double end;
	unsigned int i;

	ASSERT_EQ(0, child_start(pair, false, variant->call));
	before = set_limit(_metadata);
	slab_before = slab();
	EXPECT_EQ(0, turns_beside(pair));
	EXPECT_LT(0, pair->turns);
	taken = charged() - before;
	/*
	 * Slabs have unused room, and other users, some of which free their
	 * memory later. kmemleak keeps a record of each object.
	 */
	slab_max = access(KMEMLEAK, F_OK) ? taken * 9 / 8 + 4 * SLACK :
					    LONG_MAX;
	end = now() + 60;
	do {
		slab_taken = slab() - slab_before;
	} while (slab_taken > slab_max && now() < end && !grace_period());

	EXPECT_EQ(-ENOMEM, pair->report->rc);
	TH_LOG("%u calls, %ld bytes charged, %ld in slabs, %lu turns beside",
	       pair->report->calls, taken, slab_taken, pair->turns);
	EXPECT_GE(ROOM, taken);
	EXPECT_LE(ROOM - SLACK, taken);
	EXPECT_GE((ROOM + SLACK) / variant->bytes, pair->report->calls);
	EXPECT_GE(slab_max, slab_taken);

	/* The other calls must fail for lack of memory, too, or need none */
	EXPECT_EQ(0, turns_beside(pair));
	EXPECT_LT(0, pair->turns);
	ASSERT_EQ(0, pair->pid);
	EXPECT_EQ(0, pair->status);
	for (i = 0; i < ARRAY_SIZE(other_calls); i++) {
		EXPECT_TRUE(!pair->report->others[i] ||
			    pair->report->others[i] == -ENOMEM) {
			TH_LOG("call %u: %d", i, pair->report->others[i]);
		}
	}
	EXPECT_EQ(0, pair->report->undone);
	expect_gone(_metadata);
}

TEST_F_TIMEOUT(limit, killed, 300)
{
	struct pair *pair = &self->pair;

	ASSERT_EQ(0, child_start(pair, true, variant->call));
	set_limit(_metadata);
	EXPECT_EQ(0, turns_beside(pair));
	EXPECT_LT(0, pair->turns);
	ASSERT_EQ(0, pair->pid);
	EXPECT_TRUE(WIFSIGNALED(pair->status));
	EXPECT_EQ(SIGKILL, WTERMSIG(pair->status));
	EXPECT_LT(0, number_of(CGROUP_VMM "/memory.events", "oom_kill "));
	EXPECT_EQ(0, turn(&pair->vmm));
	expect_gone(_metadata);
}

FIXTURE(last)
{
	struct pair pair;
};

FIXTURE_SETUP(last)
{
	pair_init(_metadata, &self->pair);
}

FIXTURE_TEARDOWN(last)
{
	pair_exit(_metadata, &self->pair);
}

TEST_F_TIMEOUT(last, bytes, 300)
{
	static const char *const bad[] = { "WARNING:", "BUG:" };
	struct pair *pair = &self->pair;
	unsigned int i;

	klog_mark("iommufd_cgroup");
	ASSERT_EQ(0, child_start(pair, false, NULL));
	set_limit(_metadata);
	EXPECT_EQ(0, turns_beside(pair));
	ASSERT_EQ(0, pair->pid);
	EXPECT_EQ(0, pair->status);
	for (i = 0; i < 2; i++) {
		TH_LOG("call %u: %u succeeded, and %u found no memory", i,
		       pair->report->deep[i][0], pair->report->deep[i][1]);
		EXPECT_LE(ENOUGH, pair->report->deep[i][0]);
		EXPECT_LE(ENOUGH, pair->report->deep[i][1]);
	}
	EXPECT_EQ(0, pair->report->undone);
	expect_gone(_metadata);
	expect_not_in_klog(_metadata, bad, ARRAY_SIZE(bad));
}

TEST_HARNESS_MAIN
