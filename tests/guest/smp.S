/*
 * Code that several CPUs write, remap and execute: four of them run every test together. r14 is a CPU's
 * number, r15 counts the barriers that it has passed.
 */
#include "long.inc"

#define CPUS 4
#define XM 0x40000	/* routine and reader of cross-modifying code, in one page */
#define FAR 0x42000	/* a routine in a page of its own */
#define EDGE 0x50000	/* two pages for each CPU */
#define SLOTS 0x60000	/* a page in which each CPU has a routine */
#define V_DATA 0x70000	/* addresses that are remapped */
#define V_CODE 0x71000
#define V_CR3 0x72000	/* data, then code: another frame in each address space */
#define V_ONE 0x74000	/* two addresses of one frame */
#define V_TWO 0x75000
#define FRAMES 0x80000
#define TABLES_B 0x104000 /* PML4, PDPT, PD, PT of the second address space */
#define MANY 0x200000	/* routines enough to fill a small cache */
#define NMANY 4096
#define POISON 0xdead
#define PTE(v) PT + (v) / 0x1000 * 8

main:
	call	init_idt
	GATE(0x42, on_shootdown, 0x8e, 0)
	xor	%r14d, %r14d
	xor	%r15d, %r15d
	movl	$1, cpus
	mov	$0x100, %eax
1:	mov	$start_ap, %ebx		/* its page is the vector */
	shr	$12, %ebx
	mov	%bl, %al
	out	%ax, $0xf5
	add	$0x100, %eax
	cmp	$CPUS * 0x100, %eax
	jb	1b
2:	pause
	cmpl	$CPUS, cpus
	jne	2b

/* A test is a routine that CPU 0 prepares for all, and one that all execute. */
#define RUN(name) call barrier; test %r14d, %r14d; jnz 70f; call name##_setup; 70: call barrier; call name
all:
	RUN(near)
	RUN(distant)
	RUN(edges)
	RUN(slots)
	RUN(shootdown)
	RUN(spaces)
	RUN(aliases)
	RUN(many)
	call	barrier
	test	%r14d, %r14d
	jnz	1f
	PASS
1:	cli
	hlt
	jmp	1b

	.align 8
cpus:	.long 0
arrived: .long 0
shared:	.long 0			/* the newest value that is in force */
acks:	.long 0

barrier:
	add	$CPUS, %r15d
	lock incl arrived
1:	pause
	cmp	%r15d, arrived
	jl	1b
	ret

/* --- code that CPU 0 rewrites and the others call; stores of several kinds --- */

/*
 * rdi: a routine, mov $imm32, %eax; ret with the immediate at rdi + 1. Calls it with 1, 2, ... in it. rbx:
 * another immediate.
 */
rewrite:
	mov	$1, %ebp
1:	mov	%ebp, %eax
	and	$3, %eax
	jz	2f
	cmp	$2, %eax
	jb	3f
	je	4f
	mov	%rdi, %rdx		/* a string */
	mov	%ebp, word
	mov	$word, %esi
	inc	%rdi
	mov	$4, %ecx
	rep movsb
	mov	%rdx, %rdi
	jmp	5f
2:	mov	%ebp, 1(%rdi)
	jmp	5f
3:	mov	%ebp, %eax
	xchg	%eax, 1(%rdi)
	jmp	5f
4:	movups	-3(%rdi), %xmm0		/* the whole routine */
	movups	%xmm0, vector
	mov	%ebp, vector + 4
	movups	vector, %xmm0
	movups	%xmm0, -3(%rdi)
5:	mov	%ebp, (%rbx)
	mov	%ebp, shared
	call	*%rdi
	cmp	%ebp, %eax
	EXPECT(je)
	inc	%ebp
	cmp	$250, %ebp		/* one byte: never torn */
	jne	1b
	movl	$-1, shared
	ret
	.align 16
vector:	.quad 0, 0
word:	.long 0

near_setup:
	movl	$0, shared
	mov	$near_code, %esi
	mov	$XM, %edi
	mov	$(near_end - near_code), %ecx
	rep movsb
	ret
near:
	mov	$XM + 3, %edi
	mov	$XM + (near_immediate - near_code), %ebx
	test	%r14d, %r14d
	jz	rewrite
	mov	$XM + (near_reader - near_code), %eax
	cmp	$2, %r14d
	jb	1f
	mov	$XM + (near_loop - near_code), %eax
