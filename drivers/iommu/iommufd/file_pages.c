// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pages of an IOAS that come from a file in place of a process: a memfd, or
 * another file of shmem or hugetlbfs. The mapping needs no VMA, and nothing that
 * a process does with its own address space matters to it.
 *
 * Only where pages come from is different. All that pages.c knows of a page that
 * it holds stays as it is: one pin for each page, whatever the folio.
 *
 * Invariant: a struct iopt_pages with a file holds the file, and if it is
 * writable, also counts as one of its shared writable mappings. So F_SEAL_WRITE
 * cannot be set while anything could still write by DMA.
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

/* As many as are asked for at a time: they stand on the stack */
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

/* Of the file itself, what mmap() would say for a mapping that all share */
static int file_may_map(struct file *file, u64 start, u64 length, bool write)
{
	u64 size = i_size_read(file_inode(file)), end;

	if (!shmem_file(file) && !is_file_hugepages(file))
		return -EINVAL;
	if (!(file->f_mode & FMODE_READ) ||
	    (write && !(file->f_mode & FMODE_WRITE)))
		return -EACCES;

	/* Pages are only had whole */
	if (!length || check_add_overflow(start, length, &end) || end > size ||
	    PAGE_ALIGN(end) > size)
		return -EINVAL;
	return 0;
}

/**
 * iopt_alloc_file_pages() - Pages that come from a file
 * @file: A file of shmem or hugetlbfs. The caller's reference stays its own
 * @start: First byte in it
 * @length: Bytes, not 0. All pages that these touch have to lie within the file
 * @writable: DMA may write to them
 *
 * iopt_pages::uptr is the place in the file then, not an address.
 *
 * Return: The pages, none of which is pinned yet, or as ERR_PTR: -EINVAL for
 * another kind of file or what lies beyond its end, -EACCES if @file was not opened
 * for that, -EPERM if it is sealed against writing, -ENOMEM.
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
		/* Set, that one lets the writable mappings be that there are */
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

/* Of pages that nobody else knows anymore */
void iopt_put_file(struct iopt_pages *pages)
{
	if (pages->writable)
		mapping_unmap_writable(pages->file->f_mapping);
	fput(pages->file);
}

/* Has hugetlbfs all of these pages? Nobody takes one away if i_rwsem is held */
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
 * As fallocate(), for pages that are going to be pinned, and for a caller who starts
 * anew if a signal ends it. hugetlbfs looks for one before each page; with a timer
 * that is faster than what is filled already is pinned again, that would never be
 * done. So only a fatal one ends it, and what stops or freezes the caller.
 */
static int hugetlb_fill(struct file *file, loff_t pos, loff_t length)
{
	unsigned int flags = memalloc_pin_save();
	sigset_t but_kill, old;
	int rc;

	siginitsetinv(&but_kill, sigmask(SIGKILL));
	sigprocmask(SIG_BLOCK, &but_kill, &old);
	rc = vfs_fallocate(file, FALLOC_FL_KEEP_SIZE, pos, length);
	sigprocmask(SIG_SETMASK, &old, NULL);
	memalloc_pin_restore(flags);
	return rc;
}

/*
 * memfd_pin_folios() would fill a hole of hugetlbfs with a page that is reserved,
 * whoever reserved it and even if nobody did. So it does not get to see a hole:
 * they are filled as fallocate() does, and stay so while i_rwsem is held. Who makes
 * the file shorter in between may get pages beyond its end, as with fallocate().
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

		if (!(file->f_mode & FMODE_WRITE))
			return -EFAULT;
		rc = hugetlb_fill(file, pos, last - pos + 1);
		/* Nothing that user space should see */
		if (rc == -EINTR && !fatal_signal_pending(current))
			return -ERESTARTNOINTR;
		if (rc && last >= i_size_read(inode))
			return -EINVAL;
		if (rc)
			return rc == -ENOSPC ? -ENOMEM : rc;
	}
	rc = memfd_pin_folios(file, pos, last, folios, num, offset);
	inode_unlock_shared(inode);
	return rc;
}

/*
 * Is that, now that it is pinned, what the file has there, and with the contents
 * that it has? memfd_pin_folios() looks at none of this, and it takes more than
 * one look at the file, which may change in between.
 */
