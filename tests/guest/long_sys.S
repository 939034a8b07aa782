/* System calls, debugging, code that changes, interrupts and other CPUs in 64-bit mode. */
#include "long.inc"

#define WRMSR(n, hi, lo) mov $(n), %ecx; mov $(hi), %edx; mov $(lo), %eax; wrmsr

main:
	call	init_idt
	call	test_syscall
	call	test_bases
	call	test_debug
	call	test_smc
	call	test_crossing
	call	test_links
	call	test_returns
	call	test_interrupts
	call	test_strings
	call	test_descriptors
	call	test_gate
	call	test_nmi
	call	test_sipi
	call	test_apic
	PASS

/* --- SYSCALL, SYSRET --- */
test_syscall:
	WRMSR(0xc0000081, 0x00200008, 0)	/* STAR: kernel 08/10, user 30/28 */
	WRMSR(0xc0000082, 0, entry)
	WRMSR(0xc0000084, 0, 0x700)		/* SFMASK: TF, IF, DF */
	mov	%rsp, ksp
	mov	$user, %ecx
	mov	$0x403, %r11			/* DF, CF */
	mov	$0x9f00, %esp
	sysretq
	FAIL
user:
	EXPECT(jc)
	mov	%cs, %eax
	cmp	$UCODE, %eax
	EXPECT(je)
	mov	%ss, %eax
	cmp	$UDATA, %eax
	EXPECT(je)
	syscall
after_syscall:
	FAIL
entry:
	cmp	$after_syscall, %rcx
	EXPECT(je)
	test	$0x400, %r11d
	EXPECT(jnz)
	pushf
	pop	%rax
	test	$0x400, %eax
	EXPECT(jz)
	mov	%cs, %eax
	cmp	$KCODE, %eax
	EXPECT(je)
	cmp	$0x9f00, %rsp
	EXPECT(je)
	mov	ksp, %rsp
	cld
	movabs	$0x0000800000000000, %rcx	/* refused before anything changes */
	TRY(13, 0, sysretq)
	cmpq	$KCODE, fcs
	EXPECT(je)
	/* to compatibility mode and back by an interrupt */
	GATE(0x46, stubs + 0x46 * 16, 0xee, 0)
	mov	$user32, %ecx
	mov	$2, %r11d
	TRY(0x46, 0, sysretl)
	cmpq	$UCODE32, fcs
	EXPECT(je)
	cmpq	$0x33333333, saved32
	EXPECT(je)
	ret

	.code32
user32:
	xor	%eax, %eax
	dec	%eax
	mov	$0x33333333, %eax
	mov	%eax, saved32
	int	$0x46
	.code64
saved32: .quad 0

/* --- FS, GS --- */
test_bases:
	WRMSR(0xc0000100, 0x00001234, 0x56780000)
	WRMSR(0xc0000101, 0, 0x9000)
	WRMSR(0xc0000102, 0, 0xa000)
	movq	$0x1111, 0x9010
	movq	$0x2222, 0xa010
	mov	%gs:0x10, %rax
	cmp	$0x1111, %rax
	EXPECT(je)
	swapgs
	mov	%gs:0x10, %rax
	cmp	$0x2222, %rax
	EXPECT(je)
	TRY(6, 0, rdfsbase %rax)
	mov	%cr4, %rax
	or	$0x10000, %eax
	mov	%rax, %cr4
	rdfsbase %rax
	movabs	$0x123456780000, %rbx
	cmp	%rax, %rbx
	EXPECT(je)
	mov	$0xb000, %eax
	wrgsbase %rax
	movq	$0x3333, 0xb010
	cmpq	$0x3333, %gs:0x10
	EXPECT(je)
	movabs	$0x0000800000000000, %rax
	TRY(13, 0, wrfsbase %rax)
	mov	$0xc0000100, %ecx
	mov	$0x8000, %edx
	TRY(13, 0, wrmsr)
	ret

/* --- single step, breakpoints --- */
test_debug:
	GATE(1, on_debug, 0x8e, 0)
	movq	$0, hits
	pushf
	orl	$0x100, (%rsp)
	popf
	nop
	xor	%eax, %eax
	pushf
	andl	$~0x100, (%rsp)
	popf
	nop
	cmpq	$5, hits
	EXPECT(je)
	mov	%dr6, %rax
	and	$0x400f, %eax
	cmp	$0x4000, %eax
	EXPECT(je)
	/* execution breakpoint: a fault, once, before the instruction */
	movq	$0, hits
	mov	$1f, %eax
	mov	%rax, %dr0
	mov	$0xffff0ff0, %eax
	mov	%rax, %dr6
	mov	$0x401, %eax
	mov	%rax, %dr7
	xor	%ebx, %ebx
	nop
