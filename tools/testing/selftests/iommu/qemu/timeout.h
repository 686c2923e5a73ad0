/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Included in front of the tests: on an emulated machine, with a kernel that
 * checks itself, a test may take longer than the harness allows. A test that
 * hangs is ended by the limit of its scenario.
 */
#ifndef __QEMU_TIMEOUT_H
#define __QEMU_TIMEOUT_H

#include "kselftest_harness.h"

/* The macros of the harness use this at their expansion, not here */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT 600

#endif
