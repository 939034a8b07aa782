/* Exceptions, privilege changes and their frames in 64-bit mode. */
#include "long.inc"
main:
	call	init_idt

	/* faults from ring 0 */
	TRY(6, 0, ud2)
	FAULTED_AT_CODE
	cmpq	$KCODE, fcs
	EXPECT(je)
	mov	ksp, %rax
	cmp	%rax, frsp
	EXPECT(je)
	xor	%ecx, %ecx
	xor	%edx, %edx
	TRY(0, 0, div %ecx)
	FAULTED_AT_CODE
	movabs	$0x0000800000000000, %rax
	TRY(13, 0, mov (%rax), %rbx)
	FAULTED_AT_CODE
	mov	%rax, %rbp
	TRY(12, 0, mov (%rbp), %rbx)
	movq	$0x8807, TSS + 36	/* IST1: a push to a bad stack needs a good one */
	GATE(12, stubs + 12 * 16, 0x8e, 1)
	movabs	$0x0000800000000100, %rax
	TRY(12, 0, mov %rax, %rsp; push %rax)
	STUB(12)
	movabs	$0x0000800000000000, %rax
	TRY(13, 0, jmp *%rax)
	TRY(13, 0x58, mov $0x58, %ax; mov %ax, %ds)	/* outside of the GDT */
	TRY(13, 0x08, mov $0x08, %ax; mov %ax, %ss)
	TRY(13, 0, mov $0x12345, %ecx; rdmsr)
	TRY(13, 0, mov $0xffff0000, %eax; mov %rax, %cr4)

	/* software interrupts: RIP is behind */
	mov	%rsp, ksp
	movq	$2f, resume
	int3
1:	FAIL
2:	cmpq	$3, vec
	EXPECT(je)
	cmpq	$1b, frip
	EXPECT(je)
	TRY(0x45, 0, int $0x45)
	TRY(13, 0x100 * 8 + 2 - 8, int $0xff)	/* past the IDT's limit? no: an empty gate */

	/* page faults */
	TRY(14, 0, mov 0x40000000, %eax)
	FAULTED_AT_CODE
	CR2_IS(0x40000000)
	TRY(14, 2, movb $1, 0x40000123)
	CR2_IS(0x40000123)
	mov	$0x40000000, %ecx
	TRY(14, 0x10, jmp *%rcx)
	CR2_IS(0x40000000)
	TRY(14, 0, mov 0x3ffffffe, %eax)	/* crosses from a mapped page */
	CR2_IS(0x40000000)
	movabs	$0x8000010000180007, %rax	/* bit 40 is reserved */
	mov	%rax, PT + 0x180 * 8
	invlpg	0x180000
	TRY(14, 9, mov 0x180000, %eax)
	movabs	$0x8000000000180003, %rax	/* NX, supervisor */
	mov	%rax, PT + 0x180 * 8
	invlpg	0x180000
	mov	$0x180000, %ecx
	TRY(14, 0x11, jmp *%rcx)

	/* accessed and dirty */
	mov	0x180000, %eax
	mov	PT + 0x180 * 8, %eax
	cmp	$0x180023, %eax
	EXPECT(je)
	movb	$1, 0x180000
	mov	PT + 0x180 * 8, %eax
	cmp	$0x180063, %eax
	EXPECT(je)

	/* write protection */
	movq	$0x180001, PT + 0x180 * 8
	invlpg	0x180000
	movb	$2, 0x180000		/* CR0.WP = 0 */
	mov	%cr0, %rax
	or	$0x10000, %eax
	mov	%rax, %cr0
	TRY(14, 3, movb $3, 0x180000)

	/* ring 3 */
	TRY(13, 0, GO_USER(user_hlt))
	cmpq	$UCODE, fcs
	EXPECT(je)
	cmpq	$UDATA, fss
	EXPECT(je)
	cmpq	$0x9f00, frsp
	EXPECT(je)
	cmpq	$0x8f00 - 40, hrsp
	EXPECT(je)
	mov	$3, %eax			/* null, with an RPL that IRET drops */
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %fs
	mov	%eax, %gs
	TRY(13, 0, GO_USER(user_nulls))
	test	%eax, %eax
	EXPECT(jz)
	TRY(14, 5, GO_USER(user_read))
	TRY(14, 7, GO_USER(user_write))
	TRY(14, 0x15, GO_USER(user_exec))
	TRY(13, 0x45 * 8 + 2, GO_USER(user_int))
	GATE(0x45, stubs + 0x45 * 16, 0xee, 0)
	TRY(0x45, 0, GO_USER(user_int))
	cmpq	$user_int + 2, frip
	EXPECT(je)
	TRY(13, 0, GO_USER(user_cli))
	movw	$0x200, TSS + 0x66		/* no I/O map */
	TRY(13, 0, GO_USER(user_in))
	movw	$0x68, TSS + 0x66		/* I/O map: all denied but f1 */
	mov	$0x100, %ecx
