/*
 * The same idea in flat 32-bit protected mode. ESI = data page, EDI = device memory, ESP = stack.
 */
	.code32
	.globl	_start
_start:
	mov	%esi, %ebp
	mov	$0x1234567, %eax
	mov	$0x89abcdef, %ebx
	mov	$50, %ecx
1:	add	%ebx, %eax
	sbb	$3, %eax
	ror	$7, %eax
	mov	%eax, (%ebp,%ecx,4)
	lea	17(%ebx,%ecx,4), %ebx
	loop	1b
	pusha
	call	2f
	popa
	mov	%eax, 512(%ebp)
	jmp	3f
2:	xorl	$0xff00ff, 32(%esp)
	ret
3:	mov	%ebx, %eax
	mul	%ebx
	mov	%edx, 516(%ebp)
	mov	$7, %ecx
	xor	%edx, %edx
	div	%ecx
	mov	%eax, 520(%ebp)
	mov	%edx, 524(%ebp)
	mov	$0x102, %dx
	out	%ax, %dx
	in	(%dx), %eax
	mov	%eax, 528(%ebp)
	mov	%eax, 16(%edi)
	mov	20(%edi), %eax
	mov	%eax, 532(%ebp)
	mov	$0x5a, %al
	out	%al, $0xf4
4:	hlt
	jmp	4b
