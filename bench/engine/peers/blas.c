// OpenBLAS's sgemm without anything around it: blas FORM M N K reads seconds from stdin, answers "calls wall cpu".
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(clockid_t c) { struct timespec t; clock_gettime(c, &t); return t.tv_sec + t.tv_nsec * 1e-9; }

static float *noise(size_t n) {
	float *p = aligned_alloc(64, (n * 4 + 63) / 64 * 64);
	for (size_t i = 0; i < n; i++) p[i] = (float)rand() / RAND_MAX;
	return p;
}

int main(int argc, char **argv) {
	void *lib = dlopen("libopenblas.so.0", RTLD_NOW);
	void (*sgemm)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int) =
		lib ? dlsym(lib, "cblas_sgemm") : NULL;
	void (*threads)(int) = lib ? dlsym(lib, "openblas_set_num_threads") : NULL;
	char *(*config)(void) = lib ? dlsym(lib, "openblas_get_config") : NULL;
	if (!sgemm || !threads || !config || argc != 5) { puts("no libopenblas.so.0"); return 1; }
	threads(1);
	printf("%s\n", config());
	fflush(stdout);
	int ta = argv[1][0] == 'T', tb = argv[1][1] == 'T', m = atoi(argv[2]), n = atoi(argv[3]), k = atoi(argv[4]);
	float *a = noise((size_t)m * k), *b = noise((size_t)k * n), *c = noise((size_t)m * n);
	for (double seconds; scanf("%lf", &seconds) == 1; fflush(stdout)) {
		long calls = 0, chunk = (double)m * n * k < 1e6 ? 64 : 4;
		double cpu = now(CLOCK_PROCESS_CPUTIME_ID), start = now(CLOCK_MONOTONIC);
		while (now(CLOCK_MONOTONIC) - start < seconds || calls < 3)
			for (int i = 0; i < chunk; i++, calls++)
				sgemm(101, ta ? 112 : 111, tb ? 112 : 111, m, n, k, 1, a, ta ? m : k, b, tb ? k : n, 0, c, n);
		printf("%ld %.9f %.9f\n", calls, now(CLOCK_MONOTONIC) - start, now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
	}
}