static int check_folio(struct file *file, struct folio *folio, pgoff_t index)
{
	struct folio *read;

	if (folio_test_hwpoison(folio) ||
	    (folio_test_large(folio) && folio_test_has_hwpoisoned(folio)))
		return -EHWPOISON;
	/* One may be mapped any number of times: far from where its count ends */
	if (folio_ref_count(folio) > INT_MAX / 2)
		return -ENOMEM;
	if (READ_ONCE(folio->mapping) != file->f_mapping ||
	    index - folio->index >= folio_nr_pages(folio))
		return -EAGAIN;
	if (folio_test_uptodate(folio))
		return 0;

	/* On its way out */
	if (is_file_hugepages(file))
		return -EAGAIN;

	/* By fallocate(), and not cleared before somebody wants to see it */
	read = shmem_read_folio(file->f_mapping, index);
	if (IS_ERR(read))
		return PTR_ERR(read);
	folio_put(read);
	return read == folio ? 0 : -EAGAIN;
}

/* A folio comes with one pin. pages.c gives back one for each page. */
static void folio_pin_more(struct folio *folio, unsigned int num)
{
	if (!num)
		return;
	/* So it is large, and has another count for its pins */
	folio_ref_add(folio, num);
	atomic_add(num, &folio->_pincount);
	node_stat_mod_folio(folio, NR_FOLL_PIN_ACQUIRED, num);
}

/**
 * iopt_pin_file_pages() - As pin_user_pages_fast(), from the file
 * @pages: They have a file
 * @index: The first page, from the start of @pages
 * @npages: How many, not 0
 * @out: Gets the pages, with one pin for each
 *
 * What the file has no page for yet is allocated.
 *
 * Context: May sleep. The caller holds pages->mutex; hugetlbfs takes i_rwsem of
 * the file inside of it.
 * Return: How many there are in @out, fewer than @npages if something came in
 * between; or if there is none, -EINVAL if the file has been made shorter,
 * -EFAULT for a hole of hugetlbfs in a file that is not open for writing,
 * -EHWPOISON, -EINTR for a fatal signal, -ERESTARTNOINTR if the caller was stopped
 * or frozen while hugetlbfs filled a hole, -ENOMEM, or what else the file says of a
 * hole.
 */
long iopt_pin_file_pages(struct iopt_pages *pages, unsigned long index,
			 unsigned long npages, struct page **out)
{
	loff_t start = (uintptr_t)pages->uptr + (loff_t)index * PAGE_SIZE;
	loff_t last = start + (loff_t)npages * PAGE_SIZE - 1;
	struct folio *folios[FOLIO_BATCH];
	struct file *file = pages->file;
	unsigned long done = 0;
	int rc = 0;

	lockdep_assert_held(&pages->mutex);

	while (done != npages && !rc) {
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
			unsigned long first, end;

			rc = check_folio(file, folios[i], next);
			if (rc)
				break;
			first = next - folios[i]->index;
			end = min(folio_nr_pages(folios[i]),
				  first + npages - done);
			folio_pin_more(folios[i], end - first - 1);
			for (; first != end; first++)
				out[done++] = folio_page(folios[i], first);
		}
		/* From what is not, or not anymore, at its place */
		unpin_folios(folios + i, num - i);
		if (rc == -EAGAIN)
			rc = 0;
		cond_resched();
	}
	return done ?: rc;
}

/**
 * iommufd_ioas_map_file() - IOMMU_IOAS_MAP_FILE
 * @ucmd: A struct iommu_ioas_map_file
 *
 * Return: 0, or -EOPNOTSUPP for flags that there are not, -EINVAL for none that
 * says which way data goes, -EOVERFLOW, -ENOENT if there is no such IOAS, -EBADF
 * if there is no such file, and what iopt_alloc_file_pages() and the mapping say.
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

	file = fget(cmd->fd);
	if (!file) {
		rc = -EBADF;
		goto out_put_ioas;
	}
	pages = iopt_alloc_file_pages(file, cmd->start, cmd->length,
				      prot & IOMMU_WRITE);
	fput(file);
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
