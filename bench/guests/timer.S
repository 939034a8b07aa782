/*
 * How late timer interrupts are: sleeps in HLT until the local APIC's timer fires, 2 ms from now, and
 * prints by how many TSC cycles the handler was late; as many times as there are lines of SAMPLES, first in
 * TSC-deadline mode, then in one-shot mode. Prints to COM1: the TSC's frequency, then a line each, all in
 * hexadecimal; then resets through port CF9. Linked as an ELF64 kernel.
 */
#define SAMPLES 1000
#define VECTOR 0x40
#define APIC_BASE 0x1b
#define TSC_DEADLINE 0x6e0
#define X2APIC_EOI 0x80b
#define X2APIC_SVR 0x80f
#define X2APIC_LVT_TIMER 0x832
#define X2APIC_INITIAL 0x838
#define X2APIC_DIVIDE 0x83e
#define WRMSR(n) mov $(n), %ecx; xor %edx, %edx; wrmsr

	.code64
	.globl	_start
_start:
	cli
	mov	$stack, %esp
	/* the gate of VECTOR */
	mov	$on_timer, %eax
	mov	%ax, idt + VECTOR * 16
	mov	%cs, idt + VECTOR * 16 + 2
	movw	$0x8e00, idt + VECTOR * 16 + 4
	shr	$16, %eax
	mov	%ax, idt + VECTOR * 16 + 6
	lidt	idtr
	/* CPUID 15H: TSC = crystal * ebx / eax */
	mov	$0x15, %eax
	cpuid
	mov	%eax, %esi
	mov	%ecx, %r13d		/* crystal */
	mov	%ecx, %eax
	mul	%rbx
	div	%rsi
	mov	%rax, %r12		/* TSC frequency */
	call	print
	mov	$APIC_BASE, %ecx
	rdmsr
	or	$0xc00, %eax
	wrmsr
	mov	$0x1ff, %eax
	WRMSR(X2APIC_SVR)
	mov	$0xb, %eax		/* divide by 1 */
	WRMSR(X2APIC_DIVIDE)

	mov	$(2 << 17 | VECTOR), %eax
	WRMSR(X2APIC_LVT_TIMER)
	mov	$SAMPLES, %ebp
1:	call	interval
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	lea	(%rax, %rbx), %r15	/* due */
	mov	%r15, %rax
	mov	%r15, %rdx
	shr	$32, %rdx
	mov	$TSC_DEADLINE, %ecx
	wrmsr
	call	sleep
	dec	%ebp
	jnz	1b

	mov	$VECTOR, %eax
	WRMSR(X2APIC_LVT_TIMER)
	mov	$SAMPLES, %ebp
2:	call	interval
	mov	%rbx, %rax		/* the same in ticks of the crystal */
	mul	%r13
	div	%r12
	mov	%eax, %esi
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	lea	(%rax, %rbx), %r15
	mov	%esi, %eax
	WRMSR(X2APIC_INITIAL)
	call	sleep
	dec	%ebp
	jnz	2b

	mov	$0xcf9, %dx
	mov	$6, %al
	out	%al, %dx
3:	hlt
	jmp	3b

/* rbx: 2 ms and a little that differs each time */
interval:
	xor	%edx, %edx
	mov	%r12, %rax
	mov	$500, %ecx
	div	%rcx
	mov	%rax, %rbx
	imul	$7919, %rbp, %rax
	and	$0xfffff, %eax
	add	%rax, %rbx
	ret

/* Until the interrupt; prints how late it was. */
sleep:
	movb	$0, fired
1:	sti
	hlt
	cli
	cmpb	$0, fired
	je	1b
	mov	%r14, %rax
	sub	%r15, %rax
	jmp	print

on_timer:
	push	%rax
	push	%rdx
	push	%rcx
	rdtsc
	shl	$32, %rdx
	lea	(%rax, %rdx), %r14
	movb	$1, fired
	xor	%eax, %eax
	WRMSR(X2APIC_EOI)
	pop	%rcx
	pop	%rdx
	pop	%rax
	iretq

/* rax in hexadecimal, and a line feed */
print:
	mov	%rax, %rdi
	mov	$16, %esi
1:	rol	$4, %rdi
	mov	%edi, %eax
	and	$15, %eax
	mov	digits(%rax), %al
	call	put
	dec	%esi
	jnz	1b
	mov	$'\n', %al
put:
	mov	%eax, %ebx
	mov	$0x3fd, %edx
1:	in	%dx, %al
	test	$0x20, %al
	jz	1b
	mov	%ebx, %eax
	mov	$0x3f8, %edx
	out	%al, %dx
	ret

	.data
digits:	.ascii	"0123456789abcdef"
fired:	.byte	0
	.align 8
idtr:	.word	4095
	.quad	idt
	.bss
	.align 4096
idt:	.skip	4096
	.skip	4096
stack:
