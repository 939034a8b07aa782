/*
 * 32-bit protected mode: segment checks, privilege changes, call gates, VM86, hardware tasks, SYSENTER,
 * and paging with 4 MiB pages and PAE.
 */
#include "guest.inc"
#define IDT 0x20000
#define TSS2 0x30000
#define GATE_CALL 0x58
#define TSS2SEL 0x60
#define GATE_TASK 0x68
#define ABSENT 0x70
#define SMALL 0x78
#define DOWN 0x80
#define UCODE_ 0x23
#define UDATA_ 0x2b

	.code32
	jmp	main
	.align 4
vec:	.long -1
err:	.long 0
feip:	.long 0
fcs:	.long 0
fflags:	.long 0
fesp:	.long 0
fss:	.long 0
fds:	.long 0
hesp:	.long 0
resume:	.long 0
kesp:	.long 0
idtr:	.word 0x7ff
	.long IDT
gdtr:	.word 0x87
	.long GDT

	.altmacro
	.macro stub n
	.if \n >= 32
	push	$0
	.elseif ((0x27d00 >> \n) & 1) == 0
	push	$0
	.endif
	push	$\n
	jmp	common
	.align 16
	.endm
	.align 16
stubs:
	.set n, 0
	.rept 72
	stub %n
	.set n, n + 1
	.endr
	.noaltmacro

/* Records, then goes on in ring 0 at [resume] with the stack of the last TRY. */
common:
	push	%eax
	mov	%ds, %eax
	push	%eax
	mov	$KDATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	pop	fds
	pop	%eax
	pop	vec
	pop	err
	mov	%esp, hesp
	push	%eax
	mov	4(%esp), %eax
	mov	%eax, feip
	mov	8(%esp), %eax
	mov	%eax, fcs
	mov	12(%esp), %eax
	mov	%eax, fflags
	mov	16(%esp), %eax
	mov	%eax, fesp
	mov	20(%esp), %eax
	mov	%eax, fss
	pop	%eax
	push	%ds
	pop	%ss
	mov	kesp, %esp
	jmp	*resume

/* edi: vector, esi: handler, edx: type */
set_gate:
	lea	IDT(, %edi, 8), %edi
	mov	%si, (%edi)
	movw	$KCODE32, 2(%edi)
	movb	$0, 4(%edi)
	mov	%dl, 5(%edi)
	shr	$16, %esi
	mov	%si, 6(%edi)
	ret
#define SETGATE(v, h, attr) mov $(v), %edi; mov $(h), %esi; mov $(attr), %edx; call set_gate
#define TRY(v, e, code...) \
	mov %esp, kesp; movl $79f, resume; movl $-1, vec; \
	76: code; FAIL; \
	79: cmpl $(v), vec; EXPECT(je); cmpl $(e), err; EXPECT(je)
#define DESC(sel, hi, lo) movl $(lo), GDT + (sel); movl $(hi), GDT + (sel) + 4
#define GO_USER(label) push $UDATA_; push $0x9f00; push $2; push $UCODE_; push $label; iret

main:
	/* handlers leave by a jump, not by IRET: nothing but ESP has to be put back */
	xor	%ebx, %ebx
1:	mov	%ebx, %edi
	mov	%ebx, %esi
	shl	$4, %esi
	add	$stubs, %esi
	mov	$0x8e, %edx
	call	set_gate
	inc	%ebx
	cmp	$72, %ebx
	jne	1b
	lidt	idtr
	DESC(ABSENT, 0x00cf1300, 0x0000ffff)
	DESC(SMALL, 0x00409300, 0x00000fff)
	DESC(DOWN, 0x00409700, 0x00000fff)
	lgdt	gdtr
	movl	$0x8f00, TSS + 4
	movl	$KDATA, TSS + 8
	call	test_segments
	call	test_rings
	call	test_call_gate
	call	test_vm86
	call	test_tasks
	call	test_sysenter
	call	test_paging
	call	test_pae
	PASS

