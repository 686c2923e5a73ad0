/* SPDX-License-Identifier: GPL-2.0-only */
/* The calls of the fuzzer of iommufd as a table. See iommufd_fuzz.h */
#ifndef __SELFTEST_IOMMUFD_FUZZ_CALLS_H
#define __SELFTEST_IOMMUFD_FUZZ_CALLS_H

#include <linux/iommufd.h>

#define __EXPORTED_HEADERS__
#include "../../../../drivers/iommu/iommufd/iommufd_test.h"
#include "iommufd_fuzz.h"

/* The ways in which a field gets its value */
enum field_type {
	END,
	/* From the pool of the kind in @arg */
	ID,
	/* An object to attach to, or parent of an HWPT */
	PT,
	/* Anything that IOMMU_DESTROY takes */
	ANY_ID,
	/* An ID to put into the pool after the call */
	OUT,
	/* @arg is the mask of valid bits */
	FLAGS,
	/* @arg is the number of a list of values */
	LIST,
	SMALL,
	IOVA,
	LENGTH,
	ADDRESS,
	FILE_FD,
	/* The iommufd, and an eventfd */
	WORLD_FD,
	EVENT,
	/* Not a field: the file of the call, in place of the iommufd */
	ON_CDEV,
	/* The address of data in the scratch memory. @arg is a DATA_* */
	POINTER,
	/* A constant */
	CONST,
};

struct field {
	__u8 type;
	__u8 offset;
	__u8 size;
	__u32 arg;
};

#define F(_type, _struct, _field, _arg)                                        \
	{ _type, offsetof(struct _struct, _field),                             \
	  sizeof(((struct _struct *)0)->_field), _arg }
#define T(_type, _field, _arg)	F(_type, iommu_test_cmd, _field, _arg)

enum only_on {
	ON_ANY,
	ON_MOCK,
	ON_SMMU,
};

struct call {
	const char *name;
	unsigned long nr;
	__u8 size;
	__u8 on;
	struct field fields[9];
	long (*run)(struct world *w, const uint8_t *args, unsigned int thread);
};

enum list {
	/* These differ on an SMMUv3 */
	L_VIOMMU_TYPE,
	L_VEVENTQ_TYPE,
	L_HW_QUEUE_TYPE,
	L_DATA_TYPE,
	L_INVALIDATE_TYPE,
	L_HW_INFO_TYPE,
	L_PASID,
	L_DATA_LEN,
	L_ENTRY_LEN,
	/* These do not */
	L_DEPTH,
	L_VIRT_ID,
	L_LIMIT,
	L_PAGE_SIZE,
	L_CACHE,
	L_IOTLB,
	L_PAGES,
	L_FAULT_ADDR,
	L_VFIO_ARGSZ,
	L_DMABUF_LEN,
	L_OPTION,
	L_INDEX,
	L_REGIONS,
	L_FEATURE,
	L_IRQ_FLAGS,
	L_IOEVENTFD,
	NR_LISTS,
};

enum data {
	DATA_HWPT,
	DATA_VIOMMU,
	DATA_INVALIDATE,
	DATA_RANGES,
	DATA_OUT,
};

/* Data in the scratch memory begins here, behind the struct and its damage */
#define DATA_AT		256

/* iommufd_fuzz_fields.c */
__u64 list_value(enum list list, uint8_t which);
__u64 some_iova(uint8_t where, uint8_t offset);
__u64 some_length(uint8_t which);
int take_fd(struct world *w, enum pool_kind kind);
long run_ioctl(const struct call *c, struct world *w, int fd,
	       const uint8_t *record, unsigned int thread);

/* iommufd_fuzz_smmu.c */
int smmu_event_fd(void);
void smmu_ste(void *at, uint8_t which);
void smmu_commands(void *at, uint8_t which);

/* iommufd_fuzz_other.c, and the last of them iommufd_fuzz_smmu.c */
#define RUN(_name)							\
	long run_##_name(struct world *w, const uint8_t *args, unsigned int thread)
RUN(vfio);
RUN(mmap);
RUN(mapping);
RUN(read);
RUN(write);
RUN(poll);
RUN(close);
RUN(reopen);
RUN(memory);
RUN(file);
RUN(fork);
RUN(open);
RUN(config);
RUN(bar);
RUN(dma);
RUN(guest);
RUN(queue);
RUN(invalidate);

#endif
