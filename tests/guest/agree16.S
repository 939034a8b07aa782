/*
 * Real mode: segments, stack, loops, ports. DS = data page / 16, SS:SP = stack.
 */
	.code16
	.globl	_start
_start:
	xor	%bx, %bx
	mov	$0x1357, %ax
	mov	$30, %cx
1:	add	%cx, %ax
	rol	$3, %ax
	mov	%ax, (%bx)
	add	$2, %bx
	loop	1b
	push	%ax
	call	2f
	pop	%dx
	mov	%dx, (%bx)
	jmp	3f
2:	incw	%cx
	ret
3:	mov	%cs, %ax
	mov	%ax, 128
	mov	$0x104, %dx
	mov	$0x77, %al
	out	%al, %dx
	in	(%dx), %al
	mov	%al, 130
	mov	$0x5a, %al
	out	%al, $0xf4
4:	hlt
	jmp	4b
