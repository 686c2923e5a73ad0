// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA of a device into the BAR of another device of the VM, through both
 * stages, and all the ways in which the BAR can disappear.
 *
 * The peer is an NVMe whose BAR 2 is memory, a controller memory buffer. The
 * contents that the CPU reads there show where DMA has landed: a window of the
 * BAR has a shadow, like guest memory in other tests.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#include "lib/clock.h"
#include "smmuv3_vm.h"

/* The BAR of the VM's NVMe, at an IPA where blocks can be used */
#define BAR_IPA		0x10000000ULL
#define BAR		VFIO_PCI_BAR2_REGION_INDEX
#define WINDOW		(PARTS * HOST_PAGE)
/* The start of each page in the window is mapped by stage 1, and has a shadow */
#define PARTS		4
#define PART		GUEST_PAGE
#define LEN		64

/* The interface that VMMs are built for */
_Static_assert(VFIO_DEVICE_FEATURE_DMA_BUF == 11, "number");
_Static_assert(sizeof(struct vfio_device_feature_dma_buf) == 16, "layout");
_Static_assert(sizeof(struct vfio_region_dma_range) == 16, "layout");

struct peer {
	struct edu dev;
	/* BAR 2 */
	__u64 offset;
	__u64 size;
	__u8 shadow[PARTS][PART];
};

/* A feature with its longest argument */
struct feature {
	struct vfio_device_feature head;
	struct vfio_device_feature_dma_buf get;
	struct vfio_region_dma_range range[3];
};

static int export_ranges(struct peer *p, __u32 region, __u32 nr,
			 const struct vfio_region_dma_range *ranges)
{
	struct feature f = {
		.head = { .argsz = sizeof(f),
			  .flags = VFIO_DEVICE_FEATURE_GET |
				   VFIO_DEVICE_FEATURE_DMA_BUF },
		.get = { .region_index = region, .open_flags = O_CLOEXEC,
			 .nr_ranges = nr },
	};
	unsigned int i;
	int rc;

	for (i = 0; i != nr && i != ARRAY_SIZE(f.range); i++)
		f.range[i] = ranges[i];
	rc = ioctl(p->dev.fd, VFIO_DEVICE_FEATURE, &f);
	return rc < 0 ? -errno : rc;
}

/* Return: the file descriptor of the dma-buf or a negative errno */
static int export(struct peer *p, __u64 offset, __u64 length)
{
	struct vfio_region_dma_range range = { offset, length };

	return export_ranges(p, BAR, 1, &range);
}

static int map(struct vm *vm, int buf, __u64 start, __u64 length, __u64 ipa)
{
	return ioas_map_file_at(vm->fd, vm->g.ioas_id, buf, start, length, ipa,
				IOMMU_IOAS_MAP_READABLE |
				IOMMU_IOAS_MAP_WRITEABLE);
}

static int unmap(struct vm *vm, __u64 ipa, __u64 length)
{
	return ioas_unmap(vm->fd, vm->g.ioas_id, ipa, length);
}

/* Fill the window with new contents */
static bool peer_fill(struct peer *p)
{
	unsigned int i;

	random_bytes(p->shadow, sizeof(p->shadow));
	for (i = 0; i != PARTS; i++) {
		if (pwrite(p->dev.fd, p->shadow[i], PART,
			   p->offset + i * HOST_PAGE) != PART)
			return false;
	}
	return true;
}

/* Results of a DMA that changed nothing in the window, or something else */
#define NOT_THERE	-1
#define SPOILT		-2

/*
 * Let the device write to @iova. Return: the offset in the BAR of the bytes
 * that it has written
 */
