// SPDX-License-Identifier: GPL-2.0-only
/* See ioctl.h */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "ioctl.h"

int iommufd_open(void)
{
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int iommufd_ioctl(int fd, unsigned long nr, void *arg)
{
	return ioctl(fd, nr, arg) ? -errno : 0;
}

int destroy(int fd, __u32 id)
{
	struct iommu_destroy cmd = {
		.size = sizeof(cmd),
		.id = id,
	};

	return iommufd_ioctl(fd, IOMMU_DESTROY, &cmd);
}

int hw_info(int fd, __u32 dev_id, __u32 flags, __u32 *type, void *data,
	    __u32 *len)
{
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dev_id = dev_id,
		.data_len = *len,
		.data_uptr = (uintptr_t)data,
		.in_data_type = *type,
	};
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_GET_HW_INFO, &cmd);
	if (rc)
		return rc;
	*type = cmd.out_data_type;
	*len = cmd.data_len;
	return 0;
}

int ioas_alloc(int fd, __u32 *ioas_id)
{
	struct iommu_ioas_alloc cmd = { .size = sizeof(cmd) };
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_IOAS_ALLOC, &cmd);
	*ioas_id = cmd.out_ioas_id;
	return rc;
}

int ioas_map(int fd, __u32 ioas_id, void *va, __u64 iova, __u64 len,
	     bool writeable)
{
	struct iommu_ioas_map cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 (writeable ? IOMMU_IOAS_MAP_WRITEABLE : 0),
		.ioas_id = ioas_id,
		.user_va = (uintptr_t)va,
		.length = len,
		.iova = iova,
	};

	return iommufd_ioctl(fd, IOMMU_IOAS_MAP, &cmd);
}

int ioas_map_file(int fd, __u32 ioas_id, int file, __u64 start, __u64 len,
		  __u64 *iova, __u32 flags)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.ioas_id = ioas_id,
		.fd = file,
		.start = start,
		.length = len,
		.iova = *iova,
	};
	int rc = iommufd_ioctl(fd, IOMMU_IOAS_MAP_FILE, &cmd);

	*iova = cmd.iova;
	return rc;
}

int ioas_map_file_at(int fd, __u32 ioas_id, int file, __u64 start, __u64 len,
		     __u64 iova, __u32 flags)
{
	return ioas_map_file(fd, ioas_id, file, start, len, &iova,
			     flags | IOMMU_IOAS_MAP_FIXED_IOVA);
}

int ioas_unmap(int fd, __u32 ioas_id, __u64 iova, __u64 len)
{
	struct iommu_ioas_unmap cmd = {
		.size = sizeof(cmd),
		.ioas_id = ioas_id,
		.iova = iova,
		.length = len,
	};

	return iommufd_ioctl(fd, IOMMU_IOAS_UNMAP, &cmd);
}

int iommufd_hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags,
		       __u32 fault_id, __u32 type, const void *data, __u32 len,
		       __u32 *hwpt_id)
{
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dev_id = dev_id,
		.pt_id = pt_id,
		.data_type = type,
		.data_len = len,
		.data_uptr = (uintptr_t)data,
		.fault_id = fault_id,
	};
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_HWPT_ALLOC, &cmd);
	if (hwpt_id)
		*hwpt_id = cmd.out_hwpt_id;
	return rc;
}

int ioas_small_pages(int fd, __u32 ioas_id)
{
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = ioas_id,
		.val64 = 0,
	};

	return iommufd_ioctl(fd, IOMMU_OPTION, &option);
}

int hwpt_track_dirty(int fd, __u32 hwpt_id, bool on)
{
	struct iommu_hwpt_set_dirty_tracking cmd = {
		.size = sizeof(cmd),
		.flags = on ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = hwpt_id,
	};

	return iommufd_ioctl(fd, IOMMU_HWPT_SET_DIRTY_TRACKING, &cmd);
}

int hwpt_dirty_bitmap(int fd, __u32 hwpt_id, __u32 flags, __u64 iova, __u64 len,
		      __u64 page_size, __u64 *bitmap)
{
	struct iommu_hwpt_get_dirty_bitmap cmd = {
		.size = sizeof(cmd),
		.hwpt_id = hwpt_id,
		.flags = flags,
		.iova = iova,
		.length = len,
		.page_size = page_size,
		.data = (uintptr_t)bitmap,
	};

	return iommufd_ioctl(fd, IOMMU_HWPT_GET_DIRTY_BITMAP, &cmd);
}

int iommufd_viommu_alloc(int fd, __u32 dev_id, __u32 hwpt_id, __u32 type,
			 const void *data, __u32 len, __u32 *viommu_id)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = type,
		.dev_id = dev_id,
		.hwpt_id = hwpt_id,
		.data_len = len,
		.data_uptr = (uintptr_t)data,
	};
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_VIOMMU_ALLOC, &cmd);
	*viommu_id = cmd.out_viommu_id;
	return rc;
}

int vdevice_alloc(int fd, __u32 viommu_id, __u32 dev_id, __u64 virt_id,
		  __u32 *vdevice_id)
{
	struct iommu_vdevice_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.dev_id = dev_id,
		.virt_id = virt_id,
	};
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_VDEVICE_ALLOC, &cmd);
	if (vdevice_id)
		*vdevice_id = cmd.out_vdevice_id;
	return rc;
}

int hwpt_invalidate(int fd, __u32 id, __u32 type, const void *data, __u32 len,
		    __u32 *num)
{
	struct iommu_hwpt_invalidate cmd = {
		.size = sizeof(cmd),
		.hwpt_id = id,
		.data_uptr = (uintptr_t)data,
		.data_type = type,
		.entry_len = len,
		.entry_num = *num,
	};
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_HWPT_INVALIDATE, &cmd);
	*num = cmd.entry_num;
	return rc;
}

int iommufd_veventq_alloc(int fd, __u32 viommu_id, __u32 type, __u32 depth,
			  __u32 *veventq_id, int *veventq_fd)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.type = type,
		.veventq_depth = depth,
	};
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_VEVENTQ_ALLOC, &cmd);
	if (veventq_id)
		*veventq_id = cmd.out_veventq_id;
	*veventq_fd = rc ? -1 : (int)cmd.out_veventq_fd;
	return rc;
}

int fault_alloc(int fd, __u32 *fault_id, int *fault_fd)
{
	struct iommu_fault_alloc cmd = { .size = sizeof(cmd) };
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_FAULT_QUEUE_ALLOC, &cmd);
	*fault_id = cmd.out_fault_id;
	*fault_fd = rc ? -1 : (int)cmd.out_fault_fd;
	return rc;
}

int hw_queue_alloc(int fd, __u32 viommu_id, __u32 type, __u32 index, __u64 iova,
		   __u64 length, __u32 *hw_queue_id)
{
	struct iommu_hw_queue_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.type = type,
		.index = index,
		.nesting_parent_iova = iova,
		.length = length,
	};
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_HW_QUEUE_ALLOC, &cmd);
	*hw_queue_id = cmd.out_hw_queue_id;
	return rc;
}
