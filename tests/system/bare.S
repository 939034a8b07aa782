/*
 * A kernel without an operating system: greets on COM1, then ends the machine in the way that the first
 * letter of its command line names. Linked as an ELF64 kernel, entered by the Linux boot protocol.
 */
	.code64
	.globl	_start
_start:
	mov	0x228(%rsi), %ebp	/* boot_params.hdr.cmd_line_ptr */
	lea	text(%rip), %rbx
	mov	$0x3f8, %dx
1:	mov	(%rbx), %al
	test	%al, %al
	jz	2f
	out	%al, %dx
	inc	%rbx
	jmp	1b
2:	lea	stack(%rip), %rsp
	mov	(%rbp), %cl
	cmp	$'p', %cl
	je	poweroff
	cmp	$'r', %cl
	je	cf9
	cmp	$'k', %cl
	je	keyboard
	cmp	$'9', %cl
	je	port92
	cmp	$'t', %cl
	je	triple
	cmp	$'e', %cl
	je	hole
	cmp	$'d', %cl
	je	debugexit
	cmp	$'w', %cl
	je	watch
halt:	cli
3:	hlt
	jmp	3b
poweroff:			/* PM1a_CNT: SLP_EN, SLP_TYP 5 */
	mov	$0x404, %dx
	mov	$0x3400, %ax
	out	%ax, %dx
	jmp	3b
cf9:	mov	$0xcf9, %dx
	mov	$6, %al
	out	%al, %dx
	jmp	3b
keyboard:
	mov	$0xfe, %al
	out	%al, $0x64
	jmp	3b
port92:	mov	$1, %al
	out	%al, $0x92
	jmp	3b
triple:	lidt	noidt(%rip)
	xor	%edx, %edx
	div	%edx
watch:	call	tsc			/* until a key is pressed; a TSC that jumps by 2^33 halts */
	mov	%rax, %r8
4:	call	tsc
	mov	%rax, %r9
	sub	%r8, %rax
	mov	%r9, %r8
	shr	$33, %rax
	jnz	halt
	mov	$0x3fd, %dx
	in	%dx, %al
	test	$1, %al
	jz	4b
	jmp	poweroff
tsc:	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	ret
debugexit:
	mov	$0xdead15, %eax
	mov	$0xf4, %dx
	out	%eax, %dx
	jmp	cf9
hole:	mov	$0x5555, %dx
	in	%dx, %al
	jmp	cf9
	.balign	8
noidt:	.word	0
	.quad	0
text:	.asciz	"hello from nowhere\r\n"
	.bss
	.skip	256
stack:
