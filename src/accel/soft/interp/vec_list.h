/*
 * The regular vector instructions, one a row. Included many times: the includer defines the row kinds it
 * wants, the others are empty. A row with name PADDB stands for PADDB and VPADDB.
 *
 *	MS3(mn, op)          MMX, SSE, VEX.128, VEX.256: dst = dst op src; VEX dst = src1 op src2
 *	MS3N(mn, op, n)      the same, MMX memory operand of n bytes
 *	S3(mn, op)           without MMX
 *	S3X(mn, op)          without MMX and VEX.256
 *	S3L(mn, op)          SSE only
 *	MS2(mn, op)          MMX, SSE, VEX: dst = op src
 *	S2(mn, op, n, n256)  SSE, VEX: dst = op src; memory operands of n and n256 bytes
 *	S2X(mn, op, n)       without VEX.256
 *	S2W(mn, op, n, n256) VEX.256 reads a 128-bit register (widening)
 *	SHIFT(mn, op)        MMX, SSE, VEX: count from a register, memory or immediate
 *	SI2(mn, op, k)       SSE, VEX: dst = op src, imm8 with k significant values
 *	SI2X, SI3, SI3X      without VEX.256; with two sources; both. MSI3: also MMX (written by hand)
 *	F3(mn, op)           floating point with exceptions, packed: SSE, VEX.128, VEX.256
 *	F3S(mn, op, n)       scalar: memory operand of n bytes
 *	F2(mn, op)           dst = op src
 *	F2W(mn, op, n, n256) widening
 *	F2N(mn, op)          narrowing: VEX.256 writes a 128-bit register
 *	FI2, FI3(mn, op, k, kv), FI3S(mn, op, k, kv, n): with an immediate, kv values in the VEX form
 *	FDP(mn, op, k, mul, n), FDPX: dot products of elements of n bytes, multiplied by mul
 *	FMA3(mn, op)         VEX only, dst is a source too, packed
 *	FMA3S(mn, op, n)     scalar
 *	V3(mn, op)           VEX only, 128 and 256: dst = src1 op src2
 *	SI3V(mn, op, k)      with an immediate
 *	VI3Y(mn, op, k)      VEX.256 only with an immediate, two sources
 *	VI2Y(mn, op, k)      one source
 */
#ifndef MS3
#define MS3(mn, op)
#endif
#ifndef MS3N
#define MS3N(mn, op, n)
#endif
#ifndef S3
#define S3(mn, op)
#endif
#ifndef S3X
#define S3X(mn, op)
#endif
#ifndef S3L
#define S3L(mn, op)
#endif
#ifndef MS2
#define MS2(mn, op)
#endif
#ifndef S2
#define S2(mn, op, n, n256)
#endif
#ifndef S2X
#define S2X(mn, op, n)
#endif
#ifndef S2W
#define S2W(mn, op, n, n256)
#endif
#ifndef SHIFT
#define SHIFT(mn, op)
#endif
#ifndef SI2
#define SI2(mn, op, k)
#endif
#ifndef SI2X
#define SI2X(mn, op, k)
#endif
#ifndef SI3
#define SI3(mn, op, k)
#endif
#ifndef MSI3
#define MSI3(mn, op, k)
#endif
#ifndef SI3X
#define SI3X(mn, op, k)
#endif
#ifndef F3
#define F3(mn, op)
#endif
#ifndef F3S
#define F3S(mn, op, n)
#endif
#ifndef F2
#define F2(mn, op)
#endif
#ifndef F2W
#define F2W(mn, op, n, n256)
#endif
#ifndef F2N
#define F2N(mn, op)
#endif
#ifndef FI2
#define FI2(mn, op, k, kv)
#endif
#ifndef FI3
#define FI3(mn, op, k, kv)
#endif
#ifndef FDP
#define FDP(mn, op, k, mul, n)
#endif
#ifndef FDPX
#define FDPX(mn, op, k, mul, n)
#endif
#ifndef FI3S
#define FI3S(mn, op, k, kv, n)
#endif
#ifndef FMA3
#define FMA3(mn, op)
#endif
#ifndef FMA3S
#define FMA3S(mn, op, n)
#endif
#ifndef V3
#define V3(mn, op)
#endif
#ifndef SI3V
#define SI3V(mn, op, k)
#endif
#ifndef VI2Y
#define VI2Y(mn, op, k)
#endif
#ifndef VI3Y
#define VI3Y(mn, op, k)
#endif

/* integer, MMX and SSE2 */
MS3(PADDB, "paddb")
MS3(PADDW, "paddw")
MS3(PADDD, "paddd")
MS3(PADDQ, "paddq")
MS3(PADDSB, "paddsb")
MS3(PADDSW, "paddsw")
MS3(PADDUSB, "paddusb")
MS3(PADDUSW, "paddusw")
MS3(PSUBB, "psubb")
MS3(PSUBW, "psubw")
MS3(PSUBD, "psubd")
MS3(PSUBQ, "psubq")
MS3(PSUBSB, "psubsb")
MS3(PSUBSW, "psubsw")
MS3(PSUBUSB, "psubusb")
MS3(PSUBUSW, "psubusw")
MS3(PMULLW, "pmullw")
MS3(PMULHW, "pmulhw")
MS3(PMULHUW, "pmulhuw")
MS3(PMULUDQ, "pmuludq")
MS3(PMADDWD, "pmaddwd")
MS3(PAND, "pand")
MS3(PANDN, "pandn")
MS3(POR, "por")
MS3(PXOR, "pxor")
MS3(PCMPEQB, "pcmpeqb")
MS3(PCMPEQW, "pcmpeqw")
MS3(PCMPEQD, "pcmpeqd")
MS3(PCMPGTB, "pcmpgtb")
MS3(PCMPGTW, "pcmpgtw")
MS3(PCMPGTD, "pcmpgtd")
MS3(PACKSSWB, "packsswb")
MS3(PACKSSDW, "packssdw")
MS3(PACKUSWB, "packuswb")
MS3(PUNPCKHBW, "punpckhbw")
MS3(PUNPCKHWD, "punpckhwd")
MS3(PUNPCKHDQ, "punpckhdq")
MS3N(PUNPCKLBW, "punpcklbw", 4)
MS3N(PUNPCKLWD, "punpcklwd", 4)
MS3N(PUNPCKLDQ, "punpckldq", 4)
MS3(PAVGB, "pavgb")
MS3(PAVGW, "pavgw")
MS3(PMAXUB, "pmaxub")
MS3(PMAXSW, "pmaxsw")
MS3(PMINUB, "pminub")
MS3(PMINSW, "pminsw")
MS3(PSADBW, "psadbw")
S3(PUNPCKLQDQ, "punpcklqdq")
S3(PUNPCKHQDQ, "punpckhqdq")
SHIFT(PSLLW, "psllw")
SHIFT(PSLLD, "pslld")
SHIFT(PSLLQ, "psllq")
SHIFT(PSRLW, "psrlw")
SHIFT(PSRLD, "psrld")
SHIFT(PSRLQ, "psrlq")
SHIFT(PSRAW, "psraw")
SHIFT(PSRAD, "psrad")
SI2(PSHUFD, "pshufd", 256)
SI2(PSHUFHW, "pshufhw", 256)
SI2(PSHUFLW, "pshuflw", 256)

/* SSSE3 */
MS3(PSHUFB, "pshufb")
MS3(PHADDW, "phaddw")
MS3(PHADDD, "phaddd")
MS3(PHADDSW, "phaddsw")
MS3(PHSUBW, "phsubw")
MS3(PHSUBD, "phsubd")
MS3(PHSUBSW, "phsubsw")
MS3(PMADDUBSW, "pmaddubsw")
MS3(PMULHRSW, "pmulhrsw")
MS3(PSIGNB, "psignb")
MS3(PSIGNW, "psignw")
MS3(PSIGND, "psignd")
MS2(PABSB, "pabsb")
MS2(PABSW, "pabsw")
MS2(PABSD, "pabsd")
MSI3(PALIGNR, "palignr", 256)

