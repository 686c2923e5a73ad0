// SPDX-License-Identifier: GPL-2.0-only
/*
 * Damaged tables: bytes and lengths of good tables are changed, with fixed
 * seeds, so that every run is the same. Each table must give an answer or a
 * clear error, and quickly; the sanitizers find reads out of bounds. To this
 * end tables are passed in memory of exactly their size.
 *
 *   fuzz [TIMES [SEED]]	TAP
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../host.h"
#include "tables.h"

static uint64_t state;

/* xorshift64*: the same numbers on every machine */
static uint32_t any(uint32_t below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (state * 0x2545f4914f6cdd1dULL >> 32) % below;
}

static void mutate(struct table *t)
{
	static const uint32_t edges[] = {
		0, 1, 2, 3, 4, 15, 16, 19, 20, 47, 48, 0x7f, 0x80, 0xff, 0x100,
		0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000,
		0xfffffff0, 0xfffffffc, 0xffffffff,
	};
	unsigned int n = 1 + any(any(4) ? 3 : 40);

	while (n-- && t->len) {
		uint32_t at = any(t->len), len, value;

		switch (any(8)) {
		case 0:
			t->data[at] ^= 1 << any(8);
			break;
		case 1:
			t->data[at] = any(256);
			break;
		case 2:	/* in either byte order */
		case 3:
			value = edges[any(ARRAY_SIZE(edges))];
			if (any(2))
				value = __builtin_bswap32(value);
			if (at / 4 * 4 + 4 <= t->len)
				put32(t->data + at / 4 * 4, value);
			break;
		case 4:	/* from the table: an offset, a phandle */
			value = any(t->len);
			if (at / 4 * 4 + 4 <= t->len && value / 4 * 4 + 4 <= t->len)
				memmove(t->data + at / 4 * 4,
					t->data + value / 4 * 4, 4);
			break;
		case 5:	/* another offset */
			if (at / 4 * 4 + 4 <= t->len)
				put32(t->data + at / 4 * 4, any(t->len));
			break;
		case 6:	/* cut off the end */
			if (!any(4))
				t->len = at;
			break;
		default: /* repeat a part elsewhere */
			len = 1 + any(t->len - at);
			value = any(t->len - len + 1);
			memmove(t->data + value, t->data + at, len);
			break;
		}
	}
}

/* Correct the length in the header, so that the later checks are reached */
static void mend(struct table *t, bool fdt)
{
	uint32_t len = t->len;

	if (t->len < 8 || !any(4))
		return;
	put32(t->data + 4, fdt ? __builtin_bswap32(len) : len);
}

struct tally {
	unsigned int good;
	unsigned int refused;
};

/* Returns NULL, or a description of the failure */
static const char *try(const struct table *t, bool fdt, struct tally *tally)
{
	struct host h = { .root = "", .tables_only = true };
	uint8_t *exact = malloc(t->len ? t->len : 1);
	const char *wrong = NULL;
	char *text = NULL, *json = NULL;
	size_t text_len, json_len;
	unsigned int i, k;
	FILE *f;
	int rc;

	memcpy(exact, t->data, t->len);
	rc = fdt ? fdt_parse(&h, exact, t->len) :
		   iort_parse(&h, exact, t->len);
	if (!rc == !!h.error)
		wrong = "an error without a message, or the other way round";
	if (!rc) {
		for (i = 0; i < h.nr_masters; i++) {
			const struct master *m = &h.masters[i];
			uint32_t stream;

			for (k = 0; k < m->nr_ranges; k++) {
				host_map_id(&h, m, m->ranges[k].in, &stream);
				host_map_id(&h, m, m->ranges[k].in +
					    m->ranges[k].last, &stream);
			}
			host_map_id(&h, m, any(0x10000), &stream);
		}
		host_judge(&h);
		tally->good++;
	} else {
		tally->refused++;
	}

	f = open_memstream(&text, &text_len);
	report_text(&h, f);
	fclose(f);
	f = open_memstream(&json, &json_len);
	report_json(&h, f);
	fclose(f);
	if (!json_valid(json))
		wrong = "what it prints is not JSON";
	for (i = 0; i < text_len; i++) {
		if (text[i] != '\n' && (text[i] < ' ' || text[i] > '~'))
			wrong = "a byte that is not for a terminal";
	}
	if (!text_len)
		wrong = "no answer";
	i = host_exit_status(&h);
	/* A table alone must never prove that a host can nest */
	if (i != 1 && i != 2)
		wrong = "the exit status";
	free(text);
	free(json);
	host_free(&h);
	free(exact);
	return wrong;
}

/* CPU time. Slow cases may show only here: a crash then reports the case */
static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	unsigned int times = argc > 1 ? atoi(argv[1]) : 3000;
	unsigned long long seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 1;
	unsigned int kind, bad = 0;

	/* Stop a table that makes a walk run forever */
	alarm(600);
	/* Keep the output even if a sanitizer stops the program */
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..%d\n", NR_IORTS + NR_FDTS);
	for (kind = 0; kind < NR_IORTS + NR_FDTS; kind++) {
		bool fdt = kind >= NR_IORTS;
		const char *wrong = NULL;
		struct tally tally = {};
		struct table t, copy;
		uint64_t worst = 0;
		unsigned int i;

		if (fdt)
			fdt_make(&t, kind - NR_IORTS);
		else
			iort_make(&t, kind);
		copy.data = malloc(t.len);
		for (i = 0; i < times && !wrong; i++) {
			uint64_t start = now_ms();

			/* Each case can be repeated without those before it */
			state = (seed << 32 | kind << 24 | i) + 0x9e3779b97f4a7c15ULL;
			memcpy(copy.data, t.data, t.len);
			copy.len = t.len;
			mutate(&copy);
			mend(&copy, fdt);
			wrong = try(&copy, fdt, &tally);
			if (now_ms() - start > worst)
				worst = now_ms() - start;
		}
		if (!wrong && worst > 2000)
			wrong = "too slow";
		/*
		 * If no table is refused, or none is good, the damage has no
		 * effect, or fails the first check
		 */
		if (!wrong && (!tally.refused ||
			       (!tally.good && kind < NR_IORTS + FDT_LOST)))
			wrong = "of all cases none was refused, or all were";
		printf("%sok %u - ", wrong ? "not " : "", kind + 1);
		if (fdt)
			printf("device tree %u", kind - NR_IORTS);
		else
			printf("IORT %u", kind);
		printf(": %u damaged, %u refused, %u read\n", i, tally.refused,
		       tally.good);
		if (wrong) {
			printf("# case %u of seed %llu: %s\n", i - 1, seed,
			       wrong);
			bad = 1;
		}
		free(t.data);
		free(copy.data);
	}
	return bad;
}
