/*
 * A long-mode program of plain instructions for every accelerator: arithmetic with flags, memory, stack,
 * calls, string copies, ports of all widths, string I/O, device memory of all widths. RSI = data page,
 * RDI = device memory, RSP = stack. Ends by a byte to port F4.
 */
	.code64
	.globl	_start
_start:
	mov	%rsi, %rbp
	mov	$1, %rax
	mov	$0x123456789abcdef, %rbx
	mov	$40, %ecx
1:	add	%rbx, %rax
	adc	$7, %rax
	xor	%rcx, %rax
	rol	$5, %rax
	mov	%rax, (%rbp,%rcx,8)
	imul	$13, %rbx, %rbx
	sub	%rcx, %rbx
	dec	%ecx
	jnz	1b
	push	%rax
	call	2f
	pop	%rdx
	mov	%rdx, 512(%rbp)
	jmp	3f
2:	addq	$0x55, 8(%rsp)
	ret
3:	/* flags of a few operations */
	cmp	%rbx, %rax
	pushfq
	pop	%r8
	and	$0x8d5, %r8
	mov	%r8, 520(%rbp)
	test	%eax, %ebx
	pushfq
	pop	%r8
	and	$0x8c5, %r8
	mov	%r8, 528(%rbp)
	/* a copy, forwards and backwards */
	mov	%rbp, %rsi
	push	%rdi
	lea	1024(%rbp), %rdi
	mov	$64, %ecx
	cld
	rep movsb
	pop	%rdi
	/* ports */
	mov	$0x11223344, %eax
	mov	$0x100, %dx
	out	%al, %dx
	out	%ax, %dx
	out	%eax, %dx
	in	(%dx), %al
	in	(%dx), %ax
	in	(%dx), %eax
	mov	%rax, 536(%rbp)
	mov	%rbp, %rsi
	mov	$16, %ecx
	rep outsb
	mov	$4, %ecx
	rep outsl
	push	%rdi
	lea	1536(%rbp), %rdi
	mov	$8, %ecx
	rep insb
	mov	$4, %ecx
	rep insw
	pop	%rdi
	/* device memory */
	mov	$0x8877665544332211, %rax
	mov	%al, (%rdi)
	mov	%ax, 2(%rdi)
	mov	%eax, 4(%rdi)
	mov	%rax, 8(%rdi)
	movzbl	1(%rdi), %eax
	mov	%rax, 544(%rbp)
	mov	4(%rdi), %eax
	mov	%rax, 552(%rbp)
	mov	8(%rdi), %rax
	mov	%rax, 560(%rbp)
	mov	$0x5a, %al
	out	%al, $0xf4
4:	hlt
	jmp	4b
