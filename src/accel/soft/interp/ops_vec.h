/* OP(mnemonic, binder): MMX, SSE, AVX, AES, SHA. Included by table.c; sorted by family. */
