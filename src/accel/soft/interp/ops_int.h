/* OP(mnemonic, binder): integer instructions. Included by table.c; sorted by family. */
