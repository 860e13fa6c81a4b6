# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Where the image begins. The core enters the runner 0x200 bytes behind its
# load address, in 64-bit mode, with the zero page in rsi (Linux,
# Documentation/arch/x86/boot.rst). Nobody has cleared bss, and the stack is
# in it. The runner enters a child at hv_guest_child_entry with the address
# of its main function in rdi; a child's fresh memory is zero already.

.section .start, "ax", @progbits
.globl hv_guest_start
hv_guest_start:
    .skip 0x200
    cli
    cld
    movq %rsi, %rbx
    movq $bss_start, %rdi
    movq $bss_end, %rcx
    subq %rdi, %rcx
    xorl %eax, %eax
    rep stosb
    movq $hv_guest_stack_top, %rsp
    xorl %ebp, %ebp
    movq %rbx, %rdi
    callq hv_guest_runner_start
    ud2

.globl hv_guest_child_entry
hv_guest_child_entry:
    cld
    movq $hv_guest_stack_top, %rsp
    xorl %ebp, %ebp
    callq hv_guest_child_start
    ud2

.section .bss.stack, "aw", @nobits
.balign 4096
    .skip 0x10000
.globl hv_guest_stack_top
hv_guest_stack_top:
