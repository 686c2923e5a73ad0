/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest that owns stage 1, and a device that does DMA for it.
 *
 * The guest is made of memory: slots of it are mapped in a stage 2 at the IPAs
 * that the guest believes to be physical, and the guest builds its stage-1
 * tables, Context Descriptors and STEs in there, in the format of the hardware.
 * The device is QEMU's edu, bound to vfio-pci. What it reads and writes is all
 * that the tests believe: every slot of every guest of the process has a shadow
 * copy that holds what its bytes should be, so one DMA tells not only whether
 * its bytes arrived but also that no other byte changed.
 *
 * A CPU access to guest memory goes through guest_write64() and guest_fill(),
 * which keep the shadow; a bare store would count as DMA gone astray.
 *
 * All calls return 0 or a negative errno, so that the errno a test wants stands
 * in the line that makes the call.
 */
#ifndef __SELFTEST_IOMMU_SMMUV3_GUEST_H
#define __SELFTEST_IOMMU_SMMUV3_GUEST_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/iommufd.h>
#include <linux/types.h>

#ifndef BIT
#define BIT(n)			(1U << (n))
#endif
#ifndef BIT_ULL
#define BIT_ULL(n)		(1ULL << (n))
#endif

/* The stage-1 granule. The page size of the host may be a larger one */
#define GUEST_PAGE		4096ULL

/* The window in which the kernel maps the MSI doorbells */
#define SW_MSI_BASE		0x08000000ULL
#define SW_MSI_LENGTH		0x00100000ULL

/* SMMU_IDRn */
#define IDR0_S2P		BIT(0)
#define IDR0_S1P		BIT(1)
#define IDR0_ATS		BIT(10)
#define IDR0_ASID16		BIT(12)
#define IDR1_SSIDSIZE(idr1)	(((idr1) >> 6) & 0x1f)
#define IDR3_FWB		BIT(8)
#define IDR3_RIL		BIT(10)
#define IDR5_OAS(idr5)		((idr5) & 0x7)
#define IDR5_DS			BIT(7)

/* STE, the part that is the guest's */
#define STE0_V			BIT_ULL(0)
#define STE0_CFG(cfg)		((__u64)(cfg) << 1)
#define STE0_CTXPTR_MASK	0x000fffffffffffc0ULL
#define STE1_S1CIR_WBWA		BIT_ULL(2)
#define STE1_S1COR_WBWA		BIT_ULL(4)
#define STE1_S1CSH_ISH		(3ULL << 6)
#define STE1_EATS(eats)		((__u64)(eats) << 28)
#define STE0_S1CDMAX(n)		((__u64)(n) << 59)

/* Events: what they are called by, and what word 1 has to tell of a fault */
enum {
	EVT_BAD_STE = 0x04,
	EVT_BAD_CD = 0x0a,
	EVT_TRANSLATION = 0x10,
	EVT_ADDR_SIZE = 0x11,
	EVT_ACCESS = 0x12,
	EVT_PERMISSION = 0x13,
};

#define EVT0_SID(sid)		((__u64)(sid) << 32)
#define EVT1_RNW		BIT_ULL(35)
/* The address that was translated is that of the transaction itself */
#define EVT1_CLASS_IN		(2ULL << 40)

enum {
	CFG_ABORT = 0,
	CFG_BYPASS = 4,
	CFG_S1 = 5,
};

/* Commands */
enum {
	CMD_CFGI_CD = 0x05,
	CMD_CFGI_CD_ALL = 0x06,
	CMD_TLBI_NH_ALL = 0x10,
	CMD_TLBI_NH_ASID = 0x11,
	CMD_TLBI_NH_VA = 0x12,
	CMD_TLBI_NH_VAA = 0x13,
	CMD_TLBI_NSNH_ALL = 0x30,
	CMD_ATC_INV = 0x40,
};

#define CMD0_NUM(n)		((__u64)(n) << 12)
#define CMD0_SCALE(n)		((__u64)(n) << 20)
#define CMD0_SID(sid)		((__u64)(sid) << 32)
#define CMD0_VMID(vmid)		((__u64)(vmid) << 32)
#define CMD0_ASID(asid)		((__u64)(asid) << 48)
#define CMD1_LEAF		BIT_ULL(0)
#define CMD1_TTL(n)		((__u64)(n) << 8)
#define CMD1_TG(n)		((__u64)(n) << 10)
#define CMD1_VA_MASK		0xfffffffffffff000ULL

/* As struct iommu_viommu_arm_smmuv3_invalidate */
struct smmu_cmd {
	__le64 cmd[2];
};

static inline struct smmu_cmd cmd_raw(__u64 w0, __u64 w1)
{
	return (struct smmu_cmd){ .cmd = { htole64(w0), htole64(w1) } };
}

static inline struct smmu_cmd cmd_cfgi_cd(__u32 sid)
{
	return cmd_raw(CMD_CFGI_CD | CMD0_SID(sid), CMD1_LEAF);
}

static inline struct smmu_cmd cmd_cfgi_cd_all(__u32 sid)
{
	return cmd_raw(CMD_CFGI_CD_ALL | CMD0_SID(sid), 0);
}

static inline struct smmu_cmd cmd_nh_all(__u16 vmid)
{
	return cmd_raw(CMD_TLBI_NH_ALL | CMD0_VMID(vmid), 0);
}

static inline struct smmu_cmd cmd_nh_asid(__u16 vmid, __u16 asid)
{
	return cmd_raw(CMD_TLBI_NH_ASID | CMD0_VMID(vmid) | CMD0_ASID(asid),
		       0);
}

static inline struct smmu_cmd cmd_nh_va(__u16 vmid, __u16 asid, __u64 va)
{
	return cmd_raw(CMD_TLBI_NH_VA | CMD0_VMID(vmid) | CMD0_ASID(asid),
		       (va & CMD1_VA_MASK) | CMD1_LEAF);
}

static inline struct smmu_cmd cmd_nh_vaa(__u16 vmid, __u64 va)
{
	return cmd_raw(CMD_TLBI_NH_VAA | CMD0_VMID(vmid),
		       (va & CMD1_VA_MASK) | CMD1_LEAF);
}

static inline struct smmu_cmd cmd_nsnh_all(void)
{
	return cmd_raw(CMD_TLBI_NSNH_ALL, 0);
}

/* The range form of NH_VA and NH_VAA, in 4K pages: (num + 1) << scale of them */
static inline struct smmu_cmd cmd_ranged(struct smmu_cmd cmd, unsigned int num,
					 unsigned int scale)
{
	cmd.cmd[0] |= htole64(CMD0_NUM(num) | CMD0_SCALE(scale));
	cmd.cmd[1] |= htole64(CMD1_TG(1));
	return cmd;
}

/*
 * Guest memory
 */
#define GUEST_MAX_SLOTS		8

struct guest_slot {
	__u8 *mem;
	__u8 *shadow;
	__u64 ipa;
	size_t size;
	bool mapped;
};

/*
 * RAM that a guest starts with: where the device reaches it even when edu's
 * dma_mask is its default of 28 bits, and clear of the MSI window.
 */
#define GUEST_RAM_IPA		0x02000000ULL
#define GUEST_RAM_SIZE		0x00200000ULL
#define GUEST_RAM_PAGES		(GUEST_RAM_SIZE / GUEST_PAGE)

struct guest {
	int fd;
	__u32 ioas_id;
	__u32 s2_id;
	bool nest_parent;
	unsigned int nslots;
	struct guest_slot slot[GUEST_MAX_SLOTS];
	bool used[GUEST_RAM_PAGES];
};

int guest_init(struct guest *g, int fd);
/* Memory at @ipa. An earlier slot there must have been unmapped */
int guest_map(struct guest *g, __u64 ipa, size_t size, bool writeable);
/* By a memfd, that nobody else has when it returns */
int guest_map_file(struct guest *g, __u64 ipa, size_t size, bool writeable);
/* The memory stays watched after that: no DMA may reach it any more */
int guest_unmap(struct guest *g, __u64 ipa);

/* An unused page of RAM, in no order, filled with random bytes */
__u64 guest_page(struct guest *g);
/* The same, zeroed, for tables */
__u64 guest_zero_page(struct guest *g);
void guest_write64(struct guest *g, __u64 ipa, __u64 val);
void guest_fill(struct guest *g, __u64 ipa, size_t len);
void *guest_ptr(struct guest *g, __u64 ipa);
/* For a DMA of any size: tell what it must write, do it, see that it was all */
void guest_expect(struct guest *g, __u64 ipa, const void *data, size_t len);
bool guests_intact(void);

/*
 * Stage 1: 4K granule, 48 bit IOVAs, four levels
 */
enum {
	S1_RO = 0,
	S1_RW = 1,
	/* Writeable, but without the access flag, which the SMMU does not set */
	S1_NO_AF = 2,
};

__u64 s1_create(struct guest *g);
void s1_map(struct guest *g, __u64 ttb, __u64 iova, __u64 ipa, int prot);
void s1_map_block(struct guest *g, __u64 ttb, __u64 iova, __u64 ipa);
void s1_unmap(struct guest *g, __u64 ttb, __u64 iova);
/* What firmware tells the guest to do in an IORT RMR node */
void s1_map_msi_window(struct guest *g, __u64 ttb);

struct edu;
void cd_write(struct guest *g, const struct edu *dev, __u64 cd, __u64 ttb,
	      __u16 asid);

struct iommu_hwpt_arm_smmuv3 ste_raw(__u64 w0, __u64 w1);
struct iommu_hwpt_arm_smmuv3 ste_s1(__u64 cd);
struct iommu_hwpt_arm_smmuv3 ste_bypass(void);
struct iommu_hwpt_arm_smmuv3 ste_abort(void);

/*
 * The device
 */
#define EDU_BUF_SIZE		4096

struct edu {
	char bdf[16];
	char smmu[64];
	int fd;
	__u32 dev_id;
	__u8 *bar;
	size_t bar_size;
	__u64 cfg_offset;
	int irqfd;
	unsigned int slice;
	__u8 buf[EDU_BUF_SIZE];
	struct iommu_hw_info_arm_smmuv3 info;
};

enum edu_pair {
	EDU_SAME_SMMU,
	EDU_OTHER_SMMU,
	/* In one IOMMU group. The other two are each alone in theirs */
	EDU_SAME_GROUP,
};

/* Names of devices that a test may use; @why says what is missing when none */
int edu_find(char bdf[16], char *why, size_t len);
int edu_find_pair(enum edu_pair pair, char a[16], char b[16], char *why,
		  size_t len);

int edu_open(struct edu *dev, const char *bdf, int iommufd);
/* Any other device, of which only attach, detach, close and BAR 0 are used */
int device_find(__u32 id, char bdf[16], char *why, size_t len);
int device_open(struct edu *dev, const char *bdf, int iommufd);
void edu_close(struct edu *dev);
int edu_attach(struct edu *dev, __u32 pt_id);
int edu_detach(struct edu *dev);

/* Bytes that a test will recognise into the device. Needs a translation */
void edu_load(struct edu *dev, struct guest *g, __u64 iova, __u64 ipa);

/*
 * Where a write of the device to @iova lands: the IPA of the guest memory that
 * changed, or one of
 */
#define NOWHERE			0ULL
#define ASTRAY			BIT_ULL(63)
/* set when it is memory that the guest has no more: with its former IPA */
#define UNMAPPED		BIT_ULL(62)

__u64 edu_write_lands(struct edu *dev, struct guest *g, __u64 iova);

/*
 * Whether a read from @iova gets what stands at @ipa: what was read is written
 * out again at @sink_iova, which must reach @sink_ipa.
 */
bool edu_read_gets(struct edu *dev, struct guest *g, __u64 iova, __u64 ipa,
		   __u64 sink_iova, __u64 sink_ipa);

/* The two halves of edu_write_lands(), for a DMA with something else going on */
void edu_write_start(struct edu *dev, struct guest *g, __u64 iova);
bool edu_busy(struct edu *dev);
__u64 edu_write_end(struct edu *dev, struct guest *g, __u64 iova);

/* A plain DMA, at most EDU_BUF_SIZE: @offset is that in the device's buffer */
void edu_write(struct edu *dev, __u64 iova, unsigned int offset, size_t len);
void edu_read(struct edu *dev, __u64 iova, unsigned int offset, size_t len);

int edu_msi_enable(struct edu *dev);
int edu_msi_disable(struct edu *dev);
__u64 edu_msi_address(struct edu *dev);
/* Raises the interrupt; whether it arrived within @ms */
bool edu_msi_arrives(struct edu *dev, int ms);

/*
 * ioctls
 */
int iommufd_open(void);
int iommufd_ioctl(int fd, unsigned long nr, void *arg);
int iommufd_destroy(int fd, __u32 id);
int hw_info(int fd, __u32 dev_id, __u32 flags, __u32 *type, void *data,
	    __u32 *len);
int ioas_map(int fd, __u32 ioas_id, void *va, __u64 iova, __u64 len,
	     bool writeable);
int ioas_unmap(int fd, __u32 ioas_id, __u64 iova, __u64 len);
int hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags, __u32 type,
	       const void *data, __u32 len, __u32 *hwpt_id);
int hwpt_alloc_ste(int fd, __u32 dev_id, __u32 viommu_id,
		   struct iommu_hwpt_arm_smmuv3 ste, __u32 *hwpt_id);
int viommu_alloc(int fd, __u32 dev_id, __u32 hwpt_id, __u32 *viommu_id);
int vdevice_alloc(int fd, __u32 viommu_id, __u32 dev_id, __u64 virt_id,
		  __u32 *vdevice_id);
/* @num: in, how many; out, how many the kernel says it has done */
int hwpt_invalidate(int fd, __u32 id, __u32 type, const void *data, __u32 len,
		    __u32 *num);
int viommu_cmds(int fd, __u32 viommu_id, const struct smmu_cmd *cmds, __u32 *num);
int viommu_cmd(int fd, __u32 viommu_id, struct smmu_cmd cmd);
int veventq_alloc(int fd, __u32 viommu_id, __u32 depth, __u32 *veventq_id,
		  int *veventq_fd);

/* As read() of a vEVENTQ gives it */
struct smmu_event {
	struct iommufd_vevent_header header;
	__le64 evt[4];
};

/*
 * The next event, which may take its time from the SMMU through the kernel:
 * size of what was read, -ETIMEDOUT if there was nothing in two seconds
 */
int veventq_next(int veventq_fd, struct smmu_event *event);
/* Whether there is something to read at this moment */
bool veventq_readable(int veventq_fd);

/*
 * What the host can do, other than by asking the ioctl that is tested
 */
bool host_iort_canwbs(void);

/* The kernel log, all of it or from the last klog_mark() on; to be freed */
void klog_mark(const char *name);
char *klog_read(bool since_mark);
/* How often it is in there since the mark */
unsigned int klog_count(const char *str);

/* A file of sysfs or the like; @buf gets a string without the last newline */
int read_str(const char *path, char *buf, size_t len);
int write_str(const char *path, const char *str);

void random_bytes(void *buf, size_t len);
__u64 random_u64(void);

#endif
