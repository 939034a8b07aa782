/*
 * Boot configurations in the styles that installers and installed systems have, and hostile ones.
 */
#include "menu_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static struct menu_rig rig;
static struct menu *menu;
static struct err err;

static void put_text(const char *path, const char *text)
{
	assert_true(rig_put_file(&rig, path, text, (u32)strlen(text)));
}

static int look(void)
{
	menu = NULL;
	err = (struct err){0};
	return rig_open(&rig, &menu, &err);
}

static void done(void)
{
	rig_close(&rig, menu);
	rig_init(&rig);
}

static int setup(void **state)
{
	rig_init(&rig);
	return 0;
}

/* Opens the menu, which must have this many entries. */
static void expect_menu(unsigned count, const char *standard)
{
	if (look() < 0)
		fail_msg("%s", err.text);
	assert_int_equal(menu->count, count);
	assert_string_equal(menu->entry[menu->standard].title, standard);
}

static void expect_entry(const char *which, const char *kernel, const char *initrds, const char *cmdline)
{
	const struct menu_entry *entry;
	char all[512] = "";

	if (menu_choose(menu, which, &entry, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(entry->kernel.path, kernel);
	for (unsigned i = 0; i < entry->ninitrds; i++)
		strcat(strcat(all, i ? " " : ""), entry->initrd[i].path);
	assert_string_equal(all, initrds);
	assert_string_equal(entry->cmdline, cmdline);
}

static void expect_refused(const char *which, const char *words)
{
	const struct menu_entry *entry;

	assert_true(menu_choose(menu, which, &entry, &err) < 0);
	if (!strstr(err.text, words))
		fail_msg("no \"%s\" in: %s", words, err.text);
}

/* --- GRUB --- */

/* As grub-mkconfig writes it: environment, functions, search, a submenu. */
static const char installed[] = "if [ -s $prefix/grubenv ]; then\n  set have_grubenv=true\n  load_env\nfi\n"
                                "if [ \"${next_entry}\" ] ; then\n   set default=\"${next_entry}\"\n"
                                "   set next_entry=\n   save_env next_entry\n   set boot_once=true\nelse\n"
                                "   set default=\"${saved_entry}\"\nfi\n"
                                "if [ x\"${feature_menuentry_id}\" = xy ]; then\n"
                                "  menuentry_id_option=\"--id\"\nelse\n  menuentry_id_option=\"\"\nfi\n"
                                "export menuentry_id_option\n"
                                "function savedefault {\n  if [ -z \"${boot_once}\" ]; then\n"
                                "    saved_entry=\"${chosen}\"\n    save_env saved_entry\n  fi\n}\n"
                                "function load_video {\n  if [ x$feature_all_video_module = xy ]; then\n"
                                "    insmod all_video\n  else\n    insmod efi_gop\n  fi\n}\n"
                                "if loadfont unicode ; then\n  set gfxmode=auto\n  load_video\nfi\n"
                                "menuentry 'Debian GNU/Linux' --class debian --class os "
                                "$menuentry_id_option 'gnulinux-simple' {\n"
                                "\tload_video\n\tinsmod gzio\n"
                                "\tif [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi\n"
                                "\tset root='hd0,msdos7'\n"
                                "\tsearch --no-floppy --fs-uuid --set=root --hint-bios=hd0 CAFE-0001\n"
                                "\techo\t'Loading Linux ...'\n"
                                "\tlinux\t/boot/vmlinuz-6.1 root=UUID=12 ro  quiet\n"
                                "\tinitrd\t/boot/initrd.img-6.1\n}\n"
                                "submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option "
                                "'gnulinux-advanced' {\n"
                                "\tmenuentry 'Debian GNU/Linux, with Linux 6.1' --class debian "
                                "$menuentry_id_option 'gnulinux-6.1' {\n"
                                "\t\tlinux /boot/vmlinuz-6.1 root=UUID=12 ro\n"
                                "\t\tinitrd /boot/ucode.img /boot/initrd.img-6.1\n\t}\n"
                                "\tmenuentry 'Debian GNU/Linux, with Linux 6.1 (recovery mode)' {\n"
                                "\t\tlinux /boot/vmlinuz-6.1 root=UUID=12 ro single\n\t}\n}\n"
                                "if [ \"$grub_platform\" = \"efi\" ]; then\n"
                                "\tmenuentry 'UEFI Firmware Settings' {\n\t\tfwsetup\n\t}\nfi\n"
                                "### BEGIN /etc/grub.d/41_custom ###\n"
                                "if [ -f  ${config_directory}/custom.cfg ]; then\n"
                                "  source ${config_directory}/custom.cfg\n"
                                "elif [ -z \"${config_directory}\" -a -f  $prefix/custom.cfg ]; then\n"
                                "  source $prefix/custom.cfg\nfi\n";

static void grub_of_an_installed_system(void **state)
{
	put_text("/boot/grub/grub.cfg", installed);
	expect_menu(3, "Debian GNU/Linux");
	expect_entry(NULL, "/boot/vmlinuz-6.1", "/boot/initrd.img-6.1", "root=UUID=12 ro quiet");
	expect_entry("Debian GNU/Linux, with Linux 6.1", "/boot/vmlinuz-6.1",
	        "/boot/ucode.img /boot/initrd.img-6.1", "root=UUID=12 ro");
	expect_entry("2", "/boot/vmlinuz-6.1", "", "root=UUID=12 ro single");
	expect_entry("RECOVERY", "/boot/vmlinuz-6.1", "", "root=UUID=12 ro single");
	expect_entry("gnulinux-6.1", "/boot/vmlinuz-6.1", "/boot/ucode.img /boot/initrd.img-6.1",
	        "root=UUID=12 ro");
	expect_refused("with Linux", "several");
	expect_refused("7", "no boot entry \"7\"; there are 0 \"Debian GNU/Linux\", 1 \"Advanced");
	done();
}

static void grub_saved_entries(void **state)
{
	static const struct {
		const char *saved, *title;
	} cases[] = {
	        {"gnulinux-advanced>gnulinux-6.1",
	                "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1"},
	        {"1>1", "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1 (recovery "
	                "mode)"},
	        {"1", "Advanced options for Debian GNU/Linux>Debian GNU/Linux, with Linux 6.1"},
	        {"Debian GNU/Linux", "Debian GNU/Linux"},
	        {"not there", "Debian GNU/Linux"},
	        {"", "Debian GNU/Linux"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char env[256];

		snprintf(env, sizeof(env), "# GRUB Environment Block\nsaved_entry=%s\nnext_entry=1>0\n#####",
		        cases[i].saved);
		put_text("/boot/grub/grub.cfg", installed);
		put_text("/boot/grub/grubenv", env);
		expect_menu(3, cases[i].title);
		done();
	}
}

static void grub_custom_and_sourced(void **state)
{
	put_text("/boot/grub/grub.cfg", installed);
	put_text("/boot/grub/custom.cfg",
	        "set default=mine\nmenuentry \"Mine: $root\" --id=mine { linux ($root)/k a\\ b "
	        "\"c d\" ; initrd /i ; }");
	expect_menu(4, "Mine: hd0");
	expect_entry("mine", "/k", "/i", "a b c d");
	done();
}

/* What a file system for EFI has: the way to the real configuration. */
static void grub_stub(void **state)
{
	put_text("/EFI/debian/grub.cfg",
	        "search.fs_uuid CAFE-0001 root\nset prefix=($root)'/realboot'\nconfigfile $prefix/grub.cfg\n"
	        "menuentry never { linux /never }");
	put_text("/realboot/grub.cfg", "menuentry 'Real' { linux /vmlinuz root=/dev/vda2 }\n");
	expect_menu(1, "Real");
	expect_entry(NULL, "/vmlinuz", "", "root=/dev/vda2");
	done();
}

static void grub_language(void **state)
{
	put_text("/boot/grub/grub.cfg",
	        "set a=1\nset b='$a'\nset c=\"$a${a}x\"\n"
	        "for x in one two $c; do set list=\"$list,$x\"; done\n"
	        "set n=0\nwhile [ $n != 000 ]; do set n=0$n; if [ $n = 00 ]; then set n=000; fi; done\n"
	        "until true; do set never=1; done\n"
	        "function f { set arg=\"$1:$2:$#\"; return; set arg=late; }\n"
	        "f first 'second third'\n"
	        "if [ ! -f /none -a ( -d /boot -o -f /none2 ) ]; then set t=yes; else set t=no; fi\n"
	        "if test 3 -gt 10; then set t=wrong; elif ! test -z \"$a\"; then set u=yes; fi\n"
	        "if search --file --set=found /boot/grub/grub.cfg; then set v=$found; fi\n"
	        "if search --label --set=q 'no such'; then set v=wrong; fi\n"
	        "# a comment { with } braces ; fi\n"
	        "menuentry 'E' {\n  linux /k $b $c $list $n $never $arg $t $u $v # rest\n}\n"
	        "menuentry 'Broken' { linux /broken ; if }\n");
	expect_menu(1, "E");
	expect_entry(NULL, "/k", "", "$a 11x ,one,two,11x 000 first:second third: yes yes hd0");
	done();
}

static void grub_with_loader_entries(void **state)
{
	put_text("/boot/grub2/grub.cfg",
	        "set kernelopts=\"root=/dev/vda3 ro\"\nset default=0\ninsmod blscfg\nblscfg\n"
	        "menuentry 'After' { linux /after }\n");
	put_text("/boot/loader/entries/id-5.10.conf",
	        "title Fedora (5.10)\nversion 5.10\nlinux /vmlinuz-5.10\ninitrd /initramfs-5.10 $tuned\n"
	        "options $kernelopts quiet\n");
	put_text("/boot/loader/entries/id-5.9.conf", "title Fedora (5.9)\nversion 5.9\nlinux /vmlinuz-5.9\n");
	put_text("/boot/vmlinuz-5.10", "k");
	put_text("/boot/initramfs-5.10", "i");
	expect_menu(3, "Fedora (5.10)");
	expect_entry(NULL, "/boot/vmlinuz-5.10", "/boot/initramfs-5.10", "root=/dev/vda3 ro quiet");
	expect_entry("After", "/after", "", "");
	done();
}

/* --- isolinux, syslinux, extlinux --- */

static void isolinux(void **state)
{
	put_text("/isolinux/isolinux.cfg",
	        "# D-I config version 2.0\npath \ninclude menu.cfg\ndefault vesamenu.c32\n"
	        "prompt 0\ntimeout 0\n");
	put_text("/isolinux/menu.cfg",
	        "menu hshift 7\nmenu title Installer\ninclude gtk.cfg\ninclude txt.cfg\n"
	        "menu begin advanced\n\tmenu title Advanced\n\tinclude missing.cfg\nmenu end\n"
	        "label hd\n\tmenu label Boot from ^disk\n\tlocalboot 0x80\n");
	put_text("/isolinux/gtk.cfg", "label installgui\n\tmenu label ^Graphical install\n\tmenu default\n"
	                              "\tkernel /install.amd/vmlinuz\n"
	                              "\tappend vga=788 initrd=/install.amd/gtk/initrd.gz --- quiet\n");
	put_text("/isolinux/txt.cfg", "label install\n\tmenu label ^Install\n\tkernel /install.amd/vmlinuz\n"
	                              "\tappend vga=788 initrd=/install.amd/initrd.gz,more.gz --- quiet\n");
	put_text("/isolinux/more.gz", "x");
	expect_menu(3, "Graphical install");
	expect_entry("install", "/install.amd/vmlinuz", "/install.amd/initrd.gz /isolinux/more.gz",
	        "vga=788 initrd=/install.amd/initrd.gz,more.gz --- quiet");
	expect_refused("hd", "starts no Linux kernel");
	done();
}

/* As the menus of Debian's installer: submenus with entries of the same name, words for the screen between.
 */
static void isolinux_submenus(void **state)
{
	put_text("/isolinux.cfg",
	        "default vesamenu.c32\nlabel install\n\tmenu label ^Install\n\tkernel k\n\tappend a=1\n"
	        "menu begin advanced\n    menu label ^Advanced options\n\tmenu title Advanced\n"
	        "\tlabel mainmenu\n\t\tmenu label ^Back..\n\t\tmenu default\n\t\tmenu exit\n"
	        "\tlabel expert\n\t\tmenu label E^xpert install\n\t\tmenu default\n\t\tkernel k\n"
	        "\tmenu begin\n\t\tmenu title Dark\n\t\tlabel dark\n\t\tkernel k\n\t\tappend dark=1\n"
	        "\tmenu end\nmenu end\nmenu end\n"
	        "label help\n\tmenu label ^Help\n\ttext help\n   Label of what\nlabel there is none\n"
	        "\tendtext\n\tconfig prompt.cfg\n");
	expect_menu(4, "Install");
	expect_entry(NULL, "/k", "", "a=1");
	expect_entry("Advanced options>Expert install", "/k", "", "");
	expect_entry("Expert install", "/k", "", "");
	expect_entry("Advanced options>Dark>dark", "/k", "", "dark=1");
	expect_refused("help", "starts no Linux kernel");
	done();
	put_text("/isolinux.cfg", "label a\nkernel k\nlabel b\nmenu default\nmenu exit\nkernel k\n");
	expect_menu(1, "a");
	done();
}

/* Alpine: kernel and initrd as directives, one DEFAULT. */
static void extlinux(void **state)
{
	put_text("/extlinux.conf",
	        "SERIAL 0 115200\nDEFAULT menu.c32\nPROMPT 0\nAPPEND global=1\nMENU TITLE Alpine\n"
	        "MENU AUTOBOOT Booting\nTIMEOUT 30\n"
	        "LABEL virt\n  MENU LABEL Linux virt\n  LINUX vmlinuz-virt\n"
	        "  INITRD initramfs-virt\n  APPEND root=UUID=1 modules=ext4\n"
	        "LABEL lts\n  MENU DEFAULT\n  LINUX vmlinuz-lts\n  INITRD initramfs-lts\n"
	        "LABEL bare\n  KERNEL /vmlinuz-bare\n  APPEND -\n"
	        "LABEL tool\n  KERNEL hdt.c32\n");
	expect_menu(4, "lts");
	expect_entry(NULL, "/vmlinuz-lts", "/initramfs-lts", "global=1");
	expect_entry("virt", "/vmlinuz-virt", "/initramfs-virt", "root=UUID=1 modules=ext4");
	expect_entry("bare", "/vmlinuz-bare", "", "");
	expect_refused("tool", "starts no Linux kernel");
	done();
}

static void syslinux_default_label(void **state)
{
	put_text("/syslinux/syslinux.cfg", "default second\nlabel first\nkernel a\nlabel second\nkernel b\n");
	expect_menu(2, "second");
	expect_entry(NULL, "/syslinux/b", "", "");
	done();
}

/* --- systemd-boot --- */

static void boot_loader_entries(void **state)
{
	put_text("/loader/loader.conf", "timeout 3\n#default nothing\ndefault 0123-6.1.*\n");
	put_text("/loader/entries/0123-6.1.0-9.conf",
	        "title Debian\nversion 6.1.0-9\nmachine-id 0123\nsort-key debian\n"
	        "options root=UUID=7 ro\noptions quiet\n"
	        "linux /0123/6.1.0-9/linux\ninitrd /0123/6.1.0-9/initrd\n");
	put_text("/loader/entries/0123-6.10.0.conf",
	        "title Debian\nversion 6.10.0\nmachine-id 0123\nsort-key debian\nlinux /0123/6.10.0/linux\n");
	put_text("/loader/entries/0123-6.2+0-3.conf",
	        "title Debian\nversion 6.2\nmachine-id 0123\nsort-key debian\nlinux /0123/6.2/linux\n");
	put_text("/loader/entries/win.conf", "title Other\nefi /EFI/other.efi\n");
	expect_menu(4, "Debian (6.1.0-9)");
	expect_entry(NULL, "/0123/6.1.0-9/linux", "/0123/6.1.0-9/initrd", "root=UUID=7 ro quiet");
	assert_string_equal(menu->entry[0].title, "Debian (6.10.0)");
	assert_string_equal(menu->entry[3].title, "Debian (6.2)"); /* tried too often */
	assert_string_equal(menu->entry[3].id, "0123-6.2");
	expect_refused("win", "starts no Linux kernel");
	done();
}

/* --- nothing, and hostile --- */

static void nothing_there(void **state)
{
	assert_int_equal(look(), -ENOENT);
	assert_non_null(strstr(err.text, "no boot configuration"));
	done();
	put_text("/boot/grub/grub.cfg", "menuentry 'Other' { chainloader +1 }\n");
	assert_int_equal(look(), -ENOENT);
	done();
	/* the next place counts when the first has no Linux */
	put_text("/boot/grub/grub.cfg", "menuentry 'Other' { chainloader +1 }\n");
	put_text("/isolinux.cfg", "label x\nkernel k\n");
	expect_menu(1, "x");
	done();
}

static void hostile(void **state)
{
	static const struct {
		const char *path, *text, *words;
	} cases[] = {
	        {"/boot/grub/grub.cfg", "while true; do set a=$a; done\nmenuentry x { linux /k }",
	                "to an end"},
	        {"/boot/grub/grub.cfg", "while ; do ; done", "to an end"},
	        {"/boot/grub/grub.cfg", "function f { f; }\nf", "nested too deeply"},
	        {"/boot/grub/grub.cfg", "source /boot/grub/grub.cfg", "include each other"},
	        {"/boot/grub/grub.cfg", "set a=aaaaaaaaaaaaaaaaaaaaaaaa\nwhile true; do set a=$a$a; done",
	                "too long"},
	        {"/boot/grub/grub.cfg", "while true; do menuentry x { linux /k }; done", "entries"},
	        {"/boot/grub/grub.cfg", "menuentry x { while true; do initrd /i; done }", "more than"},
	        {"/boot/grub/grub.cfg", "submenu x { submenu y { source /boot/grub/grub.cfg } }",
	                "no boot configuration"},
	        {"/isolinux.cfg",
	                "menu begin\nmenu begin\nmenu begin\nmenu begin\nmenu begin\nmenu begin\nmenu begin\n"
	                "menu begin\nmenu begin\nlabel x\n kernel y\n",
	                "nested too deeply"},
	        {"/isolinux.cfg", "include isolinux.cfg\nlabel x\n kernel y\n", "include each other"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put_text(cases[i].path, cases[i].text);
		if (look() >= 0)
			fail_msg("\"%s\" was taken", cases[i].text);
		if (!strstr(err.text, cases[i].words) || strchr(err.text, '\n'))
			fail_msg("no \"%s\" in: %s", cases[i].words, err.text);
		done();
	}
}

static void many_braces(void **state)
{
	char text[4096];

	memset(text, '{', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	put_text("/boot/grub/grub.cfg", text);
	assert_true(look() < 0);
	done();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(grub_of_an_installed_system),
	        cmocka_unit_test(grub_saved_entries),
	        cmocka_unit_test(grub_custom_and_sourced),
	        cmocka_unit_test(grub_stub),
	        cmocka_unit_test(grub_language),
	        cmocka_unit_test(grub_with_loader_entries),
	        cmocka_unit_test(isolinux),
	        cmocka_unit_test(isolinux_submenus),
	        cmocka_unit_test(extlinux),
	        cmocka_unit_test(syslinux_default_label),
	        cmocka_unit_test(boot_loader_entries),
	        cmocka_unit_test(nothing_there),
	        cmocka_unit_test(hostile),
	        cmocka_unit_test(many_braces),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
