# SPDX-License-Identifier: MIT OR Apache-2.0
#
# 256 entries of 16 bytes, one for each vector, and their common part, which
# stores the general registers as trap.rs' Frame has them. Vectors without an
# error code of their own get a zero. The CPU aligns the stack to 16 bytes
# before it pushes five words; with error, vector and 15 registers it is
# aligned again at the call. There is no frame of its own in the rbp chain,
# so a backtrace passes through to what was interrupted.

.section .text.trap, "ax", @progbits
.balign 16
.globl trap_entries
trap_entries:
.set vector, 0
.rept 256
    .balign 16
    .if !((vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30))
    pushq $0
    .endif
    pushq $vector
    jmp trap_common
    .set vector, vector + 1
.endr

.balign 16
trap_common:
    pushq %rax
    pushq %rcx
    pushq %rdx
    pushq %rbx
    pushq %rbp
    pushq %rsi
    pushq %rdi
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %r11
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    cld
    movq %rsp, %rdi
    callq trap_taken
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %r11
    popq %r10
    popq %r9
    popq %r8
    popq %rdi
    popq %rsi
    popq %rbp
    popq %rbx
    popq %rdx
    popq %rcx
    popq %rax
    addq $16, %rsp
    iretq
