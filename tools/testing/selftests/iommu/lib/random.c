// SPDX-License-Identifier: GPL-2.0-only
/* See random.h */
#include <string.h>
#include <time.h>
#include <sys/random.h>

#include "random.h"

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
