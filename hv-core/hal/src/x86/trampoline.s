# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The way of a further CPU from real mode to 64-bit code. This block is copied
# to a page below 1 MiB, where the startup interrupt makes the CPU begin with
# cs = page >> 4 and ip = 0; ebx holds the page's address from then on. smp.rs
# fills in the fields at its end, by the names below, before each start.

.section .rodata.trampoline, "a", @progbits
.balign 16
.globl trampoline_start
trampoline_start:
.code16
    cli
    cld
    xorl %ebx, %ebx
    movw %cs, %bx
    movw %bx, %ds
    shll $4, %ebx
    lgdtl trampoline_gdt_pointer - trampoline_start
    movl %cr0, %eax
    andl $0x9fffffff, %eax              # INIT leaves CD and NW set
    orl $1, %eax                        # PE
    movl %eax, %cr0
    ljmpl *(trampoline_far_32 - trampoline_start)

.code32
trampoline_32:
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %cr4, %eax
    orl $0x20, %eax                     # PAE
    movl %eax, %cr4
    movl (trampoline_root - trampoline_start)(%ebx), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER: LME, NXE
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010000, %eax               # PG, WP
    movl %eax, %cr0
    ljmpl *(trampoline_far_64 - trampoline_start)(%ebx)

.code64
trampoline_64:
    movq (trampoline_stack - trampoline_start)(%rbx), %rsp
    movq (trampoline_cpu - trampoline_start)(%rbx), %rdi
    movq (trampoline_entry - trampoline_start)(%rbx), %rax
    xorl %ebp, %ebp                     # the backtrace ends here
    callq *%rax
    ud2

.balign 8
trampoline_gdt:
    .quad 0
    .quad 0x00cf9b000000ffff            # 08: 32-bit code
    .quad 0x00af9b000000ffff            # 10: 64-bit code
    .quad 0x00cf93000000ffff            # 18: data
.globl trampoline_fields
trampoline_fields:
trampoline_stack:
    .quad 0
trampoline_cpu:
    .quad 0
trampoline_entry:
    .quad 0
trampoline_root:
    .quad 0
trampoline_far_32:
    .long trampoline_32 - trampoline_start
    .long 0x08
trampoline_far_64:
    .long trampoline_64 - trampoline_start
    .long 0x10
trampoline_gdt_pointer:
    .short 31
    .long trampoline_gdt - trampoline_start
    .short 0
.globl trampoline_end
trampoline_end:
