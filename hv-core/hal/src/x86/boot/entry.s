# SPDX-License-Identifier: MIT OR Apache-2.0
#
# From a multiboot loader's 32-bit protected mode to 64-bit code in the high
# half. On entry: eax = the loader's magic, ebx = physical address of its
# information, paging off, interrupts off, flat segments (Multiboot 0.6.96
# section 3.2, Multiboot2 section 3.3).
#
# The early tables map the first 4 GiB three times, writable and executable:
# 1:1, at the direct map, and (1 GiB) at the image's link address. They live
# until paging.rs has built the final ones.

.section .boot.header, "a", @progbits
.balign 8
mb1_header:
    .long 0x1badb002
    .long 0x00010003                    # page-aligned modules, memory map, address fields
    .long -(0x1badb002 + 0x00010003)
    .long mb1_header
    .long mb1_header                    # load_addr: the header opens the image
    .long image_load_end_phys
    .long image_end_phys
    .long boot_entry

.balign 8
mb2_header:
    .long 0xe85250d6
    .long 0                             # i386 protected mode
    .long mb2_end - mb2_header
    .long -(0xe85250d6 + (mb2_end - mb2_header))
    .balign 8
    .short 1, 0                         # information request
    .long 16
    .long 6, 1                          # memory map, command line
    .balign 8
    .short 2, 0                         # addresses
    .long 24
    .long mb2_header
    .long mb1_header
    .long image_load_end_phys
    .long image_end_phys
    .balign 8
    .short 3, 0                         # entry
    .long 12
    .long boot_entry
    .balign 8
    .short 6, 0                         # modules on page boundaries
    .long 8
    .balign 8
    .short 0, 0
    .long 8
mb2_end:

.section .boot.text, "ax", @progbits
.code32
.globl boot_entry
boot_entry:
    cli
    cld
    movl %eax, %ebp                     # keep magic in ebp, information in ebx

    # A loader need not clear bss in a flat image.
    movl $bss_start_phys, %edi
    movl $image_end_phys, %ecx
    subl %edi, %ecx
    shrl $2, %ecx
    xorl %eax, %eax
    rep stosl

    # Long mode (CPUID 8000_0001h EDX bit 29) is the least that is needed.
    movl %ebx, %esi
    movl $0x80000000, %eax
    cpuid
    cmpl $0x80000001, %eax
    jb 9f
    movl $0x80000001, %eax
    cpuid
    btl $29, %edx
    jnc 9f

    # Four page directories of 2 MiB leaves: 0..4 GiB, present, writable.
    movl $early_tables_phys + 0x3000, %edi
    movl $0x83, %eax
    movl $2048, %ecx
1:  movl %eax, (%edi)
    addl $0x200000, %eax
    addl $8, %edi
    loop 1b

    # PDPT of the low 4 GiB, used 1:1 and as the direct map.
    movl $early_tables_phys, %edi
    leal 0x3003(%edi), %eax
    movl %eax, 0x1000(%edi)
    addl $0x1000, %eax
    movl %eax, 0x1008(%edi)
    addl $0x1000, %eax
    movl %eax, 0x1010(%edi)
    addl $0x1000, %eax
    movl %eax, 0x1018(%edi)
    # PDPT of the image: entry 510 is 0xffff_ffff_8000_0000.
    leal 0x3003(%edi), %eax
    movl %eax, 0x2ff0(%edi)
    # PML4: 0 = 1:1, 256 = direct map, 511 = image.
    leal 0x1003(%edi), %eax
    movl %eax, 0x000(%edi)
    movl %eax, 0x800(%edi)
    addl $0x1000, %eax
    movl %eax, 0xff8(%edi)

    movl %edi, %cr3
    movl %cr4, %eax
    orl $0x20, %eax                     # PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx              # EFER.LME
    rdmsr
    orl $0x100, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80010001, %eax               # PG, WP, PE
    movl %eax, %cr0
    lgdtl early_gdt_pointer
    ljmpl $0x08, $early_long

    # "hv: no 64-bit CPU" on COM1, as the firmware left it, then stop.
9:  movl $early_refusal, %esi
    movw $0x3f8, %dx
2:  lodsb
    testb %al, %al
    jz 3f
    outb %al, %dx
    jmp 2b
3:  hlt
    jmp 3b

early_refusal:
    .asciz "\r\nPANIC: hv needs a 64-bit CPU\r\n"

.balign 8
early_gdt:
    .quad 0
    .quad 0x00af9b000000ffff            # 64-bit code
    .quad 0x00cf93000000ffff            # data
early_gdt_pointer:
    .short 23
    .long early_gdt

.code64
early_long:
    movabsq $high_entry, %rax
    jmpq *%rax

.section .text.high_entry, "ax", @progbits
high_entry:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    xorl %eax, %eax
    movl %eax, %fs
    movl %eax, %gs
    leaq early_stack_end(%rip), %rsp
    movl %ebp, %edi                     # magic
    # esi: information
    xorl %ebp, %ebp                     # the backtrace ends here
    callq early_main
    ud2

.section .bss.pages, "aw", @nobits
.balign 0x1000
.globl early_tables
early_tables:
    .skip 0x7000
early_stack:
    .skip 0x10000
early_stack_end:
    .skip 0x4000
.globl early_fault_stack_end
early_fault_stack_end:
