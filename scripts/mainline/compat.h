/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Names that mainline's tests of iommufd use and that this series has only inside
 * of the mock driver. This is included before the tests.
 */
#ifndef __MAINLINE_COMPAT_H
#define __MAINLINE_COMPAT_H

/* The mock driver */
enum {
	MOCK_PAGE_SIZE = 2048,
	MOCK_HUGE_PAGE_SIZE = 512 * MOCK_PAGE_SIZE,
};

#endif