/* --- segments --- */
test_segments:
	mov	$ABSENT, %eax
	TRY(11, ABSENT, mov %eax, %es)
	TRY(12, ABSENT, mov %eax, %ss)
	mov	$KCODE32, %eax
	TRY(13, KCODE32, mov %eax, %ss)
	mov	$0x100, %eax
	TRY(13, 0x100, mov %eax, %fs)
	TRY(13, 4, mov $4, %eax; mov %eax, %fs)	/* no LDT */
	xor	%eax, %eax
	mov	%eax, %fs
	TRY(13, 0, mov %fs:0, %eax)
	mov	$SMALL, %eax
	mov	%eax, %fs
	mov	%fs:0xffc, %eax
	TRY(13, 0, mov %fs:0xffd, %eax)
	mov	$DOWN, %eax
	mov	%eax, %fs
	mov	%fs:0x1000, %eax
	TRY(13, 0, mov %fs:0xfff, %eax)
	TRY(13, 0, mov %cs:0, %eax; mov %eax, %cs:0)
	/* past the limit of the stack segment */
	TRY(12, 0, mov $0xf00, %esp; mov $SMALL, %eax; mov %eax, %ss; mov $0x2000, %ebp; mov (%ebp), %eax)
	/* LAR, LSL, VERW, ARPL */
	mov	$SMALL, %eax
	lsl	%eax, %ebx
	EXPECT(jz)
	cmp	$0xfff, %ebx
	EXPECT(je)
	mov	$TSSEL, %eax
	lar	%eax, %ebx
	EXPECT(jz)
	and	$0xf000, %ebx
	cmp	$0x8000, %ebx
	EXPECT(je)
	mov	$KDATA, %eax
	mov	$3, %ebx
	arpl	%bx, %ax
	EXPECT(jz)
	cmp	$KDATA + 3, %ax
	EXPECT(je)
	ret

/* --- rings --- */
test_rings:
	TRY(13, 0, GO_USER(user_hlt))
	cmpl	$UCODE_, fcs
	EXPECT(je)
	cmpl	$UDATA_, fss
	EXPECT(je)
	cmpl	$0x9f00, fesp
	EXPECT(je)
	cmpl	$0x8f00 - 20, hesp
	EXPECT(je)
	cmpl	$0, fds		/* DS of ring 0 is taken away on the way out */
	EXPECT(je)
	TRY(13, 0x45 * 8 + 2, GO_USER(user_int))
	SETGATE(0x45, stubs + 0x45 * 16, 0xee)
	TRY(0x45, 0, GO_USER(user_int))
	mov	%ss, %eax
	cmp	$KDATA, %eax
	EXPECT(je)
	TRY(13, KDATA, GO_USER(user_load))
	ret
user_hlt: hlt
user_int: int $0x45
user_load:
	mov	$KDATA, %eax
	mov	%eax, %ds

/* --- call gate with two parameters --- */
test_call_gate:
	mov	$gate_entry, %eax
	mov	%eax, %ebx
	and	$0xffff, %eax
	or	$KCODE32 << 16, %eax
	mov	%eax, GDT + GATE_CALL
	and	$0xffff0000, %ebx
	or	$0xec02, %ebx
	mov	%ebx, GDT + GATE_CALL + 4
	TRY(0x45, 0, GO_USER(user_gate))
	cmpl	$0x9f00, fesp
	EXPECT(je)
	cmpl	$0x33, feip_sum
	EXPECT(je)
	ret
user_gate:
	push	$0x11
	push	$0x22
	lcall	$GATE_CALL + 3, $0
	int	$0x45
gate_entry:
	mov	%cs, %eax
	cmp	$KCODE32, %eax
	EXPECT(je)
	cmp	$0x8f00 - 24, %esp	/* SS, ESP, two parameters, CS, EIP */
	EXPECT(je)
	mov	8(%esp), %eax
	add	12(%esp), %eax
	mov	$KDATA, %ebx
	mov	%ebx, %ds
	mov	%eax, feip_sum
	lret	$8
	.align 4
feip_sum: .long 0

