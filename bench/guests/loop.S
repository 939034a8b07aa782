/*
 * A tight integer loop without an operating system, for the instruction rate of an engine: 8
 * instructions an iteration, as many iterations as the command line says (decimal), then a reset
 * through port CF9. Linked as an ELF64 kernel; entered by the Linux boot protocol (RSI = zero page).
 */
	.code64
	.globl	_start
_start:
	mov	0x228(%rsi), %esi	/* boot_params.hdr.cmd_line_ptr */
	xor	%ecx, %ecx
1:	movzbl	(%rsi), %eax
	inc	%rsi
	sub	$'0', %eax
	cmp	$9, %eax
	ja	2f
	imul	$10, %rcx, %rcx
	add	%rax, %rcx
	jmp	1b
2:	test	%rcx, %rcx
	jz	done
	xor	%ebx, %ebx
	mov	$1, %edx
loop:
	add	%rdx, %rbx
	mov	%rbx, %rax
	shr	$3, %rax
	xor	%rax, %rdx
	lea	1(%rbx,%rdx,2), %rdi
	and	$0xffff, %edi
	dec	%rcx
	jnz	loop
done:
	mov	$0xcf9, %dx
	mov	$6, %al
	out	%al, %dx
3:	hlt
	jmp	3b
