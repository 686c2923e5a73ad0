// SPDX-License-Identifier: GPL-2.0-only
/*
 * The answer, as text and as JSON
 *
 * Names come from tables and directories of unknown origin. Each byte of a name
 * must be escaped before it reaches a terminal or JSON.
 */
#include <string.h>

#include "host.h"

const char *answer_name(enum answer a)
{
	return a == YES ? "yes" : a == NO ? "no" : "unknown";
}

static void put_safe(FILE *f, const char *s)
{
	for (; *s; s++) {
		unsigned char c = *s;

		if (c >= ' ' && c < 0x7f)
			putc(c, f);
		else
			fprintf(f, "\\x%02x", c);
	}
}

static void put_device(const struct pci_device *d, FILE *f)
{
	unsigned int i;

	fprintf(f, "\n  %s  %04x:%04x  ", d->bdf, d->vendor, d->product);
	if (d->nr_streams) {
		fputs("StreamID", f);
		for (i = 0; i < d->nr_streams; i++)
			fprintf(f, " 0x%x", d->streams[i]);
		fprintf(f, " of SMMU 0x%llx", d->smmu->base);
	} else {
		fputs("no SMMU", f);
	}
	if (d->group >= 0)
		fprintf(f, ", group %d", d->group);
	if (d->group_others) {
		fputs(" with ", f);
		put_safe(f, d->group_others);
	}
	fputs("\n        pass through: ", f);
	fputs(answer_name(d->passthrough), f);
	if (d->why) {
		fputs(", ", f);
		put_safe(f, d->why);
	}
	if (d->todo) {
		fputs("\n        ", f);
		put_safe(f, d->todo);
	}
	fprintf(f, "\n        driver ");
	put_safe(f, d->driver ? d->driver : "none");
	if (d->vfio) {
		fputs(", /dev/vfio/devices/", f);
		put_safe(f, d->vfio);
	}
	fputs(", reset ", f);
	put_safe(f, d->reset ? d->reset : "none");
	putc('\n', f);
}

/* Linux treats IDs that lead to another kind of node as untranslated, too */
static void put_range(const struct host *h, const struct id_range *r, FILE *f)
{
	unsigned int i;

	if (r->single)
		fputs("  all IDs -> ", f);
	else
		fprintf(f, "  IDs 0x%x-0x%x -> ", r->in, r->in + r->last);
	for (i = 0; i < h->nr_smmus; i++) {
		if (h->smmus[i].ref == r->ref)
			break;
	}
	if (i == h->nr_smmus)
		fprintf(f, "node 0x%x, no SMMUv3\n", r->ref);
	else if (r->single)
		fprintf(f, "StreamID 0x%x of SMMU 0x%llx\n", r->out,
			h->smmus[i].base);
	else
		fprintf(f, "StreamIDs 0x%x-0x%x of SMMU 0x%llx\n", r->out,
			r->out + r->last, h->smmus[i].base);
}

static void put_master(const struct host *h, const struct master *m, FILE *f)
{
	unsigned int k;

	if (m->pci) {
		fputs("\nPCI root complex", f);
		if (m->has_segment)
			fprintf(f, ", segment %u", m->segment);
	} else {
		fputs("\nPlatform device", f);
	}
	if (m->name) {
		putc(' ', f);
		put_safe(f, m->name);
	}
	putc('\n', f);
	if (m->pci)
		fprintf(f, "  CANWBS %s, ATS %s\n", m->canwbs ? "yes" : "no",
			m->ats ? "yes" : "no");
	for (k = 0; k < m->nr_ranges; k++)
		put_range(h, &m->ranges[k], f);
	if (!m->nr_ranges)
		fputs("  no IDs that are translated\n", f);
}

static void put_registers(const struct smmu *s, FILE *f)
{
	unsigned int i;

	fputs(" ", f);
	for (i = 0; i < ARRAY_SIZE(s->idr); i++)
		fprintf(f, " IDR%u 0x%08x", i, s->idr[i]);
	fprintf(f, "\n  IIDR 0x%08x AIDR 0x%08x\n", s->iidr, s->aidr);
}

void report_text(const struct host *h, FILE *f)
{
	static const char *const verdict[] = {
		[UNKNOWN] = "It is unknown whether this host can nest with SMMUv3.",
		[NO] = "This host cannot nest with SMMUv3.",
		[YES] = "This host can nest with SMMUv3.",
	};
	unsigned int i;

	if (h->error) {
		fputs("It is unknown whether this host can nest: ", f);
		put_safe(f, h->error);
		putc('\n', f);
		return;
	}
	fprintf(f, "%s\n\n", verdict[h->answer]);
	for (i = 0; i < NR_CONDITIONS; i++) {
		fprintf(f, "  %-9s %-8s ", condition_names[i],
			answer_name(h->conditions[i].met));
		put_safe(f, h->conditions[i].text);
		putc('\n', f);
	}
	if (h->table) {
		fputs("\nFirmware: ", f);
		put_safe(f, h->table);
		putc('\n', f);
	}
	for (i = 0; i < h->nr_smmus; i++) {
		const struct smmu *s = &h->smmus[i];

		fprintf(f, "\nSMMUv3 at 0x%llx, node ", s->base);
		if (s->node)
			put_safe(f, s->node);
		else
			fprintf(f, "0x%x", s->ref);
		fputs("\n  driver ", f);
		put_safe(f, h->tables_only ? "not looked at" :
			 s->device ? s->device : s->sysfs ? s->sysfs : "none");
		fprintf(f, "\n  stage 1 %s, stage 2 %s, nesting %s, S2FWB %s",
			answer_name(s->stage1), answer_name(s->stage2),
			answer_name(s->nesting), answer_name(s->s2fwb));
		if (s->learned)
			fprintf(f, " (from %s)", s->learned);
		putc('\n', f);
		if (s->has_idr)
			put_registers(s, f);
	}
	for (i = 0; i < h->nr_masters; i++)
		put_master(h, &h->masters[i], f);
	if (!h->tables_only) {
		fputs("\nKernel ", f);
		put_safe(f, h->release ? h->release : "of unknown release");
		putc('\n', f);
		for (i = 0; i < NR_OPTIONS; i++) {
			fprintf(f, "  %-27s %s", option_names[i],
				answer_name(h->options[i].on));
			if (h->options[i].learned)
				fprintf(f, " (from %s)", h->options[i].learned);
			putc('\n', f);
		}
		fputs("\nPCI devices\n", f);
	}
	for (i = 0; i < h->nr_devices; i++)
		put_device(&h->devices[i], f);
	if (h->nr_warnings)
		fputs("\nWarnings\n", f);
	for (i = 0; i < h->nr_warnings; i++) {
		fputs("  ", f);
		put_safe(f, h->warnings[i]);
		putc('\n', f);
	}
	if (h->lost_warnings)
		fprintf(f, "  and %u more\n", h->lost_warnings);
}

/*
 * JSON: each level is an object or an array. Each member of a list has its own
 * line.
 */
struct json {
	FILE *f;
	bool more;
};

static void json_string(struct json *j, const char *s)
{
	putc('"', j->f);
	for (; *s; s++) {
		unsigned char c = *s;

		if (c == '"' || c == '\\')
			fprintf(j->f, "\\%c", c);
		else if (c >= ' ' && c < 0x7f)
			putc(c, j->f);
		else	/* Escape the byte, as the encoding is not known */
			fprintf(j->f, "\\u%04x", c);
	}
	putc('"', j->f);
}

static void json_key(struct json *j, const char *key)
{
	if (j->more)
		fputs(", ", j->f);
	j->more = true;
	if (key) {
		json_string(j, key);
		fputs(": ", j->f);
	}
}

static void json_open(struct json *j, const char *key, char bracket)
{
	json_key(j, key);
	putc(bracket, j->f);
	j->more = false;
}

static void json_close(struct json *j, char bracket)
{
	putc(bracket, j->f);
	j->more = true;
}

/* Start the next member of a list on a new line */
static void json_item(struct json *j)
{
	if (j->more)
		putc(',', j->f);
	fputs("\n  {", j->f);
	j->more = false;
}

static void json_text(struct json *j, const char *key, const char *s)
{
	json_key(j, key);
	if (s)
		json_string(j, s);
	else
		fputs("null", j->f);
}

static void json_bool(struct json *j, const char *key, bool value)
{
	json_key(j, key);
	fputs(value ? "true" : "false", j->f);
}

static void json_number(struct json *j, const char *key, unsigned long long n)
{
	json_key(j, key);
	fprintf(j->f, "%llu", n);
}

/* Numbers above 53 bits are not safe in JSON */
static void json_address(struct json *j, const char *key, unsigned long long n)
{
	json_key(j, key);
	fprintf(j->f, "\"0x%llx\"", n);
}

static void json_answer(struct json *j, const char *key, enum answer a)
{
	json_text(j, key, answer_name(a));
}

static void json_smmu(struct json *j, const struct smmu *s)
{
	unsigned int i;

	json_item(j);
	json_address(j, "base", s->base);
	json_number(j, "ref", s->ref);
	json_text(j, "node", s->node);
	json_text(j, "sysfs", s->sysfs);
	json_text(j, "device", s->device);
	json_answer(j, "stage1", s->stage1);
	json_answer(j, "stage2", s->stage2);
	json_answer(j, "nesting", s->nesting);
	json_answer(j, "s2fwb", s->s2fwb);
	json_text(j, "learned", s->learned);
	if (s->has_idr) {
		json_open(j, "idr", '[');
		for (i = 0; i < ARRAY_SIZE(s->idr); i++)
			json_number(j, NULL, s->idr[i]);
		json_close(j, ']');
		json_number(j, "iidr", s->iidr);
		json_number(j, "aidr", s->aidr);
	}
	json_close(j, '}');
}

