/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The part of libcap that mainline's tests of iommufd use, implemented by the
 * system call itself: there may be no libcap for the target machine.
 */
#ifndef __MAINLINE_SYS_CAPABILITY_H
#define __MAINLINE_SYS_CAPABILITY_H

#include <linux/capability.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct __user_cap_data_struct *cap_t;
typedef int cap_value_t;
typedef enum { CAP_EFFECTIVE } cap_flag_t;
typedef enum { CAP_CLEAR } cap_flag_value_t;

static inline long cap_call(long nr, cap_t caps)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};

	return syscall(nr, &header, caps);
}

static inline cap_t cap_get_proc(void)
{
	cap_t caps = calloc(_LINUX_CAPABILITY_U32S_3, sizeof(*caps));

	if (caps && cap_call(SYS_capget, caps)) {
		free(caps);
		caps = NULL;
	}
	return caps;
}

/* The tests use a single combination of these arguments */
static inline int cap_set_flag(cap_t caps, cap_flag_t flag, int num,
			       const cap_value_t *list, cap_flag_value_t value)
{
	while (num--)
		caps[CAP_TO_INDEX(list[num])].effective &=
			~CAP_TO_MASK(list[num]);
	return 0;
}

static inline int cap_set_proc(cap_t caps)
{
	return cap_call(SYS_capset, caps);
}

static inline int cap_free(cap_t caps)
{
	free(caps);
	return 0;
}

#endif
