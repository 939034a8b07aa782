/*
 * grub.cfg of arbitrary text: what is found has a title and places inside the disk, what is refused has
 * words.
 */
#include "fuzz_menu.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t len)
{
	fuzz_menu("/boot/grub/grub.cfg", data, len);
	return 0;
}

size_t fuzz_seed(unsigned n, u8 *buf, size_t cap)
{
	static const char *const seeds[] = {
	        "set default=\"${saved_entry}\"\nload_env\nif [ x$a = xy -o -f /k ]; then set b=c; elif ! "
	        "true; then source $prefix/x; else configfile /boot/grub/grub.cfg; fi\nmenuentry 'A' --id a "
	        "{ search --fs-uuid --set=root CAFE-0001; linux /k $b \"q $c\" ; initrd /i /j }\nsubmenu S { "
	        "menuentry B { linux (hd0,1)/k } }\n",
	        "function f { set x=$1; for i in a b $@; do set y=$y$i; done; }\nf 1 2\nwhile [ $n != 00 ]; "
	        "do set n=0$n; done\nblscfg\nprobe --set=u -u $root\nmenuentry \"E $x\\\"\" { linux /k ${y} "
	        "}\n",
	};

	return n < ARRAY_SIZE(seeds) ? fuzz_text(seeds[n], buf, cap) : 0;
}
