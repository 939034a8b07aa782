/*
 * The first request to stop presses the ACPI power button, if the guest listens; a guest without
 * ACPI, and the second request, end the machine at once (status 100: the guest did not choose it).
 * Every way goes through vm_stop, so device data and terminal are safe. SIGUSR1 makes the disks look at
 * the size of their files and devices again, SIGWINCH the consoles at that of the terminal.
 */
#include "vm/signals.h"

#include "base/log.h"
#include "vm/machine.h"
#include "vm/vm_int.h"
#include <errno.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void fill(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGWINCH);
}

void signals_block(void)
{
	sigset_t set;

	fill(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

void vm_ask_to_stop(struct vm *vm)
{
	if (vm->stop_requests++ == 0 && machine_power_button(vm->machine)) {
		log_info("power button pressed; once more to switch off");
		return;
	}
	vm_quit(vm);
}

static void on_signal(void *opaque, u32 revents)
{
	struct vm *vm = opaque;
	struct signalfd_siginfo info;

	while (read(vm->signal_fd.fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGUSR1)
			machine_disks_changed(vm->machine);
		else if (info.ssi_signo == SIGWINCH)
			machine_terminal_resized(vm->machine);
		else
			vm_ask_to_stop(vm);
	}
}

int signals_watch(struct vm *vm, struct err *e)
{
	sigset_t set;
	int rc;

	fill(&set);
	vm->signal_fd = (struct loop_fd){.events = EPOLLIN, .fn = on_signal, .opaque = vm};
	vm->signal_fd.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (vm->signal_fd.fd < 0)
		return err_errno(e, -errno, "cannot watch signals");
	rc = loop_fd_add(vm->loop, &vm->signal_fd);
	return rc < 0 ? err_errno(e, rc, "cannot watch signals") : 0;
}

void signals_unwatch(struct vm *vm)
{
	if (vm->signal_fd.fd <= 0)
		return;
	loop_fd_del(vm->loop, &vm->signal_fd);
	close(vm->signal_fd.fd);
	vm->signal_fd.fd = -1;
}