static long peer_lands(struct vm *vm, struct peer *p, __u64 iova)
{
	unsigned int from = random_u64() % (EDU_BUF_SIZE / LEN) * LEN;
	const __u8 *data = vm->dev.buf + from;
	long landed = NOT_THERE;
	static __u8 now[PART];
	unsigned int i, at;

	if (!peer_fill(p))
		return SPOILT;
	edu_write(&vm->dev, iova, from, LEN);
	if (!guests_intact())
		return SPOILT;
	for (i = 0; i != PARTS; i++) {
		if (pread(p->dev.fd, now, PART, p->offset + i * HOST_PAGE) !=
		    PART)
			return SPOILT;
		if (!memcmp(now, p->shadow[i], PART))
			continue;
		for (at = 0; now[at] == p->shadow[i][at]; at++)
			;
		at = at / LEN * LEN;
		memcpy(p->shadow[i] + at, data, LEN);
		if (landed != NOT_THERE || memcmp(now, p->shadow[i], PART))
			return SPOILT;
		landed = i * HOST_PAGE + at;
	}
	return landed;
}

static int peer_open(struct peer *p, const char *bdf, int iommufd)
{
	struct vfio_region_info region = { .argsz = sizeof(region),
					   .index = BAR };
	int rc = device_open(&p->dev, bdf, iommufd);

	if (!rc)
		rc = iommufd_ioctl(p->dev.fd, VFIO_DEVICE_GET_REGION_INFO,
				   &region);
	p->offset = region.offset;
	p->size = region.size;
	return rc;
}

/* An NVMe with memory in BAR 2 */
static int peer_find(char bdf[BDF_LEN], char *why, size_t len)
{
	char bdfs[MAX_DEVICES][BDF_LEN], path[PATH_MAX];
	unsigned int n = pci_list_vfio(NVME_ID, 1, bdfs, why, len), i;

	for (i = 0; i != n; i++) {
		snprintf(path, sizeof(path), SYS_PCI "/%s/resource%u", bdfs[i],
			 BAR);
		if (!access(path, F_OK)) {
			memcpy(bdf, bdfs[i], BDF_LEN);
			return 0;
		}
	}
	if (n)
		snprintf(why, len, "no NVMe has a controller memory buffer");
	return -ENODEV;
}

static void start(struct __test_metadata *_metadata, struct vm *vm,
		  struct peer *p)
{
	char bdf[BDF_LEN], why[128];
	unsigned int i;

	if (peer_find(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	vm_start_nesting(_metadata, vm);
	if (_metadata->exit_code)
		return;
	ASSERT_EQ(0, peer_open(p, bdf, vm->fd));
	ASSERT_LE(2U << 20, p->size);
	for (i = 0; i != PARTS; i++)
		vm_map(vm, IOVA_A + i * HOST_PAGE, BAR_IPA + i * HOST_PAGE);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
}

static void stop(struct __test_metadata *_metadata, struct vm *vm,
		 struct peer *p)
{
	edu_close(&p->dev);
	vm_stop(_metadata, vm);
}

FIXTURE(p2p)
{
	struct vm vm;
	struct peer peer;
};

FIXTURE_SETUP(p2p)
{
	start(_metadata, &self->vm, &self->peer);
}

FIXTURE_TEARDOWN(p2p)
{
	stop(_metadata, &self->vm, &self->peer);
}

TEST_F(p2p, dma)
{
	struct peer *p = &self->peer;
	struct vm *vm = &self->vm;
	__u64 ram = guest_page(&vm->g);
	__u8 bytes[LEN];
	int buf;

	vm_map(vm, IOVA_C, ram);
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A));
	buf = export(p, 0, p->size);
	ASSERT_LE(0, buf);
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A));

	/* Map two pages, and expect that no page behind them is reached */
	ASSERT_EQ(0, map(vm, buf, 0, HOST_PAGE, BAR_IPA));
	ASSERT_EQ(0, map(vm, buf, 2 * HOST_PAGE, HOST_PAGE,
			 BAR_IPA + HOST_PAGE));
	EXPECT_EQ(0x40, peer_lands(vm, p, IOVA_A + 0x40));
	EXPECT_EQ(2 * HOST_PAGE + 0xfc0,
		  peer_lands(vm, p, IOVA_A + HOST_PAGE + 0xfc0));
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A + 2 * HOST_PAGE));
	ASSERT_EQ(0, unmap(vm, BAR_IPA, HOST_PAGE));
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A));
	EXPECT_EQ(2 * HOST_PAGE, peer_lands(vm, p, IOVA_A + HOST_PAGE));
	ASSERT_EQ(0, unmap(vm, BAR_IPA + HOST_PAGE, HOST_PAGE));

	/* All of it, which is a few blocks. The file need not stay open */
	ASSERT_EQ(0, map(vm, buf, 0, p->size, BAR_IPA));
	close(buf);
	EXPECT_EQ(0, peer_lands(vm, p, IOVA_A));
	EXPECT_EQ(3 * HOST_PAGE, peer_lands(vm, p, IOVA_A + 3 * HOST_PAGE));
	EXPECT_EQ(ram, vm_lands(vm, IOVA_C));

	/* The device also reads from there, and writes the bytes to memory */
	ASSERT_TRUE(peer_fill(p));
	memcpy(bytes, p->shadow[1], LEN);
	edu_read(&vm->dev, IOVA_A + HOST_PAGE, 0, LEN);
	guest_expect(&vm->g, ram, bytes, LEN);
	edu_write(&vm->dev, IOVA_C, 0, LEN);
	EXPECT_TRUE(guests_intact());

	ASSERT_EQ(0, unmap(vm, BAR_IPA, p->size));
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A));
}