1:	call	*%rax
	cmp	$1, %eax
	EXPECT(je)
	ret

/* Copied: what is called is at the same distance there. A value that was announced must be seen. */
near_code:
	.byte	0x90, 0x90, 0x90
near_routine:
	mov	$0, %eax
	ret
	.align 64
near_reader:
	mov	shared, %ebx
	cmp	$-1, %ebx
	je	2f
	call	near_routine
	cmp	%ebx, %eax
	jae	near_reader
	xor	%eax, %eax
	ret
2:	mov	$1, %eax
	ret
	.align 64
near_loop:				/* the same without calls: by jumps inside the page alone */
	mov	shared, %ebx
	cmp	$-1, %ebx
	jne	3f
	mov	$1, %eax
	ret
3:	jmp	near_routine_too
	.align 64
near_routine_too:
	.byte	0x90, 0x90, 0x90, 0xb8	/* mov $imm32, %eax */
near_immediate:
	.long	0
	cmp	%ebx, %eax
	jae	near_loop
	xor	%eax, %eax
	ret
near_end:

distant_setup:
	movl	$0, shared
	movabs	$0x00000000b8909090, %rax
	mov	%rax, FAR
	movq	$0xc3, FAR + 8
	ret
distant:
	mov	$FAR + 3, %edi
	mov	$word, %ebx
	test	%r14d, %r14d
	jz	rewrite
1:	mov	shared, %ebx
	cmp	$-1, %ebx
	je	2f
	call	*%rdi
	cmp	%ebx, %eax
	jae	1b
	FAIL
2:	ret

/* --- instructions at the edge of a page, rewritten by the CPU that executes them --- */
edges_setup:
	ret
edges:
	mov	%r14d, %edi
	shl	$13, %edi
	add	$EDGE + 0x1000, %edi	/* the second page */
	mov	$1, %ebp		/* bytes in the first one */
1:	mov	%rdi, %rsi
	sub	%rbp, %rsi
	movb	$0xb8, (%rsi)
	movb	$0xc3, 5(%rsi)
	mov	$100, %ecx
2:	mov	%ecx, 1(%rsi)		/* crosses as the instruction does */
	call	*%rsi
	cmp	%ecx, %eax
	EXPECT(je)
	incb	4(%rsi)			/* the second page alone */
	call	*%rsi
	lea	0x1000000(%rcx), %ebx
	cmp	%ebx, %eax
	EXPECT(je)
	incb	1(%rsi)			/* the first one, or the second one's first byte */
	call	*%rsi
	inc	%ebx
	cmp	%ebx, %eax
	EXPECT(je)
	dec	%ecx
	jnz	2b
	inc	%ebp
	cmp	$6, %ebp
	jne	1b
	/* a store at the end of a page to the instruction behind it, which is in the next one */
	movw	$0x0788, -2(%rdi)	/* mov %al, (%rdi), where rdi points to */
	movb	$0xb3, (%rdi)		/* the immediate of mov $imm8, %bl */
	movw	$0xc300, 1(%rdi)
	lea	-2(%rdi), %rsi
	inc	%rdi
	xor	%eax, %eax
3:	call	*%rsi
	cmp	%al, %bl
	EXPECT(je)
	inc	%al
	jnz	3b
	ret

/* --- all write and execute in one page --- */
slots_setup:
	ret
slots:
	mov	%r14d, %edi
	shl	$4, %edi		/* four in a line */
	add	$SLOTS, %edi
	movb	$0xb8, (%rdi)
	movb	$0xc3, 5(%rdi)
	mov	%r14d, %ebp
1:	mov	%ebp, 1(%rdi)
	call	*%rdi
	cmp	%ebp, %eax
	EXPECT(je)
	call	*%rdi
	cmp	%ebp, %eax
	EXPECT(je)
	add	$0x10101, %ebp
	cmp	$0x10101 * 500, %ebp
	jb	1b
	ret

/* --- TLB shootdown: CPU 0 remaps data and code, poisons the old frames when all have answered --- */
on_shootdown:
	invlpg	V_DATA
	invlpg	V_CODE
	lock incl acks
	iretq

shootdown_setup:
	movl	$0, shared
	movl	$0, FRAMES
	movb	$0xb8, FRAMES + 0x2000
	movl	$0, FRAMES + 0x2001
	movb	$0xc3, FRAMES + 0x2005
	movb	$0xb8, FRAMES + 0x3000
	movb	$0xc3, FRAMES + 0x3005
	movq	$FRAMES + 7, PTE(V_DATA)
	movq	$FRAMES + 0x2007, PTE(V_CODE)
	ret
shootdown:
	invlpg	V_DATA			/* the others had it mapped 1:1 */
	invlpg	V_CODE
	call	barrier
	test	%r14d, %r14d
	jz	remap
	sti
1:	mov	shared, %ebx
	cmp	$-1, %ebx
	je	2f
	mov	V_DATA, %eax
	cmp	%ebx, %eax
	EXPECT(jae)
	cmp	$POISON, %eax
	EXPECT(jb)
	mov	$V_CODE, %ecx
	call	*%rcx
	cmp	%ebx, %eax
	EXPECT(jae)
	cmp	$POISON, %eax
	EXPECT(jb)
	pause
	jmp	1b
2:	cli
	ret
remap:
	mov	$1, %ebp
1:	mov	%ebp, %edi
	and	$1, %edi
	shl	$12, %edi		/* 0 or 1000 */
	mov	%edi, %esi
	xor	$0x1000, %esi		/* the old ones */
	mov	%ebp, FRAMES(%rdi)
	mov	%ebp, FRAMES + 0x2001(%rdi)
	lea	FRAMES + 7(%rdi), %rax
	mov	%rax, PTE(V_DATA)
	add	$0x2000, %rax
	mov	%rax, PTE(V_CODE)
	invlpg	V_DATA
	invlpg	V_CODE
	movl	$0, acks
	mov	$0x142, %eax
2:	out	%ax, $0xf6
	add	$0x100, %eax
	cmp	$CPUS * 0x100, %eax
	jb	2b
3:	pause
	cmpl	$CPUS - 1, acks
	jne	3b
	movl	$POISON, FRAMES(%rsi)
	movl	$POISON, FRAMES + 0x2001(%rsi)
	mov	%ebp, shared
	cmp	%ebp, V_DATA
	EXPECT(je)
	mov	$V_CODE, %ecx
	call	*%rcx
	cmp	%ebp, %eax
	EXPECT(je)
	inc	%ebp
	cmp	$40, %ebp		/* each takes turns of all: slow on a busy host */
	jne	1b
	movl	$-1, shared
	ret

/* --- two address spaces, without and with PCIDs --- */
spaces_setup:
	mov	$TABLES_B + 0x1007, %eax
	mov	%rax, TABLES_B
	add	$0x1000, %eax
	mov	%rax, TABLES_B + 0x1000
	mov	$0x102000, %esi		/* PD and PT are copies */
	mov	$TABLES_B + 0x2000, %edi
	mov	$0x400, %ecx
	rep movsq
	movq	$TABLES_B + 0x3007, TABLES_B + 0x2000
	movq	$FRAMES + 0x4007, PTE(V_CR3)
	movq	$FRAMES + 0x5007, PTE(V_CR3 + 0x1000)
	movq	$FRAMES + 0x6007, TABLES_B + 0x3000 + V_CR3 / 0x1000 * 8
	movq	$FRAMES + 0x7007, TABLES_B + 0x3000 + (V_CR3 + 0x1000) / 0x1000 * 8
	movl	$0xa1, FRAMES + 0x4000
	movl	$0xa2b0, FRAMES + 0x5000	/* mov $0xa2, %al */
	movb	$0xc3, FRAMES + 0x5002
	movl	$0xb1, FRAMES + 0x6000
	movl	$0xb2b0, FRAMES + 0x7000
	movb	$0xc3, FRAMES + 0x7002
	ret

#define IN_SPACE(data, code) \
	cmpl $(data), V_CR3; EXPECT(je); mov $V_CR3 + 0x1000, %edx; call *%rdx; cmp $(code), %al; EXPECT(je)
spaces:
	mov	%cr3, %rsi
	mov	$TABLES_B, %edi
	call	both_spaces
	mov	%cr4, %rax
	or	$0x20000, %eax		/* PCIDE */
	mov	%rax, %cr4
	inc	%esi			/* PCID 1, flushed by the first switch, */
	add	$2, %edi		/* and 2 */
	mov	%rsi, %cr3
	mov	%rdi, %cr3
	bts	$63, %rsi		/* not any more */
	bts	$63, %rdi
	call	both_spaces
	mov	$0x100000, %eax
	mov	%rax, %cr3
	mov	%cr4, %rax
	and	$~0x20000, %eax
	mov	%rax, %cr4
	ret