/* SSE4.1, SSE4.2 */
S3(PMULDQ, "pmuldq")
S3(PMULLD, "pmulld")
S3(PMINSB, "pminsb")
S3(PMINSD, "pminsd")
S3(PMINUW, "pminuw")
S3(PMINUD, "pminud")
S3(PMAXSB, "pmaxsb")
S3(PMAXSD, "pmaxsd")
S3(PMAXUW, "pmaxuw")
S3(PMAXUD, "pmaxud")
S3(PCMPEQQ, "pcmpeqq")
S3(PCMPGTQ, "pcmpgtq")
S3(PACKUSDW, "packusdw")
S2W(PMOVSXBW, "pmovsxbw", 8, 16)
S2W(PMOVSXBD, "pmovsxbd", 4, 8)
S2W(PMOVSXBQ, "pmovsxbq", 2, 4)
S2W(PMOVSXWD, "pmovsxwd", 8, 16)
S2W(PMOVSXWQ, "pmovsxwq", 4, 8)
S2W(PMOVSXDQ, "pmovsxdq", 8, 16)
S2W(PMOVZXBW, "pmovzxbw", 8, 16)
S2W(PMOVZXBD, "pmovzxbd", 4, 8)
S2W(PMOVZXBQ, "pmovzxbq", 2, 4)
S2W(PMOVZXWD, "pmovzxwd", 8, 16)
S2W(PMOVZXWQ, "pmovzxwq", 4, 8)
S2W(PMOVZXDQ, "pmovzxdq", 8, 16)
S2X(PHMINPOSUW, "phminposuw", 16)
SI3(MPSADBW, "mpsadbw", 64)
SI3(PBLENDW, "pblendw", 256)
SI3(BLENDPS, "blendps", 256)
SI3(BLENDPD, "blendpd", 16)

/* AES, PCLMULQDQ, SHA */
S3X(AESENC, "aesenc")
S3X(AESENCLAST, "aesenclast")
S3X(AESDEC, "aesdec")
S3X(AESDECLAST, "aesdeclast")
S2X(AESIMC, "aesimc", 16)
SI2X(AESKEYGENASSIST, "aeskeygenassist", 256)
SI3X(PCLMULQDQ, "pclmulqdq", 32)
S3L(SHA1NEXTE, "sha1nexte")
S3L(SHA1MSG1, "sha1msg1")
S3L(SHA1MSG2, "sha1msg2")
S3L(SHA256MSG1, "sha256msg1")
S3L(SHA256MSG2, "sha256msg2")

/* floating point without exceptions */
S3(ANDPS, "andps")
S3(ANDPD, "andpd")
S3(ANDNPS, "andnps")
S3(ANDNPD, "andnpd")
S3(ORPS, "orps")
S3(ORPD, "orpd")
S3(XORPS, "xorps")
S3(XORPD, "xorpd")
S3(UNPCKLPS, "unpcklps")
S3(UNPCKLPD, "unpcklpd")
S3(UNPCKHPS, "unpckhps")
S3(UNPCKHPD, "unpckhpd")
SI3(SHUFPS, "shufps", 256)
SI3(SHUFPD, "shufpd", 16)
S2(MOVDDUP, "movddup", 8, 32)
S2(MOVSHDUP, "movshdup", 16, 32)
S2(MOVSLDUP, "movsldup", 16, 32)
S2W(CVTDQ2PD, "cvtdq2pd", 8, 16)

/* floating point */
F3(ADDPS, "addps")
F3(ADDPD, "addpd")
F3(SUBPS, "subps")
F3(SUBPD, "subpd")
F3(MULPS, "mulps")
F3(MULPD, "mulpd")
F3(DIVPS, "divps")
F3(DIVPD, "divpd")
F3(MINPS, "minps")
F3(MINPD, "minpd")
F3(MAXPS, "maxps")
F3(MAXPD, "maxpd")
F3(ADDSUBPS, "addsubps")
F3(ADDSUBPD, "addsubpd")
F3(HADDPS, "haddps")
F3(HADDPD, "haddpd")
F3(HSUBPS, "hsubps")
F3(HSUBPD, "hsubpd")
F3S(ADDSS, "addss", 4)
F3S(ADDSD, "addsd", 8)
F3S(SUBSS, "subss", 4)
F3S(SUBSD, "subsd", 8)
F3S(MULSS, "mulss", 4)
F3S(MULSD, "mulsd", 8)
F3S(DIVSS, "divss", 4)
F3S(DIVSD, "divsd", 8)
F3S(MINSS, "minss", 4)
F3S(MINSD, "minsd", 8)
F3S(MAXSS, "maxss", 4)
F3S(MAXSD, "maxsd", 8)
F3S(SQRTSS, "sqrtss", 4)
F3S(SQRTSD, "sqrtsd", 8)
F3S(RCPSS, "rcpss", 4)
F3S(RSQRTSS, "rsqrtss", 4)
F3S(CVTSS2SD, "cvtss2sd", 4)
F3S(CVTSD2SS, "cvtsd2ss", 8)
F2(SQRTPS, "sqrtps")
F2(SQRTPD, "sqrtpd")
F2(RCPPS, "rcpps")
F2(RSQRTPS, "rsqrtps")
F2(CVTDQ2PS, "cvtdq2ps")
F2(CVTPS2DQ, "cvtps2dq")
F2(CVTTPS2DQ, "cvttps2dq")
F2W(CVTPS2PD, "cvtps2pd", 8, 16)
F2N(CVTPD2PS, "cvtpd2ps")
F2N(CVTPD2DQ, "cvtpd2dq")
F2N(CVTTPD2DQ, "cvttpd2dq")
FI3(CMPPS, "cmpps", 8, 32)
FI3(CMPPD, "cmppd", 8, 32)
FI3S(CMPSS, "cmpss", 8, 32, 4)
FI3S(CMPSD, "cmpsd", 8, 32, 8)
FI2(ROUNDPS, "roundps", 16, 16)
FI2(ROUNDPD, "roundpd", 16, 16)
FI3S(ROUNDSS, "roundss", 16, 16, 4)
FI3S(ROUNDSD, "roundsd", 16, 16, 8)
FDP(DPPS, "dpps", 256, "mulps", 4)
FDPX(DPPD, "dppd", 64, "mulpd", 8)

/* VEX only; the names and operations lose their V here, the includer adds it */
V3(PSLLVD, "psllvd")
V3(PSLLVQ, "psllvq")
V3(PSRLVD, "psrlvd")
V3(PSRLVQ, "psrlvq")
V3(PSRAVD, "psravd")
SI3V(PBLENDD, "pblendd", 256)
VI2Y(PERMQ, "permq", 256)
VI2Y(PERMPD, "permpd", 256)
VI3Y(PERM2F128, "perm2f128", 256)
VI3Y(PERM2I128, "perm2i128", 256)

#define FMA_KIND(name, op)                                                                                   \
	FMA3(name##132PS, op "132ps")                                                                        \
	FMA3(name##132PD, op "132pd")                                                                        \
	FMA3(name##213PS, op "213ps")                                                                        \
	FMA3(name##213PD, op "213pd")                                                                        \
	FMA3(name##231PS, op "231ps")                                                                        \
	FMA3(name##231PD, op "231pd")
#define FMA_SCALAR(name, op)                                                                                 \
	FMA3S(name##132SS, op "132ss", 4)                                                                    \
	FMA3S(name##132SD, op "132sd", 8)                                                                    \
	FMA3S(name##213SS, op "213ss", 4)                                                                    \
	FMA3S(name##213SD, op "213sd", 8)                                                                    \
	FMA3S(name##231SS, op "231ss", 4)                                                                    \
	FMA3S(name##231SD, op "231sd", 8)
FMA_KIND(FMADD, "fmadd")
FMA_KIND(FMSUB, "fmsub")
FMA_KIND(FNMADD, "fnmadd")
FMA_KIND(FNMSUB, "fnmsub")
FMA_KIND(FMADDSUB, "fmaddsub")
FMA_KIND(FMSUBADD, "fmsubadd")
FMA_SCALAR(FMADD, "fmadd")
FMA_SCALAR(FMSUB, "fmsub")
FMA_SCALAR(FNMADD, "fnmadd")
FMA_SCALAR(FNMSUB, "fnmsub")
#undef FMA_KIND
#undef FMA_SCALAR

#undef MS3
#undef MS3N
#undef S3
#undef S3X
#undef S3L
#undef MS2
#undef S2
#undef S2X
#undef S2W
#undef SHIFT
#undef SI2
#undef SI2X
#undef SI3
#undef SI3X
#undef MSI3
#undef SI3V
#undef F3
#undef F3S
#undef F2
#undef F2W
#undef F2N
#undef FI2
#undef FI3
#undef FDP
#undef FDPX
#undef FI3S
#undef FMA3
#undef FMA3S
#undef V3
#undef VI2Y
#undef VI3Y
