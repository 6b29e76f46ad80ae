/* The same work as the built-in job type `echo`, done by a program that costs as little to start as any: the
 * yardstick S of the benchmark. Usage: echo <artifacts folder> <job id>
 *
 * It leaves what a worker leaves for an attempt, in the same way: the attempt's folder below
 * jobs/<job id>/attempts, in it result.json, stdout.log and stderr.log, each written under a draft's name
 * and then renamed. It prints with no function of stdio, which would double the pages that a start touches. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h> /* renameat */
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int put(int dir, const char *name, const char *text, size_t size)
{
	int fd = openat(dir, ".draft-1", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	if (fd < 0)
		return -1;
	if (size > 0 && write(fd, text, size) != (ssize_t)size)
		return -1;
	if (close(fd) != 0)
		return -1;
	return renameat(dir, ".draft-1", dir, name);
}

static int enter(int *dir, const char *name)
{
	int below;

	if (mkdirat(*dir, name, 0777) != 0 && errno != EEXIST)
		return -1;
	below = openat(*dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	close(*dir);
	*dir = below;
	return below < 0 ? -1 : 0;
}

static char *add(char *to, const char *text)
{
	size_t size = strlen(text);

	memcpy(to, text, size);
	return to + size;
}

static char *digits(char *to, long number, int width)
{
	for (int i = width - 1; i >= 0; i--) {
		to[i] = '0' + number % 10;
		number /= 10;
	}
	return to + width;
}

/* RFC 3339 with milliseconds; the civil date by Howard Hinnant's algorithm `civil_from_days`. */
static char *moment(char *to, struct timespec at)
{
	long days = at.tv_sec / 86400 + 719468, left = at.tv_sec % 86400;
	long era = days / 146097, doe = days % 146097;
	long yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	long doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
	long month = mp < 10 ? mp + 3 : mp - 9;

	to = add(digits(to, yoe + era * 400 + (month <= 2), 4), "-");
	to = add(digits(to, month, 2), "-");
	to = add(digits(to, doy - (153 * mp + 2) / 5 + 1, 2), "T");
	to = add(digits(to, left / 3600, 2), ":");
	to = add(digits(to, left / 60 % 60, 2), ":");
	to = add(digits(to, left % 60, 2), ".");
	return add(digits(to, at.tv_nsec / 1000000, 3), "Z");
}

int main(int argc, char **argv)
{
	char result[512], said[256], *end = result, *stop = said;
	struct timespec now;
	int dir;

	if (argc != 3 || strlen(argv[2]) > 64)
		return 64;
	clock_gettime(CLOCK_REALTIME, &now);
	end = add(add(add(end, "{\"job_id\":\""), argv[2]), "\",\"attempt\":1,");
	end = add(end, "\"payload\":{\"message\":\"Hello, World!\"},\"started_at\":\"");
	end = add(moment(end, now), "\",\"finished_at\":\"");
	end = add(moment(end, now), "\"}");
	stop = add(add(add(stop, "echo: job "), argv[2]), ", attempt 1, a payload of 27 bytes\n");
	dir = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return 1;
	if (enter(&dir, "jobs") || enter(&dir, argv[2]) || enter(&dir, "attempts") || enter(&dir, "1-00000000"))
		return 1;
	if (put(dir, "result.json", result, end - result))
		return 1;
	if (put(dir, "stdout.log", said, stop - said) || put(dir, "stderr.log", "", 0))
		return 1;
	return 0;
}
