// SPDX-License-Identifier: MIT OR Apache-2.0
/*
 * Counts instructions and exits between marks, for `cargo xtask bench`: a
 * plugin of QEMU's TCG. Works on one CPU, with -icount, for any hypervisor
 * that uses AMD-V, and for a system without one.
 *
 * A mark is the eight-byte NOP 0f 1f 84 00 TT TT ef be (TT TT: what it
 * marks); rax goes with it. It works at any privilege level and is no exit.
 * A mark, and a VMRUN, should be the target of a jump: TCG shows rax as it was
 * at the beginning of its block. At each mark a line goes to the file of `out=`:
 *
 *     MARK <tag> <rax> <core> <control> <guest> <exits> [<code>=<exits>...]
 *
 * with instructions since the machine started. Whose they are: VMRUN hands
 * over to a domain, the instruction behind it belongs to the core again. The
 * domain that runs first is the control domain; a domain is told by its nested
 * page table (nCR3). Without any VMRUN everything is the core's.
 *
 * `nrip=off` leaves out this: QEMU 7.2 has no NRIP save, which every AMD CPU
 * since 2009 has, and hypervisors that want it decode instructions instead.
 * So the plugin offers the feature and stores the next instruction's address
 * itself.
 *
 * `profile=LO-HI` (hex) counts how often each instruction of the core in that
 * range ran between tags 1 and 2, in lines `AT <address> <count>`.
 *
 * Debian has no package with the plugin interface's header; what is used of it
 * is declared here as of version 1 (QEMU 4.2 to 8.x, qemu-plugin.h).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The interface, version 1. */
typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum registers { NO_REGISTERS = 0, READ_REGISTERS = 1 };
enum operation { ADD_U64 = 0 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
extern void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *, int, void *, uint64_t);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* Parts of QEMU itself, which it exports to its modules. */
static void *(*get_cpu)(int);
static int (*read_register)(void *cpu, void *bytes, int number);
static void (*physical)(uint64_t at, void *bytes, uint64_t count, bool write);
static void *(*new_bytes)(void);
static void *(*resize_bytes)(void *, unsigned);
struct bytes {
	uint8_t *data;
	unsigned length;
};
static struct bytes *scratch;

/* Offsets in a VMCB (APM Vol. 2, appendix B). */
enum { EXIT_CODE = 0x70, NCR3 = 0xb0, NEXT_RIP = 0xc8, RIP = 0x578 };
enum { CODES = 0x404 };
enum { BEGIN = 1, END = 2 };

static FILE *out;
static bool give_nrip = true;
static uint64_t executed;	/* counted by each instruction, inline */
static uint64_t counted;	/* of those, what has been given to someone */
static uint64_t core, control, guest, exits, by_code[CODES];
static uint64_t control_ncr3, vmcb;
static bool inside, inside_control;
/* The last instruction in guest mode that can exit, and the one behind it. */
static uint64_t exiting, behind;

/* The instructions behind a VMRUN. */
static uint64_t returns[64];
static int return_count;

/* Profile: counters by address, open addressing. */
enum { SLOTS = 1 << 16 };
static struct slot {
	uint64_t at, count;
} profile[SLOTS];
static uint64_t profile_low, profile_high;

static uint64_t rax_of(unsigned cpu)
{
	uint64_t value = 0;

	resize_bytes(scratch, 0);
	read_register(get_cpu(cpu), scratch, 0);
	memcpy(&value, scratch->data, sizeof(value));
	return value;
}

/* Gives what ran since the last time to whoever ran. */
static void settle(uint64_t until)
{
	uint64_t ran = until - counted;

	counted = until;
	if (!inside)
		core += ran;
	else if (inside_control)
		control += ran;
	else
		guest += ran;
}

/* Callbacks come before their instruction is counted. */
static void at_vmrun(unsigned cpu, void *unused)
{
	uint64_t ncr3 = 0;

	settle(executed + 1);
	physical(rax_of(cpu) + NCR3, &ncr3, sizeof(ncr3), false);
	if (!control_ncr3)
		control_ncr3 = ncr3;
	inside = true;
	inside_control = ncr3 == control_ncr3;
	exiting = behind = 0;
}

static void at_return(unsigned cpu, void *unused)
{
	uint64_t code = 0, rip = 0, next;

	if (!inside)
		return;
	settle(executed);
	inside = false;
	exits++;
	vmcb = rax_of(cpu);
	physical(vmcb + EXIT_CODE, &code, sizeof(code), false);
	if (code < CODES)
		by_code[code]++;
	if (!give_nrip)
		return;
	physical(vmcb + RIP, &rip, sizeof(rip), false);
	next = exiting && rip == exiting ? behind : 0;
	physical(vmcb + NEXT_RIP, &next, sizeof(next), true);
}

/* `packed`: the address, shifted left by 4, and the length. */
static void at_exiting(unsigned cpu, void *packed)
{
	exiting = (uint64_t)((int64_t)(uintptr_t)packed >> 4);
	behind = exiting + ((uintptr_t)packed & 15);
}

static void at_mark(unsigned cpu, void *tag_)
{
	unsigned tag = (uintptr_t)tag_;
	int i;

	settle(executed);
	if (tag == END)
		for (i = 0; i < SLOTS; i++)
			if (profile[i].count)
				fprintf(out, "AT %lx %lu\n", profile[i].at, profile[i].count);
	fprintf(out, "MARK %u %lu %lu %lu %lu %lu", tag, rax_of(cpu), core, control, guest, exits);
	for (i = 0; i < CODES; i++)
		if (by_code[i])
			fprintf(out, " %x=%lu", i, by_code[i]);
	fprintf(out, "\n");
	fflush(out);
	if (tag == BEGIN)
		for (i = 0; i < SLOTS; i++)
			profile[i].count = 0;
}

static struct slot *slot_of(uint64_t at)
{
	uint64_t i = at * 0x9e3779b97f4a7c15u >> 48;

	while (profile[i].at && profile[i].at != at)
		i = (i + 1) % SLOTS;
	profile[i].at = at;
	return &profile[i];
}

/* Can this instruction be the reason of an exit that moves on behind it? */
static bool can_exit(const uint8_t *code, size_t size)
{
	const uint8_t *end = code + size;

	if (size >= 2 && code[0] == 0xf3 && code[1] == 0x90)
		return true;	/* PAUSE */
	while (code < end && (*code == 0x66 || *code == 0x67 || *code == 0xf2 || *code == 0xf3 ||
			      (*code & 0xf0) == 0x40))
		code++;
	if (code == end)
		return false;
	switch (*code) {
	case 0xf4:		/* HLT */
	case 0x6c ... 0x6f:	/* INS, OUTS */
	case 0xe4 ... 0xe7:	/* IN, OUT */
	case 0xec ... 0xef:
		return true;
	case 0x0f:
		break;
	default:
		return false;
	}
	if (end - code < 2)
		return false;
	switch (code[1]) {
	case 0x08:		/* INVD, WBINVD */
	case 0x09:
	case 0x20 ... 0x23:	/* MOV CR, DR */
	case 0x30 ... 0x33:	/* WRMSR, RDTSC, RDMSR, RDPMC */
	case 0xa2:		/* CPUID */
		return true;
	case 0x01:		/* VMMCALL, XSETBV, MONITOR, RDTSCP, INVLPG ... */
		return end - code >= 3;
	default:
		return false;
	}
}

static void translate(plugin_id id, struct qemu_plugin_tb *tb)
{
	size_t count = qemu_plugin_tb_n_insns(tb);

	for (size_t n = 0; n < count; n++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, n);
		const uint8_t *code = qemu_plugin_insn_data(insn);
		size_t size = qemu_plugin_insn_size(insn);
		uint64_t at = qemu_plugin_insn_vaddr(insn);

		for (int i = 0; i < return_count; i++)
			if (returns[i] == at) {
				qemu_plugin_register_vcpu_insn_exec_cb(insn, at_return,
								       READ_REGISTERS, NULL);
				break;
			}
		if (size == 3 && !memcmp(code, "\x0f\x01\xd8", 3)) {
			bool known = false;

			for (int i = 0; i < return_count; i++)
				known |= returns[i] == at + 3;
			if (!known && return_count < 64)
				returns[return_count++] = at + 3;
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_vmrun, READ_REGISTERS, NULL);
		} else if (give_nrip && can_exit(code, size)) {
			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_exiting, NO_REGISTERS,
							       (void *)(uintptr_t)(at << 4 | size));
		} else if (size == 8 && !memcmp(code, "\x0f\x1f\x84\x00", 4) && code[6] == 0xef &&
			   code[7] == 0xbe) {
			unsigned tag = code[4] | code[5] << 8;

			qemu_plugin_register_vcpu_insn_exec_cb(insn, at_mark, READ_REGISTERS,
							       (void *)(uintptr_t)tag);
		}
		qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &executed, 1);
		if (at >= profile_low && at < profile_high)
			qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, &slot_of(at)->count, 1);
	}
}

static void at_exit(plugin_id id, void *unused)
{
	settle(executed);
	fprintf(out, "END %lu %lu %lu %lu\n", core, control, guest, exits);
	fflush(out);
}

/* Offers NRIP save: adds it to the features of AMD-V that TCG has (NPT, VGIF,
 * SVME_ADDR_CHK), in QEMU's table of what may be given to a CPU. */
static bool offer_nrip(void)
{
	uint64_t *words = dlsym(RTLD_DEFAULT, "feature_word_info");

	for (int i = 0; words && i < 4096; i++)
		if (words[i] == 0x10010001) {
			words[i] |= 1 << 3;
			return true;
		}
	return false;
}

__attribute__((visibility("default")))
int qemu_plugin_install(plugin_id id, const void *info, int count, char **arguments)
{
	const char *file = "counts";

	for (int i = 0; i < count; i++) {
		if (!strncmp(arguments[i], "out=", 4))
			file = arguments[i] + 4;
		else if (!strcmp(arguments[i], "nrip=off"))
			give_nrip = false;
		else if (sscanf(arguments[i], "profile=%lx-%lx", &profile_low, &profile_high) != 2)
			return fprintf(stderr, "counter: %s?\n", arguments[i]), 1;
	}
	get_cpu = dlsym(RTLD_DEFAULT, "qemu_get_cpu");
	read_register = dlsym(RTLD_DEFAULT, "x86_cpu_gdb_read_register");
	physical = dlsym(RTLD_DEFAULT, "cpu_physical_memory_rw");
	new_bytes = dlsym(RTLD_DEFAULT, "g_byte_array_new");
	resize_bytes = dlsym(RTLD_DEFAULT, "g_byte_array_set_size");
	if (!get_cpu || !read_register || !physical || !new_bytes || !resize_bytes)
		return fprintf(stderr, "counter: this QEMU hides what is needed of it\n"), 1;
	if (give_nrip && !offer_nrip())
		return fprintf(stderr, "counter: NRIP save can't be offered\n"), 1;
	scratch = new_bytes();
	out = fopen(file, "w");
	if (!out)
		return fprintf(stderr, "counter: can't write %s\n", file), 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	qemu_plugin_register_atexit_cb(id, at_exit, NULL);
	return 0;
}
