/* OP(mnemonic, binder): x87, FXSAVE and XSAVE. Included by table.c. */
