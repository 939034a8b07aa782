/*
 * A Multiboot kernel: prints on COM1 what it was given, a fact a line, numbers in hexadecimal, then ends the machine
 * by the debug exit with 0x2a. With FLAT its header says where it is loaded, and it need not be an ELF file; with RESET
 * it resets the machine instead.
 */
#define MAGIC 0x1badb002
#ifdef FLAT
#define FLAGS 0x00010003
#else
#define FLAGS 0x00000003
#endif
	.code32
	.text
	.globl	_start
head:	.ascii	"not the first bytes "
	.balign	4
header:	.long	MAGIC, FLAGS, -(MAGIC + FLAGS)
#ifdef FLAT
	.long	header, head, data_end, bss_end, _start
#endif
_start:	mov	$stack, %esp
	mov	%eax, magic
	mov	%ebx, %ebp
	mov	$state, %esi		/* the machine's state: segments, CR0, flags, bss */
	mov	%cr0, %eax
	and	$0x80000001, %eax
	call	fact
	pushf
	pop	%eax
	and	$0x20200, %eax
	call	fact
	mov	zero, %eax
	call	fact
	call	newline
	mov	$t_magic, %esi
	mov	magic, %eax
	call	fact
	mov	0(%ebp), %eax
	call	fact
	mov	4(%ebp), %eax
	call	fact
	mov	8(%ebp), %eax
	call	fact
	call	newline
	mov	$t_cmdline, %esi
	call	puts
	mov	16(%ebp), %esi
	call	puts
	call	newline
	mov	$t_loader, %esi
	call	puts
	mov	64(%ebp), %esi
	call	puts
	call	newline
	mov	20(%ebp), %edi		/* modules: start, end, sum of bytes, string */
	mov	24(%ebp), %ebx
1:	test	%edi, %edi
	jz	2f
	mov	$t_module, %esi
	mov	0(%ebx), %eax
	call	fact
	mov	4(%ebx), %eax
	call	fact
	mov	0(%ebx), %ecx
	xor	%eax, %eax
3:	movzbl	(%ecx), %edx
	add	%edx, %eax
	inc	%ecx
	cmp	4(%ebx), %ecx
	jb	3b
	call	fact
	mov	8(%ebx), %esi
	call	puts
	call	newline
	add	$16, %ebx
	dec	%edi
	jmp	1b
2:	mov	48(%ebp), %ebx		/* the map of memory: base, length, type */
	mov	44(%ebp), %edi
	add	%ebx, %edi
4:	cmp	%edi, %ebx
	jae	5f
	mov	$t_memory, %esi
	mov	8(%ebx), %eax
	call	fact
	mov	4(%ebx), %eax
	call	fact
	mov	16(%ebx), %eax
	call	fact
	mov	12(%ebx), %eax
	call	fact
	mov	20(%ebx), %eax
	call	fact
	call	newline
	add	0(%ebx), %ebx
	add	$4, %ebx
	jmp	4b
5:	mov	$t_end, %esi
	call	puts
#ifdef RESET
	mov	$0xcf9, %dx
	mov	$6, %al
	out	%al, %dx
#endif
	mov	$0xf4, %dx
	mov	$0x2a, %eax
	out	%eax, %dx
6:	cli
	hlt
	jmp	6b
fact:	push	%eax			/* prints the word at ESI, then EAX; ESI is a blank from then on */
	call	puts
	pop	%eax
	mov	$8, %ecx
7:	rol	$4, %eax
	push	%eax
	and	$15, %eax
	mov	digits(%eax), %al
	call	putc
	pop	%eax
	loop	7b
	mov	$' ', %al
	call	putc
	mov	$nothing, %esi
	ret
puts:	lodsb
	test	%al, %al
	jz	8f
	call	putc
	jmp	puts
8:	ret
newline:
	mov	$'\n', %al
putc:	push	%edx
	mov	$0x3f8, %dx
	out	%al, %dx
	pop	%edx
	ret
	.data
magic:	.long	0
digits:	.ascii	"0123456789abcdef"
state:	.asciz	"state "
t_magic:	.asciz	"magic "
t_cmdline:	.asciz	"cmdline "
t_loader:	.asciz	"loader "
t_module:	.asciz	"module "
t_memory:	.asciz	"memory "
t_end:	.asciz	"end\n"
nothing:	.asciz	""
	.balign	4
data_end:
	.bss
zero:	.skip	64
	.skip	1024
stack:
bss_end:
