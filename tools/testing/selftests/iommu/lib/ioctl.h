/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ioctls of iommufd as functions, for every IOMMU driver.
 *
 * All of them return 0 or a negative errno, so that the errno that a test expects
 * stands in the line that makes the call:
 *
 *	EXPECT_EQ(-EBUSY, destroy(fd, id));
 *
 * An ID that a function writes is 0 after an error, and no object has this ID. A
 * pointer to an ID may be NULL where the caller does not need it.
 */
#ifndef __SELFTEST_IOMMU_LIB_IOCTL_H
#define __SELFTEST_IOMMU_LIB_IOCTL_H

#include <stdbool.h>

#include <linux/iommufd.h>
#include <linux/types.h>

/* Return: a file descriptor of /dev/iommu or a negative errno */
int iommufd_open(void);
/* Any ioctl, of iommufd or of VFIO */
int iommufd_ioctl(int fd, unsigned long nr, void *arg);
int destroy(int fd, __u32 id);
/* @type and @len: the type and the size to ask for, then those of the answer */
int hw_info(int fd, __u32 dev_id, __u32 flags, __u32 *type, void *data,
	    __u32 *len);
int ioas_alloc(int fd, __u32 *ioas_id);
int ioas_map(int fd, __u32 ioas_id, void *va, __u64 iova, __u64 len,
	     bool writeable);
int ioas_map_file(int fd, __u32 ioas_id, int file, __u64 start, __u64 len,
		  __u64 *iova, __u32 flags);
/* The same with IOMMU_IOAS_MAP_FIXED_IOVA */
int ioas_map_file_at(int fd, __u32 ioas_id, int file, __u64 start, __u64 len,
		     __u64 iova, __u32 flags);
int ioas_unmap(int fd, __u32 ioas_id, __u64 iova, __u64 len);
/* Map with the smallest page size only. The IOAS must not be in use yet. */
int ioas_small_pages(int fd, __u32 ioas_id);
int iommufd_hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags,
		       __u32 fault_id, __u32 type, const void *data, __u32 len,
		       __u32 *hwpt_id);
int hwpt_track_dirty(int fd, __u32 hwpt_id, bool on);
/* A bit for each @page_size bytes. Only the bits of dirty pages are changed. */
int hwpt_dirty_bitmap(int fd, __u32 hwpt_id, __u32 flags, __u64 iova, __u64 len,
		      __u64 page_size, __u64 *bitmap);
int iommufd_viommu_alloc(int fd, __u32 dev_id, __u32 hwpt_id, __u32 type,
			 const void *data, __u32 len, __u32 *viommu_id);
int vdevice_alloc(int fd, __u32 viommu_id, __u32 dev_id, __u64 virt_id,
		  __u32 *vdevice_id);
/*
 * @num: the number of entries, then the number that the kernel reports as done,
 * also after an error
 */
int hwpt_invalidate(int fd, __u32 id, __u32 type, const void *data, __u32 len,
		    __u32 *num);
/* @veventq_fd and @fault_fd: -1 after an error */
int iommufd_veventq_alloc(int fd, __u32 viommu_id, __u32 type, __u32 depth,
			  __u32 *veventq_id, int *veventq_fd);
int fault_alloc(int fd, __u32 *fault_id, int *fault_fd);
int hw_queue_alloc(int fd, __u32 viommu_id, __u32 type, __u32 index, __u64 iova,
		   __u64 length, __u32 *hw_queue_id);

#endif
