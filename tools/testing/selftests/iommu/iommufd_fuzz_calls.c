// SPDX-License-Identifier: GPL-2.0-only
/* The table of the calls of the fuzzer of iommufd. See iommufd_fuzz.h */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vfio.h>

#include "iommufd_fuzz_calls.h"
#include "lib/host.h"

struct shared *shared;
bool on_smmu;

#define IOCTL(_name, _struct, ...)                                             \
	{ #_name, IOMMU_##_name, sizeof(struct _struct), ON_ANY, { __VA_ARGS__ } }
#define TEST(_name, ...)                                                       \
	{ "TEST_" #_name, IOMMU_TEST_CMD, sizeof(struct iommu_test_cmd),       \
	  ON_MOCK, { T(CONST, op, IOMMU_TEST_OP_##_name), __VA_ARGS__ } }
#define OTHER(_name, _run) { .name = #_name, .run = _run }
#define CDEV_IOCTL(_name, _struct, ...)                                        \
	{ #_name, VFIO_DEVICE_##_name, sizeof(struct _struct), ON_SMMU,        \
	  { { .type = ON_CDEV }, __VA_ARGS__ } }
#define SMMU(_name, _run) { .name = #_name, .on = ON_SMMU, .run = _run }

/* Structs of VFIO with an array behind them that is as long as this needs it */
struct irq_set {
	struct vfio_irq_set set;
	__s32 fd;
};

struct hot_reset {
	struct vfio_pci_hot_reset reset;
	__s32 fd;
};

struct feature_dma_buf {
	struct vfio_device_feature feature;
	struct vfio_device_feature_dma_buf get;
	struct vfio_region_dma_range range;
};

struct feature {
	struct vfio_device_feature feature;
	__u32 data[4];
};

struct hot_reset_info {
	struct vfio_pci_hot_reset_info info;
	struct vfio_pci_dependent_device devices[8];
};

/* Calls with an argument that is not used */
struct nothing {
	__u32 size;
	__u32 nothing;
};

static const struct call calls[] = {
	IOCTL(DESTROY, iommu_destroy, F(ANY_ID, iommu_destroy, id, 0)),
	IOCTL(IOAS_ALLOC, iommu_ioas_alloc,
	      F(OUT, iommu_ioas_alloc, out_ioas_id, IOAS)),
	IOCTL(IOAS_MAP, iommu_ioas_map,
	      F(ID, iommu_ioas_map, ioas_id, IOAS),
	      F(FLAGS, iommu_ioas_map, flags, 7),
	      F(ADDRESS, iommu_ioas_map, user_va, 0),
	      F(LENGTH, iommu_ioas_map, length, 0),
	      F(IOVA, iommu_ioas_map, iova, 0)),
	IOCTL(IOAS_MAP_FILE, iommu_ioas_map_file,
	      F(ID, iommu_ioas_map_file, ioas_id, IOAS),
	      F(FLAGS, iommu_ioas_map_file, flags, 7),
	      F(FILE_FD, iommu_ioas_map_file, fd, 0),
	      F(LENGTH, iommu_ioas_map_file, start, 0),
	      F(LENGTH, iommu_ioas_map_file, length, 0),
	      F(IOVA, iommu_ioas_map_file, iova, 0)),
	IOCTL(IOAS_COPY, iommu_ioas_copy,
	      F(ID, iommu_ioas_copy, dst_ioas_id, IOAS),
	      F(ID, iommu_ioas_copy, src_ioas_id, IOAS),
	      F(FLAGS, iommu_ioas_copy, flags, 7),
	      F(LENGTH, iommu_ioas_copy, length, 0),
	      F(IOVA, iommu_ioas_copy, dst_iova, 0),
	      F(IOVA, iommu_ioas_copy, src_iova, 0)),
	IOCTL(IOAS_UNMAP, iommu_ioas_unmap,
	      F(ID, iommu_ioas_unmap, ioas_id, IOAS),
	      F(IOVA, iommu_ioas_unmap, iova, 0),
	      F(LENGTH, iommu_ioas_unmap, length, 0)),
	IOCTL(IOAS_IOVA_RANGES, iommu_ioas_iova_ranges,
	      F(ID, iommu_ioas_iova_ranges, ioas_id, IOAS),
	      F(SMALL, iommu_ioas_iova_ranges, num_iovas, 0),
	      F(POINTER, iommu_ioas_iova_ranges, allowed_iovas, DATA_OUT)),
	IOCTL(IOAS_ALLOW_IOVAS, iommu_ioas_allow_iovas,
	      F(ID, iommu_ioas_allow_iovas, ioas_id, IOAS),
	      F(SMALL, iommu_ioas_allow_iovas, num_iovas, 0),
	      F(POINTER, iommu_ioas_allow_iovas, allowed_iovas, DATA_RANGES)),
	IOCTL(IOAS_CHANGE_PROCESS, iommu_ioas_change_process,
	      F(CONST, iommu_ioas_change_process, __reserved, 0)),
	IOCTL(OPTION, iommu_option,
	      F(LIST, iommu_option, option_id, L_OPTION),
	      F(FLAGS, iommu_option, op, 1),
	      F(ID, iommu_option, object_id, IOAS),
	      F(FLAGS, iommu_option, val64, 1)),
	IOCTL(VFIO_IOAS, iommu_vfio_ioas,
	      F(ID, iommu_vfio_ioas, ioas_id, IOAS),
	      F(FLAGS, iommu_vfio_ioas, op, 3)),
	IOCTL(HWPT_ALLOC, iommu_hwpt_alloc,
	      F(ID, iommu_hwpt_alloc, dev_id, DEVICE),
	      F(PT, iommu_hwpt_alloc, pt_id, 0),
	      F(FLAGS, iommu_hwpt_alloc, flags, 0xf),
	      F(LIST, iommu_hwpt_alloc, data_type, L_DATA_TYPE),
	      F(LIST, iommu_hwpt_alloc, data_len, L_DATA_LEN),
	      F(POINTER, iommu_hwpt_alloc, data_uptr, DATA_HWPT),
	      F(ID, iommu_hwpt_alloc, fault_id, FAULT),
	      F(OUT, iommu_hwpt_alloc, out_hwpt_id, HWPT)),
	/* The same for HWPTs without data, which most calls need */
	{ "HWPT_ALLOC_PAGING", IOMMU_HWPT_ALLOC, sizeof(struct iommu_hwpt_alloc),
	  ON_ANY, { F(ID, iommu_hwpt_alloc, dev_id, DEVICE),
	    F(ID, iommu_hwpt_alloc, pt_id, IOAS),
	    F(FLAGS, iommu_hwpt_alloc, flags, 0xf),
	    F(ID, iommu_hwpt_alloc, fault_id, FAULT),
	    F(OUT, iommu_hwpt_alloc, out_hwpt_id, HWPT) } },
	{ "HWPT_ALLOC_NESTED", IOMMU_HWPT_ALLOC, sizeof(struct iommu_hwpt_alloc),
	  ON_MOCK, { F(ID, iommu_hwpt_alloc, dev_id, DEVICE),
	    F(PT, iommu_hwpt_alloc, pt_id, 0),
	    F(CONST, iommu_hwpt_alloc, data_type, IOMMU_HWPT_DATA_SELFTEST),
	    F(CONST, iommu_hwpt_alloc, data_len,
	      sizeof(struct iommu_hwpt_selftest)),
	    F(POINTER, iommu_hwpt_alloc, data_uptr, DATA_HWPT),
	    F(FLAGS, iommu_hwpt_alloc, flags, IOMMU_HWPT_FAULT_ID_VALID),
	    F(ID, iommu_hwpt_alloc, fault_id, FAULT),
	    F(OUT, iommu_hwpt_alloc, out_hwpt_id, NESTED) } },
	IOCTL(GET_HW_INFO, iommu_hw_info,
	      F(ID, iommu_hw_info, dev_id, DEVICE),
	      F(FLAGS, iommu_hw_info, flags, 1),
	      F(LIST, iommu_hw_info, data_len, L_DATA_LEN),
	      F(POINTER, iommu_hw_info, data_uptr, DATA_OUT),
	      F(LIST, iommu_hw_info, in_data_type, L_HW_INFO_TYPE)),
	IOCTL(HWPT_SET_DIRTY_TRACKING, iommu_hwpt_set_dirty_tracking,
	      F(ID, iommu_hwpt_set_dirty_tracking, hwpt_id, HWPT),
	      F(FLAGS, iommu_hwpt_set_dirty_tracking, flags, 1)),
	IOCTL(HWPT_GET_DIRTY_BITMAP, iommu_hwpt_get_dirty_bitmap,
	      F(ID, iommu_hwpt_get_dirty_bitmap, hwpt_id, HWPT),
	      F(FLAGS, iommu_hwpt_get_dirty_bitmap, flags, 1),
	      F(IOVA, iommu_hwpt_get_dirty_bitmap, iova, 0),
	      F(LENGTH, iommu_hwpt_get_dirty_bitmap, length, 0),
	      F(LIST, iommu_hwpt_get_dirty_bitmap, page_size, L_PAGE_SIZE),
	      F(ADDRESS, iommu_hwpt_get_dirty_bitmap, data, 0)),
	IOCTL(HWPT_INVALIDATE, iommu_hwpt_invalidate,
	      F(PT, iommu_hwpt_invalidate, hwpt_id, 0),
	      F(POINTER, iommu_hwpt_invalidate, data_uptr, DATA_INVALIDATE),
	      F(LIST, iommu_hwpt_invalidate, data_type, L_INVALIDATE_TYPE),
	      F(LIST, iommu_hwpt_invalidate, entry_len, L_ENTRY_LEN),
	      F(SMALL, iommu_hwpt_invalidate, entry_num, 0)),
	IOCTL(FAULT_QUEUE_ALLOC, iommu_fault_alloc,
	      F(OUT, iommu_fault_alloc, out_fault_id, FAULT),
	      F(OUT, iommu_fault_alloc, out_fault_fd, FAULT_FD)),
	IOCTL(VIOMMU_ALLOC, iommu_viommu_alloc,
	      F(ID, iommu_viommu_alloc, dev_id, DEVICE),
	      F(ID, iommu_viommu_alloc, hwpt_id, HWPT),
	      F(LIST, iommu_viommu_alloc, type, L_VIOMMU_TYPE),
	      F(LIST, iommu_viommu_alloc, data_len, L_DATA_LEN),
	      F(POINTER, iommu_viommu_alloc, data_uptr, DATA_VIOMMU),
	      F(OUT, iommu_viommu_alloc, out_viommu_id, VIOMMU)),
	IOCTL(VDEVICE_ALLOC, iommu_vdevice_alloc,
	      F(ID, iommu_vdevice_alloc, viommu_id, VIOMMU),
	      F(ID, iommu_vdevice_alloc, dev_id, DEVICE),
	      F(LIST, iommu_vdevice_alloc, virt_id, L_VIRT_ID),
	      F(OUT, iommu_vdevice_alloc, out_vdevice_id, VDEVICE)),
	IOCTL(VEVENTQ_ALLOC, iommu_veventq_alloc,
	      F(ID, iommu_veventq_alloc, viommu_id, VIOMMU),
	      F(LIST, iommu_veventq_alloc, type, L_VEVENTQ_TYPE),
	      F(LIST, iommu_veventq_alloc, veventq_depth, L_DEPTH),
	      F(OUT, iommu_veventq_alloc, out_veventq_id, VEVENTQ),
	      F(OUT, iommu_veventq_alloc, out_veventq_fd, EVENT_FD)),
	IOCTL(HW_QUEUE_ALLOC, iommu_hw_queue_alloc,
	      F(ID, iommu_hw_queue_alloc, viommu_id, VIOMMU),
	      F(LIST, iommu_hw_queue_alloc, type, L_HW_QUEUE_TYPE),
	      F(LIST, iommu_hw_queue_alloc, index, L_INDEX),
	      F(IOVA, iommu_hw_queue_alloc, nesting_parent_iova, 0),
	      F(LENGTH, iommu_hw_queue_alloc, length, 0),
	      F(OUT, iommu_hw_queue_alloc, out_hw_queue_id, HW_QUEUE)),

	TEST(ADD_RESERVED, T(ID, id, IOAS), T(IOVA, add_reserved.start, 0),
	     T(LENGTH, add_reserved.length, 0)),
	TEST(MOCK_DOMAIN, T(PT, id, 0),
	     T(OUT, mock_domain.out_stdev_id, STDEV),
	     T(OUT, mock_domain.out_hwpt_id, HWPT),
	     T(OUT, mock_domain.out_idev_id, DEVICE)),
	TEST(MOCK_DOMAIN_FLAGS, T(PT, id, 0),
	     T(FLAGS, mock_domain_flags.dev_flags, 0x3f000f),
	     T(ID, mock_domain_flags.group_dev_id, DEVICE),
	     T(OUT, mock_domain_flags.out_stdev_id, STDEV),
	     T(OUT, mock_domain_flags.out_hwpt_id, HWPT),
	     T(OUT, mock_domain_flags.out_idev_id, DEVICE)),
	TEST(MOCK_DOMAIN_REPLACE, T(ID, id, STDEV),
	     T(PT, mock_domain_replace.pt_id, 0)),
	TEST(MD_CHECK_MAP, T(ID, id, HWPT), T(IOVA, check_map.iova, 0),
	     T(LENGTH, check_map.length, 0), T(ADDRESS, check_map.uptr, 0)),
	TEST(MD_CHECK_REFS, T(ADDRESS, check_refs.uptr, 0),
	     T(LENGTH, check_refs.length, 0), T(SMALL, check_refs.refs, 0)),
	TEST(MD_CHECK_IOTLB, T(ID, id, NESTED), T(SMALL, check_iotlb.id, 0),
	     T(LIST, check_iotlb.iotlb, L_IOTLB)),
	TEST(CREATE_ACCESS, T(ID, id, IOAS), T(FLAGS, create_access.flags, 1),
	     T(OUT, create_access.out_access_fd, ACCESS)),
	TEST(ACCESS_REPLACE_IOAS, T(ID, id, ACCESS),
	     T(ID, access_replace_ioas.ioas_id, IOAS)),
	TEST(ACCESS_PAGES, T(ID, id, ACCESS), T(FLAGS, access_pages.flags, 1),
	     T(IOVA, access_pages.iova, 0), T(LENGTH, access_pages.length, 0),
	     T(OUT, access_pages.out_access_pages_id, ITEM)),
	TEST(ACCESS_RW, T(ID, id, ACCESS), T(FLAGS, access_rw.flags, 5),
	     T(IOVA, access_rw.iova, 0), T(LENGTH, access_rw.length, 0),
	     T(ADDRESS, access_rw.uptr, 0)),
	TEST(DESTROY_ACCESS_PAGES, T(ID, id, ACCESS),
	     T(ID, destroy_access_pages.access_pages_id, ITEM)),
	TEST(SET_TEMP_MEMORY_LIMIT, T(LIST, memory_limit.limit, L_LIMIT)),
	TEST(DIRTY, T(ID, id, HWPT), T(IOVA, dirty.iova, 0),
	     T(LENGTH, dirty.length, 0), T(LIST, dirty.page_size, L_PAGE_SIZE),
	     T(ADDRESS, dirty.uptr, 0)),
	TEST(TRIGGER_IOPF, T(ID, trigger_iopf.dev_id, DEVICE),
	     T(LIST, trigger_iopf.pasid, L_PASID),
	     T(SMALL, trigger_iopf.grpid, 0), T(SMALL, trigger_iopf.perm, 0),
	     T(LIST, trigger_iopf.addr, L_FAULT_ADDR)),
	/* A fault without a PASID */
	{ "TEST_TRIGGER_RID_IOPF", IOMMU_TEST_CMD, sizeof(struct iommu_test_cmd),
	  ON_MOCK, { T(CONST, op, IOMMU_TEST_OP_TRIGGER_IOPF),
	    T(ID, trigger_iopf.dev_id, DEVICE), T(CONST, trigger_iopf.pasid, 0),
	    T(SMALL, trigger_iopf.grpid, 0),
	    T(LIST, trigger_iopf.addr, L_FAULT_ADDR) } },
	TEST(DEV_CHECK_CACHE, T(ID, id, DEVICE), T(SMALL, check_dev_cache.id, 0),
	     T(LIST, check_dev_cache.cache, L_CACHE)),
	TEST(TRIGGER_VEVENT, T(ID, trigger_vevent.dev_id, DEVICE),
	     T(FLAGS, trigger_vevent.flags, 7),
	     T(SMALL, trigger_vevent.sequence, 0)),
	TEST(PASID_ATTACH, T(ID, id, STDEV), T(LIST, pasid_attach.pasid, L_PASID),
	     T(PT, pasid_attach.pt_id, 0)),
	TEST(PASID_REPLACE, T(ID, id, STDEV),
	     T(LIST, pasid_replace.pasid, L_PASID), T(PT, pasid_replace.pt_id, 0)),
	TEST(PASID_DETACH, T(ID, id, STDEV), T(LIST, pasid_detach.pasid, L_PASID)),
	TEST(PASID_CHECK_HWPT, T(ID, id, STDEV),
	     T(LIST, pasid_check.pasid, L_PASID), T(ID, pasid_check.hwpt_id, HWPT)),
	TEST(DMABUF_GET, T(LIST, dmabuf_get.length, L_DMABUF_LEN),
	     T(CONST, dmabuf_get.open_flags, O_RDWR | O_CLOEXEC)),
	TEST(DMABUF_REVOKE, T(ID, dmabuf_revoke.dmabuf_fd, DMABUF),
	     T(FLAGS, dmabuf_revoke.revoked, 1)),
	TEST(MD_CHECK_DMABUF, T(ID, id, HWPT), T(ID, check_dmabuf.dmabuf_fd, DMABUF),
	     T(IOVA, check_dmabuf.iova, 0), T(LENGTH, check_dmabuf.length, 0)),
	TEST(DEV_GET_IOPF, T(ID, id, DEVICE)),
	TEST(DEV_RESET, T(ID, id, DEVICE), T(FLAGS, dev_reset.what, 3),
	     T(ID, dev_reset.hwpt_id, HWPT)),
	TEST(DEV_GATE, T(ID, id, DEVICE), T(FLAGS, dev_gate.closed, 15)),
	TEST(DEV_PREPARE_MSI, T(ID, id, DEVICE), T(IOVA, prepare_msi.phys, 0)),
	TEST(MD_CHECK_PHYS, T(ID, id, HWPT), T(IOVA, check_phys.iova, 0),
	     T(IOVA, check_phys.phys, 0)),
	TEST(GET_PINS, T(ADDRESS, get_pins.uptr, 0)),
	TEST(VIOMMU_ZAP, T(ID, id, VIOMMU), T(LIST, viommu_zap.page, L_PAGES)),

	OTHER(vfio, run_vfio),
	OTHER(mmap, run_mmap),
	OTHER(mapping, run_mapping),
	OTHER(read, run_read),
	OTHER(write, run_write),
	OTHER(poll, run_poll),
	OTHER(close, run_close),
	OTHER(reopen, run_reopen),
	OTHER(memory, run_memory),
	OTHER(file, run_file),
	OTHER(fork, run_fork),

	/* Devices of VFIO */
	SMMU(open, run_open),
	CDEV_IOCTL(BIND_IOMMUFD, vfio_device_bind_iommufd,
		   F(FLAGS, vfio_device_bind_iommufd, flags, 1),
		   F(POINTER, vfio_device_bind_iommufd, token_uuid_ptr, DATA_OUT),
		   F(WORLD_FD, vfio_device_bind_iommufd, iommufd, 0),
		   F(OUT, vfio_device_bind_iommufd, out_devid, DEVICE)),
	CDEV_IOCTL(ATTACH_IOMMUFD_PT, vfio_device_attach_iommufd_pt,
		   F(PT, vfio_device_attach_iommufd_pt, pt_id, 0),
		   F(FLAGS, vfio_device_attach_iommufd_pt, flags, 1),
		   F(LIST, vfio_device_attach_iommufd_pt, pasid, L_PASID)),
	CDEV_IOCTL(DETACH_IOMMUFD_PT, vfio_device_detach_iommufd_pt,
		   F(FLAGS, vfio_device_detach_iommufd_pt, flags, 1),
		   F(LIST, vfio_device_detach_iommufd_pt, pasid, L_PASID)),
	CDEV_IOCTL(GET_INFO, vfio_device_info),
	CDEV_IOCTL(GET_REGION_INFO, vfio_region_info,
		   F(SMALL, vfio_region_info, index, 0)),
	CDEV_IOCTL(GET_IRQ_INFO, vfio_irq_info,
		   F(SMALL, vfio_irq_info, index, 0)),
	CDEV_IOCTL(SET_IRQS, irq_set, F(LIST, irq_set, set.flags, L_IRQ_FLAGS),
		   F(SMALL, irq_set, set.index, 0),
		   F(SMALL, irq_set, set.start, 0),
		   F(SMALL, irq_set, set.count, 0), F(EVENT, irq_set, fd, 0)),
	CDEV_IOCTL(RESET, nothing),
	CDEV_IOCTL(GET_PCI_HOT_RESET_INFO, hot_reset_info),
	CDEV_IOCTL(PCI_HOT_RESET, hot_reset,
		   F(SMALL, hot_reset, reset.count, 0), F(EVENT, hot_reset, fd, 0)),
	CDEV_IOCTL(IOEVENTFD, vfio_device_ioeventfd,
		   F(LIST, vfio_device_ioeventfd, flags, L_IOEVENTFD),
		   F(LENGTH, vfio_device_ioeventfd, offset, 0),
		   F(EVENT, vfio_device_ioeventfd, fd, 0)),
	CDEV_IOCTL(FEATURE, feature, F(LIST, feature, feature.flags, L_FEATURE),
		   F(SMALL, feature, data[0], 0), F(SMALL, feature, data[2], 0)),
	{ "FEATURE_DMA_BUF", VFIO_DEVICE_FEATURE, sizeof(struct feature_dma_buf),
	  ON_SMMU,
	  { { .type = ON_CDEV },
	    F(CONST, feature_dma_buf, feature.flags,
	      VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF),
	    F(CONST, feature_dma_buf, get.open_flags, O_RDWR | O_CLOEXEC),
	    F(SMALL, feature_dma_buf, get.region_index, 0),
	    F(LIST, feature_dma_buf, get.nr_ranges, L_REGIONS),
	    F(LENGTH, feature_dma_buf, range.length, 0),
	    F(LENGTH, feature_dma_buf, range.offset, 0) } },
	SMMU(config, run_config),
	SMMU(bar, run_bar),
	SMMU(dma, run_dma),

	/* A guest with an SMMUv3 */
	{ "HWPT_ALLOC_STE", IOMMU_HWPT_ALLOC, sizeof(struct iommu_hwpt_alloc),
	  ON_SMMU,
	  { F(ID, iommu_hwpt_alloc, dev_id, DEVICE),
	    F(ID, iommu_hwpt_alloc, pt_id, VIOMMU),
	    F(CONST, iommu_hwpt_alloc, data_type, IOMMU_HWPT_DATA_ARM_SMMUV3),
	    F(CONST, iommu_hwpt_alloc, data_len,
	      sizeof(struct iommu_hwpt_arm_smmuv3)),
	    F(POINTER, iommu_hwpt_alloc, data_uptr, DATA_HWPT),
	    F(FLAGS, iommu_hwpt_alloc, flags,
	      IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_PASID),
	    F(ID, iommu_hwpt_alloc, fault_id, FAULT),
	    F(OUT, iommu_hwpt_alloc, out_hwpt_id, NESTED) } },
	SMMU(guest, run_guest),
	SMMU(queue, run_queue),
	SMMU(invalidate, run_invalidate),
};

/* The numbers of those that exist on this IOMMU */
static uint8_t in_use[MAX_CALLS];
unsigned int nr_calls;
_Static_assert(sizeof(calls) / sizeof(calls[0]) <= MAX_CALLS, "too many calls");

const char *call_name(unsigned int call)
{
	return calls[in_use[call]].name;
}

/* Let allocation @nth of this thread fail from here on. 0 for none */
static void fail_nth(unsigned int nth)
{
	int fd = open("/proc/thread-self/fail-nth", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	dprintf(fd, "%u", nth);
	close(fd);
}

/* Of the allocations of calls, all can fail */
static void fail_init(void)
{
	write_str("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	write_str("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
	write_str("/sys/kernel/debug/fail_page_alloc/ignore-gfp-highmem", "N");
	write_str("/sys/kernel/debug/failslab/verbose", "0");
	write_str("/sys/kernel/debug/fail_page_alloc/verbose", "0");
	write_str("/sys/kernel/debug/fail_iommufd/verbose", "0");
}

const char *fuzz_init(bool smmu)
{
	unsigned int i;

	fail_init();
	on_smmu = smmu;
	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (calls[i].on != (smmu ? ON_MOCK : ON_SMMU))
			in_use[nr_calls++] = i;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	memory_init();
	return smmu ? smmu_init() : NULL;
}

static int world_open(struct world *w)
{
	if (w->fd <= 0)
		w->fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	return w->fd;
}

/* Files from this number on were opened by the calls of an input */
static int first_file;

void fuzz_begin(void)
{
	memset(shared->world, 0, sizeof(shared->world));
	memory_begin();
	if (!first_file) {
		first_file = sysconf(_SC_OPEN_MAX);
		while (fcntl(first_file - 1, F_GETFD) < 0)
			first_file--;
	}
	if (world_open(&shared->world[0]) < 0) {
		perror("/dev/iommu");
		exit(1);
	}
}

struct once {
	const uint8_t *record;
	unsigned int thread;
};

static void *run_once(void *arg)
{
	struct once *once = arg;
	const uint8_t *record = once->record;
	unsigned int call = record[AT_CALL] % nr_calls;
	const struct call *c = &calls[in_use[call]];
	bool second = record[AT_WHERE] & WHERE_WORLD;
	struct world *w = &shared->world[second];
	int error;
	long rc;

	if (record[AT_WHERE] & WHERE_FAIL)
		fail_nth(record[AT_DAMAGE] + 1);
	if (c->run)
		rc = c->run(w, record + AT_ARGS, once->thread);
	else
		rc = run_ioctl(c, w, record[AT_WHERE] & WHERE_FOREIGN ?
				     shared->world[!second].fd : w->fd,
			       record, once->thread);
	error = errno;
	if (record[AT_WHERE] & WHERE_FAIL)
		fail_nth(0);
	if (shared->trace)
		printf("# %u: %s: %s\n", once->thread, c->name,
		       rc < 0 ? strerror(error) : "done");
	__atomic_fetch_add(&shared->calls[call], 1, __ATOMIC_RELAXED);
	if (rc >= 0)
		__atomic_fetch_add(&shared->good[call], 1, __ATOMIC_RELAXED);
	return NULL;
}

void run_record(const uint8_t record[RECORD], unsigned int thread)
{
	struct once once = { record, thread };
	struct once again = { record, NR_THREADS + 1 };
	uint8_t where = record[AT_WHERE];
	pthread_t other;
	pid_t pid;

	if (where & (WHERE_WORLD | WHERE_FOREIGN))
		world_open(&shared->world[1]);
	if (where & WHERE_CHILD) {
		pid = fork();
		if (!pid) {
			run_once(&once);
			_exit(0);
		}
		if (pid > 0)
			waitpid(pid, NULL, 0);
		return;
	}
	if (!(where & WHERE_TWICE)) {
		run_once(&once);
		return;
	}
	if (pthread_create(&other, NULL, run_once, &again))
		return;
	run_once(&once);
	pthread_join(other, NULL);
}

void open_gates(void)
{
	unsigned int i, j;

	for (i = 0; i < NR_WORLDS && !on_smmu; i++) {
		struct world *w = &shared->world[i];

		for (j = 0; j < POOL && w->fd > 0; j++) {
			struct iommu_test_cmd cmd = {
				.size = sizeof(cmd),
				.op = IOMMU_TEST_OP_DEV_GATE,
				.id = w->pool[DEVICE].id[j],
			};

			if (cmd.id)
				ioctl(w->fd, IOMMU_TEST_CMD, &cmd);
		}
	}
}

void fuzz_end(void)
{
	struct iommu_test_cmd limit = {
		.size = sizeof(limit),
		.op = IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT,
		.memory_limit = { .limit = 65536 },
	};

	if (!on_smmu)
		ioctl(shared->world[0].fd, IOMMU_TEST_CMD, &limit);
	if (on_smmu)
		smmu_end();
	/* At once, because a part of a mapping cannot be unmapped */
	unmap(mapping_place(0), NR_MAPPINGS * MAPPING_PAGES * page_size);
	/* A damaged call may have opened files that are not in a pool */
	syscall(SYS_close_range, first_file, ~0U, 0);
}
