// SPDX-License-Identifier: GPL-2.0-only
/*
 * The numbers of include/uapi/linux/iommufd.h: programs were built with them,
 * so they must never change. The table below was not made from the header: its
 * older part is that of Linux 6.12, and the newer part is known to VMMs from
 * later kernels.
 *
 * Compiles as C and as C++, for any word size. iommufd_uapi.sh does all of
 * this, and checks that the table is complete. An ioctl that this kernel does
 * not have yet is skipped.
 */
#include <stddef.h>
#ifndef COMPILE_ONLY
#include <stdio.h>
#include <string.h>
#endif

#include <linux/iommufd.h>

#ifdef COMPILE_ONLY

/* Where no program can be linked: a compile error for each wrong number */
#define SAME(got, want)		sizeof(char[(got) == (want) ? 1 : -1])
#define SIZE(type, size, align)						\
	(SAME(sizeof(struct type), size) +				\
	 SAME(__alignof__(struct type), align))
#define FIELD(type, field, offset, size)				\
	(SAME(offsetof(struct type, field), offset) +			\
	 SAME(sizeof(((struct type *)0)->field), size))
#define NUMBER(type, name, value)	SAME(name, value)
#define IOCTL(name, value)		SAME(name, value)

const unsigned char facts[] = {
#else

struct fact {
	const char *of;
	const char *what;
	unsigned long got[2];
	unsigned long want[2];
};

#define SIZE(type, size, align)						\
	{ "struct " #type, "size and alignment",			\
	  { sizeof(struct type), __alignof__(struct type) },		\
	  { size, align } }
#define FIELD(type, field, offset, size)				\
	{ "struct " #type, #field,					\
	  { offsetof(struct type, field),				\
	    sizeof(((struct type *)0)->field) },			\
	  { offset, size } }
#define NUMBER(type, name, value)					\
	{ "enum " #type, #name, { name, 0 }, { value, 0 } }
#define IOCTL(name, value)						\
	{ "ioctl numbers", #name, { name, 0 }, { value, 0 } }

static const struct fact facts[] = {
#endif
	IOCTL(IOMMU_DESTROY, 0x3b80),
	IOCTL(IOMMU_IOAS_ALLOC, 0x3b81),
	IOCTL(IOMMU_IOAS_IOVA_RANGES, 0x3b84),
	IOCTL(IOMMU_IOAS_ALLOW_IOVAS, 0x3b82),
	IOCTL(IOMMU_IOAS_MAP, 0x3b85),
	IOCTL(IOMMU_IOAS_COPY, 0x3b83),
	IOCTL(IOMMU_IOAS_UNMAP, 0x3b86),
	IOCTL(IOMMU_OPTION, 0x3b87),
	IOCTL(IOMMU_VFIO_IOAS, 0x3b88),
	IOCTL(IOMMU_HWPT_ALLOC, 0x3b89),
	IOCTL(IOMMU_GET_HW_INFO, 0x3b8a),
	IOCTL(IOMMU_HWPT_SET_DIRTY_TRACKING, 0x3b8b),
	IOCTL(IOMMU_HWPT_GET_DIRTY_BITMAP, 0x3b8c),
	IOCTL(IOMMU_HWPT_INVALIDATE, 0x3b8d),
	IOCTL(IOMMU_FAULT_QUEUE_ALLOC, 0x3b8e),
	IOCTL(IOMMU_IOAS_MAP_FILE, 0x3b8f),
	IOCTL(IOMMU_VIOMMU_ALLOC, 0x3b90),
	IOCTL(IOMMU_VDEVICE_ALLOC, 0x3b91),
	IOCTL(IOMMU_VEVENTQ_ALLOC, 0x3b93),
	IOCTL(IOMMU_IOAS_CHANGE_PROCESS, 0x3b92),
	IOCTL(IOMMU_HW_QUEUE_ALLOC, 0x3b94),

	NUMBER(commands, IOMMUFD_CMD_BASE, 0x80),
	NUMBER(commands, IOMMUFD_CMD_DESTROY, 0x80),
	NUMBER(commands, IOMMUFD_CMD_IOAS_ALLOC, 0x81),
	NUMBER(commands, IOMMUFD_CMD_IOAS_ALLOW_IOVAS, 0x82),
	NUMBER(commands, IOMMUFD_CMD_IOAS_COPY, 0x83),
	NUMBER(commands, IOMMUFD_CMD_IOAS_IOVA_RANGES, 0x84),
	NUMBER(commands, IOMMUFD_CMD_IOAS_MAP, 0x85),
	NUMBER(commands, IOMMUFD_CMD_IOAS_UNMAP, 0x86),
	NUMBER(commands, IOMMUFD_CMD_OPTION, 0x87),
	NUMBER(commands, IOMMUFD_CMD_VFIO_IOAS, 0x88),
	NUMBER(commands, IOMMUFD_CMD_HWPT_ALLOC, 0x89),
	NUMBER(commands, IOMMUFD_CMD_GET_HW_INFO, 0x8a),
	NUMBER(commands, IOMMUFD_CMD_HWPT_SET_DIRTY_TRACKING, 0x8b),
	NUMBER(commands, IOMMUFD_CMD_HWPT_GET_DIRTY_BITMAP, 0x8c),
	NUMBER(commands, IOMMUFD_CMD_HWPT_INVALIDATE, 0x8d),
	NUMBER(commands, IOMMUFD_CMD_FAULT_QUEUE_ALLOC, 0x8e),
	NUMBER(commands, IOMMUFD_CMD_IOAS_MAP_FILE, 0x8f),
	NUMBER(commands, IOMMUFD_CMD_VIOMMU_ALLOC, 0x90),
	NUMBER(commands, IOMMUFD_CMD_VDEVICE_ALLOC, 0x91),
	NUMBER(commands, IOMMUFD_CMD_VEVENTQ_ALLOC, 0x93),

	SIZE(iommu_destroy, 8, 4),
	FIELD(iommu_destroy, size, 0, 4),
	FIELD(iommu_destroy, id, 4, 4),

	SIZE(iommu_ioas_alloc, 12, 4),
	FIELD(iommu_ioas_alloc, size, 0, 4),
	FIELD(iommu_ioas_alloc, flags, 4, 4),
	FIELD(iommu_ioas_alloc, out_ioas_id, 8, 4),

	SIZE(iommu_iova_range, 16, 8),
	FIELD(iommu_iova_range, start, 0, 8),
	FIELD(iommu_iova_range, last, 8, 8),

	SIZE(iommu_ioas_iova_ranges, 32, 8),
	FIELD(iommu_ioas_iova_ranges, size, 0, 4),
	FIELD(iommu_ioas_iova_ranges, ioas_id, 4, 4),
	FIELD(iommu_ioas_iova_ranges, num_iovas, 8, 4),
	FIELD(iommu_ioas_iova_ranges, __reserved, 12, 4),
	FIELD(iommu_ioas_iova_ranges, allowed_iovas, 16, 8),
	FIELD(iommu_ioas_iova_ranges, out_iova_alignment, 24, 8),

	SIZE(iommu_ioas_allow_iovas, 24, 8),
	FIELD(iommu_ioas_allow_iovas, size, 0, 4),
	FIELD(iommu_ioas_allow_iovas, ioas_id, 4, 4),
	FIELD(iommu_ioas_allow_iovas, num_iovas, 8, 4),
	FIELD(iommu_ioas_allow_iovas, __reserved, 12, 4),
	FIELD(iommu_ioas_allow_iovas, allowed_iovas, 16, 8),

	NUMBER(iommufd_ioas_map_flags, IOMMU_IOAS_MAP_FIXED_IOVA, 0x1),
	NUMBER(iommufd_ioas_map_flags, IOMMU_IOAS_MAP_WRITEABLE, 0x2),
	NUMBER(iommufd_ioas_map_flags, IOMMU_IOAS_MAP_READABLE, 0x4),

	SIZE(iommu_ioas_map, 40, 8),
	FIELD(iommu_ioas_map, size, 0, 4),
	FIELD(iommu_ioas_map, flags, 4, 4),
	FIELD(iommu_ioas_map, ioas_id, 8, 4),
	FIELD(iommu_ioas_map, __reserved, 12, 4),
	FIELD(iommu_ioas_map, user_va, 16, 8),
	FIELD(iommu_ioas_map, length, 24, 8),
	FIELD(iommu_ioas_map, iova, 32, 8),

	SIZE(iommu_ioas_copy, 40, 8),
	FIELD(iommu_ioas_copy, size, 0, 4),
	FIELD(iommu_ioas_copy, flags, 4, 4),
	FIELD(iommu_ioas_copy, dst_ioas_id, 8, 4),
	FIELD(iommu_ioas_copy, src_ioas_id, 12, 4),
	FIELD(iommu_ioas_copy, length, 16, 8),
	FIELD(iommu_ioas_copy, dst_iova, 24, 8),
	FIELD(iommu_ioas_copy, src_iova, 32, 8),

	SIZE(iommu_ioas_unmap, 24, 8),
	FIELD(iommu_ioas_unmap, size, 0, 4),
	FIELD(iommu_ioas_unmap, ioas_id, 4, 4),
	FIELD(iommu_ioas_unmap, iova, 8, 8),
	FIELD(iommu_ioas_unmap, length, 16, 8),

	NUMBER(iommufd_option, IOMMU_OPTION_RLIMIT_MODE, 0),
	NUMBER(iommufd_option, IOMMU_OPTION_HUGE_PAGES, 0x1),

	NUMBER(iommufd_option_ops, IOMMU_OPTION_OP_SET, 0),
	NUMBER(iommufd_option_ops, IOMMU_OPTION_OP_GET, 0x1),

	SIZE(iommu_option, 24, 8),
	FIELD(iommu_option, size, 0, 4),
	FIELD(iommu_option, option_id, 4, 4),
	FIELD(iommu_option, op, 8, 2),
	FIELD(iommu_option, __reserved, 10, 2),
	FIELD(iommu_option, object_id, 12, 4),
	FIELD(iommu_option, val64, 16, 8),

	NUMBER(iommufd_vfio_ioas_op, IOMMU_VFIO_IOAS_GET, 0),
	NUMBER(iommufd_vfio_ioas_op, IOMMU_VFIO_IOAS_SET, 0x1),
	NUMBER(iommufd_vfio_ioas_op, IOMMU_VFIO_IOAS_CLEAR, 0x2),

	SIZE(iommu_vfio_ioas, 12, 4),
	FIELD(iommu_vfio_ioas, size, 0, 4),
	FIELD(iommu_vfio_ioas, ioas_id, 4, 4),
	FIELD(iommu_vfio_ioas, op, 8, 2),
	FIELD(iommu_vfio_ioas, __reserved, 10, 2),

	NUMBER(iommufd_hwpt_alloc_flags, IOMMU_HWPT_ALLOC_NEST_PARENT, 0x1),
	NUMBER(iommufd_hwpt_alloc_flags, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, 0x2),
	NUMBER(iommufd_hwpt_alloc_flags, IOMMU_HWPT_FAULT_ID_VALID, 0x4),
	NUMBER(iommufd_hwpt_alloc_flags, IOMMU_HWPT_ALLOC_PASID, 0x8),

	NUMBER(iommu_hwpt_vtd_s1_flags, IOMMU_VTD_S1_SRE, 0x1),
	NUMBER(iommu_hwpt_vtd_s1_flags, IOMMU_VTD_S1_EAFE, 0x2),
	NUMBER(iommu_hwpt_vtd_s1_flags, IOMMU_VTD_S1_WPE, 0x4),

	SIZE(iommu_hwpt_vtd_s1, 24, 8),
	FIELD(iommu_hwpt_vtd_s1, flags, 0, 8),
	FIELD(iommu_hwpt_vtd_s1, pgtbl_addr, 8, 8),
	FIELD(iommu_hwpt_vtd_s1, addr_width, 16, 4),
	FIELD(iommu_hwpt_vtd_s1, __reserved, 20, 4),

	SIZE(iommu_hwpt_arm_smmuv3, 16, 8),
	FIELD(iommu_hwpt_arm_smmuv3, ste, 0, 16),

	NUMBER(iommu_hwpt_data_type, IOMMU_HWPT_DATA_NONE, 0),
	NUMBER(iommu_hwpt_data_type, IOMMU_HWPT_DATA_VTD_S1, 0x1),
	NUMBER(iommu_hwpt_data_type, IOMMU_HWPT_DATA_ARM_SMMUV3, 0x2),

	SIZE(iommu_hwpt_alloc, 48, 8),
	FIELD(iommu_hwpt_alloc, size, 0, 4),
	FIELD(iommu_hwpt_alloc, flags, 4, 4),
	FIELD(iommu_hwpt_alloc, dev_id, 8, 4),
	FIELD(iommu_hwpt_alloc, pt_id, 12, 4),
	FIELD(iommu_hwpt_alloc, out_hwpt_id, 16, 4),
	FIELD(iommu_hwpt_alloc, __reserved, 20, 4),
	FIELD(iommu_hwpt_alloc, data_type, 24, 4),
	FIELD(iommu_hwpt_alloc, data_len, 28, 4),
	FIELD(iommu_hwpt_alloc, data_uptr, 32, 8),
	FIELD(iommu_hwpt_alloc, fault_id, 40, 4),
	FIELD(iommu_hwpt_alloc, __reserved2, 44, 4),

	NUMBER(iommu_hw_info_vtd_flags, IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17,
	       0x1),

	SIZE(iommu_hw_info_vtd, 24, 8),
	FIELD(iommu_hw_info_vtd, flags, 0, 4),
	FIELD(iommu_hw_info_vtd, __reserved, 4, 4),
	FIELD(iommu_hw_info_vtd, cap_reg, 8, 8),
	FIELD(iommu_hw_info_vtd, ecap_reg, 16, 8),

	SIZE(iommu_hw_info_arm_smmuv3, 40, 4),
	FIELD(iommu_hw_info_arm_smmuv3, flags, 0, 4),
	FIELD(iommu_hw_info_arm_smmuv3, __reserved, 4, 4),
	FIELD(iommu_hw_info_arm_smmuv3, idr, 8, 24),
	FIELD(iommu_hw_info_arm_smmuv3, iidr, 32, 4),
	FIELD(iommu_hw_info_arm_smmuv3, aidr, 36, 4),

	NUMBER(iommu_hw_info_type, IOMMU_HW_INFO_TYPE_NONE, 0),
	NUMBER(iommu_hw_info_type, IOMMU_HW_INFO_TYPE_DEFAULT, 0),
	NUMBER(iommu_hw_info_type, IOMMU_HW_INFO_TYPE_INTEL_VTD, 0x1),
	NUMBER(iommu_hw_info_type, IOMMU_HW_INFO_TYPE_ARM_SMMUV3, 0x2),

	NUMBER(iommufd_hw_capabilities, IOMMU_HW_CAP_DIRTY_TRACKING, 0x1),
	NUMBER(iommufd_hw_capabilities, IOMMU_HW_CAP_PCI_PASID_EXEC, 0x2),
	NUMBER(iommufd_hw_capabilities, IOMMU_HW_CAP_PCI_PASID_PRIV, 0x4),
	NUMBER(iommufd_hw_capabilities, IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED,
	       0x8),

	NUMBER(iommufd_hw_info_flags, IOMMU_HW_INFO_FLAG_INPUT_TYPE, 0x1),

	SIZE(iommu_hw_info, 40, 8),
	FIELD(iommu_hw_info, size, 0, 4),
	FIELD(iommu_hw_info, flags, 4, 4),
	FIELD(iommu_hw_info, dev_id, 8, 4),
	FIELD(iommu_hw_info, data_len, 12, 4),
	FIELD(iommu_hw_info, data_uptr, 16, 8),
	FIELD(iommu_hw_info, in_data_type, 24, 4),
	FIELD(iommu_hw_info, out_data_type, 24, 4),
	FIELD(iommu_hw_info, out_max_pasid_log2, 28, 1),
	FIELD(iommu_hw_info, __reserved, 29, 3),
	FIELD(iommu_hw_info, out_capabilities, 32, 8),

	NUMBER(iommufd_hwpt_set_dirty_tracking_flags,
	       IOMMU_HWPT_DIRTY_TRACKING_ENABLE, 0x1),

	SIZE(iommu_hwpt_set_dirty_tracking, 16, 4),
	FIELD(iommu_hwpt_set_dirty_tracking, size, 0, 4),
	FIELD(iommu_hwpt_set_dirty_tracking, flags, 4, 4),
	FIELD(iommu_hwpt_set_dirty_tracking, hwpt_id, 8, 4),
	FIELD(iommu_hwpt_set_dirty_tracking, __reserved, 12, 4),

	NUMBER(iommufd_hwpt_get_dirty_bitmap_flags,
	       IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR, 0x1),

	SIZE(iommu_hwpt_get_dirty_bitmap, 48, 8),
	FIELD(iommu_hwpt_get_dirty_bitmap, size, 0, 4),
	FIELD(iommu_hwpt_get_dirty_bitmap, hwpt_id, 4, 4),
	FIELD(iommu_hwpt_get_dirty_bitmap, flags, 8, 4),
	FIELD(iommu_hwpt_get_dirty_bitmap, __reserved, 12, 4),
	FIELD(iommu_hwpt_get_dirty_bitmap, iova, 16, 8),
	FIELD(iommu_hwpt_get_dirty_bitmap, length, 24, 8),
	FIELD(iommu_hwpt_get_dirty_bitmap, page_size, 32, 8),
	FIELD(iommu_hwpt_get_dirty_bitmap, data, 40, 8),

	NUMBER(iommu_hwpt_invalidate_data_type,
	       IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, 0),
	NUMBER(iommu_hwpt_invalidate_data_type,
	       IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, 0x1),

	NUMBER(iommu_hwpt_vtd_s1_invalidate_flags, IOMMU_VTD_INV_FLAGS_LEAF,
	       0x1),

	SIZE(iommu_hwpt_vtd_s1_invalidate, 24, 8),
	FIELD(iommu_hwpt_vtd_s1_invalidate, addr, 0, 8),
	FIELD(iommu_hwpt_vtd_s1_invalidate, npages, 8, 8),
	FIELD(iommu_hwpt_vtd_s1_invalidate, flags, 16, 4),
	FIELD(iommu_hwpt_vtd_s1_invalidate, __reserved, 20, 4),

	SIZE(iommu_viommu_arm_smmuv3_invalidate, 16, 8),
	FIELD(iommu_viommu_arm_smmuv3_invalidate, cmd, 0, 16),

	SIZE(iommu_hwpt_invalidate, 32, 8),
	FIELD(iommu_hwpt_invalidate, size, 0, 4),
	FIELD(iommu_hwpt_invalidate, hwpt_id, 4, 4),
	FIELD(iommu_hwpt_invalidate, data_uptr, 8, 8),
	FIELD(iommu_hwpt_invalidate, data_type, 16, 4),
	FIELD(iommu_hwpt_invalidate, entry_len, 20, 4),
	FIELD(iommu_hwpt_invalidate, entry_num, 24, 4),
	FIELD(iommu_hwpt_invalidate, __reserved, 28, 4),

	NUMBER(iommu_hwpt_pgfault_flags, IOMMU_PGFAULT_FLAGS_PASID_VALID, 0x1),
	NUMBER(iommu_hwpt_pgfault_flags, IOMMU_PGFAULT_FLAGS_LAST_PAGE, 0x2),

	NUMBER(iommu_hwpt_pgfault_perm, IOMMU_PGFAULT_PERM_READ, 0x1),
	NUMBER(iommu_hwpt_pgfault_perm, IOMMU_PGFAULT_PERM_WRITE, 0x2),
	NUMBER(iommu_hwpt_pgfault_perm, IOMMU_PGFAULT_PERM_EXEC, 0x4),
	NUMBER(iommu_hwpt_pgfault_perm, IOMMU_PGFAULT_PERM_PRIV, 0x8),

	SIZE(iommu_hwpt_pgfault, 40, 8),
	FIELD(iommu_hwpt_pgfault, flags, 0, 4),
	FIELD(iommu_hwpt_pgfault, dev_id, 4, 4),
	FIELD(iommu_hwpt_pgfault, pasid, 8, 4),
	FIELD(iommu_hwpt_pgfault, grpid, 12, 4),
	FIELD(iommu_hwpt_pgfault, perm, 16, 4),
	FIELD(iommu_hwpt_pgfault, __reserved, 20, 4),
	FIELD(iommu_hwpt_pgfault, addr, 24, 8),
	FIELD(iommu_hwpt_pgfault, length, 32, 4),
	FIELD(iommu_hwpt_pgfault, cookie, 36, 4),

	NUMBER(iommufd_page_response_code, IOMMUFD_PAGE_RESP_SUCCESS, 0),
	NUMBER(iommufd_page_response_code, IOMMUFD_PAGE_RESP_INVALID, 0x1),

	SIZE(iommu_hwpt_page_response, 8, 4),
	FIELD(iommu_hwpt_page_response, cookie, 0, 4),
	FIELD(iommu_hwpt_page_response, code, 4, 4),

	SIZE(iommu_fault_alloc, 16, 4),
	FIELD(iommu_fault_alloc, size, 0, 4),
	FIELD(iommu_fault_alloc, flags, 4, 4),
	FIELD(iommu_fault_alloc, out_fault_id, 8, 4),
	FIELD(iommu_fault_alloc, out_fault_fd, 12, 4),

	NUMBER(iommu_viommu_type, IOMMU_VIOMMU_TYPE_DEFAULT, 0),
	NUMBER(iommu_viommu_type, IOMMU_VIOMMU_TYPE_ARM_SMMUV3, 0x1),

	SIZE(iommu_viommu_alloc, 40, 8),
	FIELD(iommu_viommu_alloc, size, 0, 4),
	FIELD(iommu_viommu_alloc, flags, 4, 4),
	FIELD(iommu_viommu_alloc, type, 8, 4),
	FIELD(iommu_viommu_alloc, dev_id, 12, 4),
	FIELD(iommu_viommu_alloc, hwpt_id, 16, 4),
	FIELD(iommu_viommu_alloc, out_viommu_id, 20, 4),
	FIELD(iommu_viommu_alloc, data_len, 24, 4),
	FIELD(iommu_viommu_alloc, __reserved, 28, 4),
	FIELD(iommu_viommu_alloc, data_uptr, 32, 8),

	SIZE(iommu_vdevice_alloc, 24, 8),
	FIELD(iommu_vdevice_alloc, size, 0, 4),
	FIELD(iommu_vdevice_alloc, viommu_id, 4, 4),
	FIELD(iommu_vdevice_alloc, dev_id, 8, 4),
	FIELD(iommu_vdevice_alloc, out_vdevice_id, 12, 4),
	FIELD(iommu_vdevice_alloc, virt_id, 16, 8),

	NUMBER(iommu_veventq_flag, IOMMU_VEVENTQ_FLAG_LOST_EVENTS, 0x1),

	SIZE(iommufd_vevent_header, 8, 4),
	FIELD(iommufd_vevent_header, flags, 0, 4),
	FIELD(iommufd_vevent_header, sequence, 4, 4),

	NUMBER(iommu_veventq_type, IOMMU_VEVENTQ_TYPE_DEFAULT, 0),
	NUMBER(iommu_veventq_type, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, 0x1),

	SIZE(iommu_vevent_arm_smmuv3, 32, 8),
	FIELD(iommu_vevent_arm_smmuv3, evt, 0, 32),

	SIZE(iommu_veventq_alloc, 32, 4),
	FIELD(iommu_veventq_alloc, size, 0, 4),
	FIELD(iommu_veventq_alloc, flags, 4, 4),
	FIELD(iommu_veventq_alloc, viommu_id, 8, 4),
	FIELD(iommu_veventq_alloc, type, 12, 4),
	FIELD(iommu_veventq_alloc, veventq_depth, 16, 4),
	FIELD(iommu_veventq_alloc, out_veventq_id, 20, 4),
	FIELD(iommu_veventq_alloc, out_veventq_fd, 24, 4),
	FIELD(iommu_veventq_alloc, __reserved, 28, 4),

	SIZE(iommu_ioas_map_file, 40, 8),
	FIELD(iommu_ioas_map_file, size, 0, 4),
	FIELD(iommu_ioas_map_file, flags, 4, 4),
	FIELD(iommu_ioas_map_file, ioas_id, 8, 4),
	FIELD(iommu_ioas_map_file, fd, 12, 4),
	FIELD(iommu_ioas_map_file, start, 16, 8),
	FIELD(iommu_ioas_map_file, length, 24, 8),
	FIELD(iommu_ioas_map_file, iova, 32, 8),

	NUMBER(commands, IOMMUFD_CMD_IOAS_CHANGE_PROCESS, 0x92),

	SIZE(iommu_ioas_change_process, 8, 4),
	FIELD(iommu_ioas_change_process, size, 0, 4),
	FIELD(iommu_ioas_change_process, __reserved, 4, 4),

	NUMBER(iommu_hw_info_type, IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV, 0x3),
	NUMBER(iommu_viommu_type, IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV, 0x2),
	NUMBER(iommu_veventq_type, IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV, 0x2),

	SIZE(iommu_hw_info_tegra241_cmdqv, 8, 4),
	FIELD(iommu_hw_info_tegra241_cmdqv, flags, 0, 4),
	FIELD(iommu_hw_info_tegra241_cmdqv, version, 4, 1),
	FIELD(iommu_hw_info_tegra241_cmdqv, log2vcmdqs, 5, 1),
	FIELD(iommu_hw_info_tegra241_cmdqv, log2vsids, 6, 1),
	FIELD(iommu_hw_info_tegra241_cmdqv, __reserved, 7, 1),

	SIZE(iommu_viommu_tegra241_cmdqv, 16, 8),
	FIELD(iommu_viommu_tegra241_cmdqv, out_vintf_mmap_offset, 0, 8),
	FIELD(iommu_viommu_tegra241_cmdqv, out_vintf_mmap_length, 8, 8),

	SIZE(iommu_vevent_tegra241_cmdqv, 16, 8),
	FIELD(iommu_vevent_tegra241_cmdqv, lvcmdq_err_map, 0, 16),

	NUMBER(commands, IOMMUFD_CMD_HW_QUEUE_ALLOC, 0x94),
	NUMBER(iommu_hw_queue_type, IOMMU_HW_QUEUE_TYPE_DEFAULT, 0),
	NUMBER(iommu_hw_queue_type, IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV, 0x1),

	SIZE(iommu_hw_queue_alloc, 40, 8),
	FIELD(iommu_hw_queue_alloc, size, 0, 4),
	FIELD(iommu_hw_queue_alloc, flags, 4, 4),
	FIELD(iommu_hw_queue_alloc, viommu_id, 8, 4),
	FIELD(iommu_hw_queue_alloc, type, 12, 4),
	FIELD(iommu_hw_queue_alloc, index, 16, 4),
	FIELD(iommu_hw_queue_alloc, out_hw_queue_id, 20, 4),
	FIELD(iommu_hw_queue_alloc, nesting_parent_iova, 24, 8),
	FIELD(iommu_hw_queue_alloc, length, 32, 8),

#ifndef COMPILE_ONLY
	{ NULL, NULL, { 0, 0 }, { 0, 0 } }
};

/* All numbers of a struct or enum are a single test */
static int test(size_t first, size_t *next, unsigned int *tests)
{
	const char *of = facts[first].of;
	int good = 1;
	size_t i;

	for (i = first; facts[i].of && !strcmp(facts[i].of, of); i++) {
		const struct fact *fact = &facts[i];

		if (!memcmp(fact->got, fact->want, sizeof(fact->got)))
			continue;
		printf("# %s: %#lx, %lu; it should be %#lx, %lu\n",
		       fact->what, fact->got[0], fact->got[1], fact->want[0],
		       fact->want[1]);
		good = 0;
	}
	*next = i;
	printf("%sok %u - %s\n", good ? "" : "not ", ++*tests, of);
	return good;
}

int main(void)
{
	unsigned int tests = 0, failed = 0;
	size_t i;

	printf("TAP version 13\n");
	for (i = 0; facts[i].of;)
		failed += !test(i, &i, &tests);
	printf("1..%u\n", tests);
	return failed != 0;
}
#else
};
#endif
