/* OP(mnemonic, binder): system, segment and far-transfer instructions. Included by table.c. */
