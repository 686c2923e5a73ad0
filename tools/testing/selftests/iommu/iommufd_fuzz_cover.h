/* SPDX-License-Identifier: GPL-2.0-only */
/* The coverage and the log of the kernel, for the fuzzer of iommufd */
#ifndef __SELFTEST_IOMMUFD_FUZZ_COVER_H
#define __SELFTEST_IOMMUFD_FUZZ_COVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef FUZZ
/* @dir gets the places that were reached, and the inputs before an error */
void cover_open(const char *dir);
/* Every thread must call this first. @self selects its part of the coverage. */
void cover_thread(unsigned int self);
void cover_start(unsigned int self);
void cover_stop(unsigned int self);
/* Something else that an input reached, by a small number */
void cover_feature(unsigned int number);
void cover_note(const uint8_t *data, size_t size);
/* Check the kernel log. Does not return if the kernel has reported an error. */
void cover_check(void);
/* Whether the latest input reached a place that few inputs have reached */
bool cover_is_new(void);
#else
static inline void cover_thread(unsigned int self) {}
static inline void cover_start(unsigned int self) {}
static inline void cover_stop(unsigned int self) {}
static inline void cover_feature(unsigned int number) {}
static inline void cover_check(void) {}
#endif

#endif
