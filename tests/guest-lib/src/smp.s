# SPDX-License-Identifier: MIT OR Apache-2.0
#
# A further vCPU's way from real mode to 64-bit code. smp.rs copies this block
# to the page 0x8000 and fills in its last fields before each start.

.set PAGE, 0x8000

.section .rodata.trampoline, "a", @progbits
.balign 16
.globl hv_guest_trampoline
hv_guest_trampoline:
.code16
    cli
    cld
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl (PAGE + 2f - hv_guest_trampoline)
    movl %cr0, %eax
    andl $0x9fffffff, %eax              # INIT leaves CD and NW set
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $(PAGE + 1f - hv_guest_trampoline)
.code32
1:
    movl $0x18, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %cr4, %eax
    orl $0x20, %eax                     # PAE
    movl %eax, %cr4
    movl (PAGE + hv_guest_trampoline_fields - hv_guest_trampoline), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER.LME
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    ljmpl $0x10, $(PAGE + 1f - hv_guest_trampoline)
.code64
1:
    movq (PAGE + 8 + hv_guest_trampoline_fields - hv_guest_trampoline), %rsp
    movq (PAGE + 16 + hv_guest_trampoline_fields - hv_guest_trampoline), %rdi
    xorl %ebp, %ebp
    movq $hv_guest_further, %rax
    callq *%rax
    ud2
.balign 8
1:
    .quad 0
    .quad 0x00cf9b000000ffff            # 08: 32-bit code
    .quad 0x00af9b000000ffff            # 10: 64-bit code
    .quad 0x00cf93000000ffff            # 18: data
2:
    .short 31
    .long PAGE + 1b - hv_guest_trampoline
.balign 8
.globl hv_guest_trampoline_fields
hv_guest_trampoline_fields:
    .quad 0                             # page table root
    .quad 0                             # stack
    .quad 0                             # index
.globl hv_guest_trampoline_end
hv_guest_trampoline_end:
