// SPDX-License-Identifier: GPL-2.0-only
/* The structs of the ioctls of the iommufd fuzzer. See iommufd_fuzz.h */
#define _GNU_SOURCE
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "iommufd_fuzz_calls.h"

#define LIST_MAX	8

/* The first value is the most useful */
static const __u64 lists[NR_LISTS][LIST_MAX] = {
	[L_VIOMMU_TYPE] = { IOMMU_VIOMMU_TYPE_SELFTEST,
			    IOMMU_VIOMMU_TYPE_SELFTEST_FAULT,
			    IOMMU_VIOMMU_TYPE_SELFTEST,
			    IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV,
			    IOMMU_VIOMMU_TYPE_SELFTEST_BARE, 0, 1, 2 },
	[L_VEVENTQ_TYPE] = { IOMMU_VEVENTQ_TYPE_SELFTEST,
			     IOMMU_VEVENTQ_TYPE_SELFTEST_LATEST,
			     IOMMU_VEVENTQ_TYPE_SELFTEST,
			     IOMMU_VEVENTQ_TYPE_SELFTEST_LATEST, 0, 1, 2, 3 },
	[L_HW_QUEUE_TYPE] = { IOMMU_HW_QUEUE_TYPE_SELFTEST,
			      IOMMU_HW_QUEUE_TYPE_SELFTEST_WRITE,
			      IOMMU_HW_QUEUE_TYPE_SELFTEST,
			      IOMMU_HW_QUEUE_TYPE_SELFTEST_WRITE, 0, 1, 2, 3 },
	[L_DATA_TYPE] = { IOMMU_HWPT_DATA_SELFTEST, 0, IOMMU_HWPT_DATA_SELFTEST,
			  0, 1, 2, 3, ~0u },
	[L_INVALIDATE_TYPE] = { IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
				IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
				IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
				IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID, 0,
				1, 2, ~0u },
	[L_HW_INFO_TYPE] = { 0, IOMMU_HW_INFO_TYPE_SELFTEST,
			     IOMMU_HW_INFO_TYPE_SELFTEST_OTHER, 1, 2, 3, 4, ~0u },
	[L_PASID] = { 1, 2, 1, IOMMU_TEST_PASID_RESERVED, 0,
		      (1 << MOCK_PASID_WIDTH) - 1, 1 << MOCK_PASID_WIDTH, ~0u },
	[L_DATA_LEN] = { 8, 24, 4, 0, 16, 12, 4096, ~0u },
	[L_ENTRY_LEN] = { 8, 12, 12, 8, 16, 0, 4096, 4097 },
	[L_DEPTH] = { 2, 1, 64, 3, 0, 1 << 19, (1 << 19) + 1, ~0u },
	[L_VIRT_ID] = { 0, 1, 2, 3, 0xffffffff, 1ULL << 32, ~0ULL, 1ULL << 63 },
	[L_LIMIT] = { 65536, 16, 64, 40, 128, 1, 4096, 0 },
	[L_PAGE_SIZE] = { 4096, 2048, 2048, 4096, 8192, 1 << 21, 1, 0 },
	[L_CACHE] = { IOMMU_TEST_DEV_CACHE_DEFAULT, 0,
		      IOMMU_TEST_DEV_CACHE_DEFAULT, 0 },
	[L_IOTLB] = { IOMMU_TEST_IOTLB_DEFAULT, 0, IOMMU_TEST_IOTLB_DEFAULT, 0 },
	[L_PAGES] = { 0, 1, MOCK_ZAP_NOTHING, 2, 0, 1, ~0u, 3 },
	[L_FAULT_ADDR] = { 0x1000, MOCK_ATTACH_FAULT_ADDR, 0, ~0ULL, 0xfff,
			   0x2000, 1ULL << 48, 1 },
	[L_VFIO_ARGSZ] = { 32, 24, 64, 16, 0, 40, 128, 4096 },
	[L_DMABUF_LEN] = { 16384, 4096, 65536, 8192, 0, 1, 1 << 20, ~0u },
	[L_INDEX] = { 0, 1, 0, 1, 2, 3, 0x7fffffff, ~0u },
	[L_OPTION] = { 1, 0, 1, 0, 2, 1, 0, ~0u },
	[L_REGIONS] = { 1, 1, 1, 0, 2, 3, 0x10000, ~0u },
	[L_FEATURE] = { VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_DMA_BUF,
			VFIO_DEVICE_FEATURE_SET |
			VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
			VFIO_DEVICE_FEATURE_SET |
			VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,
			VFIO_DEVICE_FEATURE_SET |
			VFIO_DEVICE_FEATURE_PCI_VF_TOKEN,
			VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF,
			VFIO_DEVICE_FEATURE_SET |
			VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP,
			VFIO_DEVICE_FEATURE_GET |
			VFIO_DEVICE_FEATURE_MIGRATION, ~0u },
	[L_IOEVENTFD] = { VFIO_DEVICE_IOEVENTFD_32, VFIO_DEVICE_IOEVENTFD_64,
			  VFIO_DEVICE_IOEVENTFD_32, VFIO_DEVICE_IOEVENTFD_64, 0,
			  16, 12, ~0u },
	/* MSI by an eventfd, and the end of it */
	[L_IRQ_FLAGS] = { VFIO_IRQ_SET_DATA_EVENTFD |
			  VFIO_IRQ_SET_ACTION_TRIGGER,
			  VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
			  VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER,
			  VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK,
			  VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
			  VFIO_IRQ_SET_DATA_EVENTFD |
			  VFIO_IRQ_SET_ACTION_UNMASK, 0, ~0u },
};

/* The same on an SMMUv3, as far as they differ */
static const __u64 smmu_lists[L_DEPTH][LIST_MAX] = {
	[L_VIOMMU_TYPE] = { IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
			    IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
			    IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV,
			    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, 0, 3, 4, ~0u },
	[L_VEVENTQ_TYPE] = { IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
			     IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
			     IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
			     IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, 0, 3, 4, ~0u },
	[L_HW_QUEUE_TYPE] = { IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV,
			      IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV,
			      IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV, 0, 2, 3, 4, ~0u },
	[L_DATA_TYPE] = { IOMMU_HWPT_DATA_ARM_SMMUV3, 0,
			  IOMMU_HWPT_DATA_ARM_SMMUV3, 0, 1, 3, 4, ~0u },
	[L_INVALIDATE_TYPE] = { IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
				IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
				IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
				IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, 0, 2, 3,
				~0u },
	[L_HW_INFO_TYPE] = { 0, IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV,
			     IOMMU_HW_INFO_TYPE_ARM_SMMUV3, 1, 4, 5, 6, ~0u },
	[L_PASID] = { 1, 2, 1, 3, 0, 0xffff, 0x10000, ~0u },
	[L_DATA_LEN] = { 16, 8, 64, 0, 24, 17, 4096, ~0u },
	[L_ENTRY_LEN] = { 16, 16, 16, 8, 32, 0, 4096, 4097 },
};

__u64 list_value(enum list list, uint8_t which)
{
	if (on_smmu && list < L_DEPTH)
		return smmu_lists[list][which % LIST_MAX];
	return lists[list][which % LIST_MAX];
}

static const enum pool_kind pts[] = { IOAS, HWPT, NESTED, VIOMMU };

static bool is_fd(enum pool_kind kind)
{
	return kind >= ACCESS && kind <= CDEV;
}

void pool_put(struct world *w, enum pool_kind kind, __u32 id)
{
	struct pool *pool = &w->pool[kind];
	__u32 at = __atomic_fetch_add(&pool->num, 1, __ATOMIC_RELAXED) % POOL;

	id = __atomic_exchange_n(&pool->id[at], id, __ATOMIC_RELAXED);
	/* Nothing else closes a forgotten file. A forgotten object stays. */
	if (id && is_fd(kind))
		close(id);
}

/* Remove it from the pool: a second close() could hit a file of the fuzzer */
int take_fd(struct world *w, enum pool_kind kind)
{
	struct pool *pool = &w->pool[kind];
	unsigned int i;
	int fd;

	for (i = 0; i < POOL; i++) {
		fd = __atomic_exchange_n(&pool->id[i], 0, __ATOMIC_RELAXED);
		if (fd > 0)
			return fd;
	}
	return -1;
}

/* 0 selects the latest ID, and the upper bits select wrong IDs */
__u32 pool_get(struct world *w, enum pool_kind kind, uint8_t which)
{
	struct pool *pool;
	__u32 num;

	switch (which >> 3) {
	case 31:
		return 0;
	case 30:
		return ~0u;
	case 29:
		return which & 7;
	case 28:
	case 27:
		kind = (kind + 1 + (which & 15)) % NR_KINDS;
		break;
	}
	pool = &w->pool[kind];
	num = pool->num;
	if (!num)
		return 0;
	which &= 7;
	if (which >= (num < POOL ? num : POOL))
		which = 0;
	return pool->id[(num - 1 - which) % POOL];
}

__u64 some_iova(uint8_t where, uint8_t offset)
{
	static const unsigned long places[] = {
		MOCK_APERTURE_LAST + 1UL - 0x4000, MOCK_RESV_START - 0x2000,
		MOCK_SW_MSI_START - 0x2000, -0x4000UL, 0x4000, 1UL << 63,
		MOCK_RESV_START + MOCK_RESV_LENGTH - 0x2000,
		MOCK_APERTURE_START - 0x4000UL,
	};
	static const unsigned short odd[] = { 0x800, 0xfff, 1, 0x7ff };
	unsigned long at = MOCK_APERTURE_START;

	if (where >= 0xc0)
		at = places[where >> 3 & 7] + (where & 7) * page_size;
	else if (where >= 0x80)
		at += HUGE_SIZE + (where & 0x3f) * page_size;
	else
		at += where * page_size;
	return at + (offset < 0xc0 ? 0 : odd[offset & 3]);
}

__u64 some_length(uint8_t which)
{
	static const unsigned long odd[] = {
		0, 1, 0x800, 0xfff, -1UL, -4096UL, 1UL << 63, 0x1800,
		HUGE_SIZE, 2 * HUGE_SIZE, HUGE_SIZE - 4096, 1UL << 31,
		1UL << 24, 0x20000, 0x21000, 1UL << 40,
	};

	return which < 0xc0 ? ((which & 31) + 1) * page_size : odd[which & 15];
}

static __u64 some_small(uint8_t which)
{
	return which < 0xc0 ? which : which < 0xe0 ? 1U << (which & 31) :
						     ~0U << (which & 31);
}

static void *some_data(enum data data, uint8_t which, unsigned int thread)
{
	void *at = scratch(thread) + DATA_AT;
	unsigned int i;

	if (which >= 0xf0)
		return bad_pointer(which);
	memset(at, 0, 256);
	switch (data) {
	case DATA_HWPT: {
		struct iommu_hwpt_selftest *d = at;

		if (on_smmu) {
			smmu_ste(at, which);
			break;
		}
		d->iotlb = list_value(L_IOTLB, which & 1);
		d->pagetable_type = which >> 1 & 3;
		break;
	}
	case DATA_VIOMMU: {
		struct iommu_viommu_selftest *d = at;

		if (!on_smmu)
			d->in_data = which;
		break;
	}
	case DATA_INVALIDATE: {
		/* The first two fields are the same for a nested HWPT */
		struct iommu_viommu_invalidate_selftest *d = at;

		if (on_smmu) {
			smmu_commands(at, which);
			break;
		}
		for (i = 0; i < 4; i++) {
			d[i].flags = (which & 1) |
				     (which >= 0xe0 ?
				      IOMMU_TEST_INVALIDATE_FLAG_SLOW : 0);
			d[i].vdev_id = (which >> 1 & 3) + (which >> 3 & i);
			d[i].cache_id = which >> 5 & 3;
		}
		if (which >= 0xc0 && which < 0xe0)
			d[which & 3].flags = which;
		break;
	}
	case DATA_RANGES: {
		struct iommu_iova_range *d = at;

		for (i = 0; i < 4; i++) {
			d[i].start = MOCK_APERTURE_START +
				     (i * 8 + (which & 7)) * page_size;
			d[i].last = d[i].start + ((which >> 3 & 15) + 1) *
				    page_size - 1;
		}
		if (!(which & 7))
			d[0].last = MOCK_APERTURE_LAST;
		break;
	}
	case DATA_OUT:
		break;
	}
	return at;
}

static __u64 field_value(const struct field *f, struct world *w,
			 const uint8_t **args, unsigned int thread)
{
	uint8_t a;

	if (f->type == CONST)
		return f->arg;
	if (f->type == OUT || f->type == ON_CDEV)
		return 0;
	if (f->type == WORLD_FD)
		return w->fd;
	a = *(*args)++;
	switch (f->type) {
	case ID:
		return pool_get(w, f->arg, a);
	case PT:
		return pool_get(w, a < 0xd0 ? pts[a >> 3 & 3] : IOAS,
				a < 0xd0 ? a & 7 : a);
	case ANY_ID:
		return pool_get(w, (a >> 3) % ACCESS, a & 7);
	case FLAGS:
		if (a >= 0xf0)
			return 1ULL << (a & 31);
		/* The next byte has the bits from 16 on */
		if (f->arg > 0xff)
			return (a | (__u64)*(*args)++ << 16) & f->arg;
		return a & f->arg;
	case LIST:
		return list_value(f->arg, a);
	case SMALL:
		return some_small(a);
	case IOVA:
		return some_iova(a, *(*args)++);
	case LENGTH:
		return some_length(a);
	case ADDRESS:
		return some_address(a, *(*args)++);
	case FILE_FD:
		return some_file(a, w);
	case EVENT:
		return a < 0xc0 ? smmu_event_fd() : some_file(a, w);
	case POINTER:
		return (uintptr_t)some_data(f->arg, a, thread);
	}
	return 0;
}

