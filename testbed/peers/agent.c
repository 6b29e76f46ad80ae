/* An agent for the benchmark, in the contract of any command job type (arguments, environment, files).
 *
 *   agent stamp              result: {"ns":<CLOCK_REALTIME at the first instruction of main>}
 *   agent ledger <file> <ms> adds "start <ns> <job id> <attempt>" to the file, sleeps, adds "end ...";
 *                            one write per line, in append mode, so that lines of many agents stay whole */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_REALTIME, &at);
	return at.tv_sec * 1000000000LL + at.tv_nsec;
}

static int say(int fd, const char *what)
{
	char line[256];
	int size = snprintf(line, sizeof line, "%s %lld %s %s\n", what, now(), getenv("AGENT_RUNNER_JOB_ID"),
			    getenv("AGENT_RUNNER_ATTEMPT"));

	return size < (int)sizeof line && write(fd, line, size) == size ? 0 : -1;
}

int main(int argc, char **argv)
{
	long long started = now();

	if (argc == 2 && strcmp(argv[1], "stamp") == 0) {
		int fd = open(getenv("AGENT_RUNNER_RESULT"), O_WRONLY | O_CREAT | O_TRUNC, 0666);

		return fd >= 0 && dprintf(fd, "{\"ns\":%lld}", started) > 0 ? 0 : 1;
	}
	if (argc == 4 && strcmp(argv[1], "ledger") == 0) {
		long ms = atol(argv[3]);
		struct timespec pause = {ms / 1000, ms % 1000 * 1000000};
		int fd = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0666);

		if (fd < 0 || say(fd, "start"))
			return 1;
		nanosleep(&pause, NULL);
		return say(fd, "end") ? 1 : 0;
	}
	return 64;
}