1:	movb	$0xff, TSS + 0x67(%rcx)
	dec	%ecx
	jnz	1b
	andb	$~2, TSS + 0x68 + 0xf1 / 8
	TRY(0x45, 0, GO_USER(user_in))
	TRY(13, 0, GO_USER(user_in_wide))

	/* SMEP and SMAP: the user bit of our own pages would hit, so code runs without them */
	call	test_smap

	/* IST and alignment of the frame */
	movq	$0x8807, TSS + 36	/* IST1, not aligned */
	GATE(6, stubs + 6 * 16, 0x8e, 1)
	TRY(6, 0, ud2)
	cmpq	$0x8800 - 40, hrsp
	EXPECT(je)
	STUB(6)

	/* a gate that is not present: #NP with its index; then #DF */
	GATE(6, 0, 0x0e, 0)
	TRY(11, 6 * 8 + 2 + 1, ud2)
	GATE(13, 0, 0x0e, 0)
	GATE(8, stubs + 8 * 16, 0x8e, 1)
	TRY(8, 0, mov $0x38, %ax; mov %ax, %ss)	/* #NP during #GP */
	PASS

	.align 16
user_nulls:
	mov	%ds, %eax
	mov	%es, %ebx
	or	%ebx, %eax
	mov	%fs, %ebx
	or	%ebx, %eax
	mov	%gs, %ebx
	or	%ebx, %eax
	hlt
user_hlt:	hlt
user_read:	mov 0x180000, %eax
user_write:	movb $1, 0x180000
user_exec:	mov $0x180000, %eax; jmp *%rax
user_int:	int $0x45
user_cli:	cli
user_in:	in $0xf1, %al
		int $0x45
user_in_wide:	in $0xf1, %ax

/*
 * This code lives in user pages: make a supervisor alias at 2 MiB + for the tests that need one.
 */
test_smap:
	movq	$0x003, PT + 0 * 8	/* page 0: GDT and TSS */
	mov	$0x800000, %eax
	mov	%cr3, %rax
	mov	%rax, %cr3
	/* all pages of the program become supervisor's, 0x181000 stays the user's */
	xor	%ecx, %ecx
1:	andq	$~4, PT(, %rcx, 8)
	inc	%ecx
	cmp	$0x100, %ecx
	jne	1b
	mov	%cr3, %rax
	mov	%rax, %cr3
	movb	$0xc3, 0x181000		/* ret */
	mov	%cr4, %rax
	or	$0x300000, %eax		/* SMEP, SMAP */
	mov	%rax, %cr4
	mov	$0x181000, %ecx
	TRY(14, 0x11, jmp *%rcx)
	TRY(14, 1, mov 0x181000, %al)
	TRY(14, 3, mov %al, 0x181000)
	stac
	mov	0x181000, %al
	clac
	cmp	$0xc3, %al
	EXPECT(je)
	TRY(14, 1, mov 0x181000, %al)
	mov	%cr4, %rax
	and	$~0x300000, %eax
	mov	%rax, %cr4
	xor	%ecx, %ecx
1:	orq	$4, PT(, %rcx, 8)
	inc	%ecx
	cmp	$0x100, %ecx
	jne	1b
	mov	%cr3, %rax
	mov	%rax, %cr3
	ret