1:	inc	%ebx
	cmp	$1, %ebx
	EXPECT(je)
	cmpq	$1, hits
	EXPECT(je)
	cmpq	$1b, hit_rip
	EXPECT(je)
	mov	%dr6, %rax
	test	$1, %al
	EXPECT(jnz)
	/* data breakpoint on write, 4 bytes: a trap, after the instruction */
	movq	$0, hits
	mov	$watched, %eax
	mov	%rax, %dr1
	mov	$0x00d00404, %eax	/* L1 by bit 2, RW1 = 1, LEN1 = 3 */
	mov	%rax, %dr7
	mov	watched, %eax		/* reading is nothing */
	cmpq	$0, hits
	EXPECT(je)
	movb	$1, watched + 3
2:	cmpq	$1, hits
	EXPECT(je)
	cmpq	$2b, hit_rip
	EXPECT(je)
	movb	$1, watched + 4
	cmpq	$1, hits
	EXPECT(je)
	xor	%eax, %eax
	mov	%rax, %dr7
	mov	$0x2400, %eax		/* general detect */
	mov	%rax, %dr7
	movq	$0, hits
	mov	%dr6, %rax		/* the handler's entry clears GD: restarted, it passes */
	cmpq	$1, hits
	EXPECT(je)
	test	$0x2000, %eax
	EXPECT(jnz)
	STUB(1)
	ret

on_debug:
	incq	hits
	push	%rax
	mov	8(%rsp), %rax
	mov	%rax, hit_rip
	pop	%rax
	testl	$0x100, 16(%rsp)	/* a stepping frame goes on as it is */
	jnz	1f
	orl	$0x10000, 16(%rsp)	/* RF, so that a breakpoint does not hit again */
1:	iretq
	.align 8
hits:	.quad 0
hit_rip: .quad 0
watched: .quad 0

/* --- self-modifying code --- */
test_smc:
	mov	$100, %ecx
	xor	%ebx, %ebx
	xor	%eax, %eax
1:	incb	patched + 1		/* the next instruction's immediate */
patched:
	mov	$0, %al
	add	%eax, %ebx
	dec	%ecx
	jnz	1b
	cmp	$5050, %ebx
	EXPECT(je)
	/* a routine written, called, rewritten */
	movl	$0xc301b0, 0x30000	/* mov al, 1; ret */
	mov	$0x30000, %edx
	call	*%rdx
	cmp	$1, %al
	EXPECT(je)
	movb	$7, 0x30001
	call	*%rdx
	cmp	$7, %al
	EXPECT(je)
	/* by a string instruction */
	mov	$routine, %esi
	mov	$0x30000, %edi
	mov	$3, %ecx
	rep movsb
	call	*%rdx
	cmp	$9, %al
	EXPECT(je)
	ret
routine:
	mov	$9, %al
	ret

/* --- instructions that cross a page --- */
test_crossing:
	/* mov eax, imm32 with the immediate in the next page, whose frame changes */
	movb	$0xb8, 0x31ffe
	movb	$0x11, 0x31fff
	movl	$0xc3222222, 0x32000
	movl	$0xc3333333, 0x40000
	mov	$0x31ffe, %edx
	call	*%rdx
	cmp	$0x22222211, %eax
	EXPECT(je)
	movq	$0x40007, PT + 0x32 * 8
	invlpg	0x32000
	call	*%rdx
	cmp	$0x33333311, %eax
	EXPECT(je)
	movb	$0x44, 0x40000		/* a write through another address */
	call	*%rdx
	cmp	$0x33334411, %eax
	EXPECT(je)
	movq	$0, PT + 0x32 * 8
	invlpg	0x32000
	TRY(14, 0x10, jmp *%rdx)
	CR2_IS(0x32000)
	cmpq	$0x31ffe, frip
	EXPECT(je)
	movq	$0x32007, PT + 0x32 * 8
	/* data across two pages with swapped frames */
	movq	$0x34007, PT + 0x33 * 8
	movq	$0x33007, PT + 0x34 * 8
	invlpg	0x33000
	invlpg	0x34000
	movabs	$0x1122334455667788, %rax
	mov	%rax, 0x33ffc
	cmp	%rax, 0x33ffc
	EXPECT(je)
	cmpl	$0x55667788, 0x33ffc
	EXPECT(je)
	movq	$0x33007, PT + 0x33 * 8
	movq	$0x34007, PT + 0x34 * 8
	invlpg	0x33000
	invlpg	0x34000
	cmpl	$0x11223344, 0x33000
	EXPECT(je)
	cmpl	$0x55667788, 0x34ffc
	EXPECT(je)
	/* 15 bytes are an instruction, 16 are not */
	mov	$0x30000, %edi
	mov	$0x66, %al
	mov	$16, %ecx
	rep stosb
	movw	$0xc390, 0x3000e
	mov	$0x30000, %edx
	call	*%rdx
	movl	$0xc39066, 0x3000e
	TRY(13, 0, jmp *%rdx)
	ret

/* --- jumps to another page, which is another one each time --- */
test_links:
	movl	$0x000ffbe9, 0x3a010	/* jmp 0x3b010 */
	movb	$0, 0x3a014
	movl	$0xffeffbe9, 0x3c010	/* jmp 0x3b010 */
	movb	$0xff, 0x3c014
	movl	$0x000001b8, 0x3b010	/* mov $1, %eax; ret */
	movw	$0xc300, 0x3b014
	movl	$0x000002b8, 0x40010
	movw	$0xc300, 0x40014
	movl	$0x000003b8, 0x41010
	movw	$0xc300, 0x41014
	mov	$0x3a010, %r8
	mov	$0x3c010, %r9
	mov	$5, %ebp
1:	movq	$0x3b007, PT + 0x3b * 8
	invlpg	0x3b000
	mov	$1, %ebx
	call	both_jumps
	movq	$0x40007, PT + 0x3b * 8
	invlpg	0x3b000
	inc	%ebx
	call	both_jumps
	movq	$0x41007, PT + 0x3b * 8
	mov	%cr3, %rax
	mov	%rax, %cr3
	inc	%ebx
	call	both_jumps
	dec	%ebp
	jnz	1b
	/* the page is gone */
	movq	$0, PT + 0x3b * 8
	invlpg	0x3b000
	TRY(14, 0x10, jmp *%r8)
	cmpq	$0x3b010, frip
	EXPECT(je)
	CR2_IS(0x3b010)
	TRY(14, 0x10, jmp *%r9)
	cmpq	$0x3b010, frip
	EXPECT(je)
	movq	$0x3b007, PT + 0x3b * 8
	mov	$1, %ebx
both_jumps:
	mov	$3, %ecx
1:	call	*%r8
	cmp	%ebx, %eax
	EXPECT(je)
	call	*%r9
	cmp	%ebx, %eax
	EXPECT(je)
	dec	%ecx
	jnz	1b
	ret

/* --- RET to what is no longer where the CALL was --- */
test_returns:
	/* the page has been exchanged by another one meanwhile */
	movl	$0xe8028a41, 0x3a100	/* mov (%r10), %al; call exchange; mov $1, %eax; ret */
	mov	$exchange, %eax
	sub	$0x3a108, %eax
	mov	%eax, 0x3a104
	movl	$0x000001b8, 0x3a108
	movw	$0xc300, 0x3a10c
	mov	$0x3a100, %esi
	mov	$0x42100, %edi
	mov	$16, %ecx
	rep movsb
	movb	$2, 0x42109
	mov	$0x3a100, %edx
	mov	0x101000, %rax		/* 4 GiB further there is the same: another page in the same slot */
	mov	%rax, 0x101020
	mov	$0x3a000, %r10
	call	exchange_often
	movabs	$0x10003a000, %r10
	call	exchange_often
	/* the code behind the CALL has been rewritten meanwhile */
	mov	$32, %ebp
	mov	$32, %ebx
1:	call	rewrite
behind_call:
	mov	$0, %eax
	cmp	%ebx, %eax
	EXPECT(je)
	dec	%ebp
	jnz	1b
	/* the CALL's stack is another one, and its slot has been used by others */
	mov	%rsp, %rbp
	call	1f
	jmp	2f
1:	mov	(%rsp), %rax
	sub	$8192, %rsp
	mov	%rax, (%rsp)
	call	3f
	ret
