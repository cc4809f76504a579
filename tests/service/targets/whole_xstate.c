/*
 * A ptrace(2) for User Mode Linux on processors whose registers are more than it knows of, as AMX's tiles are.
 *
 * Linux 6.1 as User Mode Linux keeps 2,696 bytes of them, which end before the tiles, and a Linux below it takes all or
 * nothing. What it doesn't give is what its process has; without arch_prctl(ARCH_REQ_XCOMP_PERM), that is nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

static long (*next)(enum __ptrace_request, ...);
static char whole[1 << 16];

__attribute__((constructor)) static void find_next(void)
{
	next = dlsym(RTLD_NEXT, "ptrace");
}

long ptrace(enum __ptrace_request request, ...)
{
	va_list arguments;
	va_start(arguments, request);
	int pid = va_arg(arguments, int);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);
	if (request != PTRACE_SETREGSET || address != (void *)NT_X86_XSTATE)
		return next(request, pid, address, data);
	struct iovec *given = data, all = {whole, sizeof(whole)};
	if (next(PTRACE_GETREGSET, pid, address, &all) < 0)
		return -1;
	memcpy(whole, given->iov_base, given->iov_len < all.iov_len ? given->iov_len : all.iov_len);
	return next(request, pid, address, &all);
}
