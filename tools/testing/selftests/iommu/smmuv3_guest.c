// SPDX-License-Identifier: GPL-2.0-only
/*
 * See smmuv3_guest.h
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "smmuv3_guest.h"

#define SYS_PCI		"/sys/bus/pci/devices"

__u64 random_u64(void)
{
	static __u64 state;

	while (!state)
		if (getrandom(&state, sizeof(state), 0) != sizeof(state))
			state = (__u64)time(NULL);

	/* xorshift64: /dev/urandom is slow on an emulated CPU */
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

void random_bytes(void *buf, size_t len)
{
	__u8 *p = buf;

	while (len) {
		__u64 val = random_u64();
		size_t n = len < sizeof(val) ? len : sizeof(val);

		memcpy(p, &val, n);
		p += n;
		len -= n;
	}
}

static __u32 le_at(const __u8 *p, unsigned int bytes)
{
	__u32 val = 0;

	while (bytes--)
		val = val << 8 | p[bytes];
	return val;
}

/*
 * ioctls
 */
int iommufd_open(void)
{
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int iommufd_ioctl(int fd, unsigned long nr, void *arg)
{
	return ioctl(fd, nr, arg) ? -errno : 0;
}

int iommufd_destroy(int fd, __u32 id)
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

static int ioas_map_file(int fd, __u32 ioas_id, int file, __u64 iova, __u64 len,
			 bool writeable)
{
	struct iommu_ioas_map_file cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE |
			 (writeable ? IOMMU_IOAS_MAP_WRITEABLE : 0),
		.ioas_id = ioas_id,
		.fd = file,
		.length = len,
		.iova = iova,
	};

	return iommufd_ioctl(fd, IOMMU_IOAS_MAP_FILE, &cmd);
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

int hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags, __u32 type,
	       const void *data, __u32 len, __u32 *hwpt_id)
{
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dev_id = dev_id,
		.pt_id = pt_id,
		.data_type = type,
		.data_len = len,
		.data_uptr = (uintptr_t)data,
	};
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_HWPT_ALLOC, &cmd);
	if (!rc && hwpt_id)
		*hwpt_id = cmd.out_hwpt_id;
	return rc;
}

int hwpt_alloc_ste(int fd, __u32 dev_id, __u32 viommu_id,
		   struct iommu_hwpt_arm_smmuv3 ste, __u32 *hwpt_id)
{
	return hwpt_alloc(fd, dev_id, viommu_id, 0, IOMMU_HWPT_DATA_ARM_SMMUV3,
			  &ste, sizeof(ste), hwpt_id);
}

int viommu_alloc(int fd, __u32 dev_id, __u32 hwpt_id, __u32 *viommu_id)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
		.dev_id = dev_id,
		.hwpt_id = hwpt_id,
	};
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_VIOMMU_ALLOC, &cmd);
	if (!rc)
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
	if (!rc && vdevice_id)
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

int viommu_cmds(int fd, __u32 viommu_id, const struct smmu_cmd *cmds, __u32 *num)
{
	return hwpt_invalidate(fd, viommu_id,
			       IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, cmds,
			       sizeof(*cmds), num);
}

int viommu_cmd(int fd, __u32 viommu_id, struct smmu_cmd cmd)
{
	__u32 num = 1;
	int rc;

	rc = viommu_cmds(fd, viommu_id, &cmd, &num);
	/* Truth about one command: it was done, or it was not */
	if (num != (rc ? 0 : 1)) {
		fprintf(stderr, "# one command gave %d and entry_num %u\n", rc,
			num);
		return -EPROTO;
	}
	return rc;
}

int veventq_alloc(int fd, __u32 viommu_id, __u32 depth, __u32 *veventq_id,
		  int *veventq_fd)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = viommu_id,
		.type = IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
		.veventq_depth = depth,
	};
	int rc;

	rc = iommufd_ioctl(fd, IOMMU_VEVENTQ_ALLOC, &cmd);
	if (!rc) {
		*veventq_id = cmd.out_veventq_id;
		*veventq_fd = cmd.out_veventq_fd;
	}
	return rc;
}

int veventq_next(int veventq_fd, struct smmu_event *event)
{
	struct pollfd pfd = { .fd = veventq_fd, .events = POLLIN };
	ssize_t len;

	if (poll(&pfd, 1, 2000) != 1)
		return -ETIMEDOUT;
	len = read(veventq_fd, event, sizeof(*event));
	return len < 0 ? -errno : len;
}

bool veventq_readable(int veventq_fd)
{
	struct pollfd pfd = { .fd = veventq_fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

/*
 * Guest memory
 */
#define MAX_GUESTS	4

/* Whose memory is looked at after each DMA: everybody's */
static struct guest *guests[MAX_GUESTS];

static int guest_register(struct guest *g)
{
	unsigned int i;

	for (i = 0; i != MAX_GUESTS; i++) {
		if (guests[i] == g)
			return 0;
		if (!guests[i]) {
			guests[i] = g;
			return 0;
		}
	}
	return -ENOSPC;
}

/* Memory by the file if there is one */
static int slot_map(struct guest *g, __u64 ipa, size_t size, bool writeable,
		    int file)
{
	struct guest_slot *slot = &g->slot[g->nslots];
	int rc;

	if (g->nslots == GUEST_MAX_SLOTS)
		return -ENOSPC;

	slot->mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED,
			 file, 0);
	slot->shadow = malloc(size);
	if (slot->mem == MAP_FAILED || !slot->shadow)
		return -ENOMEM;
	random_bytes(slot->mem, size);
	memcpy(slot->shadow, slot->mem, size);
	slot->ipa = ipa;
	slot->size = size;

	rc = file < 0 ? ioas_map(g->fd, g->ioas_id, slot->mem, ipa, size,
				 writeable) :
			ioas_map_file(g->fd, g->ioas_id, file, ipa, size,
				      writeable);
	if (rc)
		return rc;
	slot->mapped = true;
	g->nslots++;
	return 0;
}

int guest_map(struct guest *g, __u64 ipa, size_t size, bool writeable)
{
	return slot_map(g, ipa, size, writeable, -1);
}

int guest_map_file(struct guest *g, __u64 ipa, size_t size, bool writeable)
{
	int file = memfd_create("guest", MFD_CLOEXEC);
	int rc;

	if (file < 0)
		return -errno;
	rc = ftruncate(file, size) ? -errno :
				     slot_map(g, ipa, size, writeable, file);
	close(file);
	return rc;
}

static struct guest_slot *guest_slot(struct guest *g, __u64 ipa)
{
	unsigned int i;

	for (i = 0; i != g->nslots; i++) {
		struct guest_slot *slot = &g->slot[i];

		if (slot->mapped && ipa >= slot->ipa &&
		    ipa - slot->ipa < slot->size)
			return slot;
	}
	fprintf(stderr, "# the guest has no memory at %#llx\n",
		(unsigned long long)ipa);
	abort();
}

int guest_unmap(struct guest *g, __u64 ipa)
{
	struct guest_slot *slot = guest_slot(g, ipa);
	int rc;

	rc = ioas_unmap(g->fd, g->ioas_id, slot->ipa, slot->size);
	if (!rc)
		slot->mapped = false;
	return rc;
}

/*
 * An IOAS with RAM in it and, where the host has it, a stage 2 that can be a
 * nesting parent. Where not, the IOAS itself is what a device attaches to.
 */
int guest_init(struct guest *g, int fd)
{
	struct iommu_ioas_alloc cmd = { .size = sizeof(cmd) };
	int rc;

	memset(g, 0, sizeof(*g));
	g->fd = fd;
	rc = guest_register(g);
	if (rc)
		return rc;
	rc = iommufd_ioctl(fd, IOMMU_IOAS_ALLOC, &cmd);
	if (rc)
		return rc;
	g->ioas_id = cmd.out_ioas_id;
	g->s2_id = g->ioas_id;
	return guest_map(g, GUEST_RAM_IPA, GUEST_RAM_SIZE, true);
}

__u64 guest_page(struct guest *g)
{
	size_t n;

	do {
		n = random_u64() % GUEST_RAM_PAGES;
	} while (g->used[n]);
	g->used[n] = true;
	return GUEST_RAM_IPA + n * GUEST_PAGE;
}

__u64 guest_zero_page(struct guest *g)
{
	__u64 ipa = guest_page(g);
	size_t i;

	for (i = 0; i != GUEST_PAGE; i += 8)
		guest_write64(g, ipa + i, 0);
	return ipa;
}

static void *slot_ptr(struct guest_slot *slot, __u64 ipa)
{
	return slot->mem + (ipa - slot->ipa);
}

void *guest_ptr(struct guest *g, __u64 ipa)
{
	return slot_ptr(guest_slot(g, ipa), ipa);
}

void guest_expect(struct guest *g, __u64 ipa, const void *data, size_t len)
{
	struct guest_slot *slot = guest_slot(g, ipa);

	memcpy(slot->shadow + (ipa - slot->ipa), data, len);
}

void guest_fill(struct guest *g, __u64 ipa, size_t len)
{
	__u8 *p = guest_ptr(g, ipa);

	random_bytes(p, len);
	guest_expect(g, ipa, p, len);
}

void guest_write64(struct guest *g, __u64 ipa, __u64 val)
{
	__u64 le = htole64(val);

	__atomic_store_n((__u64 *)guest_ptr(g, ipa), le, __ATOMIC_RELAXED);
	guest_expect(g, ipa, &le, sizeof(le));
	/* The walker of the SMMU is another observer */
	__sync_synchronize();
}

static __u64 guest_read64(struct guest *g, __u64 ipa)
{
	return le64toh(__atomic_load_n((__u64 *)guest_ptr(g, ipa),
				       __ATOMIC_RELAXED));
}

bool guests_intact(void)
{
	unsigned int i, j;
	bool intact = true;

	__sync_synchronize();
	for (i = 0; i != MAX_GUESTS && guests[i]; i++) {
		for (j = 0; j != guests[i]->nslots; j++) {
			struct guest_slot *slot = &guests[i]->slot[j];
			size_t o = 0;

			if (!memcmp(slot->mem, slot->shadow, slot->size))
				continue;
			while (slot->mem[o] == slot->shadow[o])
				o++;
			fprintf(stderr,
				"# guest %u: memory at%s IPA %#llx is not what it should be\n",
				i, slot->mapped ? "" : " former",
				(unsigned long long)(slot->ipa + o));
			memcpy(slot->shadow, slot->mem, slot->size);
			intact = false;
		}
	}
	return intact;
}

/*
 * Stage 1. The formats are those of Arm DDI 0487, D8.3, and IHI 0070, 5.2, 5.4
 */
#define PTE_VALID		BIT_ULL(0)
#define PTE_TABLE		(3ULL << 0)
#define PTE_PAGE		(3ULL << 0)
#define PTE_EL0			BIT_ULL(6)
#define PTE_RDONLY		BIT_ULL(7)
#define PTE_ISH			(3ULL << 8)
#define PTE_AF			BIT_ULL(10)
#define PTE_NG			BIT_ULL(11)
#define PTE_ADDR		0x0000fffffffff000ULL
#define PTE_ATTR		(PTE_EL0 | PTE_ISH | PTE_AF | PTE_NG)

#define BLOCK_SIZE		(GUEST_PAGE << 9)

__u64 s1_create(struct guest *g)
{
	return guest_zero_page(g);
}

/* The IPA of the descriptor for @iova at @level, 0 .. 3 */
static __u64 s1_pte(struct guest *g, __u64 ttb, __u64 iova, int level)
{
	__u64 table = ttb;
	int l;

	for (l = 0;; l++) {
		__u64 pte = table + ((iova >> (39 - 9 * l)) & 0x1ff) * 8;

		if (l == level)
			return pte;
		if (!(guest_read64(g, pte) & PTE_VALID))
			guest_write64(g, pte, guest_zero_page(g) | PTE_TABLE);
		table = guest_read64(g, pte) & PTE_ADDR;
	}
}

void s1_map(struct guest *g, __u64 ttb, __u64 iova, __u64 ipa, int prot)
{
	guest_write64(g, s1_pte(g, ttb, iova, 3),
		      ((ipa & PTE_ADDR) | PTE_PAGE | PTE_ATTR |
		       (prot == S1_RO ? PTE_RDONLY : 0)) &
			      ~(prot == S1_NO_AF ? PTE_AF : 0));
}

void s1_map_block(struct guest *g, __u64 ttb, __u64 iova, __u64 ipa)
{
	guest_write64(g, s1_pte(g, ttb, iova, 2),
		      (ipa & ~(BLOCK_SIZE - 1)) | PTE_VALID | PTE_ATTR);
}

void s1_unmap(struct guest *g, __u64 ttb, __u64 iova)
{
	guest_write64(g, s1_pte(g, ttb, iova, 3), 0);
}

void s1_map_msi_window(struct guest *g, __u64 ttb)
{
	__u64 iova;

	for (iova = SW_MSI_BASE; iova != SW_MSI_BASE + SW_MSI_LENGTH;
	     iova += GUEST_PAGE)
		s1_map(g, ttb, iova, iova, S1_RW);
}

#define CD0_T0SZ(n)		((__u64)(n) << 0)
#define CD0_IR0_WBWA		BIT_ULL(8)
#define CD0_OR0_WBWA		BIT_ULL(10)
#define CD0_SH0_ISH		(3ULL << 12)
#define CD0_EPD1		BIT_ULL(30)
#define CD0_V			BIT_ULL(31)
#define CD0_IPS(n)		((__u64)(n) << 32)
#define CD0_AA64		BIT_ULL(41)
#define CD0_R			BIT_ULL(45)
#define CD0_A			BIT_ULL(46)
#define CD0_ASET		BIT_ULL(47)
#define CD0_ASID(n)		((__u64)(n) << 48)

void cd_write(struct guest *g, const struct edu *dev, __u64 cd, __u64 ttb,
	      __u16 asid)
{
	unsigned int ips = IDR5_OAS(dev->info.idr[5]);
	int i;

	if (ips > 5)
		ips = 5;
	guest_write64(g, cd + 8, ttb);
	guest_write64(g, cd + 16, 0);
	guest_write64(g, cd + 24, 0xff);
	for (i = 4; i != 8; i++)
		guest_write64(g, cd + 8 * i, 0);
	guest_write64(g, cd,
		      CD0_T0SZ(64 - 48) | CD0_IR0_WBWA | CD0_OR0_WBWA |
		      CD0_SH0_ISH | CD0_EPD1 | CD0_V | CD0_IPS(ips) |
		      CD0_AA64 | CD0_R | CD0_A | CD0_ASET | CD0_ASID(asid));
}

struct iommu_hwpt_arm_smmuv3 ste_raw(__u64 w0, __u64 w1)
{
	return (struct iommu_hwpt_arm_smmuv3){
		.ste = { htole64(w0), htole64(w1) },
	};
}

struct iommu_hwpt_arm_smmuv3 ste_s1(__u64 cd)
{
	return ste_raw(STE0_V | STE0_CFG(CFG_S1) | (cd & STE0_CTXPTR_MASK),
		       STE1_S1CIR_WBWA | STE1_S1COR_WBWA | STE1_S1CSH_ISH);
}

struct iommu_hwpt_arm_smmuv3 ste_bypass(void)
{
	return ste_raw(STE0_V | STE0_CFG(CFG_BYPASS), 0);
}

struct iommu_hwpt_arm_smmuv3 ste_abort(void)
{
	return ste_raw(STE0_V | STE0_CFG(CFG_ABORT), 0);
}

/*
 * The device: finding it
 */
#define EDU_ID			0x11e81234
#define MAX_EDUS		16

int read_str(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, buf, len - 1);
	close(fd);
	if (n < 0)
		return -EIO;
	while (n && buf[n - 1] == '\n')
		n--;
	buf[n] = 0;
	return 0;
}

int write_str(const char *path, const char *str)
{
	int fd = open(path, O_WRONLY);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, str, strlen(str)) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static unsigned long pci_attr(const char *bdf, const char *attr)
{
	char path[PATH_MAX], buf[32];

	snprintf(path, sizeof(path), SYS_PCI "/%s/%s", bdf, attr);
	if (read_str(path, buf, sizeof(buf)))
		return 0;
	return strtoul(buf, NULL, 16);
}

/* The last component of a link */
static int pci_link(const char *bdf, const char *link, char *name, size_t len)
{
	char path[PATH_MAX], target[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), SYS_PCI "/%s/%s", bdf, link);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		return -errno;
	target[n] = 0;
	snprintf(name, len, "%s", strrchr(target, '/') + 1);
	return 0;
}

/* The entries of a directory that do not start with a dot; the last in @name */
static int dir_entries(const char *path, char *name, size_t len)
{
	struct dirent *ent;
	int n = 0;
	DIR *dir;

	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((ent = readdir(dir))) {
		if (ent->d_name[0] == '.')
			continue;
		snprintf(name, len, "%.*s", (int)len - 1, ent->d_name);
		n++;
	}
	closedir(dir);
	return n;
}

static int bdf_cmp(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int edu_bind_vfio_pci(const char *bdf)
{
	char path[PATH_MAX], name[64];
	int rc;

	if (!pci_link(bdf, "driver", name, sizeof(name))) {
		if (!strcmp(name, "vfio-pci"))
			return 0;
		snprintf(path, sizeof(path), SYS_PCI "/%s/driver/unbind", bdf);
		rc = write_str(path, bdf);
		if (rc)
			return rc;
	}
	snprintf(path, sizeof(path), SYS_PCI "/%s/driver_override", bdf);
	rc = write_str(path, "vfio-pci");
	if (rc)
		return rc;
	return write_str("/sys/bus/pci/drivers_probe", bdf);
}

/* The next device of that kind that stands in @dir, or NULL */
static const char *device_next(DIR *dir, __u32 id)
{
	struct dirent *ent;

	while ((ent = readdir(dir)))
		if (strlen(ent->d_name) < sizeof(((struct edu *)0)->bdf) &&
		    pci_attr(ent->d_name, "vendor") == (id & 0xffff) &&
		    pci_attr(ent->d_name, "device") == id >> 16)
			return ent->d_name;
	return NULL;
}

/* All that a test may use: @group of them in an IOMMU group, behind an SMMU */
static unsigned int device_list(__u32 id, int group, char (*bdfs)[16],
				char *why, size_t len)
{
	unsigned int n = 0;
	const char *bdf;
	DIR *dir;

	snprintf(why, len, "no device %04x:%04x", id & 0xffff, id >> 16);
	dir = opendir(SYS_PCI);
	if (!dir)
		return 0;
	/* A device may get its IOMMU, and so its group, only with its driver */
	while ((bdf = device_next(dir, id)))
		if (edu_bind_vfio_pci(bdf))
			snprintf(why, len, "%s does not bind to vfio-pci", bdf);
	rewinddir(dir);
	while (n != MAX_EDUS && (bdf = device_next(dir, id))) {
		char path[PATH_MAX], name[64];

		if (pci_link(bdf, "driver", name, sizeof(name)) ||
		    strcmp(name, "vfio-pci"))
			continue;
		if (pci_link(bdf, "iommu", name, sizeof(name))) {
			snprintf(why, len, "%s has no IOMMU", bdf);
			continue;
		}
		snprintf(path, sizeof(path), SYS_PCI "/%s/iommu_group/devices",
			 bdf);
		if (dir_entries(path, name, sizeof(name)) != group) {
			snprintf(why, len,
				 "%s is not one of %d devices in its IOMMU group",
				 bdf, group);
			continue;
		}
		memcpy(bdfs[n++], bdf, strlen(bdf) + 1);
	}
	closedir(dir);
	qsort(bdfs, n, sizeof(*bdfs), bdf_cmp);
	return n;
}

int device_find(__u32 id, char bdf[16], char *why, size_t len)
{
	char bdfs[MAX_EDUS][16];

	if (!device_list(id, 1, bdfs, why, len))
		return -ENODEV;
	memcpy(bdf, bdfs[0], sizeof(*bdfs));
	return 0;
}

int edu_find(char bdf[16], char *why, size_t len)
{
	return device_find(EDU_ID, bdf, why, len);
}

int edu_find_pair(enum edu_pair pair, char a[16], char b[16], char *why,
		  size_t len)
{
	const char *link = pair == EDU_SAME_GROUP ? "iommu_group" : "iommu";
	char bdfs[MAX_EDUS][16], of_a[64], of_b[64];
	bool want_other = pair == EDU_OTHER_SMMU;
	unsigned int n, i, j;

	n = device_list(EDU_ID, pair == EDU_SAME_GROUP ? 2 : 1, bdfs, why, len);
	for (i = 0; i < n; i++) {
		for (j = i + 1; j < n; j++) {
			if (pci_link(bdfs[i], link, of_a, sizeof(of_a)) ||
			    pci_link(bdfs[j], link, of_b, sizeof(of_b)))
				continue;
			if (!!strcmp(of_a, of_b) != want_other)
				continue;
			memcpy(a, bdfs[i], sizeof(*bdfs));
			memcpy(b, bdfs[j], sizeof(*bdfs));
			return 0;
		}
	}
	if (n)
		snprintf(why, len, "no two edu devices %s",
			 pair == EDU_SAME_GROUP ? "in one IOMMU group" :
			 pair == EDU_SAME_SMMU  ? "behind the same SMMU" :
						  "behind different SMMUs");
	return -ENODEV;
}

/*
 * The device: DMA
 */
#define EDU_REG_ID		0x00
#define EDU_REG_IRQ_RAISE	0x60
#define EDU_REG_IRQ_ACK		0x64
#define EDU_REG_DMA_SRC		0x80
#define EDU_REG_DMA_DST		0x88
#define EDU_REG_DMA_COUNT	0x90
#define EDU_REG_DMA_CMD		0x98
#define EDU_DMA_RUN		BIT(0)
#define EDU_DMA_FROM_DEVICE	BIT(1)
#define EDU_BUF			0x40000

/* Small, so that many different ones fit the buffer */
#define EDU_SLICE		128
#define EDU_SLICES		(EDU_BUF_SIZE / EDU_SLICE)

static void edu_write32(struct edu *dev, unsigned int reg, __u32 val)
{
	__atomic_store_n((__u32 *)(dev->bar + reg), htole32(val),
			 __ATOMIC_RELAXED);
}

static void edu_write64(struct edu *dev, unsigned int reg, __u64 val)
{
	__atomic_store_n((__u64 *)(dev->bar + reg), htole64(val),
			 __ATOMIC_RELAXED);
}

bool edu_busy(struct edu *dev)
{
	__u64 *reg = (__u64 *)(dev->bar + EDU_REG_DMA_CMD);

	return le64toh(__atomic_load_n(reg, __ATOMIC_RELAXED)) & EDU_DMA_RUN;
}

static void edu_wait(struct edu *dev)
{
	int i;

	for (i = 0; edu_busy(dev); i++) {
		if (i == 10000) {
			fprintf(stderr, "# %s: DMA does not end\n", dev->bdf);
			abort();
		}
		usleep(1000);
	}
	__sync_synchronize();
}

static void edu_start(struct edu *dev, __u64 src, __u64 dst, size_t len,
		      __u64 cmd)
{
	__sync_synchronize();
	edu_write64(dev, EDU_REG_DMA_SRC, src);
	edu_write64(dev, EDU_REG_DMA_DST, dst);
	edu_write64(dev, EDU_REG_DMA_COUNT, len);
	edu_write64(dev, EDU_REG_DMA_CMD, cmd | EDU_DMA_RUN);
}

void edu_write(struct edu *dev, __u64 iova, unsigned int offset, size_t len)
{
	edu_start(dev, EDU_BUF + offset, iova, len, EDU_DMA_FROM_DEVICE);
	edu_wait(dev);
}

void edu_read(struct edu *dev, __u64 iova, unsigned int offset, size_t len)
{
	edu_start(dev, iova, EDU_BUF + offset, len, 0);
	edu_wait(dev);
}

int edu_attach(struct edu *dev, __u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt cmd = {
		.argsz = sizeof(cmd),
		.pt_id = pt_id,
	};

	return iommufd_ioctl(dev->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd);
}

int edu_detach(struct edu *dev)
{
	struct vfio_device_detach_iommufd_pt cmd = { .argsz = sizeof(cmd) };

	return iommufd_ioctl(dev->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &cmd);
}

static int device_setup(struct edu *dev)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_PCI_CONFIG_REGION_INDEX,
	};
	__u16 command;
	int rc;

	rc = iommufd_ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &region);
	if (rc)
		return rc;
	dev->cfg_offset = region.offset;
	if (pread(dev->fd, &command, 2, dev->cfg_offset + PCI_COMMAND) != 2)
		return -EIO;
	command |= htole16(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	if (pwrite(dev->fd, &command, 2, dev->cfg_offset + PCI_COMMAND) != 2)
		return -EIO;

	region = (struct vfio_region_info){
		.argsz = sizeof(region),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	rc = iommufd_ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &region);
	if (rc)
		return rc;
	dev->bar_size = region.size;
	dev->bar = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED,
			dev->fd, region.offset);
	if (dev->bar == MAP_FAILED) {
		dev->bar = NULL;
		return -errno;
	}
	return 0;
}

int device_open(struct edu *dev, const char *bdf, int iommufd)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd,
	};
	__u32 type = 0, len = sizeof(dev->info);
	char path[PATH_MAX], name[64];
	int rc;

	memset(dev, 0, sizeof(*dev));
	dev->irqfd = -1;
	snprintf(dev->bdf, sizeof(dev->bdf), "%s", bdf);
	rc = pci_link(bdf, "iommu", dev->smmu, sizeof(dev->smmu));
	if (rc)
		return rc;

	snprintf(path, sizeof(path), SYS_PCI "/%s/vfio-dev", bdf);
	if (dir_entries(path, name, sizeof(name)) != 1)
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", name);
	dev->fd = open(path, O_RDWR | O_CLOEXEC);
	if (dev->fd < 0)
		return -errno;

	rc = iommufd_ioctl(dev->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	if (rc)
		return rc;
	dev->dev_id = bind.out_devid;
	rc = hw_info(iommufd, dev->dev_id, 0, &type, &dev->info, &len);
	if (rc)
		return rc;
	return device_setup(dev);
}

int edu_open(struct edu *dev, const char *bdf, int iommufd)
{
	__u32 id;
	int rc;

	rc = device_open(dev, bdf, iommufd);
	if (rc)
		return rc;
	id = __atomic_load_n((__u32 *)(dev->bar + EDU_REG_ID),
			     __ATOMIC_RELAXED);
	if ((le32toh(id) & 0xff) != 0xed)
		return -ENODEV;
	/* It has no reset, so a killed test may have left something going */
	edu_wait(dev);
	return 0;
}