/* The peer belongs to another VM, which exports a part of its BAR */
TEST_F(p2p, of_another_vm)
{
	struct peer *p = &self->peer;
	struct vm *vm = &self->vm;
	int fd = iommufd_open(), buf;
	char bdf[BDF_LEN];

	snprintf(bdf, sizeof(bdf), "%s", p->dev.bdf);
	edu_close(&p->dev);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, peer_open(p, bdf, fd));
	buf = export(p, HOST_PAGE, 2 * HOST_PAGE);
	ASSERT_LE(0, buf);
	EXPECT_EQ(-EINVAL, map(vm, buf, 0, 3 * HOST_PAGE, BAR_IPA));
	ASSERT_EQ(0, map(vm, buf, HOST_PAGE, HOST_PAGE, BAR_IPA));
	EXPECT_EQ(2 * HOST_PAGE, peer_lands(vm, p, IOVA_A));
	edu_close(&p->dev);
	close(fd);
	fault(&vm->dev, IOVA_A, false);

	ASSERT_EQ(0, peer_open(p, bdf, vm->fd));
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A));
	close(buf);
}

static __u16 cfg_read(struct peer *p, unsigned int at)
{
	__le16 val = 0;

	if (pread(p->dev.fd, &val, 2, p->dev.cfg_offset + at) != 2)
		return 0xffff;
	return le16toh(val);
}

static int cfg_write(struct peer *p, unsigned int at, __u16 val)
{
	__le16 le = htole16(val);

	return pwrite(p->dev.fd, &le, 2, p->dev.cfg_offset + at) == 2 ? 0 :
								       -EIO;
}

static unsigned int cfg_capability(struct peer *p, __u8 id)
{
	unsigned int at = cfg_read(p, PCI_CAPABILITY_LIST) & 0xff;

	while (at && (cfg_read(p, at) & 0xff) != id)
		at = cfg_read(p, at) >> 8;
	return at;
}

static int set_command(struct peer *p, __u16 bits)
{
	return cfg_write(p, PCI_COMMAND, bits);
}

static int memory_off(struct peer *p)
{
	return set_command(p, PCI_COMMAND_MASTER);
}

static int memory_on(struct peer *p)
{
	return set_command(p, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY);
}

static int set_power(struct peer *p, __u16 state)
{
	unsigned int pm = cfg_capability(p, PCI_CAP_ID_PM);

	if (!pm)
		return -ENODEV;
	return cfg_write(p, pm + PCI_PM_CTRL, state);
}

