/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Included in front of the tests: on an emulated machine, with a kernel that
 * checks itself, a test may take longer than the harness gives it. A test that
 * hangs is ended by the limit of its scenario.
 */
#ifndef __QEMU_TIMEOUT_H
#define __QEMU_TIMEOUT_H

#include "kselftest_harness.h"

/* Used by the macros of the harness where they are expanded, not here */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 600

#endif
