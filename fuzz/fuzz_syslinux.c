/*
 * isolinux.cfg of arbitrary text: what is found has a title and places inside the disk, what is refused has
 * words.
 */
#include "fuzz_menu.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	fuzz_menu("/isolinux/isolinux.cfg", data, len);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const char *const seeds[] = {
	        "default b\ninclude x.cfg\nmenu include isolinux.cfg\nappend g=1\nlabel a\n menu label ^A\n "
	        "kernel /k\n append initrd=i,j x -- y\nlabel b\n menu default\n linux k\n initrd i\n append "
	        "-\n",
	        "label a\nkernel k\nmenu begin t\nmenu title T\nlabel b\nmenu label ^B\nmenu exit\nlabel c\n "
	        "text "
	        "help\nlabel d\n endtext\n kernel k\nmenu begin\nmenu label U\nlabel e\nmenu end\nmenu "
	        "end\nmenu "
	        "default\n",
	};

	return n < ARRAY_SIZE(seeds) ? fuzz_text(seeds[n], buf, cap) : 0;
}
