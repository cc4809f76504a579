/* Adds a key whose secret stands nowhere but in the kernel: it is computed, and this program's memory is cleared. */

static long call(long number, long a, long b, long c, long d, long e)
{
	register long r0 asm("r0") = number;
	register long r3 asm("r3") = a;
	register long r4 asm("r4") = b;
	register long r5 asm("r5") = c;
	register long r6 asm("r6") = d;
	register long r7 asm("r7") = e;

	asm volatile("sc\n\tbns+ 1f\n\tneg 3,3\n1:"
		     : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7)
		     :
		     : "r8", "r9", "r10", "r11", "r12", "ctr", "cr0", "memory");
	return r3;
}

void _start(void)
{
	enum { ADD_KEY = 269, EXIT = 1, USER_KEYRING = -4, LENGTH = 48 };
	volatile unsigned char secret[LENGTH];
	long serial;

	for (int at = 0; at < LENGTH; at++)
		secret[at] = 'a' + (at * at + 7 * at + 3) % 26;
	serial = call(ADD_KEY, (long)"user", (long)"fadump:test", (long)secret, LENGTH, USER_KEYRING);
	for (int at = 0; at < LENGTH; at++)
		secret[at] = 0;
	call(EXIT, serial < 0, 0, 0, 0, 0);
}