3:	ret
2:	mov	%rbp, %rsp
	/* to address 0, where no CALL ever was */
	movl	$0x000009b8, 0
	movw	$0xc300, 4
	mov	%cr3, %rax
	mov	%rax, %cr3
	pushq	$1f
	pushq	$0
	ret
1:	cmp	$9, %eax
	EXPECT(je)
	ret
exchange_often:
	mov	$1, %ebx
	mov	$32, %ebp
1:	test	$3, %ebp		/* now and then: between, it becomes used to the way */
	jnz	2f
	xor	$3, %ebx
2:	call	*%rdx
	cmp	%ebx, %eax
	EXPECT(je)
	dec	%ebp
	jnz	1b
	ret
exchange:
	test	$3, %ebp
	jnz	1f
	xorq	$(0x3a007 ^ 0x42007), PT + 0x3a * 8
	invlpg	0x3a000
1:	ret
	.balign	4096			/* what is rewritten is not near what writes */
rewrite:
	test	$3, %ebp
	jnz	1f
	mov	%ebp, %ebx
	mov	%ebp, behind_call + 1
1:	ret

/* --- external interrupts --- */
test_interrupts:
	GATE(0x41, on_irq, 0x8e, 0)
	movq	$0, irqs
	mov	$0x41, %al
	out	%al, $0xf2
	nop
	cmpq	$0, irqs
	EXPECT(je)
	sti
	cmpq	$0, irqs		/* the shadow of STI covers this */
	EXPECT(je)
	nop
	cmpq	$1, irqs
	EXPECT(je)
	/* STI, HLT, and an interrupt from another thread */
	cli
	movq	$0, irqs
	mov	$20, %al
	out	%al, $0xf3
	sti
	hlt
	cmpq	$1, irqs
	EXPECT(je)
	/* MOV SS covers one instruction too */
	mov	%ss, %ebx
	mov	$0x41, %al
	cli
	out	%al, $0xf2
	movq	$0, irqs
	pushf
	orl	$0x200, (%rsp)
	popf				/* no shadow */
	nop
	cmpq	$1, irqs
	EXPECT(je)
	/* one that waits through loops and calls, until IRET lets it in */
	cli
	movq	$0, irqs
	mov	$0x41, %al
	out	%al, $0xf2
	mov	$100, %ecx
1:	call	2f
	dec	%ecx
	jnz	1b
	cmpq	$0, irqs
	EXPECT(je)
	mov	%rsp, %rax
	pushq	$KDATA
	push	%rax
	pushq	$0x202
	pushq	$KCODE
	pushq	$3f
	iretq
2:	ret
3:	nop
	cmpq	$1, irqs
	EXPECT(je)
	/* and until STI does, after it was there before another one */
	cli
	movq	$0, irqs
	mov	$0x41, %al
	out	%al, $0xf2
	mov	$10, %ecx
1:	loop	1b
	sti
	nop
	cmpq	$1, irqs
	EXPECT(je)
	/* a loop that spins is interrupted */
	movq	$0, irqs
	mov	$20, %al
	out	%al, $0xf3
1:	cmpq	$0, irqs
	je	1b
	cli
	STUB(0x41)
	ret
on_irq:
	incq	irqs
	iretq
	.align 8
irqs:	.quad 0

/* --- INS, OUTS --- */
test_strings:
	mov	$0xf1, %edx
	in	(%dx), %al
	mov	%al, %bl
	mov	$0x36000, %edi
	mov	$5, %ecx
	cld
	rep insb
	cmp	$0x36005, %rdi
	EXPECT(je)
	test	%rcx, %rcx
	EXPECT(jz)
	add	$5, %bl
	cmp	%bl, 0x36004
	EXPECT(je)
	mov	$0xe8, %edx
	mov	$0x36000, %esi
	mov	$3, %ecx
	rep outsl
	cmp	$0x3600c, %rsi
	EXPECT(je)
	ret

/* --- LAR, LSL, VERR, SGDT, UMIP --- */
test_descriptors:
	mov	$UCODE, %eax
	lar	%eax, %ebx
	EXPECT(jz)
	cmp	$0xaffb00, %ebx
	EXPECT(je)
	lsl	%eax, %ebx
	EXPECT(jz)
	cmp	$-1, %ebx
	EXPECT(je)
	mov	$0x58, %eax
	lar	%eax, %ebx
	EXPECT(jnz)
	mov	$KCODE, %eax
	verr	%ax
	EXPECT(jz)
	verw	%ax
	EXPECT(jnz)
	mov	$KDATA, %eax
	verw	%ax
	EXPECT(jz)
	sgdt	0x36000
	cmpw	$0x57, 0x36000
	EXPECT(je)
	cmpq	$GDT, 0x36002
	EXPECT(je)
	str	%eax
	cmp	$TSSEL, %eax
	EXPECT(je)
	smsw	%rax
	mov	%cr0, %rbx
	cmp	%rax, %rbx
	EXPECT(je)
	mov	%cr4, %rax
	or	$0x800, %eax
	mov	%rax, %cr4
	TRY(13, 0, GO_USER(user_sgdt))
	ret
user_sgdt:
	sgdt	0x36000

/* --- a 64-bit call gate from ring 3 --- */
test_gate:
	movabs	$0x0000ec0000080000, %rax	/* selector 08, DPL 3 */
	mov	$gate_target, %ecx
	movzwl	%cx, %edx
	or	%rdx, %rax
	mov	%rax, GDT + 0x48
	movq	$0, GDT + 0x50
	mov	%rsp, ksp
	movq	$1f, resume
	GO_USER(user_gate)
1:	cmpq	$0x46, vec		/* the INT behind the return to ring 3 */
	EXPECT(je)
	cmpq	$0x7777, gate_seen
	EXPECT(je)
	cmpq	$0x9f00, frsp
	EXPECT(je)
	ret
user_gate:
	lcall	*gate_ptr
	int	$0x46
gate_target:
	mov	%cs, %eax
	cmp	$KCODE, %eax
	EXPECT(je)
	cmp	$0x8f00 - 32, %rsp
	EXPECT(je)
	movq	$0x7777, gate_seen
	lretq
	.align 8
gate_ptr: .long 0
	.word	0x4b
gate_seen: .quad 0

/* --- NMI on an IST stack, blocked until IRET --- */
test_nmi:
	movq	$0x8c00, TSS + 44	/* IST2 */
	GATE(2, on_nmi, 0x8e, 2)
	movq	$0, hits
	out	%al, $0xf0
	nop
	cmpq	$2, hits
	EXPECT(je)
	ret
on_nmi:
	incq	hits
	cmp	$0x8c00 - 40, %rsp
	EXPECT(je)
	cmpq	$1, hits
	jne	1f
	out	%al, $0xf0
	nop
	nop
	cmpq	$1, hits
	EXPECT(je)
1:	iretq

/* --- another CPU --- */
test_sipi:
	movl	$0x0ff0fff0, 0x37ff0
	mov	$ap_code, %esi
	mov	$0x38000, %edi
	mov	$(ap_end - ap_code), %ecx
	rep movsb
	movl	$0, 0x37000
	mov	$0x38, %al
	out	%al, $0xf5
1:	pause
	cmpl	$0x600d, 0x37000
	jne	1b
	ret
	.code16
ap_code:
	mov	%cs, %ax
	cmp	$0x3800, %ax
	jne	2f
	mov	$0x3700, %ax
	mov	%ax, %ds
	movl	$0x600d, 0
2:	cli
	hlt
	jmp	2b
ap_end:
	.code64

/* --- the local APIC's page, and where it is --- */
test_apic:
	/* 2 MiB page at fee00000 for the APIC: PDPT[3] -> a table at 104000 */
	movq	$0x104003, 0x101018
	movl	$0xfee00083, 0x104fb8
	movl	$0, 0x104fbc
	mov	%cr3, %rax
	mov	%rax, %cr3
	mov	$0xfee00000, %ebx
	mov	0x30(%rbx), %eax
	cmp	$0xa51c0030, %eax
	EXPECT(je)
	movl	$77, 0x80(%rbx)
	in	$0xf1, %al
	cmp	$77, %al
	EXPECT(je)
	/* moved over RAM, it is in front of it */
	mov	$0x1b, %ecx
	rdmsr
	mov	%eax, %esi
	mov	$0x39900, %eax
	wrmsr
	mov	0x39030, %eax
	cmp	$0xa51c0030, %eax
	EXPECT(je)
	mov	%esi, %eax
	wrmsr
	mov	0x39030, %eax
	cmp	$0xa51c0030, %eax
	EXPECT(jne)
	mov	%cr8, %rax
	cmp	$5, %rax
	EXPECT(je)
	ret