static void json_master(struct json *j, const struct master *m)
{
	unsigned int k;

	json_item(j);
	json_bool(j, "pci", m->pci);
	json_text(j, "name", m->name);
	if (m->has_segment)
		json_number(j, "segment", m->segment);
	json_bool(j, "canwbs", m->canwbs);
	json_bool(j, "ats", m->ats);
	json_bool(j, "coherent", m->coherent);
	json_open(j, "ids", '[');
	for (k = 0; k < m->nr_ranges; k++) {
		const struct id_range *r = &m->ranges[k];

		json_open(j, NULL, '{');
		json_number(j, "first", r->in);
		json_number(j, "last", (unsigned long long)r->in + r->last);
		json_number(j, "stream", r->out);
		json_number(j, "to", r->ref);
		json_bool(j, "single", r->single);
		json_close(j, '}');
	}
	json_close(j, ']');
	json_close(j, '}');
}

static void json_device(struct json *j, const struct pci_device *d)
{
	unsigned int i;

	json_item(j);
	json_text(j, "address", d->bdf);
	json_number(j, "vendor", d->vendor);
	json_number(j, "device", d->product);
	json_number(j, "class", d->class);
	json_key(j, "smmu");
	if (d->smmu)
		fprintf(j->f, "\"0x%llx\"", d->smmu->base);
	else
		fputs("null", j->f);
	json_open(j, "streams", '[');
	for (i = 0; i < d->nr_streams; i++)
		json_number(j, NULL, d->streams[i]);
	json_close(j, ']');
	json_key(j, "group");
	if (d->group >= 0)
		fprintf(j->f, "%d", d->group);
	else
		fputs("null", j->f);
	json_text(j, "group_type", d->group_type);
	json_text(j, "group_others", d->group_others);
	json_text(j, "direct", d->direct);
	json_bool(j, "canwbs", d->root && d->root->canwbs);
	json_text(j, "driver", d->driver);
	json_text(j, "vfio", d->vfio);
	json_text(j, "reset", d->reset);
	json_answer(j, "passthrough", d->passthrough);
	json_text(j, "why", d->why);
	json_text(j, "todo", d->todo);
	json_close(j, '}');
}

void report_json(const struct host *h, FILE *f)
{
	static const char *const sources[] = {
		[SOURCE_IORT] = "iort",
		[SOURCE_FDT] = "fdt",
	};
	struct json j = { .f = f };
	unsigned int i;

	json_open(&j, NULL, '{');
	json_number(&j, "version", 1);
	json_answer(&j, "can_nest", h->error ? UNKNOWN : h->answer);
	json_text(&j, "error", h->error);
	json_text(&j, "firmware", sources[h->source]);
	json_text(&j, "table", h->table);
	if (!h->error) {
		json_open(&j, "conditions", '[');
		for (i = 0; i < NR_CONDITIONS; i++) {
			json_item(&j);
			json_text(&j, "name", condition_names[i]);
			json_answer(&j, "met", h->conditions[i].met);
			json_text(&j, "text", h->conditions[i].text);
			json_close(&j, '}');
		}
		json_close(&j, ']');
		json_open(&j, "smmus", '[');
		for (i = 0; i < h->nr_smmus; i++)
			json_smmu(&j, &h->smmus[i]);
		json_close(&j, ']');
		json_open(&j, "masters", '[');
		for (i = 0; i < h->nr_masters; i++)
			json_master(&j, &h->masters[i]);
		json_close(&j, ']');
		json_text(&j, "release", h->release);
		json_open(&j, "options", '[');
		for (i = 0; i < NR_OPTIONS; i++) {
			json_item(&j);
			json_text(&j, "name", option_names[i]);
			json_answer(&j, "on", h->options[i].on);
			json_text(&j, "learned", h->options[i].learned);
			json_close(&j, '}');
		}
		json_close(&j, ']');
		json_open(&j, "devices", '[');
		for (i = 0; i < h->nr_devices; i++)
			json_device(&j, &h->devices[i]);
		json_close(&j, ']');
	}
	json_open(&j, "warnings", '[');
	for (i = 0; i < h->nr_warnings; i++)
		json_text(&j, NULL, h->warnings[i]);
	json_close(&j, ']');
	json_close(&j, '}');
	putc('\n', f);
}