void edu_close(struct edu *dev)
{
	if (dev->bar)
		munmap(dev->bar, dev->bar_size);
	dev->bar = NULL;
	if (dev->irqfd >= 0)
		close(dev->irqfd);
	dev->irqfd = -1;
	if (dev->fd > 0)
		close(dev->fd);
	dev->fd = -1;
}

void edu_load(struct edu *dev, struct guest *g, __u64 iova, __u64 ipa)
{
	guest_fill(g, ipa, EDU_BUF_SIZE);
	memcpy(dev->buf, guest_ptr(g, ipa), EDU_BUF_SIZE);
	edu_read(dev, iova, 0, EDU_BUF_SIZE);
}

void edu_write_start(struct edu *dev, struct guest *g, __u64 iova)
{
	(void)g;
	dev->slice = (dev->slice + 1) % EDU_SLICES;
	edu_start(dev, EDU_BUF + dev->slice * EDU_SLICE, iova, EDU_SLICE,
		  EDU_DMA_FROM_DEVICE);
}

__u64 edu_write_end(struct edu *dev, struct guest *g, __u64 iova)
{
	const __u8 *data = dev->buf + dev->slice * EDU_SLICE;
	struct guest_slot *hit = NULL;
	size_t in_page = iova % GUEST_PAGE;
	size_t offset = 0;
	unsigned int i;
	__u64 ipa;

	edu_wait(dev);

	for (i = 0; i != g->nslots && !hit; i++) {
		struct guest_slot *slot = &g->slot[i];

		if (!memcmp(slot->mem, slot->shadow, slot->size))
			continue;
		while (slot->mem[offset] == slot->shadow[offset])
			offset++;
		hit = slot;
		offset = offset - offset % GUEST_PAGE + in_page;
	}
	if (!hit)
		return guests_intact() ? NOWHERE : ASTRAY;

	/* Exactly these bytes and no other: then the shadow has become true */
	if (offset + EDU_SLICE <= hit->size)
		memcpy(hit->shadow + offset, data, EDU_SLICE);
	if (!guests_intact())
		return ASTRAY;

	/* So that the same bytes are new when their turn comes again */
	random_bytes(hit->mem + offset, EDU_SLICE);
	memcpy(hit->shadow + offset, hit->mem + offset, EDU_SLICE);

	ipa = hit->ipa + offset;
	return hit->mapped ? ipa : ipa | UNMAPPED;
}

__u64 edu_write_lands(struct edu *dev, struct guest *g, __u64 iova)
{
	edu_write_start(dev, g, iova);
	return edu_write_end(dev, g, iova);
}

bool edu_read_gets(struct edu *dev, struct guest *g, __u64 iova, __u64 ipa,
		   __u64 sink_iova, __u64 sink_ipa)
{
	__u8 *slice;

	dev->slice = (dev->slice + 1) % EDU_SLICES;
	slice = dev->buf + dev->slice * EDU_SLICE;
	guest_fill(g, ipa, EDU_SLICE);
	memcpy(slice, guest_ptr(g, ipa), EDU_SLICE);
	edu_read(dev, iova, dev->slice * EDU_SLICE, EDU_SLICE);

	guest_fill(g, sink_ipa, EDU_SLICE);
	guest_expect(g, sink_ipa, slice, EDU_SLICE);
	edu_write(dev, sink_iova, dev->slice * EDU_SLICE, EDU_SLICE);
	return guests_intact();
}

/*
 * The device: MSI
 */
static int edu_set_irqs(struct edu *dev, int fd)
{
	struct {
		struct vfio_irq_set set;
		__s32 fd;
	} irqs = {
		.set = {
			.argsz = fd < 0 ? sizeof(irqs.set) : sizeof(irqs),
			.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				 (fd < 0 ? VFIO_IRQ_SET_DATA_NONE :
					   VFIO_IRQ_SET_DATA_EVENTFD),
			.index = VFIO_PCI_MSI_IRQ_INDEX,
			.count = fd < 0 ? 0 : 1,
		},
		.fd = fd,
	};

	return iommufd_ioctl(dev->fd, VFIO_DEVICE_SET_IRQS, &irqs);
}

int edu_msi_enable(struct edu *dev)
{
	if (dev->irqfd < 0)
		dev->irqfd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (dev->irqfd < 0)
		return -errno;
	return edu_set_irqs(dev, dev->irqfd);
}

int edu_msi_disable(struct edu *dev)
{
	return edu_set_irqs(dev, -1);
}

/* What stands in the device, not what vfio-pci shows the VMM of it */
__u64 edu_msi_address(struct edu *dev)
{
	char path[PATH_MAX];
	__u8 cfg[256] = {};
	unsigned int at;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), SYS_PCI "/%s/config", dev->bdf);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	len = read(fd, cfg, sizeof(cfg));
	close(fd);
	if (len != sizeof(cfg))
		return 0;
	for (at = cfg[PCI_CAPABILITY_LIST]; at >= PCI_STD_HEADER_SIZEOF;
	     at = cfg[at + PCI_CAP_LIST_NEXT])
		if (cfg[at] == PCI_CAP_ID_MSI)
			return le_at(cfg + at + PCI_MSI_ADDRESS_LO, 4) |
			       (__u64)le_at(cfg + at + PCI_MSI_ADDRESS_HI, 4)
				       << 32;
	return 0;
}

bool edu_msi_arrives(struct edu *dev, int ms)
{
	struct pollfd pfd = { .fd = dev->irqfd, .events = POLLIN };
	__u64 count = 0;
	bool arrived;

	while (read(dev->irqfd, &count, sizeof(count)) == sizeof(count))
		;
	edu_write32(dev, EDU_REG_IRQ_RAISE, 1);
	arrived = poll(&pfd, 1, ms) == 1 &&
		  read(dev->irqfd, &count, sizeof(count)) == sizeof(count);
	edu_write32(dev, EDU_REG_IRQ_ACK, 1);
	return arrived;
}

/*
 * The host
 */
#define IORT_COUNT		36
#define IORT_FIRST		40
#define IORT_NODE_TYPE		0
#define IORT_NODE_LENGTH	1
#define IORT_NODE_MF		23
#define IORT_PCI_ROOT_COMPLEX	2
#define IORT_MF_CANWBS		BIT(2)

/* Every PCI root complex says that its DMA is coherent whatever its attributes */
bool host_iort_canwbs(void)
{
	static __u8 iort[65536];
	bool canwbs = false;
	__u32 count, at;
	ssize_t len;
	int fd;

	fd = open("/sys/firmware/acpi/tables/IORT", O_RDONLY);
	if (fd < 0)
		return false;
	len = read(fd, iort, sizeof(iort));
	close(fd);
	if (len < IORT_FIRST + 4)
		return false;

	at = le_at(iort + IORT_FIRST, 4);
	for (count = le_at(iort + IORT_COUNT, 4); count; count--) {
		if (at + IORT_NODE_MF >= len)
			break;
		if (iort[at + IORT_NODE_TYPE] == IORT_PCI_ROOT_COMPLEX) {
			if (!(iort[at + IORT_NODE_MF] & IORT_MF_CANWBS))
				return false;
			canwbs = true;
		}
		at += le_at(iort + at + IORT_NODE_LENGTH, 2);
	}
	return canwbs;
}

#define SYSLOG_READ_ALL		3
#define SYSLOG_SIZE_BUFFER	10

static char klog_marker[128];

void klog_mark(const char *name)
{
	char line[192];

	snprintf(klog_marker, sizeof(klog_marker), "%s %016llx", name,
		 (unsigned long long)random_u64());
	snprintf(line, sizeof(line), "<6>selftest: %s\n", klog_marker);
	write_str("/dev/kmsg", line);
}

char *klog_read(bool since_mark)
{
	int size = klogctl(SYSLOG_SIZE_BUFFER, NULL, 0);
	char *log, *mark;
	int len;

	log = calloc(1, size > 0 ? size + 1 : 1);
	if (!log || size <= 0)
		return log;
	len = klogctl(SYSLOG_READ_ALL, log, size);
	log[len > 0 ? len : 0] = 0;
	/* Not there any more: then all of the log is younger */
	mark = since_mark ? strstr(log, klog_marker) : NULL;
	if (mark)
		memmove(log, mark, strlen(mark) + 1);
	return log;
}

unsigned int klog_count(const char *str)
{
	char *log = klog_read(true), *at = log;
	unsigned int n = 0;

	while (at && (at = strstr(at, str))) {
		at += strlen(str);
		n++;
	}
	free(log);
	return n;
}
