/* OP(mnemonic, binder): integer instructions. Included by table.c; sorted by family. */
OP(ADD, bind_alu)
OP(OR, bind_alu) OP(ADC, bind_alu) OP(SBB, bind_alu) OP(AND, bind_alu) OP(SUB, bind_alu) OP(XOR, bind_alu) OP(
        CMP, bind_alu) OP(TEST, bind_test) OP(INC, bind_unary) OP(DEC, bind_unary) OP(NEG, bind_unary) OP(NOT,
        bind_unary) OP(MOV, bind_mov) OP(MOVZX, bind_movx) OP(MOVSX, bind_movx) OP(MOVSXD, bind_movx) OP(LEA,
        bind_lea) OP(XCHG, bind_xchg) OP(XADD, bind_xadd) OP(CMPXCHG, bind_cmpxchg) OP(CMPXCHG8B,
        bind_cmpxchg_wide) OP(CMPXCHG16B, bind_cmpxchg_wide) OP(BSWAP, bind_bswap) OP(MOVBE,
        bind_movbe) OP(CBW, bind_extend) OP(CWDE, bind_extend) OP(CDQE, bind_extend) OP(CWD,
        bind_extend) OP(CDQ, bind_extend) OP(CQO, bind_extend) OP(XLAT, bind_xlat) OP(CMOVO,
        bind_cmov) OP(CMOVNO, bind_cmov) OP(CMOVB, bind_cmov) OP(CMOVNB, bind_cmov) OP(CMOVZ,
        bind_cmov) OP(CMOVNZ, bind_cmov) OP(CMOVBE, bind_cmov) OP(CMOVNBE, bind_cmov) OP(CMOVS,
        bind_cmov) OP(CMOVNS, bind_cmov) OP(CMOVP, bind_cmov) OP(CMOVNP, bind_cmov) OP(CMOVL,
        bind_cmov) OP(CMOVNL, bind_cmov) OP(CMOVLE, bind_cmov) OP(CMOVNLE, bind_cmov) OP(SETO,
        bind_setcc) OP(SETNO, bind_setcc) OP(SETB, bind_setcc) OP(SETNB, bind_setcc) OP(SETZ,
        bind_setcc) OP(SETNZ, bind_setcc) OP(SETBE, bind_setcc) OP(SETNBE, bind_setcc) OP(SETS,
        bind_setcc) OP(SETNS, bind_setcc) OP(SETP, bind_setcc) OP(SETNP, bind_setcc) OP(SETL,
        bind_setcc) OP(SETNL, bind_setcc) OP(SETLE,
        bind_setcc) OP(SETNLE, bind_setcc) OP(ROL, bind_shift) OP(ROR, bind_shift) OP(RCL, bind_shift) OP(RCR,
        bind_shift) OP(SHL, bind_shift) OP(SHR,
        bind_shift) OP(SAR, bind_shift) OP(SHLD, bind_shift_double) OP(SHRD, bind_shift_double) OP(RORX,
        bind_shift_bmi) OP(SARX, bind_shift_bmi) OP(SHLX, bind_shift_bmi) OP(SHRX, bind_shift_bmi) OP(MUL,
        bind_mul) OP(IMUL, bind_imul) OP(DIV, bind_div) OP(IDIV, bind_div) OP(MULX,
        bind_mulx) OP(ADCX, bind_adx) OP(ADOX, bind_adx) OP(AAA, bind_bcd) OP(AAS, bind_bcd) OP(AAM,
        bind_bcd) OP(AAD, bind_bcd) OP(DAA, bind_bcd) OP(DAS, bind_bcd) OP(BT, bind_bt) OP(BTS,
        bind_bt) OP(BTR, bind_bt) OP(BTC, bind_bt) OP(BSF, bind_scan) OP(BSR, bind_scan) OP(TZCNT,
        bind_scan) OP(LZCNT, bind_scan) OP(POPCNT, bind_scan) OP(ANDN,
        bind_bmi) OP(BEXTR, bind_bmi) OP(BLSI, bind_bmi) OP(BLSMSK, bind_bmi) OP(BLSR, bind_bmi) OP(BZHI,
        bind_bmi) OP(PDEP, bind_bmi) OP(PEXT,
        bind_bmi) OP(CRC32, bind_crc32) OP(JMP,
        bind_jmp) OP(CALL, bind_call) OP(RET, bind_ret) OP(JO, bind_jcc) OP(JNO, bind_jcc) OP(JB,
        bind_jcc) OP(JNB, bind_jcc) OP(JZ, bind_jcc) OP(JNZ,
        bind_jcc) OP(JBE, bind_jcc) OP(JNBE, bind_jcc) OP(JS, bind_jcc) OP(JNS,
        bind_jcc) OP(JP, bind_jcc) OP(JNP, bind_jcc) OP(JL,
        bind_jcc) OP(JNL, bind_jcc) OP(JLE, bind_jcc) OP(JNLE, bind_jcc) OP(LOOP, bind_loop) OP(LOOPE,
        bind_loop) OP(LOOPNE, bind_loop) OP(JCXZ, bind_loop) OP(JECXZ,
        bind_loop) OP(JRCXZ, bind_loop) OP(PUSH, bind_push) OP(POP, bind_pop) OP(PUSHA,
        bind_pusha) OP(PUSHAD, bind_pusha) OP(POPA, bind_pusha) OP(POPAD, bind_pusha) OP(ENTER,
        bind_enter) OP(LEAVE, bind_leave) OP(MOVSB, bind_string) OP(MOVSW, bind_string) OP(MOVSD, bind_string)
        OP(MOVSQ, bind_string) OP(STOSB, bind_string) OP(STOSW, bind_string) OP(STOSD, bind_string) OP(
                STOSQ, bind_string) OP(LODSB, bind_string) OP(LODSW, bind_string) OP(LODSD, bind_string)
                OP(LODSQ, bind_string) OP(CMPSB, bind_string) OP(CMPSW, bind_string) OP(CMPSD, bind_string)
                        OP(CMPSQ, bind_string) OP(SCASB, bind_string) OP(SCASW, bind_string) OP(
                                SCASD, bind_string) OP(SCASQ, bind_string) OP(CLC, bind_flag) OP(STC,
                                bind_flag) OP(CMC, bind_flag) OP(CLD, bind_flag)
                                OP(STD, bind_flag) OP(LAHF, bind_flag) OP(SAHF, bind_flag) OP(SALC, bind_flag)
                                        OP(INT, bind_int) OP(INT1, bind_int) OP(INT3, bind_int)
                                                OP(INTO, bind_int) OP(NOP, bind_nop) OP(BOUND, bind_bound)
                                                        OP(RDRAND, bind_rdrand) OP(RDSEED, bind_rdrand)
