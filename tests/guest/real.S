/* Real mode: interrupts, faults, far transfers, limits, single step, NMI. */
#include "guest.inc"
	.code16
start:
	cli
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x9000, %sp

	/* INT n: flags, CS, IP on the stack; IF and TF clear inside */
	movl	$int21, 0x21*4
	sti
	mov	$0x1234, %ax
	int	$0x21
after21:
	cmp	$0x4321, %ax
	EXPECT(je)
	cmp	$0x9000, %sp
	EXPECT(je)
	pushf
	pop	%bx
	test	$0x200, %bx
	EXPECT(jnz)
	cli

	/* faults restart, traps do not */
	movl	$fault, 6*4
	movl	$fault, 0*4
	movl	$fault, 13*4
	movl	$trap, 3*4
	movw	$bad_ud, want_ip
	movw	$1f, resume
bad_ud:	ud2
	FAIL
1:	movw	$bad_de, want_ip
	movw	$1f, resume
	xor	%dx, %dx
	xor	%cx, %cx
bad_de:	div	%cx
	FAIL
1:	movw	$bad_gp, want_ip /* past the limit of DS */
	movw	$1f, resume
	mov	$0xffff, %bx
bad_gp:	mov	(%bx), %ax
	FAIL
1:	int3
after3:	cmpw	$after3, trap_ip
	EXPECT(je)

	/* far call and return, far jump through memory */
	lcall	$0x100, $(far_routine - 0x1000)
	cmp	$0x5555, %ax
	EXPECT(je)
	cmp	$0x9000, %sp
	EXPECT(je)
	ljmp	*far_ptr
	FAIL
landed:
	mov	%cs, %ax
	cmp	$0x10, %ax
	EXPECT(je)
	ljmp	$0, $1f
1:
	/* LES, LDS */
	les	far_ptr, %di
	mov	%es, %ax
	cmp	$0x10, %ax
	EXPECT(je)
	xor	%ax, %ax
	mov	%ax, %es

	/* single step: the trap counts instructions until TF is cleared */
	movl	$step, 1*4
	movw	$0, steps
	pushf
	pop	%ax
	or	$0x100, %ax
	push	%ax
	popf			/* TF takes effect after the next instruction */
	nop
	nop
	pushf
	pop	%ax
	and	$~0x100, %ax
	push	%ax
	popf
	nop
	cmpw	$7, steps
	EXPECT(je)

	/* NMI: taken at once, a second one only after IRET */
	movl	$nmi, 2*4
	movw	$0, nmis
	out	%al, $0xf0
	nop
	cmpw	$2, nmis
	EXPECT(je)
	cmpw	$1, nmi_depth
	EXPECT(je)

	/* unreal mode: limits survive */
	lgdt	gdtr
	mov	%cr0, %eax
	or	$1, %al
	mov	%eax, %cr0
	mov	$KDATA, %bx
	mov	%bx, %ds
	and	$~1, %al
	mov	%eax, %cr0
	xor	%ax, %ax
	mov	%ax, %ds
	mov	$0x200000, %ebx
	movl	$0xcafe, (%ebx)
	cmpl	$0xcafe, (%ebx)
	EXPECT(je)
	PASS

int21:
	cmp	$0x1234, %ax
	EXPECT(je)
	pushf
	pop	%bx
	test	$0x300, %bx
	EXPECT(jz)
	mov	%sp, %bp
	cmpw	$after21, (%bp)
	EXPECT(je)
	cmpw	$0, 2(%bp)
	EXPECT(je)
	testw	$0x200, 4(%bp)
	EXPECT(jnz)
	mov	$0x4321, %ax
	iret

fault:
	mov	%sp, %bp
	mov	%cs:want_ip, %ax
	cmp	%ax, (%bp)
	EXPECT(je)
	mov	%cs:resume, %ax
	mov	%ax, (%bp)
	iret

trap:
	mov	%sp, %bp
	mov	(%bp), %ax
	mov	%ax, trap_ip
	iret

step:
	incw	%cs:steps
	iret

nmi:
	incw	nmis
	cmpw	$1, nmis
	jne	1f
	out	%al, $0xf0	/* blocked until our IRET */
	nop
	nop
	mov	nmis, %ax
	mov	%ax, nmi_depth
1:	iret

far_routine:
	mov	$0x5555, %ax
	lret

far_ptr:	.word	landed - 0x100, 0x10
gdtr:		.word	0x57
		.long	GDT
want_ip:	.word	0
resume:		.word	0
trap_ip:	.word	0
steps:		.word	0
nmis:		.word	0
nmi_depth:	.word	0
