/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * vIOMMUs of the mock IOMMU driver with HW_QUEUEs and with memory for mmap().
 *
 * The calls return 0 or a negative errno.
 */
#ifndef __SELFTEST_IOMMUFD_HW_QUEUE_H
#define __SELFTEST_IOMMUFD_HW_QUEUE_H

#include "iommufd_race.h"

#define IOVA	((__u64)MOCK_APERTURE_START)
#define TYPE	IOMMU_HW_QUEUE_TYPE_SELFTEST
#define RW	(IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE)

static int map_pages(int fd, __u32 ioas, void *mem, __u64 iova, size_t length,
		     __u32 flags)
{
	return _test_ioctl_ioas_map(fd, ioas, mem, length, &iova,
				    flags | IOMMU_IOAS_MAP_FIXED_IOVA) ?
		       -errno :
		       0;
}

static int viommu_alloc_mem(int fd, __u32 dev_id, __u32 parent, __u32 type,
			    struct iommu_viommu_selftest *data, __u32 *id)
{
	return iommufd_viommu_alloc(fd, dev_id, parent, type, data,
				    data ? sizeof(*data) : 0, id);
}

/* A failure must not return an ID, which another object may get */
static int queue_alloc_type(int fd, __u32 viommu, __u32 type, __u32 index,
			    __u64 iova, __u64 length, __u32 *id)
{
	int rc = hw_queue_alloc(fd, viommu, type, index, iova, length, id);

	assert(!rc == !!*id);
	return rc;
}

static int queue_alloc(int fd, __u32 viommu, __u32 index, __u64 iova,
		       __u64 length, __u32 *id)
{
	return queue_alloc_type(fd, viommu, TYPE, index, iova, length, id);
}

static int try_mmap(int fd, __u64 offset, size_t length, int prot, int flags,
		    void **mem)
{
	void *p = mmap(NULL, length, prot, flags, fd, offset);

	if (mem)
		*mem = p;
	else if (p != MAP_FAILED)
		munmap(p, length);
	return p == MAP_FAILED ? -errno : 0;
}

static int map_shared(int fd, const struct iommu_viommu_selftest *data,
		      void **mem)
{
	return try_mmap(fd, data->out_mmap_offset, data->out_mmap_length,
			PROT_READ | PROT_WRITE, MAP_SHARED, mem);
}

/* Accesses to memory that the kernel or another mapping can see */

static __u32 load(const void *p)
{
	return __atomic_load_n((const __u32 *)p, __ATOMIC_RELAXED);
}

static void store(void *p, __u32 value)
{
	__atomic_store_n((__u32 *)p, value, __ATOMIC_RELAXED);
}

static int mock_plug(int fd, __u32 *ioas, __u32 *stdev, __u32 *dev_id,
		     __u32 *parent)
{
	__u32 hwpt;

	if (_test_ioctl_ioas_alloc(fd, ioas) ||
	    _test_cmd_mock_domain(fd, *ioas, stdev, &hwpt, dev_id) ||
	    _test_cmd_hwpt_alloc(fd, *dev_id, *ioas, 0,
				 IOMMU_HWPT_ALLOC_NEST_PARENT, parent,
				 IOMMU_HWPT_DATA_NONE, NULL, 0))
		return -errno;
	return 0;
}

/* Destroy the object as soon as other threads have released it */
static int destroy_soon(int fd, __u32 id)
{
	double end = now() + SOON;
	int rc;

	do {
		rc = destroy(fd, id);
	} while (rc == -EBUSY && now() < end);
	return rc == -EBUSY ? -ETIME : rc;
}

#endif