static int to_d3(struct peer *p)
{
	return set_power(p, 3);
}

static int to_d0(struct peer *p)
{
	return set_power(p, 0);
}

static int low_power(struct peer *p, __u32 feature)
{
	struct vfio_device_feature f = {
		.argsz = sizeof(f),
		.flags = VFIO_DEVICE_FEATURE_SET | feature,
	};

	return iommufd_ioctl(p->dev.fd, VFIO_DEVICE_FEATURE, &f);
}

static int low_power_on(struct peer *p)
{
	return low_power(p, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY);
}

static int low_power_off(struct peer *p)
{
	return low_power(p, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT);
}

static int reset(struct peer *p)
{
	return iommufd_ioctl(p->dev.fd, VFIO_DEVICE_RESET, NULL);
}

static int hot_reset(struct peer *p)
{
	struct vfio_pci_hot_reset cmd = { .argsz = sizeof(cmd) };

	return iommufd_ioctl(p->dev.fd, VFIO_DEVICE_PCI_HOT_RESET, &cmd);
}

static int flr(struct peer *p)
{
	unsigned int exp = cfg_capability(p, PCI_CAP_ID_EXP);

	/* The upper half of the capabilities register */
	if (!exp || !(cfg_read(p, exp + PCI_EXP_DEVCAP + 2) &
		      PCI_EXP_DEVCAP_FLR >> 16))
		return -ENODEV;
	return cfg_write(p, exp + PCI_EXP_DEVCTL,
			 cfg_read(p, exp + PCI_EXP_DEVCTL) |
				 PCI_EXP_DEVCTL_BCR_FLR);
}

static int reopen(struct peer *p)
{
	char bdf[BDF_LEN];
	int fd = iommufd_open(), rc;

	snprintf(bdf, sizeof(bdf), "%s", p->dev.bdf);
	edu_close(&p->dev);
	rc = peer_open(p, bdf, fd);
	/* The device holds the context */
	close(fd);
	return rc;
}

FIXTURE(away)
{
	struct vm vm;
	struct peer peer;
};

FIXTURE_VARIANT(away)
{
	int (*go)(struct peer *p);
	/* NULL if the memory has returned already when go() is done */
	int (*back)(struct peer *p);
	/* The dma-buf has lost its device for good */
	bool dead;
};

FIXTURE_VARIANT_ADD(away, memory_disabled)
{
	.go = memory_off,
	.back = memory_on,
};

FIXTURE_VARIANT_ADD(away, d3hot)
{
	.go = to_d3,
	.back = to_d0,
};

FIXTURE_VARIANT_ADD(away, low_power)
{
	.go = low_power_on,
	.back = low_power_off,
};

FIXTURE_VARIANT_ADD(away, reset)
{
	.go = reset,
};

FIXTURE_VARIANT_ADD(away, flr)
{
	.go = flr,
};

FIXTURE_VARIANT_ADD(away, hot_reset)
{
	.go = hot_reset,
};

FIXTURE_VARIANT_ADD(away, closed)
{
	.go = reopen,
	.dead = true,
};

FIXTURE_SETUP(away)
{
	start(_metadata, &self->vm, &self->peer);
}

FIXTURE_TEARDOWN(away)
{
	stop(_metadata, &self->vm, &self->peer);
}

TEST_F(away, and_back)
{
	struct peer *p = &self->peer;
	struct vm *vm = &self->vm;
	int buf, other;

	buf = export(p, 0, WINDOW);
	other = export(p, HOST_PAGE, HOST_PAGE);
	ASSERT_LE(0, buf);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, map(vm, buf, 0, 2 * HOST_PAGE, BAR_IPA));
	ASSERT_EQ(0, map(vm, other, 0, HOST_PAGE, BAR_IPA + 2 * HOST_PAGE));
	EXPECT_EQ(0, peer_lands(vm, p, IOVA_A));
	EXPECT_EQ(HOST_PAGE, peer_lands(vm, p, IOVA_A + HOST_PAGE));
	EXPECT_EQ(HOST_PAGE, peer_lands(vm, p, IOVA_A + 2 * HOST_PAGE));

	ASSERT_EQ(0, variant->go(p));
	if (variant->back) {
		/* The DMA must not end the power state, or be seen later */
		fault(&vm->dev, IOVA_A, false);
		EXPECT_EQ(-ENODEV, map(vm, buf, 0, HOST_PAGE,
				       BAR_IPA + 3 * HOST_PAGE));
		ASSERT_EQ(0, variant->back(p));
	}

	/* No mapping returns by itself, even if the VMM maps it again */
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A));
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A + HOST_PAGE));
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A + 2 * HOST_PAGE));
	EXPECT_EQ(variant->dead ? -ENODEV : -EEXIST,
		  map(vm, buf, 0, HOST_PAGE, BAR_IPA));
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A));

	/* The VMM has to map it again */
	ASSERT_EQ(0, unmap(vm, BAR_IPA, 2 * HOST_PAGE));
	if (variant->dead) {
		EXPECT_EQ(-ENODEV, map(vm, buf, 0, HOST_PAGE, BAR_IPA));
		close(buf);
		buf = export(p, 0, WINDOW);
		ASSERT_LE(0, buf);
	}
	ASSERT_EQ(0, map(vm, buf, 0, 2 * HOST_PAGE, BAR_IPA));
	EXPECT_EQ(HOST_PAGE, peer_lands(vm, p, IOVA_A + HOST_PAGE));
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A + 2 * HOST_PAGE));

	/* The memory disappears again */
	ASSERT_EQ(0, variant->go(p));
	if (variant->back)
		ASSERT_EQ(0, variant->back(p));
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A + HOST_PAGE));
	close(buf);
	close(other);
}

/* A dma-buf can be exported at any time, and mapped when the memory is back */
TEST_F(away, export_meanwhile)
{
	struct peer *p = &self->peer;
	struct vm *vm = &self->vm;
	int buf;

	ASSERT_EQ(0, variant->go(p));
	buf = export(p, 0, WINDOW);
	ASSERT_LE(0, buf);
	if (variant->back) {
		EXPECT_EQ(-ENODEV, map(vm, buf, 0, WINDOW, BAR_IPA));
		ASSERT_EQ(0, variant->back(p));
	}
	ASSERT_EQ(0, map(vm, buf, 0, WINDOW, BAR_IPA));
	EXPECT_EQ(0, peer_lands(vm, p, IOVA_A));
	close(buf);
}

TEST_F(p2p, refused)
{
	struct vfio_region_dma_range good[] = { { HOST_PAGE, HOST_PAGE },
						{ 0, HOST_PAGE } };
	struct peer *p = &self->peer;
	struct vm *vm = &self->vm;
	const struct {
		__u32 region;
		struct vfio_region_dma_range range;
		int rc;
	} bad[] = {
		{ BAR, { 0, 0 }, -EINVAL },
		{ BAR, { 1, HOST_PAGE }, -EINVAL },
		{ BAR, { 0, HOST_PAGE / 2 }, -EINVAL },
		{ BAR, { 0, p->size + HOST_PAGE }, -EINVAL },
		{ BAR, { p->size, HOST_PAGE }, -EINVAL },
		{ BAR, { HOST_PAGE, p->size }, -EINVAL },
		{ BAR, { -HOST_PAGE, HOST_PAGE }, -EOVERFLOW },
		{ BAR, { HOST_PAGE, -HOST_PAGE }, -EOVERFLOW },
		{ VFIO_PCI_BAR5_REGION_INDEX, { 0, HOST_PAGE }, -ENODEV },
		{ VFIO_PCI_ROM_REGION_INDEX, { 0, HOST_PAGE }, -ENODEV },
		{ VFIO_PCI_CONFIG_REGION_INDEX, { 0, HOST_PAGE }, -ENODEV },
		{ ~0u, { 0, HOST_PAGE }, -ENODEV },
	};
	struct feature f = {
		.head = { .argsz = sizeof(f),
			  .flags = VFIO_DEVICE_FEATURE_DMA_BUF },
		.get = { .region_index = BAR, .nr_ranges = 1 },
		.range = { good[0] },
	};
	unsigned int i;
	int buf;

	for (i = 0; i != ARRAY_SIZE(bad); i++)
		EXPECT_EQ(bad[i].rc, export_ranges(p, bad[i].region, 1,
						   &bad[i].range)) {
			TH_LOG("range %u", i);
		}
	EXPECT_EQ(-EINVAL, export_ranges(p, BAR, 0, NULL));
	/* So many ranges would not fit into the BAR, with a page each */
	EXPECT_EQ(-EINVAL, export_ranges(p, BAR, p->size / HOST_PAGE + 1,
					 good));
	EXPECT_EQ(-EINVAL, export_ranges(p, BAR, ~0u, good));

	/* The feature can be probed, but not set */
	f.head.flags |= VFIO_DEVICE_FEATURE_PROBE;
	EXPECT_EQ(0, iommufd_ioctl(p->dev.fd, VFIO_DEVICE_FEATURE, &f));
	f.head.flags |= VFIO_DEVICE_FEATURE_GET;
	EXPECT_EQ(0, iommufd_ioctl(p->dev.fd, VFIO_DEVICE_FEATURE, &f));
	f.head.flags = VFIO_DEVICE_FEATURE_DMA_BUF | VFIO_DEVICE_FEATURE_SET;
	EXPECT_EQ(-EINVAL, iommufd_ioctl(p->dev.fd, VFIO_DEVICE_FEATURE, &f));
	f.head.flags = VFIO_DEVICE_FEATURE_DMA_BUF | VFIO_DEVICE_FEATURE_GET;
	f.head.argsz = sizeof(f.head) + sizeof(f.get) - 1;
	EXPECT_EQ(-EINVAL, iommufd_ioctl(p->dev.fd, VFIO_DEVICE_FEATURE, &f));
	f.head.argsz = sizeof(f);
	f.get.flags = 1;
	EXPECT_EQ(-EINVAL, iommufd_ioctl(p->dev.fd, VFIO_DEVICE_FEATURE, &f));

	/* Several ranges are a dma-buf, but nothing maps it */
	buf = export_ranges(p, BAR, 2, good);
	ASSERT_LE(0, buf);
	EXPECT_EQ(2 * HOST_PAGE, lseek(buf, 0, SEEK_END));
	EXPECT_EQ(-EOPNOTSUPP, map(vm, buf, 0, HOST_PAGE, BAR_IPA));
	close(buf);
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A));
}

