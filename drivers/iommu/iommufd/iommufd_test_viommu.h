/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The part of the mock driver's interface that vIOMMUs, page faults, resets and MSI
 * doorbells need. iommufd_test.h includes it.
 */
#ifndef _UAPI_IOMMUFD_TEST_VIOMMU_H
#define _UAPI_IOMMUFD_TEST_VIOMMU_H

#include <linux/types.h>

/* Far above the numbers that iommufd_test.h counts up */
enum {
	IOMMU_TEST_OP_DEV_GET_IOPF = 256,
	IOMMU_TEST_OP_DEV_RESET,
	IOMMU_TEST_OP_DEV_GATE,
	IOMMU_TEST_OP_DEV_PREPARE_MSI,
	IOMMU_TEST_OP_MD_CHECK_PHYS,
	IOMMU_TEST_OP_GET_PINS,
	IOMMU_TEST_OP_VIOMMU_ZAP = 272,
	IOMMU_TEST_OP_MD_CHECK_DMABUF = 288,
};

/* IOMMU_TEST_OP_VIOMMU_ZAP only reports the number of page faults */
#define MOCK_ZAP_NOTHING	0xffffffff

/* Values of iommu_test_dev_reset::what */
enum {
	MOCK_RESET_PREPARE,
	MOCK_RESET_DONE,
	/* The device cannot be attached again to its domain */
	MOCK_RESET_DONE_FAILS,
	MOCK_RESET_CHECK,
};

enum {
	/* The device has MOCK_PASID_WIDTH bits of PASID */
	MOCK_FLAGS_DEVICE_PASID = 1 << 2,
	/* It is behind the second IOMMU, which has no huge pages */
	MOCK_FLAGS_DEVICE_IOMMU2 = 1 << 16,
	/* It reserves MOCK_RESV_LENGTH bytes of IOVA from MOCK_RESV_START on */
	MOCK_FLAGS_DEVICE_RESV = 1 << 17,
	/*
	 * It has a page fault, of MOCK_ATTACH_FAULT_PASID and _ADDR, in the middle
	 * of each attach to a nested domain, even if the attach fails
	 */
	MOCK_FLAGS_DEVICE_FAULT_IN_ATTACH = 1 << 18,
	/* It joins the group of mock_domain_flags.group_dev_id */
	MOCK_FLAGS_DEVICE_IN_GROUP = 1 << 19,
	/* Its MSIs are translated, with MOCK_SW_MSI_PAGES from MOCK_SW_MSI_START */
	MOCK_FLAGS_DEVICE_SW_MSI = 1 << 20,
	/* It is not attached until mock_domain_replace attaches it */
	MOCK_FLAGS_DEVICE_DETACHED = 1 << 21,
	/* It is behind an IOMMU whose driver has no domain_alloc_user() */
	MOCK_FLAGS_DEVICE_NO_ALLOC_USER = 1 << 22,
};

/* Gates that stop a thread until they are opened or a timeout expires */
enum {
	/* The device is being attached to a domain, and no check has failed */
	MOCK_GATE_ATTACH = 1 << 0,
	/* The HWPT of a page fault has been found, and is about to receive it */
	MOCK_GATE_FAULT = 1 << 1,
	/* Page faults of the device are about to be enabled, for an attach */
	MOCK_GATE_ENABLE_IOPF = 1 << 2,
	/* The gates stay as they are */
	MOCK_GATE_QUERY = 1 << 3,
};

enum {
	MOCK_PASID_WIDTH = 20,
	/* Setting the domain of this PASID fails every second time (ENOMEM) */
	IOMMU_TEST_PASID_RESERVED = 1024,
	MOCK_RESV_START = 0x3000000,
	MOCK_RESV_LENGTH = 0x100000,
	MOCK_SW_MSI_START = 0x4000000,
	MOCK_SW_MSI_PAGES = 3,
	MOCK_ATTACH_FAULT_PASID = 7,
	MOCK_ATTACH_FAULT_ADDR = 0xa77ac000,
};

enum {
	MOCK_DEV_CACHE_ID_MAX = 3,
	MOCK_DEV_CACHE_NUM = 4,
};

/* The members of struct iommu_test_cmd for the ops above */
struct iommu_test_check_dev_cache {
	__u32 id;
	__u32 cache;
};

struct iommu_test_trigger_vevent {
	__u32 dev_id;
	/* IOMMU_TEST_VEVENT_FLAG_* */
	__u32 flags;
	__u32 sequence;
};

/* The ID of the ops on PASIDs is the ID of the stdev */
struct iommu_test_pasid_attach {
	__u32 pasid;
	__u32 pt_id;
};

struct iommu_test_pasid_detach {
	__u32 pasid;
};

struct iommu_test_pasid_check {
	__u32 pasid;
	/* EINVAL if another HWPT is attached. 0 if no HWPT may be attached */
	__u32 hwpt_id;
};

struct iommu_test_dev_get_iopf {
	/* Page faults without an answer so far */
	__u32 out_pending;
	/* Answers, by enum iommufd_page_response_code */
	__u32 out_success;
	__u32 out_invalid;
};

struct iommu_test_dev_reset {
	__u32 what;
	/* To check: the HWPT of the device, or 0 if DMA must be blocked */
	__u32 hwpt_id;
};

struct iommu_test_dev_gate {
	/* MOCK_GATE_* to close. All other gates are opened */
	__u32 closed;
	/* Number of threads that wait at a gate */
	__u32 out_waiting;
};

struct iommu_test_prepare_msi {
	/* The address of the doorbell */
	__aligned_u64 phys;
	/* Page of its IOVA, and log2 of the page size; 0 if not translated */
	__aligned_u64 out_iova;
	__u32 out_shift;
};

/* EINVAL if another page is mapped there, ENOENT if no page is */
struct iommu_test_check_phys {
	__aligned_u64 iova;
	__aligned_u64 phys;
};

struct iommu_test_get_pins {
	__aligned_u64 uptr;
	/* Pins and pages of the folio that contains this page */
	__u32 out_pins;
	__u32 out_pages;
};

/* The result of the ioctl is the file descriptor */
struct iommu_test_dmabuf_get {
	/* A multiple of PAGE_SIZE */
	__u32 length;
	__u32 open_flags;
};

struct iommu_test_dmabuf_revoke {
	__s32 dmabuf_fd;
	/* 0 makes the memory available again */
	__u32 revoked;
};

struct iommu_test_check_dmabuf {
	__s32 dmabuf_fd;
	__u32 __reserved;
	__aligned_u64 iova;
	/* The first byte in the dma-buf */
	__aligned_u64 start;
	__aligned_u64 length;
};

struct iommu_test_viommu_zap {
	/* EIO if a store to the page needs no page fault after the zap */
	__u32 page;
	/* Page faults so far, in all pages of the vIOMMU */
	__u32 out_faults;
};

/* Reported only on request */
#define IOMMU_HW_INFO_TYPE_SELFTEST_OTHER	0xfeedbead

/*
 * Should not be equal to any defined value in enum iommu_viommu_type. _NO_INV
 * has neither invalidation nor IDs of more than 32 bits, and _BARE has no optional
 * feature at all. The memory of _FAULT has page faults.
 */
#define IOMMU_VIOMMU_TYPE_SELFTEST 0xdeadbeef
#define IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV 0xdeadbee0
#define IOMMU_VIOMMU_TYPE_SELFTEST_BARE 0xdeadbee1
#define IOMMU_VIOMMU_TYPE_SELFTEST_FAULT 0xdeadbee2

/**
 * struct iommu_viommu_selftest - vIOMMU data for Mock driver
 *                                (IOMMU_VIOMMU_TYPE_SELFTEST)
 * @in_data: Any number
 * @out_data: Output the number in @in_data
 * @out_mmap_offset: Output offset for mmap() of the iommufd
 * @out_mmap_length: Output length of the memory, which begins with @in_data
 *
 * The data is optional, and may end before @out_mmap_offset. Without these
 * fields the vIOMMU has no memory.
 */
struct iommu_viommu_selftest {
	__u32 in_data;
	__u32 out_data;
	__aligned_u64 out_mmap_offset;
	__aligned_u64 out_mmap_length;
};

/* Should not be equal to any defined value in enum iommu_hwpt_invalidate_data_type */
#define IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST 0xdeadbeef
#define IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID 0xdadbeef
/* The content of every cache of a device until it is invalidated */
#define IOMMU_TEST_DEV_CACHE_DEFAULT 0xbaddad

/**
 * struct iommu_viommu_invalidate_selftest - Invalidation data for Mock vIOMMU
 *                                   (IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST)
 * @flags: IOMMU_TEST_INVALIDATE_FLAG_ALL for all caches of the device, and
 *         IOMMU_TEST_INVALIDATE_FLAG_SLOW to take a millisecond between finding
 *         the device and invalidating its cache. The latter is EINVAL in an array
 *         of several entries
 * @vdev_id: virt_id of a vDEVICE of the vIOMMU
 * @cache_id: Number of the cache, at most MOCK_DEV_CACHE_ID_MAX, also with
 *            IOMMU_TEST_INVALIDATE_FLAG_ALL
 *
 * An invalidated cache is 0. The driver checks in this order @flags (EOPNOTSUPP),
 * @cache_id (EINVAL) and @vdev_id (EINVAL).
 */
struct iommu_viommu_invalidate_selftest {
#define IOMMU_TEST_INVALIDATE_FLAG_SLOW	(1 << 16)
	__u32 flags;
	__u32 vdev_id;
	__u32 cache_id;
};

/* Should not be equal to any defined value in enum iommu_veventq_type */
#define IOMMU_VEVENTQ_TYPE_SELFTEST 0xbeefbeef
/* Only the latest event counts */
#define IOMMU_VEVENTQ_TYPE_SELFTEST_LATEST 0xbeefbee0

/*
 * Should not be equal to any defined value in enum iommu_hw_queue_type. The
 * hardware writes to queues of the second type, and their length is limited.
 */
#define IOMMU_HW_QUEUE_TYPE_SELFTEST 0xdeadbeef
#define IOMMU_HW_QUEUE_TYPE_SELFTEST_WRITE 0xdeadbee0
#define IOMMU_TEST_HW_QUEUE_WRITE_LENGTH 0x20000
/* Number of queues of a vIOMMU. Each needs the queue with the previous index */
#define IOMMU_TEST_HW_QUEUE_MAX 2

enum {
	/* Report only the loss of an event */
	IOMMU_TEST_VEVENT_FLAG_LOST = 1 << 0,
	/* Report nothing, but let the next event have trigger_vevent.sequence */
	IOMMU_TEST_VEVENT_FLAG_SEQUENCE = 1 << 1,
	/*
	 * An event of IOMMU_VEVENTQ_TYPE_SELFTEST_LATEST, with
	 * trigger_vevent.sequence in place of the virt_id
	 */
	IOMMU_TEST_VEVENT_FLAG_LATEST = 1 << 2,
};

/**
 * struct iommu_viommu_event_selftest - Event of a Mock vIOMMU
 *                                      (IOMMU_VEVENTQ_TYPE_SELFTEST)
 * @virt_id: virt_id of the vDEVICE
 */
struct iommu_viommu_event_selftest {
	__u32 virt_id;
};

#endif
