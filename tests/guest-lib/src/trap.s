# SPDX-License-Identifier: MIT OR Apache-2.0
#
# 256 entries of 16 bytes and their common part, which stores the registers
# as trap.rs' Frame has them; and the two ends of `catch`. gs:8 is the CPU's
# `jump` (descriptor.rs).

.section .text.trap, "ax", @progbits
.balign 16
.globl hv_guest_traps
hv_guest_traps:
.set vector, 0
.rept 256
    .balign 16
    .if !((vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30))
    pushq $0
    .endif
    pushq $vector
    jmp hv_guest_trap_common
    .set vector, vector + 1
.endr

.balign 16
hv_guest_trap_common:
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
    callq hv_guest_trap
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

# hv_guest_catch(function, argument): calls it; 0 when it came back, 1 when a
# fault was caught, which makes the trap handler go on at the landing with
# the stack as it is here.
.globl hv_guest_catch
hv_guest_catch:
    pushq %rbx
    pushq %rbp
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    pushfq
    pushq %gs:8
    subq $8, %rsp
    movq %rsp, %gs:8
    movq %rdi, %rax
    movq %rsi, %rdi
    callq *%rax
    xorl %eax, %eax
1:
    addq $8, %rsp
    popq %gs:8
    popfq
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbp
    popq %rbx
    ret
.globl hv_guest_landing
hv_guest_landing:
    movl $1, %eax
    jmp 1b
