/* SPDX-License-Identifier: GPL-2.0-only */
/* The fuzzer of iommufd sees the kernel by its coverage and its log */
#ifndef __SELFTEST_IOMMUFD_FUZZ_COVER_H
#define __SELFTEST_IOMMUFD_FUZZ_COVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef FUZZ
/* @dir gets the places that were reached, and the inputs before an error */
void cover_open(const char *dir);
/* Every thread calls this first. @self is the number of its part of the coverage */
void cover_thread(unsigned int self);
void cover_start(unsigned int self);
void cover_stop(unsigned int self);
void cover_note(const uint8_t *data, size_t size);
/* Does not return if the kernel has reported an error */
void cover_check(void);
/* Whether the latest input reached a place that few inputs before it reached */
bool cover_is_new(void);
#else
static inline void cover_thread(unsigned int self) {}
static inline void cover_start(unsigned int self) {}
static inline void cover_stop(unsigned int self) {}
static inline void cover_check(void) {}
#endif

#endif
