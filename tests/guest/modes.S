/* Real -> protected -> long -> compatibility -> protected -> real. */
#include "guest.inc"
	.code16
	cli
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	$0x9000, %sp
	lgdt	gdtr
	mov	%cr0, %eax
	or	$1, %eax
	mov	%eax, %cr0
	ljmp	$KCODE32, $prot
	.code32
prot:
	mov	$KDATA, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	$0x9000, %esp
	/* tables: 1 GiB in one page */
	movl	$0x101007, 0x100000
	movl	$0, 0x100004
	movl	$0x87, 0x101000
	movl	$0, 0x101004
	mov	$0x20, %eax
	mov	%eax, %cr4
	mov	$0x100000, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x100, %eax
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	/* compatibility mode now: LMA is set */
	mov	$0xc0000080, %ecx
	rdmsr
	test	$0x400, %eax
	EXPECT(jnz)
	ljmp	$KCODE, $long
	.code64
long:
	movabs	$0x123456789abcdef0, %rax
	mov	%rax, %r9
	shr	$32, %r9
	cmp	$0x12345678, %r9d
	EXPECT(je)
	lea	long(%rip), %rbx
	cmp	$long, %rbx
	EXPECT(je)
	mov	%rsp, %rbp
	push	$-2
	pop	%rdx
	cmp	$-2, %rdx
	EXPECT(je)
	cmp	%rsp, %rbp
	EXPECT(je)
	/* back to compatibility mode by a far return */
	pushq	$KCODE32
	pushq	$compat
	lretq
	.code32
compat:
	mov	$0xffffffff, %eax
	inc	%eax
	EXPECT(jz)
	mov	%cr0, %eax
	and	$0x7fffffff, %eax
	mov	%eax, %cr0
	mov	$0xc0000080, %ecx
	rdmsr
	test	$0x400, %eax
	EXPECT(jz)
	and	$~0x100, %eax
	wrmsr
	xor	%eax, %eax
	mov	%eax, %cr4
	ljmp	$CODE16, $prot16
	.code16
prot16:
	mov	$DATA16, %ax
	mov	%ax, %ds
	mov	%ax, %es
	mov	%ax, %ss
	mov	%cr0, %eax
	and	$~1, %eax
	mov	%eax, %cr0
	ljmp	$0, $real
real:
	xor	%ax, %ax
	mov	%ax, %ds
	mov	%ax, %ss
	mov	$0x9000, %sp
	mov	$0xffff, %ax
	inc	%ax
	EXPECT(jz)
	PASS
gdtr:	.word	0x57
	.long	GDT