/* --- VM86 --- */
test_vm86:
	movl	$0xd88ec88c, 0x40000	/* mov ax, cs; mov ds, ax; */
	movl	$0x0006c766, 0x40004	/* 32-bit store to ds:100 */
	movl	$0x12345601, 0x40008
	movb	$0x78, 0x4000c
	movb	$0xf4, 0x4000d		/* hlt */
	mov	%esp, kesp
	movl	$1f, resume
	movl	$-1, vec
	push	$0x1111			/* GS */
	push	$0x2222			/* FS */
	push	$0x3333			/* DS */
	push	$0x4444			/* ES */
	push	$0x5000			/* SS */
	push	$0x0800			/* ESP */
	push	$0x20002		/* VM */
	push	$0x4000
	push	$0
	iret
1:	cmpl	$13, vec
	EXPECT(je)
	cmpl	$0, err
	EXPECT(je)
	cmpl	$0x4000, fcs
	EXPECT(je)
	cmpl	$0xd, feip
	EXPECT(je)
	testl	$0x20000, fflags
	EXPECT(jnz)
	cmpl	$0x800, fesp
	EXPECT(je)
	cmpl	$0x5000, fss
	EXPECT(je)
	cmpl	$0, fds
	EXPECT(je)
	cmpl	$0x8f00 - 36, hesp
	EXPECT(je)
	cmpl	$0x4444, 0x8f00 - 16
	EXPECT(je)
	cmpl	$0x4000, 0x8f00 - 12	/* DS as the task had changed it */
	EXPECT(je)
	cmpl	$0x1111, 0x8f00 - 4
	EXPECT(je)
	cmpl	$0x78123456, 0x40100
	EXPECT(je)
	mov	$KDATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	ret

/* --- hardware tasks --- */
test_tasks:
	DESC(TSS2SEL, 0x00008903, 0x00000067)
	DESC(GATE_TASK, 0x00008500, TSS2SEL << 16)
	mov	$TSS2, %edi
	xor	%eax, %eax
	mov	$26, %ecx
	cld
	rep stosl
	movl	$task_code, TSS2 + 32
	movl	$2, TSS2 + 36
	movl	$0xabcd, TSS2 + 40	/* EAX */
	movl	$0x31000, TSS2 + 56	/* ESP */
	movl	$KDATA, TSS2 + 72
	movl	$KCODE32, TSS2 + 76
	movl	$KDATA, TSS2 + 80
	movl	$KDATA, TSS2 + 84
	movl	$0x80, TSS2 + 100
	mov	$0x5a5a, %esi
	mov	%esp, %ebp
	lcall	$TSS2SEL, $0
	cmp	$0x5a5a, %esi
	EXPECT(je)
	cmp	%esp, %ebp
	EXPECT(je)
	cmpl	$1, task_runs
	EXPECT(je)
	str	%eax
	cmp	$TSSEL, %eax
	EXPECT(je)
	testb	$2, GDT + TSS2SEL + 5	/* not busy any more */
	EXPECT(jz)
	mov	%cr0, %eax
	test	$8, %al			/* TS */
	EXPECT(jnz)
	clts
	/* again, through the gate: the task goes on behind its IRET */
	lcall	$GATE_TASK, $0
	cmpl	$2, task_runs
	EXPECT(je)
	/* as the handler of an interrupt, and of an exception with an error code */
	movl	$TSS2SEL << 16, IDT + 0x47 * 8
	movl	$0x8500, IDT + 0x47 * 8 + 4
	int	$0x47
	cmpl	$3, task_runs
	EXPECT(je)
	movl	$TSS2SEL << 16, IDT + 13 * 8
	movl	$0x8500, IDT + 13 * 8 + 4
	movl	$1, with_error
	mov	$0x100, %eax
1:	mov	%eax, %fs		/* restarted with EAX as the handler leaves it in our TSS */
	cmpl	$4, task_runs
	EXPECT(je)
	cmpl	$0x100, task_error
	EXPECT(je)
	SETGATE(13, stubs + 13 * 16, 0x8e)
	clts
	ret
task_code:
	cmp	$0xabcd, %eax
	EXPECT(je)
	pushf
	pop	%ebx
	test	$0x4000, %ebx		/* NT */
	EXPECT(jnz)
	str	%ebx
	cmp	$TSS2SEL, %ebx
	EXPECT(je)
	cmpw	$TSSEL, TSS2		/* link */
	EXPECT(je)
	testb	$2, GDT + TSSEL + 5	/* the caller stays busy */
	EXPECT(jnz)
	incl	task_runs
	cmpl	$0, with_error
	je	1f
	pop	task_error
	movl	$0, TSS + 40		/* the faulting task's EAX */
1:	iret
	jmp	task_code
	.align 4
task_runs: .long 0
with_error: .long 0
task_error: .long 0

/* --- SYSENTER, SYSEXIT --- */
test_sysenter:
	TRY(13, 0, sysenter)
	mov	$0x174, %ecx
	xor	%edx, %edx
	mov	$KCODE32, %eax
	/* SYSENTER wants data behind its code: 18, 20 will not do for ring 3, but nothing loads them */
	wrmsr
	inc	%ecx
	mov	$0x8e00, %eax
	wrmsr
	inc	%ecx
	mov	$sysenter_entry, %eax
	wrmsr
	mov	%esp, kesp
	GO_USER(user_sysenter)
user_sysenter:
	sysenter
	FAIL
sysenter_entry:
	cmp	$0x8e00, %esp
	EXPECT(je)
	mov	%cs, %eax
	cmp	$KCODE32, %eax
	EXPECT(je)
	mov	%ss, %eax
	cmp	$KCODE32 + 8, %eax
	EXPECT(je)
	mov	$KDATA, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	mov	kesp, %esp
	ret

/* --- 32-bit paging --- */
test_paging:
	mov	$0x50000, %edi
	mov	$1024, %ecx
	xor	%eax, %eax
	rep stosl
	movl	$0x87, 0x50000		/* 4 MiB, identity */
	movl	$0x51007, 0x50004
	movl	$0x60007, 0x51000
	movl	$0x60005, 0x51004
	mov	$0x10, %eax		/* PSE */
	mov	%eax, %cr4
	mov	$0x50000, %eax
	mov	%eax, %cr3
	mov	%cr0, %eax
	or	$0x80010000, %eax	/* PG, WP */
	mov	%eax, %cr0
	movl	$0x1234, 0x400010
	cmpl	$0x1234, 0x60010
	EXPECT(je)
	cmpl	$0x60067, 0x51000	/* A, D */
	EXPECT(je)
	TRY(14, 3, movl $1, 0x401000)
	mov	%cr2, %eax
	cmp	$0x401000, %eax
	EXPECT(je)
	TRY(14, 0, mov 0x402000, %eax)
	TRY(14, 2, movb $1, 0x800000)
	mov	%cr0, %eax
	and	$~0x80010000, %eax
	mov	%eax, %cr0
	ret

/* --- PAE --- */
test_pae:
	movl	$0x52001, 0x50000
	movl	$0, 0x50004
	movl	$0, 0x50008
	movl	$0, 0x5000c
	movl	$0, 0x50010
	movl	$0, 0x50014
	movl	$0, 0x50018
	movl	$0, 0x5001c
	movl	$0x87, 0x52000
	movl	$0, 0x52004
	movl	$0x51007, 0x52008
	movl	$0, 0x5200c
	movl	$0x60007, 0x51000
	movl	$0, 0x51004
	movl	$0x60007, 0x51008
	movl	$0x80000000, 0x5100c	/* NX */
	mov	$0x20, %eax
	mov	%eax, %cr4
	mov	$0x50000, %eax
	mov	%eax, %cr3
	mov	$0xc0000080, %ecx
	rdmsr
	or	$0x800, %eax
	wrmsr
	mov	%cr0, %eax
	or	$0x80000000, %eax
	mov	%eax, %cr0
	movl	$0x5678, 0x200020
	cmpl	$0x5678, 0x60020
	EXPECT(je)
	movb	$0xc3, 0x60040
	mov	$0x200040, %ebx
	call	*%ebx
	mov	$0x201040, %ebx
	TRY(14, 0x11, jmp *%ebx)
	TRY(14, 0, mov 0x40000000, %eax)
	TRY(13, 0, movl $7, 0x50008; mov $0x50000, %eax; mov %eax, %cr3)
	mov	%cr0, %eax
	and	$~0x80000000, %eax
	mov	%eax, %cr0
	ret
