/* No interrupt table: any fault ends in a shutdown. */
#include "guest.inc"
	.code64
	lidt	none
	ud2
	FAIL
none:	.word 0
	.quad 0