static bool is_on_cdev(const struct call *c)
{
	return c->fields[0].type == ON_CDEV;
}

static __u32 get_field(const struct field *f, const char *buf)
{
	__u32 value;

	memcpy(&value, buf + f->offset, sizeof(value));
	return value;
}

/* Return: the address of the struct after the damage */
static void *damage(char *buf, size_t size, uint8_t how, uint8_t arg)
{
	static const unsigned short sizes[] = { 0, 4, 7, 8, 12, 16, 24, 32, 40,
						48, 56, 64, 72, 80, 128, 4096 };
	__u32 *size_field = (__u32 *)buf;

	switch (how & 7) {
	case 1:
		*size_field = sizes[arg & 15];
		break;
	case 2:
		*size_field += (int8_t)arg % 9;
		break;
	case 3:
		/* A longer struct, which may have something in its tail */
		*size_field += (arg & 3) * 4 + 4;
		buf[size + (arg >> 4)] = arg & 4;
		break;
	case 4:
	case 5:
		buf[4 + arg % (size - 4)] ^= 1 << (how >> 3 & 7);
		break;
	case 6:
		*size_field = ~0u << (arg & 31);
		break;
	case 7:
		if (how & 8)
			return bad_pointer(arg);
		/* End it at the end of accessible memory, or a byte later */
		return memmove(buf + page_size - size + (arg & 1), buf,
			       size - (arg & 1));
	}
	return buf;
}

/* Keep results of a call other than IDs */
static void after(const struct call *c, struct world *w, char *buf)
{
	if (c->nr == IOMMU_VIOMMU_ALLOC) {
		struct iommu_viommu_alloc *cmd = (void *)buf;
		struct iommu_viommu_tegra241_cmdqv *q;
		struct iommu_viommu_selftest *d;

		d = (void *)(uintptr_t)cmd->data_uptr;
		q = (void *)d;
		if (on_smmu && cmd->data_len == sizeof(*q)) {
			w->mmap_offset = q->out_vintf_mmap_offset;
			w->mmap_length = q->out_vintf_mmap_length;
		} else if (cmd->data_len == sizeof(*d) && d->out_mmap_length) {
			w->mmap_offset = d->out_mmap_offset;
			w->mmap_length = d->out_mmap_length;
		}
	}
}

long run_ioctl(const struct call *c, struct world *w, int fd,
	       const uint8_t *record, unsigned int thread)
{
	const uint8_t *args = record + AT_ARGS;
	char *buf = scratch(thread);
	const struct field *f;
	void *at = buf;
	long rc;

	memset(buf, 0, DATA_AT);
	memcpy(buf, &(__u32){ c->size }, sizeof(__u32));
	if (is_on_cdev(c))
		fd = pool_get(w, CDEV, *args++);
	for (f = c->fields; f->type != END; f++) {
		__u64 value = field_value(f, w, &args, thread);

		memcpy(buf + f->offset, &value, f->size);
	}
	if (record[AT_DAMAGE] && !(record[AT_WHERE] & WHERE_FAIL))
		at = damage(buf, c->size, record[AT_DAMAGE],
			    record[AT_DAMAGE_ARG]);
	rc = ioctl(fd, c->nr, at);
	if (rc < 0)
		return rc;
	/* The kernel has written there, so it is accessible */
	buf = at;
	for (f = c->fields; f->type != END; f++)
		if (f->type == OUT)
			pool_put(w, f->arg, get_field(f, buf));
	after(c, w, buf);
	/* A dma-buf is the result of its ioctl */
	if (rc > 0 && (c->nr == IOMMU_TEST_CMD || c->nr == VFIO_DEVICE_FEATURE))
		pool_put(w, DMABUF, rc);
	return 0;
}