both_spaces:
	mov	$200, %ecx
1:	mov	%rsi, %cr3
	IN_SPACE(0xa1, 0xa2)
	mov	%rdi, %cr3
	IN_SPACE(0xb1, 0xb2)
	IN_SPACE(0xb1, 0xb2)
	dec	%ecx
	jnz	1b
	mov	%rsi, %cr3
	ret

/* --- one frame at two addresses; CPU 0 takes one of them away and gives it back --- */
aliases_setup:
	mov	$alias_code, %esi
	mov	$FRAMES + 0x8000, %edi
	mov	$(alias_end - alias_code), %ecx
	rep movsb
	movl	$0xc307b0, FRAMES + 0x9000 /* mov $7, %al; ret */
	movq	$FRAMES + 0x8007, PTE(V_ONE)
	movq	$FRAMES + 0x8007, PTE(V_TWO)
	ret
aliases:
	invlpg	V_ONE
	invlpg	V_TWO
	call	barrier
	mov	$300, %ebp
1:	mov	$V_TWO, %edi
	call	*%rdi
	cmp	%rdi, %rax
	EXPECT(je)
	test	%r14d, %r14d
	jnz	2f
	mov	$V_ONE, %edi
	call	*%rdi
	cmp	%rdi, %rax
	EXPECT(je)
	movq	$FRAMES + 0x9007, PTE(V_ONE)
	invlpg	V_ONE
	call	*%rdi
	cmp	$7, %al
	EXPECT(je)
	movq	$FRAMES + 0x8007, PTE(V_ONE)
	invlpg	V_ONE
2:	dec	%ebp
	jnz	1b
	ret
alias_code:				/* where am I? */
	mov	$3, %ecx
1:	dec	%ecx
	jnz	1b
	call	2f
	ret
2:	lea	alias_code(%rip), %rax
	ret
alias_end:

/* --- more code than a small cache holds --- */
many_setup:
	mov	$MANY, %edi
	xor	%ebp, %ebp
1:	movb	$0xb8, (%rdi)		/* mov $number, %eax */
	mov	%ebp, 1(%rdi)
	mov	$5, %ecx
2:	movb	$5, (%rdi, %rcx)	/* add $number, %eax, 16 times */
	mov	%ebp, 1(%rdi, %rcx)
	add	$5, %ecx
	cmp	$85, %ecx
	jne	2b
	movb	$0xc3, (%rdi, %rcx)
	add	$0x100, %edi
	inc	%ebp
	cmp	$NMANY, %ebp
	jne	1b
	ret
many:
	lea	1(%r14, %r14), %esi	/* every CPU in another order: an odd stride */
	mov	$3 * NMANY, %ecx
	xor	%ebp, %ebp
1:	mov	%ebp, %edi
	shl	$8, %edi
	add	$MANY, %edi
	call	*%rdi
	mov	%ebp, %ebx
	shl	$4, %ebx
	add	%ebp, %ebx
	cmp	%ebx, %eax
	EXPECT(je)
	add	%esi, %ebp
	and	$NMANY - 1, %ebp
	dec	%ecx
	jnz	1b
	ret

/* --- the way of the other CPUs from real mode --- */
	.align 4096
	.code16
start_ap:
	cli
	xor	%ax, %ax
	mov	%ax, %ds
	lgdtl	gdtr
	mov	$0x620, %eax		/* PAE, OSFXSR, OSXMMEXCPT */
	mov	%eax, %cr4
	mov	$0x100000, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	mov	$0xd01, %eax		/* SCE, LME, NXE */
	xor	%edx, %edx
	wrmsr
	mov	$0x80000011, %eax
	mov	%eax, %cr0
	ljmpl	$KCODE, $long_ap
	.code64
long_ap:
	mov	$KDATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	$1, %r14d
	lock xadd %r14d, cpus
	xor	%r15d, %r15d
	mov	%r14d, %esp
	shl	$12, %esp
	add	$0x9000, %esp		/* a000, b000, c000 */
	lidt	idtr
	jmp	all
