// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of an IOAS that come from a file instead of a process: a memfd, or
 * another file of shmem or hugetlbfs. The mapping needs no VMA, and is
 * independent of the address space of any process.
 *
 * Only the source of the pages differs. The rest of pages.c sees the same as
 * for pages of a process: a pin for each page, regardless of the size of its
 * folio.
 *
 * Invariant: a struct iopt_pages with a file holds a reference on the file. If
 * it is writable, it also counts as a shared writable mapping of the file. So
 * F_SEAL_WRITE cannot be set as long as a device could write by DMA.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/shmem_fs.h>
#include <uapi/linux/falloc.h>
#include <uapi/linux/iommufd.h>

#include "io_pagetable.h"
#include "iommufd_private.h"

/* The number of folios to pin in a call. Their pointers are on the stack. */
#define FOLIO_BATCH	32

static unsigned int file_seals(struct file *file)
{
	struct inode *inode = file_inode(file);

	if (shmem_file(file))
		return SHMEM_I(inode)->seals;
#ifdef CONFIG_HUGETLBFS
	if (is_file_hugepages(file))
		return HUGETLBFS_I(inode)->seals;
#endif
	return 0;
}

/* The checks that mmap() would do for a shared mapping of the file */
static int file_may_map(struct file *file, u64 start, u64 length, bool write)
{
	u64 size = i_size_read(file_inode(file)), end;
	loff_t pos;
	int rc;

	if (!shmem_file(file) && !is_file_hugepages(file))
		return -EINVAL;
	if (!(file->f_mode & FMODE_READ) ||
	    (write && !(file->f_mode & FMODE_WRITE)))
		return -EACCES;

	/* The last page must be within the file as a whole */
	if (!length || check_add_overflow(start, length, &end) || end > size ||
	    PAGE_ALIGN(end) > size)
		return -EINVAL;

	/* Ask security modules and fanotify, like read() and write() do */
	pos = start;
	rc = rw_verify_area(READ, file, &pos, length);
	if (!rc && write)
		rc = rw_verify_area(WRITE, file, &pos, length);
	return rc;
}

/**
 * iopt_alloc_file_pages() - Allocate an iopt_pages for a range of a file
 * @file: A file of shmem or hugetlbfs. The caller keeps its own reference
 * @start: First byte in the file
 * @length: Number of bytes, not 0. All their pages must be within the file
 * @writable: DMA may write to the pages
 *
 * iopt_pages::uptr is the offset in the file, not an address.
 *
 * Return: the iopt_pages, of which no page is pinned yet, or an ERR_PTR:
 * -EINVAL for any other kind of file or a range beyond its end, -EACCES if
 * @file is not open for this access, -EPERM if it is sealed against writing,
 * -ENOMEM, or the error of a security module.
 */
struct iopt_pages *iopt_alloc_file_pages(struct file *file, u64 start,
					 unsigned long length, bool writable)
{
	struct iopt_pages *pages;
	int rc;

	rc = file_may_map(file, start, length, writable);
	if (rc)
		return ERR_PTR(rc);
	if (writable) {
		rc = mapping_map_writable(file->f_mapping);
		if (rc)
			return ERR_PTR(rc);
		/*
		 * mapping_map_writable() does not fail for F_SEAL_FUTURE_WRITE,
		 * which only forbids new mappings, so check the seals here.
		 */
		if (file_seals(file) & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) {
			pages = ERR_PTR(-EPERM);
			goto err_unmap;
		}
	}

	pages = iopt_alloc_pages((void __user *)(uintptr_t)start, length,
				 writable);
	if (IS_ERR(pages))
		goto err_unmap;
	pages->file = get_file(file);
	return pages;

err_unmap:
	if (writable)
		mapping_unmap_writable(file->f_mapping);
	return pages;
}

/* Release the file of an iopt_pages that has no other users */
void iopt_put_file(struct iopt_pages *pages)
{
	if (pages->writable)
		mapping_unmap_writable(pages->file->f_mapping);
	fput(pages->file);
}

/* Whether hugetlbfs has all these pages. They stay while i_rwsem is held. */
static bool hugetlb_has_pages(struct file *file, loff_t pos, loff_t last)
{
	struct hstate *h = hstate_file(file);
	struct folio *folio;

	for (pos = round_down(pos, huge_page_size(h)); pos <= last;
	     pos += huge_page_size(h)) {
		folio = filemap_get_folio(file->f_mapping, pos >> PAGE_SHIFT);
		if (IS_ERR(folio))
			return false;
		folio_put(folio);
	}
	return true;
}

/*
 * Like fallocate(), for pages that are going to be pinned. It fills page by
 * page, because hugetlbfs keeps the file locked during each call.
 *
 * A signal interrupts this, and the system call is restarted. Pages that have
 * been filled by then stay, so the next call only looks them up. The signal
 * stays pending, as required for -ERESTARTNOINTR.
 */
static int hugetlb_fill(struct file *file, loff_t pos, loff_t last)
{
	loff_t size = huge_page_size(hstate_file(file));
	unsigned int flags;
	int rc;

	for (pos = round_down(pos, size); pos <= last; pos += size) {
		if (hugetlb_has_pages(file, pos, pos))
			continue;
		if (last >= i_size_read(file_inode(file)))
			return -EINVAL;
		if (!(file->f_mode & FMODE_WRITE))
			return -EFAULT;

		flags = memalloc_pin_save();
		rc = vfs_fallocate(file, FALLOC_FL_KEEP_SIZE, pos, size);
		memalloc_pin_restore(flags);
		if (rc == -EINTR && signal_pending(current) &&
		    !fatal_signal_pending(current))
			return -ERESTARTNOINTR;
		if (rc)
			return rc == -ENOSPC ? -ENOMEM : rc;
		cond_resched();
	}
	return 0;
}

/**
 * iopt_fill_file() - Fill the holes of a file before the first page is pinned
 * @pages: Pages that come from a file
 * @index: First page, from the start of @pages
 * @last_index: Last page
 *
 * iopt_pin_file_pages() fills holes as well. But if a signal interrupts it at a
 * hole, all pages before the hole have been pinned and mapped for nothing, and
 * a periodic timer could keep the system call from ever finishing.
 *
 * Context: May sleep. The caller holds pages->mutex.
 * Return: 0 or an errno, as for iopt_pin_file_pages().
 */
int iopt_fill_file(struct iopt_pages *pages, unsigned long index,
		   unsigned long last_index)
{
	loff_t start = (uintptr_t)pages->uptr;

	lockdep_assert_held(&pages->mutex);

	/* Only hugetlbfs needs this, and only if no domain has pages yet */
	if (!is_file_hugepages(pages->file) ||
	    !RB_EMPTY_ROOT(&pages->domains_itree.rb_root))
		return 0;
	return hugetlb_fill(pages->file, start + (loff_t)index * PAGE_SIZE,
			    start + (loff_t)last_index * PAGE_SIZE);
}

/*
 * memfd_pin_folios() would fill a hole of hugetlbfs with a reserved page, even
 * if the reservation belongs to another user or does not exist. So it must not
 * see a hole: fill holes first, like fallocate(). No hole can appear while
 * i_rwsem is held. If the file is truncated at the same time, it may get pages
 * beyond its end, as with fallocate().
 */
static long hugetlb_pin_folios(struct file *file, loff_t pos, loff_t last,
			       struct folio **folios, unsigned int num,
			       pgoff_t *offset)
{
	struct inode *inode = file_inode(file);
	loff_t size = huge_page_size(hstate_file(file));
	long rc;

	last = min(last, round_down(pos, size) + num * size - 1);
	for (;;) {
		inode_lock_shared(inode);
		if (last >= i_size_read(inode) ||
		    hugetlb_has_pages(file, pos, last))
			break;
		inode_unlock_shared(inode);

		rc = hugetlb_fill(file, pos, last);
		if (rc)
			return rc;
	}
	rc = memfd_pin_folios(file, pos, last, folios, num, offset);
	inode_unlock_shared(inode);
	return rc;
}

/*
 * Check that the pinned folio is the folio of the file at @index, and that it
 * is up to date. memfd_pin_folios() checks neither, and the file may have
 * changed between its lookups.
 */
static int check_folio(struct file *file, struct folio *folio, pgoff_t index)
{
	struct folio *read;

	if (folio_test_hwpoison(folio) ||
	    (folio_test_large(folio) && folio_test_has_hwpoisoned(folio)))
		return -EHWPOISON;
	/* A folio can have any number of mappings: do not overflow its count */
	if (folio_ref_count(folio) > INT_MAX / 2)
		return -ENOMEM;
	if (READ_ONCE(folio->mapping) != file->f_mapping ||
	    index - folio->index >= folio_nr_pages(folio))
		return -EAGAIN;
	if (folio_test_uptodate(folio))
		return 0;

	/* The folio is being removed from the file */
	if (is_file_hugepages(file))
		return -EAGAIN;

	/* Allocated by fallocate(), which leaves clearing to the first user */
	read = shmem_read_folio(file->f_mapping, index);
	if (IS_ERR(read))
		return PTR_ERR(read);
	folio_put(read);
	return read == folio ? 0 : -EAGAIN;
}

/* Extend the last run, or add a new run. Return: false if @runs is full */
static bool add_run(struct iopt_file_run *runs, size_t *num, size_t max,
		    unsigned long pfn, unsigned long npages)
{
	struct iopt_file_run *last = runs + *num - 1;

	if (*num && last->pfn + last->npages == pfn) {
		last->npages += npages;
		return true;
	}
	if (*num == max)
		return false;
	runs[(*num)++] = (struct iopt_file_run){ pfn, npages };
	return true;
}

/* A folio comes with a single pin, but pages.c unpins each page */
static void folio_pin_more(struct folio *folio, unsigned int num)
{
	if (!num)
		return;
	/* So the folio is large, and has a separate count of its pins */
	folio_ref_add(folio, num);
	atomic_add(num, &folio->_pincount);
	node_stat_mod_folio(folio, NR_FOLL_PIN_ACQUIRED, num);
}

/**
 * iopt_pin_file_runs() - Pin pages of a file
 * @pages: An iopt_pages with a file
 * @index: First page, from the start of @pages
 * @npages: Number of pages, not 0
 * @runs: Output array of runs of pages, with one pin for each page
 * @max_runs: Size of @runs, not 0
 *
 * The cost depends on the number of folios, not on their size. Holes of the
 * file are filled.
 *
 * Context: May sleep. The caller holds pages->mutex; hugetlbfs takes i_rwsem of
 * the file inside of it.
 * Return: the number of pages in @runs, which is less than @npages after an
 * error or if @runs is full; or if there are none, -EINVAL if the file has been
 * truncated, -EFAULT for a hole of hugetlbfs if the file is not open for
 * writing, -EHWPOISON, -EINTR for a fatal signal, -ERESTARTNOINTR for any other
 * signal while hugetlbfs filled a hole, -ENOMEM, or the file's error for a
 * hole.
 */
long iopt_pin_file_runs(struct iopt_pages *pages, unsigned long index,
			unsigned long npages, struct iopt_file_run *runs,
			size_t max_runs)
{
	loff_t start = (uintptr_t)pages->uptr + (loff_t)index * PAGE_SIZE;
	loff_t last = start + (loff_t)npages * PAGE_SIZE - 1;
	struct folio *folios[FOLIO_BATCH];
	struct file *file = pages->file;
	unsigned long done = 0;
	size_t num_runs = 0;
	bool full = false;
	int rc = 0;

	lockdep_assert_held(&pages->mutex);

	while (done != npages && !rc && !full) {
		loff_t pos = start + (loff_t)done * PAGE_SIZE;
		pgoff_t offset;
		long num, i;

		if (fatal_signal_pending(current)) {
			rc = -EINTR;
			break;
		}
		if (is_file_hugepages(file))
			num = hugetlb_pin_folios(file, pos, last, folios,
						 ARRAY_SIZE(folios), &offset);
		else
			num = memfd_pin_folios(file, pos, last, folios,
					       ARRAY_SIZE(folios), &offset);
		if (num <= 0) {
			rc = num ?: -EINVAL;
			break;
		}

		for (i = 0; i != num && done != npages; i++) {
			pgoff_t next = (start >> PAGE_SHIFT) + done;
			unsigned long first, len;

			rc = check_folio(file, folios[i], next);
			if (rc)
				break;
			first = next - folios[i]->index;
			len = min(folio_nr_pages(folios[i]) - first,
				  npages - done);
			full = !add_run(runs, &num_runs, max_runs,
					folio_pfn(folios[i]) + first, len);
			if (full)
				break;
			folio_pin_more(folios[i], len - 1);
			done += len;
		}
		/* Unpin the folios that were not used */
		unpin_folios(folios + i, num - i);
		if (rc == -EAGAIN)
			rc = 0;
		cond_resched();
	}
	return done ?: rc;
}

/**
 * iopt_pin_file_pages() - Like pin_user_pages_fast(), for pages of a file
 * @pages: An iopt_pages with a file
 * @index: First page, from the start of @pages
 * @npages: Number of pages, not 0
 * @out: Output array of the pages, with one pin for each
 *
 * Context: As iopt_pin_file_runs().
 * Return: the number of pages in @out, which is less than @npages after an
 * error; or if there are none, the error of iopt_pin_file_runs().
 */
long iopt_pin_file_pages(struct iopt_pages *pages, unsigned long index,
			 unsigned long npages, struct page **out)
{
	struct iopt_file_run runs[FOLIO_BATCH], *run;
	unsigned long done = 0, end, i;
	long rc = 0;

	while (done != npages) {
		rc = iopt_pin_file_runs(pages, index + done, npages - done,
					runs, ARRAY_SIZE(runs));
		if (rc < 0)
			break;
		end = done + rc;
		for (run = runs; done != end; run++)
			for (i = 0; i != run->npages; i++)
				out[done++] = pfn_to_page(run->pfn + i);
	}
	return done ?: rc;
}

/**
 * iommufd_ioas_map_file() - IOMMU_IOAS_MAP_FILE
 * @ucmd: A struct iommu_ioas_map_file
 *
 * Return: 0, or -EOPNOTSUPP for unknown flags, -EINVAL if neither READABLE nor
 * WRITEABLE is set, -EOVERFLOW, -ENOENT if there is no such IOAS, -EBADF if @fd
 * is not open, and the errors of iopt_alloc_dmabuf_pages() for a dma-buf, of
 * iopt_alloc_file_pages() for any other file, and of the mapping.
 */
int iommufd_ioas_map_file(struct iommufd_ucmd *ucmd)
{
	struct iommu_ioas_map_file *cmd = ucmd->cmd;
	unsigned long iova = cmd->iova;
	struct iommufd_ioas *ioas;
	struct iopt_pages *pages;
	unsigned int flags = 0;
	struct file *file;
	int prot, rc;

	if (cmd->flags & ~(IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			   IOMMU_IOAS_MAP_READABLE))
		return -EOPNOTSUPP;
	if (cmd->iova >= ULONG_MAX || cmd->length >= ULONG_MAX ||
	    cmd->start >= ULONG_MAX)
		return -EOVERFLOW;
	if (!(cmd->flags & (IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE)))
		return -EINVAL;
	if (!(cmd->flags & IOMMU_IOAS_MAP_FIXED_IOVA))
		flags = IOPT_ALLOC_IOVA;
	prot = conv_iommu_prot(cmd->flags);

	ioas = iommufd_get_ioas(ucmd->ictx, cmd->ioas_id);
	if (IS_ERR(ioas))
		return PTR_ERR(ioas);

	pages = NULL;
	if (IS_ENABLED(CONFIG_DMA_SHARED_BUFFER))
		pages = iopt_alloc_dmabuf_pages(cmd->fd, cmd->start,
						cmd->length,
						prot & IOMMU_WRITE);
	if (!pages) {
		file = fget(cmd->fd);
		if (!file) {
			rc = -EBADF;
			goto out_put_ioas;
		}
		pages = iopt_alloc_file_pages(file, cmd->start, cmd->length,
					      prot & IOMMU_WRITE);
		fput(file);
	}
	rc = iopt_map_new_pages(ucmd->ictx, &ioas->iopt, &iova, pages,
				cmd->start % PAGE_SIZE, cmd->length, prot,
				flags);
	if (rc)
		goto out_put_ioas;

	cmd->iova = iova;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
out_put_ioas:
	iommufd_put_object(ucmd->ictx, &ioas->obj);
	return rc;
}