/* Allocation failures of the export and of the mapping, one by one */
TEST_F(p2p, fail_nth)
{
	struct peer *p = &self->peer;
	struct vm *vm = &self->vm;
	unsigned int nth, failed = 0;
	char path[64], left[16];
	int proc, buf, rc = -1;

	/* Claim the BAR, which is done only once */
	buf = export(p, 0, WINDOW);
	ASSERT_LE(0, buf);
	close(buf);
	if (write_str("/sys/kernel/debug/failslab/ignore-gfp-wait", "N"))
		SKIP(return, "no fault injection");
	write_str("/sys/kernel/debug/failslab/verbose", "0");
	write_str("/sys/kernel/debug/fail_page_alloc/verbose", "0");
	snprintf(path, sizeof(path), "/proc/self/task/%d/fail-nth", gettid());
	proc = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, proc);

	for (nth = 1; rc && nth != 200; nth++) {
		snprintf(left, sizeof(left), "%u", nth);
		ASSERT_LT(0, pwrite(proc, left, strlen(left), 0));
		buf = export(p, 0, WINDOW);
		rc = buf < 0 ? buf : map(vm, buf, 0, WINDOW, BAR_IPA);
		/* The counter is 0 unless fewer allocations were made */
		memset(left, 0, sizeof(left));
		ASSERT_LT(0, pread(proc, left, sizeof(left) - 1, 0));
		ASSERT_LT(0, pwrite(proc, "0", 1, 0));
		if (rc) {
			failed++;
			/* iommufd fails with ENOENT instead of an allocation */
			EXPECT_TRUE(rc == -ENOMEM ||
				    (rc == -ENOENT && buf >= 0)) {
				TH_LOG("allocation %u gives %d", nth, rc);
			}
			EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A));
		} else if (!strtoul(left, NULL, 0)) {
			/* The call survived this failure: let another fail */
			ASSERT_EQ(0, unmap(vm, BAR_IPA, WINDOW));
			rc = -EAGAIN;
		}
		if (buf >= 0)
			close(buf);
	}
	EXPECT_EQ(0, rc);
	EXPECT_LT(5, failed);
	EXPECT_EQ(0, peer_lands(vm, p, IOVA_A));
	close(proc);
}

/* The VMM maps and unmaps while the guest disables and enables the memory */
static int toggle_memory(struct worker *w)
{
	return (w->turns & 1 ? memory_on : memory_off)(w->data);
}

static int map_and_unmap(struct worker *w)
{
	int rc = map(w->vm, w->ids[0], 0, WINDOW, BAR_IPA);

	if (rc == -ENODEV)
		w->missed++;
	if (rc)
		return rc == -ENODEV ? 0 : rc;
	return unmap(w->vm, BAR_IPA, WINDOW);
}

static int export_and_close(struct worker *w)
{
	int buf = export(w->data, 0, WINDOW), rc;

	if (buf < 0)
		return buf;
	rc = map(w->vm, buf, 0, WINDOW, BAR_IPA + WINDOW);
	if (!rc)
		rc = unmap(w->vm, BAR_IPA + WINDOW, WINDOW);
	close(buf);
	return rc == -ENODEV ? 0 : rc;
}

/* Whether the memory was there, and was not */
static bool met_both(const struct worker *w)
{
	unsigned long turns = worker_turns(w);
	unsigned long missed = __atomic_load_n(&w->missed, __ATOMIC_RELAXED);

	return missed && missed < turns;
}

TEST_F_TIMEOUT(p2p, race, 240)
{
	struct peer *p = &self->peer;
	struct vm *vm = &self->vm;
	struct worker workers[] = {
		{ .vm = vm, .once = toggle_memory, .data = p },
		{ .vm = vm, .once = map_and_unmap },
		{ .vm = vm, .once = export_and_close, .data = p },
	};
	int buf = export(p, 0, WINDOW);
	__u64 ram = guest_page(&vm->g);
	double end = now() + 60;
	unsigned int i;

	ASSERT_LE(0, buf);
	workers[1].ids[0] = buf;
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_start(_metadata, &workers[i]);
	for (i = 0; i < 10 || (!met_both(&workers[1]) && now() < end); i++)
		fault(&vm->dev, IOVA_A, i & 1);
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_stop(_metadata, &workers[i]);
	EXPECT_LT(0, workers[1].missed);
	EXPECT_LT(workers[1].missed, workers[1].turns);
	/* The device may have read from the BAR into its buffer */
	vm_map(vm, IOVA_C, ram);
	edu_load(&vm->dev, &vm->g, IOVA_C, ram);

	ASSERT_EQ(0, memory_on(p));
	EXPECT_EQ(NOT_THERE, peer_lands(vm, p, IOVA_A));
	ASSERT_EQ(0, map(vm, buf, 0, WINDOW, BAR_IPA));
	EXPECT_EQ(0, peer_lands(vm, p, IOVA_A));
	close(buf);
}

TEST_HARNESS_MAIN
