/*
 * The commands of the control socket: one list for the server, for xhyve-ctl's help and for the tests.
 */
#pragma once

/* X(name, arguments, what it does) */
#define CONTROL_COMMANDS(X)                                                                                  \
	X(help, "", "list the commands")                                                                     \
	X(status, "", "what runs, and how")                                                                  \
	X(devices, "", "list the PCI devices")                                                               \
	X(stats, "", "counters of CPUs, disks and network cards")                                            \
	X(pause, "", "stop the CPUs and the machine's clock")                                                \
	X(resume, "", "go on after a pause")                                                                 \
	X(power, "", "press the power button")                                                               \
	X(reset, "", "press the reset button")                                                               \
	X(quit, "", "end the machine at once")                                                               \
	X(eject, "DEVICE [force]", "take the disc out of a CD drive")                                        \
	X(insert, "DEVICE PATH", "put a disc into a CD drive")                                               \
	X(link, "DEVICE up|down", "plug or pull the cable of a network card")                                \
	X(resize, "DEVICE [SIZE]", "let a disk grow, or look at the size of its file again")
