/* All programs of a big-endian guest, as Debian has none for it: this one crashes the first kernel. In the capture
   kernel it saves the dump to the disk, gives memory back, registers again and switches the machine off. */

enum { READ = 3, WRITE, OPEN, MOUNT = 21, MKDIR = 39, REBOOT = 88, FSYNC = 118 }; /* <asm/unistd.h> of powerpc */
enum { READ_ONLY, WRITE_ONLY };
enum { MAGIC1 = 0xfee1dead, MAGIC2 = 672274793, POWER_OFF = 0x4321fedc }; /* <linux/reboot.h> */

/* What the system call returns, a negative error number if it fails. */
static long call(long number, long a, long b, long c, long d, long e)
{
    register long r0 asm("r0") = number;
    register long r3 asm("r3") = a;
    register long r4 asm("r4") = b;
    register long r5 asm("r5") = c;
    register long r6 asm("r6") = d;
    register long r7 asm("r7") = e;
    asm volatile("sc\n\tbns+ 0f\n\tneg %1, %1\n0:"
                 : "+r"(r0), "+r"(r3), "+r"(r4), "+r"(r5), "+r"(r6), "+r"(r7)
                 :
                 : "memory", "cr0", "ctr", "xer", "r8", "r9", "r10", "r11", "r12");
    return r3;
}

#define CALL(number, a, b, c) call(number, (long)(a), (long)(b), (long)(c), 0, 0)
#define SAY(text) CALL(WRITE, 1, text, sizeof text - 1)

static void mount(const char *type, const char *where)
{
    CALL(MKDIR, where, 0755, 0);
    call(MOUNT, (long)type, (long)where, (long)type, 0, 0);
}

static void put(const char *file, const char *letter)
{
    CALL(WRITE, CALL(OPEN, file, WRITE_ONLY, 0), letter, 1);
}

static char buffer[1 << 20];

static int copy(long from, long to)
{
    long bytes;
    while ((bytes = CALL(READ, from, buffer, sizeof buffer)) > 0)
        if (CALL(WRITE, to, buffer, bytes) != bytes)
            return 0;
    return bytes == 0 && CALL(FSYNC, to, 0, 0) == 0;
}

void _start(void)
{
    mount("proc", "/proc");
    mount("sysfs", "/sys");
    mount("devtmpfs", "/dev");
    long vmcore = CALL(OPEN, "/proc/vmcore", READ_ONLY, 0);
    if (vmcore < 0) {
        SAY("init: crash\n");
        put("/proc/sysrq-trigger", "c");
    } else if (copy(vmcore, CALL(OPEN, "/dev/vda", WRITE_ONLY, 0))) {
        SAY("init: saved\n");
        put("/sys/kernel/fadump/release_mem", "1");
        put("/sys/kernel/fadump/registered", "1");
    }
    CALL(REBOOT, MAGIC1, MAGIC2, POWER_OFF);
}
